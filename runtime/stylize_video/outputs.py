"""Anything that frames can be written to, opened by what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from stylize_video.edit import UNTIMED
from stylize_video.encoding import ANIMATIONS, Encoding
from stylize_video.frame import TimedFrame
from stylize_video.inputs import FrameSource
from stylize_video.journal import Journal
from stylize_video.pipes import STANDARD, UNTIMED_PIPES, PipeSink, StreamSource
from stylize_video.sequences import SequenceSink, is_pattern
from stylize_video.sink import VideoSink, check_output
from stylize_video.source import VideoInfo, VideoSource


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


def is_untimed(output: Path, encoding: Encoding) -> bool:
    """Whether the result stores an order and a rate, and no time stamps."""
    if str(output) == STANDARD:
        return encoding.pipe in UNTIMED_PIPES
    return output.suffix.lower() in UNTIMED


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
    if is_pattern(output):
        if isinstance(source, StreamSource):
            source.others.want(())
        return SequenceSink(output, info, overwrite=overwrite)
    if str(output) == STANDARD:
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
