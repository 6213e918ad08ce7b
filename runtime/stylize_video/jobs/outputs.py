"""Anything that frames can be written to, opened by what it is called."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from stylize_video.frame import TimedFrame
from stylize_video.resuming.journal import Journal
from stylize_video.resuming.resumable_sink import ResumableSink
from stylize_video.video.encoding import ANIMATIONS, Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.inputs import FrameSource
from stylize_video.video.pictures import holds_alpha, warn_if_profile_is_lost
from stylize_video.video.pipes import STANDARD, UNTIMED_PIPES, PipeSink, StreamSource
from stylize_video.video.sequences import SequenceSink, SequenceSource, is_pattern
from stylize_video.video.sink import VideoSink, check_output
from stylize_video.video.source import VideoSource
from stylize_video.video.timing import at_average_rate, for_avi, for_gif

_log = logging.getLogger(__name__)

_FEW_BITS = 0.01
"""A pixel, of a bit rate below which nothing is left of a picture but its colours."""

UNTIMED = (".avi",)
"""Endings of files that store an order and a rate, and no time stamps."""


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


def retimed_for(
    frames: Iterable[TimedFrame], info: VideoInfo, output: Path, encoding: Encoding
) -> tuple[Iterable[TimedFrame], VideoInfo]:
    """Frames at times that this kind of result can hold, and what is known of them."""
    if str(output) == STANDARD and encoding.pipe in UNTIMED_PIPES:
        return at_average_rate(frames, info, encoding.pipe)
    suffix = output.suffix.lower()
    if suffix in UNTIMED:
        return for_avi(frames, info)
    if suffix == ".gif":
        return for_gif(frames, info, output.name)
    return frames, info


def is_resumable(source: FrameSource, output: Path) -> bool:
    """Whether a job can go on after an interruption: from a file that can be read again to a video."""
    if type(source) is not VideoSource or str(output) == STANDARD or is_pattern(output):
        return False
    return output.suffix.lower() not in ANIMATIONS


def check_target(output: Path, source: Path, *, encoding: Encoding, overwrite: bool) -> None:
    """Raise SinkError where ``output`` must not or cannot be written in this encoding.

    Whether a pipe or numbered pictures can be written is seen when they are opened.
    """
    if str(output) == STANDARD:
        encoding.check_unused("standard output", holds_alpha=False)
    elif is_pattern(output):
        encoding.check_unused(f"a {output.suffix.lower()} picture", holds_alpha=holds_alpha(output))
    else:
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
    warn_if_profile_is_lost(info.color_profile, info.path, output, is_video=not is_pattern(output))
    sources = source.files if isinstance(source, SequenceSource) else (info.path,)
    if is_pattern(output):
        return SequenceSink(output, info, sources=sources, overwrite=overwrite)
    if is_pipe:
        return PipeSink(encoding.pipe, info, others=others if has_others else None)
    for path in sources:
        check_output(output, path, overwrite=overwrite)
    _warn_of_few_bits(encoding.bitrate, info)
    if journal:
        return ResumableSink(output, info, journal, overwrite=overwrite, encoding=encoding)
    return VideoSink(
        output, info, overwrite=overwrite, encoding=encoding, copy_streams=has_others, others=others
    )


def _warn_of_few_bits(bitrate: int | None, info: VideoInfo) -> None:
    if bitrate and (each := float(bitrate / (info.width * info.height * info.rate))) < _FEW_BITS:
        _log.warning(
            "%d bits a second are %.4f a pixel, few for a picture (--bitrate takes 800k and 5M too)",
            bitrate,
            each,
        )
