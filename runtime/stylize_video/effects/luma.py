"""Small grey pictures of frames: enough to see motion and cuts by, and cheap."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame

Luma = NDArray[np.uint8]
"""A grey picture, uint8 ``[h, w]``."""

MOTION_SIDE = 160
"""The longer side on which motion is estimated."""

_MIN_SIDE = 16
"""What optical flow needs to search in."""


def small_luma(frame: Frame, *, side: int = MOTION_SIDE) -> Luma:
    """The luma of ``frame``, uint8 ``[H, W, 3]`` BGR, with a longer side of ``side`` or less.

    Pixels are averaged, so that noise averages out.
    """
    return shrunk(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8), side=side)


def shrunk(luma: Luma, *, side: int) -> Luma:
    """``luma`` with a longer side of ``side`` or less, and no side below what flow needs."""
    height, width = luma.shape
    shrink = max(1.0, max(height, width) / side)
    size = (max(_MIN_SIDE, round(width / shrink)), max(_MIN_SIDE, round(height / shrink)))
    if width >= 2 * size[0] and height >= 2 * size[1]:
        # Halved first: to average over parts of pixels takes OpenCV two to six times as long.
        luma = np.asarray(
            cv2.resize(luma, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
