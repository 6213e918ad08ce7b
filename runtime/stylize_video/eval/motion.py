"""Where the points of one frame are in another one, and which of them can be seen there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.effects.warp import NOTHING, grid, warp
from stylize_video.frame import Frame

_WINDOW = (9, 9)
"""Pixels over which two motions are compared."""

_STILL = 0.25
"""Motion must explain the luma better than none by this many levels of 255."""


@dataclass(frozen=True)
class Motion:
    """The way from one frame's points to another frame.

    ``flow`` is float32 ``[H, W, 2]`` in pixels: the point at (x, y) of the one frame is at
    (x, y) + flow[y, x] of the other. ``visible`` is bool ``[H, W]``: whether it can be seen
    there.
    """

    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]

    @classmethod
    def shift(cls, dx: float, dy: float, *, height: int, width: int) -> Motion:
        """All points move by the same; those that leave the frame are not visible."""
        flow = np.full((height, width, 2), (dx, dy), np.float32)
        return cls(flow, _inside(flow))

    @classmethod
    def affine(cls, way: NDArray[np.float64], *, height: int, width: int) -> Motion:
        """The point at (x, y) is at ``way`` ``[2, 3]`` times (x, y, 1) of the other frame."""
        positions = grid(height, width)
        flow = np.asarray(positions @ way[:, :2].T + way[:, 2] - positions, np.float32)
        return cls(flow, _inside(flow))

    @classmethod
    def consistent(cls, forward: NDArray[np.float32], backward: NDArray[np.float32]) -> Motion:
        """The motion ``forward``, visible where ``backward``, the flow of the other frame, agrees.

        The rule of Sundaram et al. (ECCV 2010) as used by Ruder et al. (2016) and Lai et al.
        (2018): with b the backward flow where a point arrives and f its forward flow, it is
        occluded where |f + b|² > 0.01 (|f|² + |b|²) + 0.5, and at a boundary of motion where
        |∇f|² > 0.01 |f|² + 0.002; both, and what leaves the frame, are not visible.
        """
        arrived = warp(backward, forward)
        there, back = _squared(forward), _squared(arrived)
        occluded = _squared(forward + arrived) > 0.01 * (there + back) + 0.5
        steps = (np.gradient(forward, axis=axis) for axis in (0, 1))
        boundary = sum(_squared(step) for step in steps) > 0.01 * there + 0.002
        return cls(forward, ~occluded & ~boundary & _inside(forward))


class MotionEstimator:
    """Optical flow between two frames, by DIS (Kroeger et al., ECCV 2016).

    Where the picture has no texture, or its brightness changes, any flow explains it about
    as well as any other, and DIS returns one of them. There, standing still is preferred.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def between(self, one: Frame, other: Frame) -> Motion:
        """The motion from ``one`` to ``other``, both uint8 ``[H, W, 3]`` BGR."""
        first, second = (np.asarray(cv2.cvtColor(f, cv2.COLOR_BGR2GRAY), np.uint8) for f in (one, other))
        return Motion.consistent(self._from(first, second), self._from(second, first))

    def _from(self, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
        flow = np.asarray(self._flow.calc(one, other, NOTHING), np.float32)
        start, end = one.astype(np.float32), other.astype(np.float32)
        moving = _unexplained(start - warp(end, flow))
        flow[_unexplained(start - end) <= moving + _STILL] = 0
        return flow


def _unexplained(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Local mean of the absolute difference, but for its local mean, which is brightness."""
    detail = difference - cv2.blur(difference, _WINDOW)
    return np.asarray(cv2.blur(np.abs(detail), _WINDOW), np.float32)


def _squared(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.square(vectors).sum(-1), np.float32)


def _inside(flow: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = flow.shape[:2]
    x, y = np.moveaxis(grid(height, width) + flow, -1, 0)
    return np.asarray((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))
