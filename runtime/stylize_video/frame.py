"""Frames: what capture gives, styles change and sinks take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""One frame: uint8 ``[H, W, 3]`` BGR, as OpenCV decodes it."""


Alpha = NDArray[np.uint8]
"""How opaque each pixel is: uint8 ``[H, W]``, 255 is opaque."""


@dataclass(frozen=True)
class TimedFrame:
    """A frame and its presentation time stamp (PTS) in units of its source's time base.

    ``again`` are further times at which the same frame is shown, where a frame rate is raised.
    """

    pts: int
    image: Frame
    alpha: Alpha | None = None
    again: Sequence[int] = ()


def psnr(a: Frame, b: Frame) -> float:
    """Peak signal-to-noise ratio of two arrays of bytes in dB; infinite where they are equal."""
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")
