"""What is asked of an export, checked before torch is loaded: that alone takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stylize_video.errors import StylizeError
from stylize_video.styles.contract import Precision
from stylize_video.styles.device import PROVIDERS, cuda_problem
from stylize_video.styles.style import variant_path


class ExportError(StylizeError):
    """An export failed or could not be proved; the file it was about was not written."""


def check_request(output: Path, precisions: Sequence[Precision], *, calibrated: bool) -> None:
    """Look at what is asked for before there is any work that could be lost.

    Args:
        output: where the fp32 file goes.
        precisions: which files are wanted.
        calibrated: there are pictures to calibrate int8 with.

    Raises:
        ExportError: ``output`` is no name of an fp32 file, so that variants would take its place, or int8 is
            wanted without pictures.
    """
    if output.suffix != ".onnx":
        raise ExportError(f"a style file's name ends in .onnx, {output} does not; name another with -o")
    if output != (plain := variant_path(output, "fp32")):
        raise ExportError(
            f"{output} has the name of a variant: name the fp32 file, {plain}, with -o;"
            " its variants lie beside it under such names"
        )
    if "int8" in precisions and not calibrated:
        raise ExportError(
            "int8 is calibrated on real pictures: pass --calibrate with a folder of some two dozen photos"
        )


def proof_devices(device: str) -> tuple[str, ...]:
    """The devices that ``--device`` means: ``auto`` is every one that works.

    Raises:
        ExportError: the device is unknown, or CUDA cannot be used.
    """
    problem = cuda_problem() if device in ("auto", "cuda") else None
    if device == "auto":
        return ("cpu",) if problem else ("cpu", "cuda")
    if device not in PROVIDERS:
        raise ExportError(f"unknown device {device!r}; there are auto, cpu and cuda")
    if problem:
        raise ExportError(f"--device cuda cannot be used: {problem}")
    return (device,)
