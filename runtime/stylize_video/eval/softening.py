"""Blur that brings sequences to one sharpness, so that their steadiness can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from stylize_video.eval.metrics import sharpness
from stylize_video.frame import Frame

MAX_SIGMA = 16.0
"""Pixels; more blur than that leaves nothing to compare."""

_HALVINGS = 12
"""Steps of the search for a blur: to within 0.004 pixels."""

_MOST_SAMPLES = 8
"""Frames that stand for a sequence."""


def soften(frame: Frame, sigma: float) -> Frame:
    """``frame`` under a Gaussian of ``sigma`` pixels; 0 leaves it as it is."""
    if not sigma:
        return frame
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8)


def sigma_for(frames: Sequence[Frame], wanted: float) -> float:
    """The blur in pixels that takes the mean sharpness of ``frames`` down to ``wanted``."""

    def left(sigma: float) -> float:
        return float(np.mean([sharpness(soften(frame, sigma)) for frame in frames]))

    if not frames or left(0) <= wanted:
        return 0.0
    low, high = 0.0, MAX_SIGMA
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) > wanted else (low, middle)
    return high


@dataclass
class Samples:
    """A few frames, evenly spread over a sequence of any length."""

    frames: list[Frame] = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0

    def add(self, frame: Frame) -> None:
        """The next frame, which is kept or not."""
        if self._seen % self._stride == 0:
            self.frames.append(frame)
        self._seen += 1
        if len(self.frames) > _MOST_SAMPLES:
            self.frames = self.frames[::2]
            self._stride *= 2
