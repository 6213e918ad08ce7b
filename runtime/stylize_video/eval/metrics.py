"""Steadiness of stylized frames as numbers."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.effects.warp import warp
from stylize_video.eval.motion import Motion
from stylize_video.frame import Frame

SENSOR_NOISE = 2 / 255
"""Standard deviation of the noise of :func:`noise_gain`, of pixels from 0 to 1."""

_SETTLE = 8
"""Frames before :func:`noise_gain` counts, for what remembers frames."""

_PAIRS = 6
"""Pairs of successive frames that it counts."""


def warping_error(one: Frame, other: Frame, motion: Motion) -> float | None:
    """Mean squared difference of two stylized frames where they show the same point.

    The error of one pair of frames in Lai et al., "Learning Blind Video Temporal Consistency"
    (ECCV 2018): the later frame is warped back along the motion of the *source* and compared
    with the earlier one; a video's E_warp is the mean over its pairs.

    Args:
        one: uint8 ``[H, W, 3]``; the frame from which ``motion`` leads.
        other: uint8, same shape; the frame to which it leads.
        motion: of the source.

    Returns:
        The error in squares of pixels from 0 to 1, over visible pixels and all channels;
        None where nothing is visible in both.
    """
    if not motion.visible.any():
        return None
    returned = warp(_unit(other), motion.flow)
    squares = np.square(returned - _unit(one))
    return float(squares[motion.visible].mean(dtype=np.float64))


def sharpness(frame: Frame) -> float:
    """Mean length of the luma's gradient, in levels of 255 a pixel.

    Blur lowers it: an error that falls together with this was not earned. The gradient is
    that of a Gaussian of one pixel, as edge detectors take it, so that noise and the pixel
    grid of a network's upsampling do not pass for detail.
    """
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    soft = cv2.GaussianBlur(luma.astype(np.float32), (0, 0), 1)
    dx, dy = (cv2.Sobel(soft, cv2.CV_32F, *order, ksize=1, scale=0.5) for order in ((1, 0), (0, 1)))
    return float(np.mean(cv2.magnitude(dx, dy)))


def noise_gain(still: Frame, stylize: Callable[[Frame], Frame]) -> float:
    """How much of a still picture's sensor noise comes out: 1 is as much as goes in.

    Mean absolute difference of successive stylized frames over that of their sources, for
    ``still`` with fresh Gaussian noise of :data:`SENSOR_NOISE` in each frame.

    Args:
        still: uint8 ``[H, W, 3]``.
        stylize: called for frame after frame.
    """
    generator = np.random.default_rng(0)
    gone_in = come_out = 0.0
    previous: tuple[Frame, Frame] | None = None
    for index in range(_SETTLE + _PAIRS + 1):
        noise = generator.normal(0, 255 * SENSOR_NOISE, still.shape)
        noisy = np.clip(np.rint(still + noise), 0, 255).astype(np.uint8)
        stylized = stylize(noisy)
        if previous and index > _SETTLE:
            gone_in += float(np.mean(cv2.absdiff(noisy, previous[0])))
            come_out += float(np.mean(cv2.absdiff(stylized, previous[1])))
        previous = noisy, stylized
    return come_out / gone_in


def _unit(frame: Frame) -> NDArray[np.float32]:
    return np.multiply(frame, 1 / 255, dtype=np.float32)
