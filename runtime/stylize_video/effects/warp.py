"""Backward warping: a picture as seen from where its points have moved to."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

NOTHING: Any = None
"""For arguments that OpenCV's functions leave optional and its type stubs do not."""


def grid(height: int, width: int) -> NDArray[np.float32]:
    """Each pixel's own position, float32 ``[H, W, 2]`` (x, y)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y], -1).astype(np.float32)


def warp(image: NDArray[Any], flow: NDArray[np.float32]) -> NDArray[Any]:
    """``image`` ``[H, W, ...]`` at each pixel's position plus ``flow`` ``[H, W, 2]`` (x, y), bilinearly.

    Beyond the border its nearest pixel is taken. The type stays.
    """
    how = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    warped = cv2.remap(image, flow, NOTHING, how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, image.dtype)
