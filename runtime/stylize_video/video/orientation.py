"""How pictures have to be turned and mirrored to be upright, in EXIF's numbers from 1, not at all, to 8."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

UPRIGHT = 1

_FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""Which axes of the pixels run backwards, once rows are columns where that is so."""

_ROWS_ARE_COLUMNS = range(5, 9)


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """``pixels`` ``[H, W, ...]`` upright."""
    if is_turned(orientation):
        pixels = pixels.swapaxes(0, 1)
    return np.flip(pixels, _FLIPS.get(orientation, ()))


def is_turned(orientation: int) -> bool:
    """Whether its rows are columns once it is upright."""
    return orientation in _ROWS_ARE_COLUMNS


def is_mirrored(orientation: int) -> bool:
    """Whether turning alone does not make it upright."""
    return orientation in (2, 4, 5, 7)


def of_display_matrix(matrix: bytes) -> int:
    """The orientation that a video's display matrix asks for: nine numbers, as FFmpeg has them."""
    a, b, _, c, d, *_ = struct.unpack_from("=9i", matrix)
    swaps = abs(b) + abs(c) > abs(a) + abs(d)
    flips = tuple(axis for axis, sign in enumerate((b, c) if swaps else (d, a)) if sign < 0)
    candidates = _ROWS_ARE_COLUMNS if swaps else range(1, 5)
    return next(one for one in candidates if _FLIPS.get(one, ()) == flips)
