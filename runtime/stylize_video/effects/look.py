"""What is done to a stylized frame besides the style: strength and colours."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import cv2
import numpy as np

from stylize_video.errors import StylizeError
from stylize_video.frame import Frame


@dataclass(frozen=True)
class Look:
    """How much of the style is shown.

    ``strength`` blends from the source (0) to the style (1); ``keep_colors`` takes
    lightness from the style and chroma from the source.
    """

    strength: float = 1.0
    keep_colors: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.strength, Real) or not 0 <= self.strength <= 1:
            raise StylizeError(f"strength must be between 0 and 1, got {self.strength!r}")

    @property
    def needs_style(self) -> bool:
        """Whether the stylized frame is looked at at all."""
        return self.strength > 0

    def apply(self, source: Frame, stylized: Frame) -> Frame:
        """Combine a frame and its stylized version, both uint8 ``[H, W, 3]`` BGR; never ``source`` itself."""
        if self.strength == 0:
            return source.copy()
        if self.keep_colors:
            stylized = _with_chroma_of(source, stylized)
        if self.strength == 1:
            return stylized
        strength = float(self.strength)  # OpenCV takes no other numbers
        blended = cv2.addWeighted(stylized, strength, source, 1 - strength, 0)
        return np.asarray(blended, np.uint8)


def _with_chroma_of(source: Frame, stylized: Frame) -> Frame:
    result = cv2.cvtColor(source, cv2.COLOR_BGR2YCrCb)
    luma = cv2.cvtColor(stylized, cv2.COLOR_BGR2GRAY)  # the same Y as YCrCb's
    cv2.insertChannel(luma, result, 0)
    return np.asarray(cv2.cvtColor(result, cv2.COLOR_YCrCb2BGR), np.uint8)
