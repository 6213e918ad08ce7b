"""Anything that frames can be read from, opened by what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeAlias

from stylize_video.errors import SourceError
from stylize_video.frame import TimedFrame
from stylize_video.video.edit import Edit
from stylize_video.video.info import VideoInfo
from stylize_video.video.pictures import GIF, PICTURES, is_animation, is_still_gif
from stylize_video.video.pipes import STANDARD, RawFormat, StreamSource, is_url
from stylize_video.video.sequences import PictureSequence, SequenceSource, is_pattern
from stylize_video.video.source import VideoSource

Source: TypeAlias = Path | str | PictureSequence
"""A file or a pattern of pictures (a path), ``-`` or a URL (text), or pictures in order."""


class FrameSource(Protocol):
    """Frames with their times, in order of presentation, and what is known of them."""

    @property
    def info(self) -> VideoInfo: ...

    def __iter__(self) -> Iterator[TimedFrame]: ...

    def __enter__(self) -> FrameSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def parse_source(text: str) -> Source:
    """What ``text`` names: ``-`` and URLs stay text, all else is a path.

    Raises:
        SourceError: it is empty, as a shell's unset variable is; a path would be the present folder.
    """
    if not text:
        raise SourceError("an input has no name; name a video, a picture or a folder")
    return text if text == STANDARD or is_url(text) else Path(text)


def open_source(
    source: Source, *, edit: Edit = Edit(), alpha: bool = False, raw: RawFormat | None = None
) -> FrameSource:
    """Open a file, numbered pictures, standard input or a URL.

    Args:
        source: what to read.
        edit: which part is taken; pictures follow each other at its rate.
        alpha: give transparency too, where there is some.
        raw: what standard input holds, where it has no header.

    Raises:
        SourceError: it cannot be read, or has no frame in that part.
    """
    if isinstance(source, PictureSequence):
        return SequenceSource(source, edit=edit, alpha=alpha)
    if isinstance(source, str):
        return StreamSource(source, edit=edit, alpha=alpha, raw=raw)
    if is_pattern(source):
        return SequenceSource(PictureSequence.of_pattern(source), edit=edit, alpha=alpha)
    return VideoSource(source, edit=edit, alpha=alpha)


def is_picture(source: Source) -> bool:
    """Whether a source is one picture, by its ending; a PNG or GIF that moves is a video."""
    if not isinstance(source, Path):
        return False
    suffix = source.suffix.lower()
    if suffix == GIF:
        return is_still_gif(source)
    return is_named_as_picture(source) and (suffix != ".png" or not is_animation(source))


def is_named_as_picture(source: Path) -> bool:
    """Whether a file has the ending of a picture, and its name is no pattern."""
    return source.suffix.lower() in PICTURES and not is_pattern(source)


def label_of(source: Source) -> str:
    """What a source is called in messages."""
    if isinstance(source, PictureSequence):
        return str(source.name)
    return "standard input" if source == STANDARD else str(source)
