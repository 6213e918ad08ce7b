"""How numbers stand for colours, as a file says: in FFmpeg's numbers, which are those of ITU-T H.273."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColorTags:
    """The matrix of YUV, the primaries, the transfer characteristics, and the range (1 limited, 2 full)."""

    matrix: int
    primaries: int
    transfer: int
    range: int


BT709 = ColorTags(1, 1, 1, 1)
"""Those of HD video."""

UNSPECIFIED = ColorTags(2, 2, 2, 0)
"""Of a file that does not say; players guess."""
