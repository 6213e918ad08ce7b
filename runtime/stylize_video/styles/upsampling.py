"""Brings a frame stylized at a smaller size back to full size, with the source's edges.

Enlarging alone is soft. The source has the missing detail, but pasting it over would turn
strokes back into a photo. So detail is added as far as the style follows the source: around
each small pixel, luma of the stylized frame is fitted as a line over luma of the source, as
in the guided filter (He et al., "Fast Guided Filter", arXiv 1505.00996), and the line's slope
is the gain of the source's fine detail there. Where strokes go their own way the slope is
about zero and nothing is added; at edges that the style kept they become sharp, with the
style's own contrast and so without halos. Each frame is treated alike and alone: what holds
still in the source and the style holds still in the result.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame

_WINDOW = (3, 3)
"""Small pixels that a line is fitted to; more would carry a slope across edges."""

_NOISE = 25.0
"""Variance of source luma (of 255²) below which there is no edge but noise to follow."""

_LARGEST_GAIN = 1.5

_BAND = 128
"""Rows that are finished at a time: what lies between stays in the processor's cache."""


def upsample_guided(stylized: Frame, small_source: Frame, source: Frame) -> Frame:
    """Enlarge ``stylized`` to the size of ``source``.

    Args:
        stylized: what the style made of ``small_source``, uint8 ``[h, w, 3]`` BGR.
        small_source: ``source`` at the smaller size, same shape.
        source: the full-size frame, uint8 ``[H, W, 3]`` BGR.
    """
    size = source.shape[1], source.shape[0]
    small_luma = cv2.cvtColor(small_source, cv2.COLOR_BGR2GRAY)
    gain = _slope(
        np.asarray(small_luma, np.float32), np.asarray(cv2.cvtColor(stylized, cv2.COLOR_BGR2GRAY), np.float32)
    )
    gain = np.asarray(cv2.resize(gain, size, interpolation=cv2.INTER_LINEAR), np.float32)
    coarse = np.asarray(cv2.resize(small_luma, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    result = np.asarray(cv2.resize(stylized, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    for top in range(0, size[1], _BAND):
        rows = slice(top, top + _BAND)
        luma = cv2.cvtColor(source[rows], cv2.COLOR_BGR2GRAY)
        missing = cv2.subtract(luma, coarse[rows], dtype=cv2.CV_16S)
        detail = cv2.multiply(missing, gain[rows], dtype=cv2.CV_16S)
        # The same luma on all channels leaves the style's colours alone.
        result[rows] = cv2.add(result[rows], cv2.merge([detail] * 3), dtype=cv2.CV_8U)
    return result


def _slope(source: NDArray[np.float32], stylized: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the line that best gives ``stylized`` from ``source`` around each pixel: float32 ``[h, w]``."""

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, _WINDOW), np.float32)

    source_mean = mean(source)
    covariance = mean(source * stylized) - source_mean * mean(stylized)
    variance = mean(source * source) - source_mean * source_mean
    slope = mean(np.asarray(covariance / (variance + _NOISE), np.float32))
    return np.clip(slope, -_LARGEST_GAIN, _LARGEST_GAIN)
