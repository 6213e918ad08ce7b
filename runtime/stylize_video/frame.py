"""Frames: what capture gives, styles change and sinks take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.errors import StylizeError

Frame = NDArray[np.uint8]
"""One frame: uint8 ``[H, W, 3]`` BGR, as OpenCV decodes it."""

AnyFrame = NDArray[Any]
"""What callers hold for a frame: OpenCV's types promise less than it gives. :func:`as_frame` makes sure."""


Alpha = NDArray[np.uint8]
"""How opaque each pixel is: uint8 ``[H, W]``, 255 is opaque."""


@dataclass(frozen=True, eq=False)  # pictures have no truth of their own
class TimedFrame:
    """A frame and its presentation time stamp (PTS) in units of its source's time base.

    ``again`` are further times at which the same frame is shown, where a frame rate is raised.
    """

    pts: int
    image: Frame
    alpha: Alpha | None = None
    again: Sequence[int] = ()


def as_frame(picture: AnyFrame) -> Frame:
    """``picture`` itself, if it is a frame.

    Raises:
        StylizeError: it is something else, which would give a picture that nobody meant.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size:
            return picture
        got = f"{picture.dtype} {list(picture.shape)}"
    else:
        got = type(picture).__name__
    raise StylizeError(f"frames are uint8 [H, W, 3] BGR, got {got}")


def as_timed_frame(frame: object) -> TimedFrame:
    """``frame`` itself, if it is one of a sequence.

    Raises:
        StylizeError: it is something else, such as a bare picture.
    """
    if isinstance(frame, TimedFrame):
        return frame
    raise StylizeError(
        f"frames of a sequence are TimedFrame(pts, image), got {type(frame).__name__};"
        " StyleSession.stylize takes single pictures"
    )


def resized(plane: Frame, height: int, width: int) -> Frame:
    """A frame, or its transparency, at another size; itself where it has that size already."""
    if plane.shape[:2] == (height, width):
        return plane
    smaller = height * width < plane.shape[0] * plane.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(plane, (width, height), interpolation=method), np.uint8)


def psnr(a: NDArray[Any], b: NDArray[Any], *, white: float = 255) -> float:
    """Peak signal-to-noise ratio in dB of values from 0 to ``white``; infinite where they are equal."""
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return 10 * float(np.log10(white**2 / error)) if error else float("inf")


def letterboxed(image: Frame, height: int, width: int) -> Frame:
    """All of a frame inside another size, in its own proportions, on black; itself where it has that size."""
    scale = min(height / image.shape[0], width / image.shape[1])
    inside = resized(image, max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    down, across = height - inside.shape[0], width - inside.shape[1]
    if not (down or across):
        return inside
    borders = (down // 2, down - down // 2, across // 2, across - across // 2)
    return np.asarray(cv2.copyMakeBorder(inside, *borders, cv2.BORDER_CONSTANT), np.uint8)
