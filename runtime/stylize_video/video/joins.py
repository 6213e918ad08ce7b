"""Recordings one behind the other, as ``cat one.ts other.ts`` makes them: one time for all of them.

Each has a clock of its own, which all its streams share. So a join moves all streams by the same: the
next recording begins where the longest stream of the one before is over. Where one stream leaps
while the others go on, it has only paused.
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import av.error

from stylize_video.video.probe import all_packets, is_cover

_BACK, _AHEAD = 0.1, 10.0
"""Seconds by which time leaps where another recording begins, as for FFmpeg."""

_SPREAD = 3.0
"""Seconds of one stream within which a file has packets of the others too, if it has any."""

_MOST_HELD = 10_000

_WRAP, _WRAP_UNIT = 2**33, Fraction(1, 90_000)
"""MPEG's clocks begin anew at 0 after so many units: what is before 0 seems to be far ahead."""

_UNPARSED = {"fflags": "noparse+nofillin"}
"""Packets as they lie in the file: seven times as fast, and their times are all that is asked for."""


@dataclass
class _Track:
    """Sound or pictures of a recording, in its seconds: when they begin, the newest packet's time, and when
    they are over; and the byte of the file where they begin."""

    first: float
    last: float
    end: float
    position: int

    def add(self, new: _Track) -> None:
        self.first = min(self.first, new.first)
        self.last = new.last
        self.end = max(self.end, new.end)

    def goes_on_with(self, new: _Track) -> bool:
        return abs(new.last - self.end) <= max(_BACK, 2 * (self.end - self.last))


@dataclass
class _Held:
    """A packet, the byte of the file where it is, and whether it is of another recording, if there is one."""

    packet: av.Packet[Any]
    position: int
    leaps: bool


