"""What a video file says of itself, read without decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import av.error

from stylize_video.errors import SourceError

_DOLBY_VISION_ONLY = ("dvh1", "dvhe", "dvav", "dva1", "dav1")
"""Tags of Dolby Vision without a base that other decoders show rightly."""

_INTERLACED = range(2, 6)
"""FFmpeg's field orders other than unknown (0) and progressive (1)."""


@dataclass(frozen=True)
class Probe:
    """Facts about the video in a file.

    Sizes are in pixels before any rotation; colours are FFmpeg's numbers, 2 (and 0 for
    the range) where the file does not say.
    """

    width: int
    height: int
    time_base: Fraction
    start_pts: int
    rate: Fraction
    frame_count: int | None
    colorspace: int
    color_primaries: int
    color_trc: int
    color_range: int
    pixel_aspect: Fraction
    interlaced: bool
    codec: str


def probe(name: str) -> Probe:
    """The facts of the file or URL ``name``.

    Raises:
        SourceError: it is no video, or one that cannot be shown rightly.
    """
    try:
        container = av.open(name)
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"{name} is not a video that can be read ({reason(error)})") from error
    with container:
        return facts_of(container, name)


def facts_of(container: av.container.InputContainer, name: str) -> Probe:
    """The facts of an open file.

    Raises:
        SourceError: there is no video in it, or one that cannot be shown rightly.
    """
    stream = video_stream(container)
    if stream is None:
        raise SourceError(f"{name} has no video in it")
    codec = stream.codec_context
    if codec.codec_tag in _DOLBY_VISION_ONLY:
        raise SourceError(
            f"{name} is Dolby Vision without a base that other players show; convert it to HDR10 or SDR first"
        )
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    count = stream.frames or None
    if count is None and container.duration:
        count = round(container.duration / av.time_base * rate) or None
    return Probe(
        width=codec.width,
        height=codec.height,
        time_base=stream.time_base or Fraction(1, 90_000),
        start_pts=stream.start_time or 0,
        rate=rate,
        frame_count=count,
        colorspace=int(codec.colorspace),
        color_primaries=int(codec.color_primaries),
        color_trc=int(codec.color_trc),
        color_range=int(codec.color_range),
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        interlaced=int(codec.field_order) in _INTERLACED,
        codec=codec.name,
    )


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video that is not a picture attached to a music file."""
    return next((stream for stream in container.streams.video if not is_cover(stream)), None)


def is_cover(stream: av.VideoStream) -> bool:
    """Pictures attached to a file are video streams too."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def reason(error: Exception) -> str:
    """Why FFmpeg or the system failed, in its words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
