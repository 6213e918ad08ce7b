"""Large frames in tiles that overlap: memory is bounded, and no seam shows.

Each tile is stylized with a margin around it, as wide as the network looks, and the margin
is cut away. What is left is what the whole frame would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product

import numpy as np

from stylize_video.frame import Frame
from stylize_video.styles.receptive_field import ReceptiveField

_MOST_CUTS = 64
"""Tiles along one side."""


@dataclass(frozen=True)
class Span:
    """Rows or columns ``start`` to ``stop`` of a frame, seen with those from ``first`` to ``last``."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def seen_pixels(self) -> int:
        return self.last - self.first

    @property
    def seen(self) -> slice:
        return slice(self.first, self.last)

    @property
    def kept(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def kept_of_seen(self) -> slice:
        return slice(self.start - self.first, self.stop - self.first)


@dataclass(frozen=True)
class Tile:
    """A part of a frame: the rows and the columns that are kept, and those that are seen."""

    rows: Span
    columns: Span


@lru_cache(maxsize=8)
def plan_tiles(height: int, width: int, receptive_field: ReceptiveField, *, max_pixels: int) -> list[Tile]:
    """Cut a frame into tiles of at most ``max_pixels`` each, margins included, with little overlap.

    Where the margins alone are larger than that, tiles are as small as is sensible.
    """
    cuttings = [
        [_cut(side, count, receptive_field) for count in range(1, _most_cuts(side, receptive_field) + 1)]
        for side in (height, width)
    ]

    def largest(plan: tuple[list[Span], ...]) -> int:
        return max(span.seen_pixels for span in plan[0]) * max(span.seen_pixels for span in plan[1])

    def total(plan: tuple[list[Span], ...]) -> int:
        return sum(span.seen_pixels for span in plan[0]) * sum(span.seen_pixels for span in plan[1])

    plans = list(product(*cuttings))
    fitting = [plan for plan in plans if largest(plan) <= max_pixels]
    rows, columns = min(fitting, key=total) if fitting else min(plans, key=largest)
    return [Tile(*spans) for spans in product(rows, columns)]


def stylize_tiles(run: Callable[[Frame], Frame], frame: Frame, tiles: Sequence[Tile]) -> Frame:
    """Stylize ``frame``, uint8 ``[H, W, 3]``, tile by tile with ``run``, which keeps sizes."""
    result = np.empty_like(frame)
    for tile in tiles:
        stylized = run(frame[tile.rows.seen, tile.columns.seen])
        result[tile.rows.kept, tile.columns.kept] = stylized[
            tile.rows.kept_of_seen, tile.columns.kept_of_seen
        ]
    return result


def _cut(side: int, count: int, receptive_field: ReceptiveField) -> list[Span]:
    """``count`` spans of about the same length; cuts lie on the network's grid."""
    stride, margin = receptive_field.stride, receptive_field.margin
    cuts = [stride * round(side * index / count / stride) for index in range(count)] + [side]
    return [
        Span(start, stop, max(0, start - margin), min(side, stop + margin)) for start, stop in pairwise(cuts)
    ]


def _most_cuts(side: int, receptive_field: ReceptiveField) -> int:
    """So that no tile is narrower than what it sees on one side of it."""
    return max(1, min(_MOST_CUTS, side // max(receptive_field.margin, receptive_field.stride, 16)))
