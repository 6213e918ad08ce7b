"""The files that a training leaves, and what must not stand where they go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stylize_video.files import check_outputs

PREVIEW_ENDING = ".preview.png"
REPORT_ENDING = ".report.html"


def beside(checkpoint: Path, ending: str) -> Path:
    """``NAME`` and ``ending`` for ``NAME.pth``; a name that ends otherwise is kept as a whole."""
    name = checkpoint.stem if checkpoint.suffix == ".pth" else checkpoint.name
    return checkpoint.with_name(name + ending)


def outputs(checkpoint: Path, *, report: bool) -> list[Path]:
    """The files that a training with this checkpoint writes."""
    endings = (PREVIEW_ENDING, REPORT_ENDING) if report else ()
    return [checkpoint, *(beside(checkpoint, ending) for ending in endings)]


def check_training(checkpoint: Path, inputs: Iterable[Path | None], *, report: bool) -> None:
    """Look at where a training will write before it begins.

    Raises:
        SinkError: as :func:`stylize_video.files.check_outputs`.
    """
    read = list(inputs)
    for target in outputs(checkpoint, report=report):
        check_outputs({"--output": target}, read)
