"""What describes a video: titles, languages, chapters, the time code, and data beside the pixels.

What the output's container cannot hold is left out, with one warning line each.
"""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from typing import Any

import av
from av.sidedata.sidedata import Type
from av.stream import Discard

from stylize_video.video.info import Window
from stylize_video.video.probe import video_stream
from stylize_video.video.side_data import FLAT, side_data_of, stereo_mode
from stylize_video.video.timecode import later
from stylize_video.video.timing import ROUNDING

_log = logging.getLogger(__name__)

_TIME_CODE = "timecode"
_WITH_TIME_CODE = ("mp4", "mov", "matroska", "webm", "nut")
"""Containers that hold one, as a track of its own or as text."""

_WITH_CHAPTERS = _WITH_TIME_CODE
_WITH_STEREO_MODE = ("matroska", "webm")
_NO_TITLES = ("mpegts", "gif", "webp")

_APPLE, _ON_REQUEST = "com.apple.quicktime.", ("mp4", "mov")
"""What names a camera's place and local time begin with, and what holds those only if asked to."""

_OF_CONTAINERS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", _TIME_CODE)
"""Metadata that is true of the source's file alone."""

_OF_STREAMS = ("language", "title", "creation_time")
"""Metadata of a stream that is true of one that was encoded anew."""


def copy_metadata(
    source: av.container.InputContainer, target: av.container.OutputContainer, *, window: Window, name: str
) -> None:
    """Describe ``target``, whose first stream are the pictures, as ``source`` is.

    Args:
        source: an open file.
        target: what was not begun yet.
        window: the part of the source that is taken.
        name: of the file, to look for data beside the pixels; empty where it can be read only once.
    """
    main = video_stream(source)
    code = _time_code(source, main)
    if code and not _keep_time_code(code, main, target, window):
        _log.warning("the time code, %s, is not kept", code)
    if data := [str(stream.index) for stream in source.streams if _is_lost(stream)]:
        _log.warning("data (stream %s) is not kept", ", ".join(data))
    _keep_titles(source, target)
    if main:
        target.streams.video[0].metadata.update(description_of(main))
        target.streams.video[0].disposition = main.disposition
        if name:
            _keep_side_data(side_data_of(name, main.index), target)
    _keep_chapters(_chapters(source, window), target)


def description_of(stream: Any) -> dict[str, str]:
    """The metadata of a stream that is true of one that was encoded anew."""
    return {key: stream.metadata[key] for key in _OF_STREAMS if key in stream.metadata}


def _keep_titles(source: av.container.InputContainer, target: av.container.OutputContainer) -> None:
    """Copy titles, dates and places, but nothing that describes the source's container."""
    kept = {k: v for k, v in source.metadata.items() if k.lower() not in _OF_CONTAINERS}
    target.metadata.update(kept)
    container = target.format.name
    if container in _NO_TITLES and "title" in kept:
        _log.warning("the title cannot be kept in %s files; .mkv holds almost anything", container)
    if container in _ON_REQUEST and any(key.startswith(_APPLE) for key in kept):
        flags = target.options.get("movflags", "")
        target.options["movflags"] = f"{flags}+use_metadata_tags"


def _keep_side_data(found: dict[Type, bytes], target: av.container.OutputContainer) -> None:
    """What is kept beside the pixels: which eye sees what, in Matroska and WebM alone."""
    if Type.A53_CC in found:
        _log.warning("closed captions are not kept; CCExtractor makes a subtitle file of them")
    if Type.SPHERICAL in found:
        _log.warning("that the video is a panorama (360 degrees) is not kept")
    if Type.STEREO3D in found:
        mode = stereo_mode(found[Type.STEREO3D])
        if mode and target.format.name in _WITH_STEREO_MODE:
            target.streams.video[0].metadata["stereo_mode"] = mode
        elif mode != FLAT:
            hint = "; .mkv and .webm hold it" if mode else ""
            _log.warning("that the video is stereo (3D) is not kept%s", hint)


def _time_code(source: av.container.InputContainer, main: av.VideoStream | None) -> str | None:
    """The time code of the first frame, wherever a kind of container has it."""
    for metadata in (main.metadata if main else {}, source.metadata):
        if code := {key.lower(): value for key, value in metadata.items()}.get(_TIME_CODE):
            return code
    return None


def _keep_time_code(
    code: str, main: av.VideoStream | None, target: av.container.OutputContainer, window: Window
) -> bool:
    """Give the result the code of its first frame; False where it holds none or counts other frames."""
    copy = target.streams.video[0]
    rate, rates = copy.average_rate, (main.average_rate, main.guessed_rate) if main else ()
    counts_the_same = rate and any(other and abs(other - rate) < rate / 100 for other in rates)
    if not (rate and main and counts_the_same) or target.format.name not in _WITH_TIME_CODE:
        return False
    passed = Fraction(0)
    if window.start is not None:
        first = (main.start_time or 0) * (main.time_base or 0)
        passed = max(passed, window.start - first)
    found = later(code, math.floor((passed + ROUNDING) * rate), rate)
    if found:
        copy.metadata[_TIME_CODE] = found
    return found is not None


def _is_lost(stream: Any) -> bool:
    """Whether there is data that nobody keeps; of chapters FFmpeg reads itself what is in an MP4's track."""
    is_time_code = _TIME_CODE in stream.metadata  # which is looked at by itself
    return bool(stream.type == "data" and stream.discard != Discard.all and not is_time_code)


def _chapters(source: av.container.InputContainer, window: Window) -> list[Any]:
    """The chapters in a window, in its time, cut where they reach out of it."""
    kept = []
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1, av.time_base)
        low = None if window.start is None else round(window.start / base)
        high = None if window.end is None else round(window.end / base)
        start = chapter["start"] if low is None else max(chapter["start"], low)
        end = chapter["end"] if high is None else min(chapter["end"], high)
        shift = round(window.shift / base) if low is None else low
        if start < end:
            kept.append({**chapter, "start": start - shift, "end": end - shift})
    return kept


def _keep_chapters(chapters: list[Any], target: av.container.OutputContainer) -> None:
    container = target.format.name
    if chapters and container in _WITH_CHAPTERS:
        target.set_chapters(chapters)
    elif chapters:
        _log.warning("chapters cannot be kept in %s files; .mkv holds almost anything", container)
