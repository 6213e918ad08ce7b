"""How long each picture of a video is on screen, told with its packet."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

import av

_REORDERED = 1000
"""More frames than any encoder keeps waiting."""


class PacketDurations:
    """Gives packets their durations: until the next picture is shown.

    Encoders give all the average, and the longest sum of time stamp and duration is the end of a
    file. What is shown last, and what is decoded behind it, waits for :meth:`finish`. Times are in units
    of the packets'.

    Args:
        usual: how long a single frame is shown.
        shown: when all frames are, rising; frames that come one by one are told by :meth:`add`.
    """

    def __init__(self, usual: int, shown: Iterable[int] = ()) -> None:
        self._usual = usual
        self._shown = array("q", shown)
        self._lead: int | None = None
        self._held: list[av.Packet[Any]] = []

    def add(self, pts: int) -> None:
        """A frame goes into the encoder."""
        self._shown.append(pts)

    def ready(self, packets: Iterable[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """Those of the packets so far, in the same order, whose durations are known."""
        for packet in packets:
            if packet.pts is None or packet.dts is None:
                yield packet
                continue
            if self._lead is None:
                self._lead = packet.pts - packet.dts
            if self._held and packet.pts > (self._held[0].pts or 0):
                yield from map(self._timed, self._held)
                self._held.clear()
            self._held.append(packet)

    def finish(self, end: int | None, *, adds_up: bool = False) -> Iterator[av.Packet[Any]]:
        """The rest, in the same order.

        Args:
            end: when the last frame is over; where that is not known, it stays as long as the one before.
            adds_up: the container stores the time between one packet's decoding and the next one's, and
                of the last packet its duration.
        """
        if not self._held:
            return
        over = self._end() if end is None or end <= self._shown[-1] else end
        for packet in self._held:
            self._timed(packet)
        self._held[0].duration = over - self._shown[-1]
        if adds_up:
            self._extend(self._held[-1], over)
        yield from self._held
        self._held.clear()

    def _end(self) -> int:
        *before, last = self._shown[-2:]
        return last + (last - before[0] if before else self._usual)

    def _timed(self, packet: av.Packet[Any]) -> av.Packet[Any]:
        pts = packet.pts or 0
        index = bisect_right(self._shown, pts)
        if 0 < index < len(self._shown) and self._shown[index - 1] == pts:
            packet.duration = self._shown[index] - pts
        if index > 2 * _REORDERED:
            del self._shown[: index - _REORDERED]
        return packet

    def _extend(self, last: av.Packet[Any], over: int) -> None:
        """Have decoding go on until the end, as if all had been decoded so much earlier than shown."""
        lead, pts, dts = self._lead or 0, last.pts or 0, last.dts or 0
        if over - lead - dts > (last.duration or 0):
            last.dts = max(dts, pts - lead)
            last.duration = over - lead - last.dts
