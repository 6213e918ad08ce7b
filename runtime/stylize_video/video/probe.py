"""What a video file says of itself, read without decoding it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import av
import av.error
from av.sidedata.sidedata import Type

from stylize_video.bounds import MAX_SIDE, MAX_VIDEO_PIXELS
from stylize_video.errors import SourceError, reason
from stylize_video.files import for_ffmpeg
from stylize_video.video.colors import ColorTags
from stylize_video.video.matroska import holds_nothing_behind
from stylize_video.video.orientation import UPRIGHT, is_mirrored, of_display_matrix
from stylize_video.video.side_data import carried_by

_DOLBY_VISION_ONLY = ("dvh1", "dvhe", "dvav", "dva1", "dav1")
"""Tags of Dolby Vision without a base that other decoders show rightly."""

_UNTIMED = ("avi",)
NO_TIME_STAMPS, TIMES_MAY_JUMP = 0x80, 0x200
"""FFmpeg's flags of container formats: AVFMT_NOTIMESTAMPS and AVFMT_TS_DISCONT."""

_MATROSKA, _MOV = "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"
WITH_DURATIONS = (_MATROSKA, _MOV)
"""Containers whose packets say how long they are shown; of others FFmpeg makes it of the rate."""

_FROM_0 = (_MATROSKA, "asf")
"""Containers whose headers count the time from 0, and not from their first frame."""

_FASTEST = 1000
"""Frames a second; a higher average counts time units."""

_SHORT = 1
"""Seconds by which a header may be wrong about the end."""

LONGEST_STILL = 86_400
"""Seconds that a last frame may stay; more is damage."""

_LEAD = 10
"""Seconds by which sound may begin before the pictures; more is another programme's clock."""

_USUAL_BITS = 8

_INTERLACED = range(2, 6)
"""FFmpeg's field orders other than unknown (0) and progressive (1)."""


@dataclass(frozen=True)
class Probe:
    """Facts about the video in a file.

    Sizes are in pixels before any rotation. ``rate`` is the average, ``base_rate`` the lowest at whose
    ticks frames are, as FFmpeg guesses from the first ones. ``timed`` says that the container stores when
    frames are shown, and not only their order; ``jumps`` that its times may begin anew on the
    way, as in broadcasts put one behind the other; ``find_end`` looks for ``end_pts``; ``clock`` is the
    second at which a broadcast begins, or a file in which anything is before 0, else 0; ``mirrored`` says
    that turning alone does not make its pictures upright; ``rgb`` that pixels are coded as RGB, ``deep``
    that they have more than 8 bits, and ``alpha`` that they have transparency.
    """

    width: int
    height: int
    time_base: Fraction
    start_pts: int
    find_end: Callable[[], int | None]
    clock: Fraction
    rate: Fraction
    base_rate: Fraction | None
    frame_count: int | None
    colors: ColorTags
    pixel_aspect: Fraction
    interlaced: bool
    mirrored: bool
    codec: str
    timed: bool
    jumps: bool
    rgb: bool
    deep: bool
    alpha: bool

    @cached_property
    def end_pts(self) -> int | None:
        """When the last frame is over, where that is told and the file does not break off before.

        Of Matroska all is read for it from the last keyframe on, so it is asked for once that is wanted.
        """
        return self.find_end()


def probe(name: str) -> Probe:
    """The facts of the file or URL ``name``.

    Raises:
        SourceError: it is no video, or one that cannot be shown rightly.
    """
    try:
        container = av.open(for_ffmpeg(name))
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"{name} is not a video that can be read ({reason(error)})") from error
    with container:
        return facts_of(container, name)


def facts_of(container: av.container.InputContainer, name: str, *, seekable: bool = True) -> Probe:
    """The facts of an open file; nothing is read ahead of one that is not ``seekable``.

    Raises:
        SourceError: there is no video in it, or one that cannot be shown rightly.
    """
    stream = video_stream(container)
    if stream is None:
        raise SourceError(f"{name} has no video in it")
    codec = stream.codec_context
    _check_codec(codec, name)
    pixels, flags = codec.format, container.format.flags
    timed = not flags & NO_TIME_STAMPS and container.format.name not in _UNTIMED
    jumps = bool(flags & TIMES_MAY_JUMP)
    width, height = codec.width, codec.height
    colors = ColorTags(
        int(codec.colorspace), int(codec.color_primaries), int(codec.color_trc), int(codec.color_range)
    )  # as the container says; a decoder puts its own in their place
    # In this order: the first reads on from where the container is, which the others change.
    start = (stream.start_time or 0) if timed or not seekable else _first_dts(container, stream)
    field_order = int(codec.field_order)
    first = _first_frame(container, stream) if seekable else None
    # DV and others say so in each frame alone.
    interlaced = field_order in _INTERLACED if field_order or first is None else first.interlaced_frame
    time_base = stream.time_base or Fraction(1, 90_000)
    begins_before_0 = min(start, container.start_time or 0) < 0
    rates = (stream.average_rate, stream.guessed_rate)
    rate = next((rate for rate in rates if rate and rate <= _FASTEST), Fraction(25))
    return Probe(
        width=width,
        height=height,
        time_base=time_base,
        start_pts=start,
        find_end=_way_to_end(container, stream, start, jumps=jumps, name=name if seekable else None),
        clock=_clock(container, start, time_base) if jumps or begins_before_0 else Fraction(0),
        rate=rate,
        base_rate=stream.guessed_rate,
        frame_count=stream.frames or _count_by_duration(container, start * time_base, rate),
        colors=colors,
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        interlaced=interlaced,
        mirrored=first is not None and is_mirrored(orientation_of(first)),
        codec=codec.name,
        timed=timed,
        jumps=jumps,
        rgb=bool(pixels and (pixels.is_rgb or pixels.has_palette)),
        deep=bool(pixels and any(component.bits > _USUAL_BITS for component in pixels.components)),
        alpha=bool(pixels and has_alpha(pixels)) or stream.metadata.get("alpha_mode") == "1",
    )


