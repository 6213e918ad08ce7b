"""A curve over a video of any length in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_POINTS = 1024
"""More than a plot is wide; with as many, pairs are averaged into one."""


@dataclass
class Trace:
    """Values of one frame after the other, averaged over more and more frames as they get many.

    ``points`` are means of ``frames_a_point`` successive values; None where none of them was
    known. The last ones are missing until their point is complete.
    """

    frames_a_point: int = 1
    points: list[float | None] = field(default_factory=list)
    _open: list[float | None] = field(default_factory=list, repr=False)

    def add(self, value: float | None) -> None:
        """The value of the next frame, None if it has none."""
        self._open.append(value)
        if len(self._open) == self.frames_a_point:
            self.points.append(mean_known(self._open))
            self._open.clear()
        if len(self.points) == _MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [mean_known(pair) for pair in pairs]
            self.frames_a_point *= 2


def mean_known(values: list[float | None] | tuple[float | None, ...]) -> float | None:
    """The mean of what is not None."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
