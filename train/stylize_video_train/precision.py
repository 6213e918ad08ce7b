"""Which arithmetic the feature model computes in, and whether the device is any good at it."""

from __future__ import annotations

import torch

from stylize_video_train.recipe import Precision

_CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def effective_precision(precision: Precision, device: str) -> Precision:
    """``auto`` becomes ``bf16`` where ``device`` multiplies bfloat16 in hardware, ``fp32`` elsewhere.

    Any other precision is kept. Emulated bfloat16 is right, but on a CPU without instructions
    for it a step takes twenty times as long as in float32.
    """
    if precision != "auto":
        return precision
    return "bf16" if _has_bf16(torch.device(device)) else "fp32"


def feature_precision(precision: Precision, device: str) -> torch.autocast:
    """The context in which a feature model on ``device`` computes in ``precision``."""
    enabled = effective_precision(precision, device) == "bf16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in _CPU_INSTRUCTIONS)
    return False