class Joins:
    """Finds where another recording begins in the packets of a container, in the order of the file.

    A leap of time shows in one stream first. Packets are held until the others leap too, or go on.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._next: dict[int, _Track] = {}  # the same streams in what may be another recording
        self._going_on: dict[int, int] = {}  # packets of streams that would not, if there were one
        self._held: list[_Held] = []
        self._starts: list[int] = []
        self._offsets = [0.0]
        self._positions: dict[int, int] = {}
        self._units: dict[int, float | None] = {}

    def __len__(self) -> int:
        """How many were found so far."""
        return len(self._starts)

    def in_one_time(self, packets: Iterable[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """All ``packets`` of a container, at times that go on where another recording begins."""
        failed: Exception | None = None
        try:
            for packet in packets:
                self._hold(packet)
                yield from self._settled()
        except av.error.FFmpegError as error:  # raised again, behind what came before
            failed = error
        yield from self._settled(at_end=True)
        if failed:
            raise failed

    def _hold(self, packet: av.Packet[Any]) -> None:
        index = packet.stream.index
        if packet.pos is not None:
            self._positions[index] = packet.pos
        position = self._positions.get(index, 0)
        self._unwrap(packet)
        decoded = packet.pts if packet.dts is None else packet.dts
        leaps = False
        if decoded is not None and (unit := self._unit_of(packet)):
            shown = decoded if packet.pts is None else packet.pts
            end = shown + (packet.duration or 0)
            leaps = self._leaps(index, _Track(unit * shown, unit * decoded, unit * end, position))
        self._held.append(_Held(packet, position, leaps))

    def _leaps(self, index: int, new: _Track) -> bool:
        """Whether a packet is of another recording, if there is one; its times are noted."""
        track = self._tracks.get(index)
        if track is None:
            if not self._next and self._recording_at(new.position) == len(self._starts):
                self._tracks[index] = new
            return False
        if index in self._next:
            if self._next[index].goes_on_with(new) or not track.goes_on_with(new):
                self._next[index].add(new)
                return True
            self._correct(index)
        leaps = new.last < track.last - _BACK or new.last > self._latest() + _AHEAD
        if self._next and not leaps:
            other = next(iter(self._next.values()))
            if new.position > other.position:  # so it is of the same recording as that
                leaps = not track.goes_on_with(new) and abs(new.last - other.last) <= _SPREAD
                if not leaps:
                    self._count_going_on(index)
        if leaps:
            self._next[index] = new
            self._going_on.pop(index, None)
        else:
            track.add(new)
        return leaps

    def _correct(self, index: int) -> None:
        """A stream that leapt is back: those time stamps were wrong."""
        end = self._tracks[index].end
        del self._next[index]
        for held in self._held:
            if held.leaps and held.packet.stream.index == index:
                held.leaps = False
                held.packet.pts = held.packet.dts = round(end / held.packet.time_base)

    def _settled(self, *, at_end: bool = False) -> Iterator[av.Packet[Any]]:
        """The packets that are held, if it is known by now which recording they are of."""
        before = len(self._starts)
        leapt = self._next
        if leapt and not (at_end or self._is_certain()):
            return
        if leapt and not self._going_on:
            self._join()
        else:  # one stream has paused, or a time stamp is wrong
            self._tracks.update(leapt)
            leapt = self._next = {}
            self._going_on = {}
        held, self._held = self._held, []
        for one in held:
            index = one.packet.stream.index
            if index in leapt and not one.leaps:
                recording = before
            elif index in self._tracks:
                recording = len(self._starts)
            else:
                recording = self._recording_at(one.position)
            yield self._placed(one.packet, self._offsets[recording])

    def _is_certain(self) -> bool:
        """Whether enough was read to tell if another recording begins."""
        goes_on = max(self._going_on.values(), default=0) > 1
        all_leap = not self._going_on and self._next.keys() == self._tracks.keys()
        is_lasting = sum(held.leaps for held in self._held) > len(self._next)
        others_are_over = any(track.last - track.first >= _SPREAD for track in self._next.values())
        return goes_on or (all_leap and is_lasting) or others_are_over or len(self._held) > _MOST_HELD

    def _join(self) -> None:
        """Begin the next recording where all streams of the one before are over."""
        first = min(track.first for track in self._next.values())
        shift = max(
            track.end - (self._next[index].first if index in self._next else first)
            for index, track in self._tracks.items()
        )
        self._offsets.append(self._offsets[-1] + shift)
        self._starts.append(min(track.position for track in self._next.values()))
        self._tracks, self._next = self._next, {}

    def _latest(self) -> float:
        return max((track.end for track in self._tracks.values()), default=math.inf)

    def _unwrap(self, packet: av.Packet[Any]) -> None:
        if packet.pts is None or packet.pts < _WRAP // 2 or packet.time_base != _WRAP_UNIT:
            return
        if packet.pts * _WRAP_UNIT <= self._latest() + _WRAP // 2 * _WRAP_UNIT:
            return
        packet.pts -= _WRAP
        packet.dts = None if packet.dts is None else packet.dts - _WRAP

    def _recording_at(self, position: int) -> int:
        return bisect_right(self._starts, position)

    def _count_going_on(self, index: int) -> None:
        """One may be a header between two recordings."""
        self._going_on[index] = self._going_on.get(index, 0) + 1

    def _unit_of(self, packet: av.Packet[Any]) -> float | None:
        """Seconds of one unit of sound and pictures, which tell the time; subtitles come when they come."""
        stream = packet.stream
        if stream.index not in self._units:
            tells = stream.type == "audio" or (stream.type == "video" and not is_cover(stream))
            self._units[stream.index] = float(packet.time_base) if tells else None
        return self._units[stream.index]

    @staticmethod
    def _placed(packet: av.Packet[Any], offset: float) -> av.Packet[Any]:
        if offset:
            shift = round(offset / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
        return packet


def is_joined(name: str) -> bool:
    """Whether a file holds several recordings one behind the other, so that no time is found by seeking.

    All of it is read, once as long as it stays the same.
    """
    try:
        status = Path(name).stat()
    except OSError:
        return False
    return _is_joined(str(Path(name).absolute()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _is_joined(name: str, size: int, changed: int) -> bool:
    with contextlib.suppress(av.error.FFmpegError, ValueError), av.open(name, options=_UNPARSED) as container:
        joins = Joins()
        return any(len(joins) for _ in joins.in_one_time(all_packets(container)))
    return False
