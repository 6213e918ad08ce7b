"""Global motion: what a moving camera does to a whole frame, as an affine map fitted to optical flow.

Where a frame has little texture, many flows explain it equally well, to a fraction of a pixel at
least. The best guess there is that it moves with everything else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.effects.luma import Luma
from stylize_video.effects.warp import grid

_STEP = 4
"""Every so many pixels, both ways, are enough to fit six numbers to."""

_TEXTURE, _FEWEST = 10, 30
"""A pixel whose neighbours differ by that many levels of 255, across and down together, has texture; from so
many of them on a fit is worth something."""

_SCALES = (4.0, 1.0, 0.5)
"""Pixels off the fit at which a flow's weight has fallen to a quarter, one round after the other."""

_AGREES, _MAJORITY = 0.3, 0.75
"""Flows within so many pixels of the fit agree with it; where fewer than that part of them does, the
frame holds several motions, and no camera's."""

_SEEN, _SPREAD = 3, 6
"""So many pixels that agree must be in so many of a frame's nine parts, three by three: somebody who
moves before a plain wall is no camera."""

_REST = 0.1
"""Motion of less than so many pixels everywhere is taken for none: moving by it would only blur."""


def fit_global_motion(flow: NDArray[np.float32], luma: Luma) -> NDArray[np.float32] | None:
    """The one affine motion that most of ``flow`` agrees on, or None where there is none.

    Least squares over pixels with texture, reweighted after Geman and McClure so that what moves
    by itself has no say (Odobez and Bouthemy 1995).

    Args:
        flow: float32 ``[h, w, 2]`` (x, y), in pixels.
        luma: the frame that it leads from, uint8 ``[h, w]``.

    Returns:
        A flow like ``flow``; None at rest, where the frame holds several motions, and where too little of it
        has texture.
    """
    fitted = _fitted(*luma.shape)
    textured = np.flatnonzero(_texture(luma, fitted) > _TEXTURE)
    if len(textured) < _FEWEST:
        return None
    # [3, n] and [2, n]: NumPy is fast along long rows.
    places, motions = fitted.places[:, textured], flow[fitted.rows, fitted.columns].reshape(-1, 2)[textured].T
    motion = np.zeros((2, 3), np.float32)
    motion[:, 2] = np.sort(motions)[:, len(textured) // 2]
    for scale in _SCALES:
        x, y = motions - motion @ places
        weighted = places / np.square(1 + (x * x + y * y) / scale**2)
        solution = cv2.solve(weighted @ places.T, weighted @ motions.T, flags=cv2.DECOMP_SVD)[1]
        motion = np.asarray(solution, np.float32).T
    x, y = np.abs(motions - motion @ places) < _AGREES
    agreeing = fitted.parts[textured[x & y]]
    if len(agreeing) < _MAJORITY * len(textured) or (np.bincount(agreeing) >= _SEEN).sum() < _SPREAD:
        return None
    moved = np.asarray(cv2.transform(fitted.points, motion), np.float32)
    corners = moved[:: len(moved) - 1, :: moved.shape[1] - 1]  # an affine motion is greatest in one
    return None if np.abs(corners).max() < _REST else moved


class _Fitted(NamedTuple):
    """Where the pixels of one size are, and which of them a motion is fitted to."""

    points: NDArray[np.float32]
    rows: slice
    columns: slice
    places: NDArray[np.float32]
    parts: NDArray[np.intp]


@lru_cache(maxsize=4)
def _fitted(height: int, width: int) -> _Fitted:
    # From -1/2 to 1/2 along the width, so that all six numbers of a motion are of one size.
    points = ((grid(height, width) - (width / 2, height / 2)) / width).astype(np.float32)
    rows, columns = slice(1, height - 1, _STEP), slice(1, width - 1, _STEP)
    x, y = np.moveaxis(points[rows, columns], -1, 0)
    down, across = (np.arange(length) * 3 // length for length in x.shape)
    parts = (3 * down[:, None] + across).reshape(-1)
    return _Fitted(points, rows, columns, np.stack([x, y, np.ones_like(x)]).reshape(3, -1), parts)


def _texture(luma: Luma, fitted: _Fitted) -> NDArray[np.int16]:
    """How much the neighbours of each fitted pixel differ, across and down."""
    height, width = luma.shape
    left, right = (luma[fitted.rows, start : width - 2 + start : _STEP].astype(np.int16) for start in (0, 2))
    above, below = (
        luma[start : height - 2 + start : _STEP, fitted.columns].astype(np.int16) for start in (0, 2)
    )
    return np.asarray(np.abs(right - left) + np.abs(below - above), np.int16)
