"""Scene cuts, found on the source as its frames come.

A frame begins another shot where no motion turns the frame before into it. Both are
compared by their structure, contrast against the surroundings, which light does not
change: flashes and fades are no cuts, and neither are pans, however fast.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.effects.luma import Luma, shrunk
from stylize_video.effects.warp import NOTHING

_SIDE = 96

_ALIKE = 0.5
"""Correlation of the structures of two frames of one shot. Shots of one film come to 0.8 and
more, different pictures to 0.2, rarely 0.4, since motion may turn anything a little into anything."""

_SIGMA = 4.0
_FAINT = 2.0
"""Contrast, in levels of 255, that begins to count as structure."""

_BLANK = 0.1
"""Mean square of the structure below which there is nothing to compare: black, white, fog."""

_FLASH = 3
"""For so many blank frames the picture before them is remembered."""

_OVERLAP = 0.3
"""Share of the picture that must be common after a fast pan."""


class CutDetector:
    """Finds cuts between successive frames."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(0)
        self._shown: tuple[Luma, NDArray[np.float32]] | None = None
        self._blanks = 0

    def reset(self) -> None:
        """Forget what was shown: the next frame is no cut."""
        self._shown = None
        self._blanks = 0

    def is_cut(self, luma: Luma) -> bool:
        """Whether ``luma``, a frame's :func:`~stylize_video.effects.luma.small_luma`, begins another shot."""
        luma = shrunk(luma, side=_SIDE)
        structure = _structure(luma)
        if float(np.mean(np.square(structure))) < _BLANK:
            self._blanks += 1
            if self._blanks > _FLASH:
                self._shown = None
            return False
        shown, self._shown, self._blanks = self._shown, (luma, structure), 0
        if shown is None:
            return False
        if shown[0].shape != luma.shape:
            return True
        return not (
            _correlation(shown[1], structure) > _ALIKE
            or self._alike_by_motion(shown[0], luma, structure)
            or _alike_by_pan(shown[1], structure)
        )

    def _alike_by_motion(self, before: Luma, luma: Luma, structure: NDArray[np.float32]) -> bool:
        flow = self._flow.calc(luma, before, NOTHING)
        how = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
        moved = cv2.remap(before, flow, NOTHING, how, borderMode=cv2.BORDER_REPLICATE)
        return _correlation(_structure(np.asarray(moved, np.uint8)), structure) > _ALIKE


def _alike_by_pan(before: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    """Whether both show one scene shifted by more than optical flow can follow."""
    (x, y), _ = cv2.phaseCorrelate(before, now)
    height, width = now.shape
    dx, dy = (int(np.clip(round(s), -side, side)) for s, side in ((x, width), (y, height)))
    if (width - abs(dx)) * (height - abs(dy)) < _OVERLAP * width * height:
        return False
    return _correlation(_moved(before, -dx, -dy), _moved(now, dx, dy)) > _ALIKE


def _moved(picture: NDArray[np.float32], dx: int, dy: int) -> NDArray[np.float32]:
    """The part of ``picture`` that is left when (dx, dy) pixels are cut off, at the far side if negative."""
    height, width = picture.shape
    return picture[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]


def _structure(luma: Luma) -> NDArray[np.float32]:
    """Difference from the surroundings, in units of the contrast there."""
    picture = luma.astype(np.float32)
    detail = picture - cv2.GaussianBlur(picture, (0, 0), _SIGMA)
    contrast = cv2.GaussianBlur(np.square(detail), (0, 0), _SIGMA)
    return np.asarray(detail / np.sqrt(contrast + _FAINT**2), np.float32)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    norm = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / norm if norm else 0.0
