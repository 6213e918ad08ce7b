"""The golden pair in a style file: a small picture, and what the style made of it at export."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx
from onnx import numpy_helper

from stylize_video.frame import psnr

if TYPE_CHECKING:
    from stylize_video.styles.session import StyleSession

GOLDEN_PSNR = {"fp32": 50.0, "fp16": 45.0, "int8": 38.0}
"""Least PSNR in dB that a golden pair must reach on a CPU: others round a little differently."""

GPU_GOLDEN_PSNR = 38.0
"""On a GPU, whose fp32 may be TF32 and whose fp16 is what it says; pairs are computed on a CPU."""


def golden_problem(session: StyleSession) -> str | None:
    """Why a style is not what was exported: None where its weights are, and its golden pair comes out right.

    The small pair shows that the arithmetic is right; some errors in weights hardly show in it.
    """
    path, metadata = session.style.path, session.style.metadata
    if metadata is None:
        return f"{path} has no golden pair to check it by: it was not made by export-onnx"
    if metadata.golden is None:
        return f"{path} has no golden pair; export it again"
    if metadata.initializers_sha256 not in ("", initializers_sha256(session.style.model)):
        return f"{path} has other weights than when it was exported; export it again"
    stylized = session.stylize(metadata.golden.frame[..., ::-1])[..., ::-1]
    likeness = psnr(stylized, metadata.golden.stylized)
    least = GOLDEN_PSNR[metadata.precision] if session.device.kind == "cpu" else GPU_GOLDEN_PSNR
    if likeness < least:
        return (
            f"{path} gives other pixels than when it was exported:"
            f" {likeness:.1f} dB on its golden pair, at least {least:.0f} expected"
        )
    return None


def initializers_sha256(model: onnx.ModelProto) -> str:
    """The hash of a graph's weights and other constants: of their names, types, shapes and values.

    Neither their order counts, nor in which fields of the file they lie.
    """
    total = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        values = numpy_helper.to_array(tensor)
        total.update(f"{tensor.name}{values.shape}{tensor.data_type}".encode())
        total.update(hashlib.sha256(values.tobytes()).digest())
    return total.hexdigest()
