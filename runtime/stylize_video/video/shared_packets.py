"""One reading of a source for two: its pictures are decoded, its other packets kept to be copied."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Collection, Iterator
from fractions import Fraction
from typing import Any, cast

import av
import av.error

from stylize_video.video.joins import Joins
from stylize_video.video.probe import LONGEST_STILL, TIMES_MAY_JUMP, WITH_DURATIONS, all_packets

_KEPT = ("audio", "subtitle")

INTERLEAVE_SECONDS = 10
"""By so much sound may come later than the pictures it belongs to; FFmpeg writes none later."""

_PATIENCE_SECONDS = 2.0
"""A live stream whose sound is announced, but was not heard so far, is read no longer for it."""


class SharedPackets:
    """A container that can be read only once, such as a pipe.

    Whoever decodes pulls the packets of the pictures from :meth:`demux`; sound and subtitles that
    come between them wait for :meth:`next`, in step because they are interleaved.
    """

    name = ""
    """Nothing under which it could be opened again."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self.container = container
        packets = all_packets(container)
        is_broadcast = container.format.flags & TIMES_MAY_JUMP
        self._packets = Joins().in_one_time(packets) if is_broadcast else packets
        self._waiting: deque[av.Packet[Any]] = deque()  # one thread appends, another takes
        self._wanted: Collection[int] | None = None
        self._heard: set[int] = set()
        self._start: Fraction | None = None
        self._last = (-(2**63), 0)  # time stamp and duration of the picture that is shown last

    def want(self, indices: Collection[int]) -> None:
        """Keep packets of these streams alone from now on."""
        self._wanted = indices
        self._drop()

    def drop_before(self, start: Fraction | None) -> None:
        """While pictures are skipped: keep no packets before this second, which would fill the memory."""
        self._start = start
        self._drop()

    def demux(self, video: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
        """The packets of the pictures, up to an empty one at the end."""
        for packet in self._packets:
            if packet.stream.index == video.index:
                self._look_at_end(packet)
                yield cast("av.Packet[av.VideoStream]", packet)
            else:
                self._keep(packet)

    @property
    def end_pts(self) -> int | None:
        """When the last of the pictures so far is over, where its packet tells."""
        pts, duration = self._last
        return pts + duration if duration and self.container.format.name in WITH_DURATIONS else None

    def read_until(self, end: Fraction) -> None:
        """Once no more pictures are wanted: keep the sound up to this second, which comes behind them."""
        silent = {stream.index for stream in self.container.streams.audio}
        if self._wanted is not None:
            silent &= set(self._wanted)
        until = time.monotonic() + _PATIENCE_SECONDS
        with contextlib.suppress(av.error.FFmpegError):
            while silent and (packet := next(self._packets, None)) is not None:
                self._keep(packet)
                if packet.pts is not None and packet.pts * packet.time_base >= end:
                    silent.discard(packet.stream.index)
                    if packet.pts * packet.time_base >= end + INTERLEAVE_SECONDS:
                        return
                if silent.isdisjoint(self._heard) and time.monotonic() >= until:
                    return

    def next(self) -> av.Packet[Any] | None:
        """The next of the others, None where none is there yet."""
        return self._waiting.popleft() if self._waiting else None

    def _look_at_end(self, packet: av.Packet[Any]) -> None:
        duration = packet.duration or 0
        if duration * packet.time_base > LONGEST_STILL:
            duration = 0
        if packet.pts is not None:
            self._last = max(self._last, (packet.pts, duration))

    def _keep(self, packet: av.Packet[Any]) -> None:
        self._heard.add(packet.stream.index)
        if packet.stream.type != "video" and packet.dts is not None and self._keeps(packet):
            self._waiting.append(packet)

    def _drop(self) -> None:
        kept = [packet for packet in self._waiting if self._keeps(packet)]
        self._waiting.clear()
        self._waiting.extend(kept)

    def _keeps(self, packet: av.Packet[Any]) -> bool:
        if self._start is not None and packet.pts is not None and packet.pts * packet.time_base < self._start:
            return False
        if self._wanted is None:
            return packet.stream.type in _KEPT
        return packet.stream.index in self._wanted