def _check_codec(codec: av.VideoCodecContext | None, name: str) -> None:
    if codec is None:
        raise SourceError(f"{name} has a video in it that cannot be decoded here (its codec is unknown)")
    if max(codec.width, codec.height) > MAX_SIDE or codec.width * codec.height > MAX_VIDEO_PIXELS:
        raise SourceError(
            f"{name} says that its pictures are {codec.width}x{codec.height};"
            f" videos of up to {MAX_VIDEO_PIXELS // 10**6} million pixels are read"
        )
    if codec.codec_tag in _DOLBY_VISION_ONLY:
        raise SourceError(
            f"{name} is Dolby Vision without a base that other players show; convert it to HDR10 or SDR first"
        )


def _count_by_duration(container: av.container.InputContainer, start: Fraction, rate: Fraction) -> int | None:
    """How many frames there seem to be from the second ``start`` on; None where no duration is known."""
    if not container.duration:
        return None
    seconds = Fraction(container.duration, av.time_base)
    if container.format.name in _FROM_0:
        seconds -= start
    return max(0, round(seconds * rate)) or None


def _clock(container: av.container.InputContainer, start: int, time_base: Fraction) -> Fraction:
    """The second at which the pictures or the sound begin, at a tick of the pictures."""
    first = start * time_base
    starts = [s.start_time * (s.time_base or 1) for s in container.streams.audio if s.start_time is not None]
    begin = min([first, *(t for t in starts if t > first - _LEAD)])
    return math.floor(begin / time_base) * time_base


def _way_to_end(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    start: int,
    *,
    jumps: bool,
    name: str | None,
) -> Callable[[], int | None]:
    """What tells when the last frame is over; ``name`` is that of the file, None where it is read once."""
    end = None
    if stream.duration is not None and not jumps:
        end = stream.duration if container.format.name in _FROM_0 else start + stream.duration
    if name is not None and container.format.name == _MATROSKA:
        return partial(_in_file, name, _end_of_last)
    if name is not None and end is not None:
        return partial(_in_file, name, partial(_end_if_there, end))
    return partial(_as_told, end)


def _as_told(end: int | None) -> int | None:
    return end


def _in_file(
    name: str, find: Callable[[av.container.InputContainer, av.VideoStream], int | None]
) -> int | None:
    """What ``find`` finds in the video of a file; None where it is gone."""
    with contextlib.suppress(av.error.FFmpegError, ValueError), av.open(for_ffmpeg(name)) as container:
        stream = video_stream(container)
        return None if stream is None else find(container, stream)
    return None


def _end_if_there(end: int, container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    """The end that the header tells, if the file goes on to it: half a file has the header of all of it."""
    reached = Fraction(-1)
    with contextlib.suppress(av.error.FFmpegError):
        container.seek(end, stream=stream, any_frame=True)
        for packet in all_packets(container):
            if packet.pts is not None:
                reached = max(reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
    return end if reached >= end * (stream.time_base or 1) - _SHORT else None


def _end_of_last(container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    """When the last frame is over, as its packet says; as the header does, where only a frame that stays
    can be meant."""
    last, reached, position = (0, 0), Fraction(0), 0
    with contextlib.suppress(av.error.FFmpegError):
        container.seek(container.duration or 0)
        for packet in all_packets(container):
            if packet.pts is not None:
                shown = (packet.pts, packet.duration or 0)
                last = max(last, shown) if packet.stream.index == stream.index else last
                reached = max(reached, sum(shown) * packet.time_base)
                position = max(position, (packet.pos or 0) + packet.size)
    pts, duration = last
    time_base = stream.time_base or Fraction(1)
    said = Fraction(container.duration or 0, av.time_base)
    if position and said - reached > _SHORT and holds_nothing_behind(container.name, position):
        duration = round(said / time_base) - pts
    return pts + duration if 0 < duration * time_base <= LONGEST_STILL else None


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    with contextlib.suppress(av.error.FFmpegError, IndexError):  # see all_packets
        container.seek(0)
        return next(container.decode(stream), None)
    return None


def orientation_of(frame: av.VideoFrame) -> int:
    """How a decoded frame has to be turned and mirrored, in EXIF's numbers."""
    matrix = carried_by(frame).get(Type.DISPLAYMATRIX)
    return UPRIGHT if matrix is None else of_display_matrix(bytes(matrix))


def _first_dts(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """When the first packet with anything in it is decoded: dropped frames are empty ones."""
    packets = (packet.dts for packet in container.demux(stream) if packet.size and packet.dts is not None)
    return next(packets, 0)


def all_packets(container: av.container.InputContainer, *streams: Any) -> Iterator[av.Packet[Any]]:
    """The packets of these streams, of all where none is named, and at the end an empty one of each.

    PyAV knows nothing of streams that begin on the way, and fails when it comes to them at the end.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(*streams)


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video that is not a picture attached to a music file."""
    return next((stream for stream in container.streams.video if not is_cover(stream)), None)


def is_cover(stream: av.VideoStream) -> bool:
    """Pictures attached to a file are video streams too."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def has_alpha(pixels: av.VideoFormat) -> bool:
    """Whether pixels of this format have transparency; those of a palette may."""
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)
