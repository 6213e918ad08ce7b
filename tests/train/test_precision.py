from __future__ import annotations

import pytest
import torch

from stylize_video_train.precision import effective_precision, feature_precision


def cpu_that_has(monkeypatch: pytest.MonkeyPatch, *instructions: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16"])
def test_auto_is_bf16_where_the_cpu_multiplies_it(monkeypatch: pytest.MonkeyPatch, instruction: str) -> None:
    cpu_that_has(monkeypatch, "avx2", instruction)
    assert effective_precision("auto", "cpu") == "bf16"


def test_auto_is_fp32_where_bf16_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_that_has(monkeypatch, "avx2", "avx512_f")
    assert effective_precision("auto", "cpu") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation)
    assert effective_precision("auto", "cuda:0") == "fp32"


def test_auto_is_bf16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: True)
    assert effective_precision("auto", "cuda") == "bf16"


def test_a_precision_asked_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_that_has(monkeypatch)
    assert effective_precision("bf16", "cpu") == "bf16"
    cpu_that_has(monkeypatch, "amx_bf16")
    assert effective_precision("fp32", "cpu") == "fp32"


def test_the_context_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    square = torch.ones(4, 4)
    cpu_that_has(monkeypatch, "amx_bf16")
    with feature_precision("auto", "cpu"):
        assert (square @ square).dtype == torch.bfloat16
    cpu_that_has(monkeypatch)
    with feature_precision("auto", "cpu"):
        assert (square @ square).dtype == torch.float32
