"""Decoding times for the packets of several runs of an encoder in one stream."""

from __future__ import annotations

from array import array
from collections.abc import Iterator


class DecodeTimes:
    """Decoding times for packets with these presentation times, in decoding order.

    Encoders choose decoding times that suit their own run; where runs meet they could
    go backwards. With ``d`` the deepest reordering, the time of the packet ``d`` places
    earlier in order of presentation is always late enough and never too late.

    Attributes:
        shown: the presentation times in order.
    """

    def __init__(self, pts: Iterator[int]) -> None:
        decoded = array("q", pts)
        self.shown = array("q", sorted(decoded))
        ranks = {value: rank for rank, value in enumerate(self.shown)}
        self._depth = max((index - ranks[value] for index, value in enumerate(decoded)), default=0)
        self._index = 0

    def next(self, pts: int) -> int:
        index = self._index - self._depth
        self._index += 1
        if index >= 0:
            return min(pts, self.shown[index])
        step = self.shown[1] - self.shown[0] if len(self.shown) > 1 else 1
        return self.shown[0] + index * max(1, step)
