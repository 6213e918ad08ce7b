"""Damaged videos: what cannot be decoded is skipped and counted, and the rest keeps its times."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error

from stylize_video.files import for_ffmpeg
from stylize_video.video.matroska import holds_nothing_behind
from stylize_video.video.probe import all_packets, video_stream

WHOLE = Fraction(9, 10)
"""Share of the announced length below which a file counts as cut off; headers are a little wrong."""

_MOST_IN_DECODER = 32
"""Frames that a decoder holds back: FFmpeg has up to 16 threads, and codecs that many more to sort."""


@dataclass
class Damage:
    """What became of the packets so far: refused by the decoder, or silently without a frame.

    ``last`` is the time of the packet that is shown last, ``last_frame`` that of the last frame.
    """

    refused: int = 0
    read: int = 0
    frames: int = 0
    last: int | None = None
    last_frame: int | None = None

    @property
    def is_in_last_frames(self) -> bool:
        """Whether, at the end, threads that decode a frame each may have lost some behind a damaged one.

        Of a video in which fields have packets of their own many more are without a frame.
        """
        if self.last is not None and self.last == self.last_frame:
            return False
        return self.refused > 0 or 0 < self.read - self.frames <= _MOST_IN_DECODER

    @property
    def lost(self) -> int:
        """Frames that are missing; those that the decoder still holds count until the end."""
        return max(self.refused, self.read - self.frames) if self.refused else 0


def frames_past_damage(
    packets: Iterator[av.Packet[av.VideoStream]], damage: Damage, decoder: av.VideoCodecContext | None = None
) -> Generator[av.VideoFrame]:
    """The frames of ``packets`` that can be decoded; an error ends neither the video nor the job.

    ``decoder`` takes the place of the stream's own.
    """
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        if packet.size > 0 and not packet.is_discard:
            damage.read += 1
            damage.last = _later(damage.last, packet.pts)
        try:
            frames = decoder.decode(packet if packet.size else None) if decoder else packet.decode()
        except av.error.FFmpegError:
            damage.refused += 1
            continue
        for frame in frames:
            if isinstance(frame, av.VideoFrame):
                damage.frames += 1
                damage.last_frame = _later(damage.last_frame, frame.pts)
                yield frame


def _later(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def breaks_off(name: str) -> bool:
    """Whether the packets of all streams end well before the container says that they do.

    Sound may be longer than the pictures, and the last picture may stay, which a Matroska file's header alone
    may tell: neither is damage.
    """
    with contextlib.suppress(av.error.FFmpegError, ValueError), av.open(for_ffmpeg(name)) as container:
        if not container.duration:
            return False
        # Headers count from 0. Where there are none, FFmpeg looks for the last packet: that is there.
        said = Fraction(container.duration, av.time_base)
        first = last = max(Fraction(0), Fraction(container.start_time or 0, av.time_base))
        position = 0
        with contextlib.suppress(av.error.FFmpegError):
            for packet in all_packets(container):
                if packet.pts is not None:
                    last = max(last, (packet.pts + (packet.duration or 0)) * packet.time_base)
                    position = max(position, (packet.pos or 0) + packet.size)
        return last - first < (said - first) * WHOLE and not holds_nothing_behind(name, position)
    return False


def goes_on_after(name: str, pts: int) -> bool:
    """Whether a video has packets for frames after ``pts``; whatever decoded up to there may not know."""
    with contextlib.suppress(av.error.FFmpegError, ValueError), av.open(for_ffmpeg(name)) as container:
        stream = video_stream(container)
        if stream is None:
            return False
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(pts, stream=stream)
        return any(p.pts is not None and p.pts > pts for p in all_packets(container, stream))
    return False
