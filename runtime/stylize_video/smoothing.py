"""Temporal smoothing: what flickers though nothing moved is held, what moves is followed.

The previous result is warped along the motion of the *source* and blended with the new
one wherever the warped source agrees with the new source. Where it does not (something
uncovered, a light switched on) the new frame stands alone, so nothing leaves ghosts.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.errors import StylizeError
from stylize_video.frame import Frame

_MOTION_SIDE = 160
"""Motion is estimated on a luma picture whose longer side has about this many pixels."""

_MOST = 0.9
"""Weight of the past at full smoothing; what changes is then followed within some 20 frames."""

_NOISE = 3.0
"""Luma differences up to this many of 255 are sensor noise and compression, not change."""

_CHANGE = 9.0
"""Luma differences from this on are change: the past has no say there."""

_AROUND = np.ones((5, 5), np.uint8)
_NOTHING: Any = None  # OpenCV's type stubs ask for arrays that its functions leave optional


def check_smooth(amount: float) -> float:
    """Return ``amount``.

    Raises:
        StylizeError: it is not between 0 and 1.
    """
    if not 0 <= amount <= 1:
        raise StylizeError(f"smooth must be between 0 (off) and 1, got {amount:g}")
    return amount


class TemporalSmoother:
    """Smooths one frame after the other; buffers are allocated once for each frame size."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(0)
        self._luma: NDArray[np.uint8] | None = None
        self._result: Frame | None = None
        self._grid = np.empty((0, 0, 2), np.float32)
        self._small_grid = np.empty((0, 0, 2), np.float32)

    def reset(self) -> None:
        """Forget the past: the next frame stands alone."""
        self._luma = self._result = None

    def smooth(self, source: Frame, stylized: Frame, amount: float) -> Frame:
        """Return ``stylized`` blended with the past, and remember the result.

        Args:
            source: the source frame, uint8 ``[H, W, 3]`` BGR.
            stylized: what the style made of it, same shape.
            amount: 0 (no past) to 1 (as much of the past as agrees).
        """
        luma = _small_luma(source)
        if self._luma is not None and self._result is not None and self._result.shape == stylized.shape:
            result = self._blend(luma, self._luma, stylized, self._result, amount)
        else:
            result = stylized
        self._luma, self._result = luma, result
        return result

    def _blend(
        self,
        luma: NDArray[np.uint8],
        past_luma: NDArray[np.uint8],
        stylized: Frame,
        past: Frame,
        amount: float,
    ) -> Frame:
        height, width = stylized.shape[:2]
        if self._grid.shape[:2] != (height, width):
            self._grid, self._small_grid = _grid(height, width), _grid(*luma.shape)
        flow = np.asarray(self._flow.calc(luma, past_luma, _NOTHING), np.float32)
        agreed = _warp(past_luma, flow + self._small_grid)
        # A pixel's style depends on its surroundings, so change counts there too.
        change = np.asarray(cv2.dilate(cv2.absdiff(luma, agreed), _AROUND), np.float32)
        weight = np.clip((_CHANGE - change) / (_CHANGE - _NOISE), 0, 1) * np.float32(_MOST * amount)
        scale = np.array([width / luma.shape[1], height / luma.shape[0]], np.float32)
        warped = _warp(past, np.asarray(cv2.resize(flow, (width, height))) * scale + self._grid)
        weight = np.asarray(cv2.resize(weight, (width, height)), np.float32)
        return np.asarray(cv2.blendLinear(warped, stylized, weight, 1 - weight), np.uint8)


def _warp(image: NDArray[np.uint8], positions: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``image`` as seen at ``positions`` ``[H, W, 2]`` (x, y), between pixels too."""
    warped = cv2.remap(image, positions, _NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def _small_luma(frame: Frame) -> NDArray[np.uint8]:
    """Luma at a fraction of the size, in which noise averages out: uint8 ``[h, w]``."""
    height, width = frame.shape[:2]
    shrink = max(1.0, max(height, width) / _MOTION_SIDE)
    size = (max(16, round(width / shrink)), max(16, round(height / shrink)))
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)


def _grid(height: int, width: int) -> NDArray[np.float32]:
    """Each pixel's own coordinates, ``[H, W, 2]`` (x, y)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y], -1).astype(np.float32)
