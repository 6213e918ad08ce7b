"""Anything that frames can be written to, opened by what it is called."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from stylize_video.edit import UNTIMED, Edit, numbered
from stylize_video.encoding import ANIMATIONS, Encoding
from stylize_video.frame import TimedFrame
from stylize_video.inputs import FrameSource
from stylize_video.journal import Journal
from stylize_video.pipes import STANDARD, UNTIMED_PIPES, PipeSink, StreamSource
from stylize_video.sequences import SequenceSink, is_pattern
from stylize_video.sink import VideoSink, check_output
from stylize_video.source import VideoInfo, VideoSource

_log = logging.getLogger(__name__)

_GIF_RATE = Fraction(50)
"""Browsers show delays of less than two hundredths of a second as ten."""


class FrameSink(Protocol):
    """Takes frames one by one; then exactly one of the three endings."""

    output: Path
    frames: int

    def write(self, frame: TimedFrame) -> None:
        """Take the next frame."""

    def finish(self, *, whole: bool = True) -> Path:
        """Complete the result; ``whole`` says that all of the source is in it."""

    def keep_part(self) -> Path | None:
        """After an interruption: complete what there is, and say where; None where that is nothing."""

    def discard(self) -> None:
        """Remove what would be half a result."""


def fitted(
    frames: Iterable[TimedFrame], info: VideoInfo, output: Path, encoding: Encoding
) -> tuple[Iterable[TimedFrame], VideoInfo]:
    """Frames at times that this kind of result can hold, and what is known of them."""
    if str(output) == STANDARD and encoding.pipe in UNTIMED_PIPES:
        # Only a frame can fill time there: one that stays is repeated.
        return Edit(fps=info.rate).apply(frames, info)
    suffix = output.suffix.lower()
    if suffix in UNTIMED:
        return numbered(frames, info)
    if suffix == ".gif" and info.rate > _GIF_RATE:
        _log.warning("GIF shows at most %d frames a second; %s gets no more", _GIF_RATE, output.name)
        return Edit(fps=_GIF_RATE).apply(frames, info)
    return frames, info


def is_resumable(source: FrameSource, output: Path) -> bool:
    """Whether a job can go on after an interruption: from a file that can be read again to a video."""
    if type(source) is not VideoSource or str(output) == STANDARD or is_pattern(output):
        return False
    return output.suffix.lower() not in ANIMATIONS


def check_target(output: Path, source: Path, *, encoding: Encoding, overwrite: bool) -> None:
    """Raise SinkError where ``output`` must not or cannot be written in this encoding.

    A pipe and numbered pictures are looked at when they are opened.
    """
    if str(output) != STANDARD and not is_pattern(output):
        check_output(output, source, overwrite=overwrite)
        encoding.resolved(output)


def open_sink(
    output: Path,
    info: VideoInfo,
    source: FrameSource,
    *,
    overwrite: bool = False,
    encoding: Encoding = Encoding(),
    journal: Journal | None = None,
) -> FrameSink:
    """Open a video file, numbered pictures or standard output, and copy what ``source`` holds besides.

    Raises:
        SinkError: it is there already, or cannot be written.
    """
    others = source.others if isinstance(source, StreamSource) else info.path
    has_others = isinstance(source, VideoSource)
    is_pipe = str(output) == STANDARD
    holds_others = not is_pattern(output) and not (is_pipe and encoding.pipe in UNTIMED_PIPES)
    if isinstance(source, StreamSource) and not holds_others:
        source.others.want(())  # nobody will take them
    if is_pattern(output):
        return SequenceSink(output, info, overwrite=overwrite)
    if is_pipe:
        return PipeSink(encoding.pipe, info, others=others if has_others else None)
    return VideoSink(
        output,
        info,
        overwrite=overwrite,
        encoding=encoding,
        copy_streams=has_others,
        others=others,
        journal=journal,
    )
