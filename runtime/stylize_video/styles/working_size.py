"""Stroke size apart from resolution: stylize at a working size, rebuild the frame's own.

A network paints strokes of so many pixels, whatever the resolution: on a 2160p video they
are too fine to see. At a smaller working size they come out larger, and the network has
fewer pixels to paint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

from stylize_video.bounds import MAX_SIDE
from stylize_video.errors import StylizeError
from stylize_video.frame import Frame, resized
from stylize_video.styles.contract import MIN_SIDE
from stylize_video.styles.network import Network
from stylize_video.styles.upsampling import upsample_guided

_STEP = 4
"""Working sizes are multiples of it: networks pad others inside."""

LARGEST_SCALE, SMALLEST_SCALE = 16.0, 0.25

_LARGEST_PIXELS = 2**26
"""Of a working size that is larger than its frame, as twice an 8K frame."""


@dataclass(frozen=True)
class WorkingSize:
    """The size at which frames are stylized.

    Attributes:
        scale: how many times larger strokes become than at full size; 2 works at half the
            frame's width and height, 0.5 at twice.
        lines: instead of ``scale``, the shorter side of the working size in pixels. Strokes
            are then as large, relative to the picture, as on a video of that size.

    Raises:
        StylizeError: ``scale`` or ``lines`` is out of range, or no number.
    """

    scale: float = 1.0
    lines: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.scale, Real) or not (self.lines is None or isinstance(self.lines, Integral)):
            raise StylizeError(
                f"the style scale is a number and lines a whole one, got {self.scale!r} and {self.lines!r}"
            )
        if not SMALLEST_SCALE <= self.scale <= LARGEST_SCALE:
            raise StylizeError(
                f"the style scale must be between {SMALLEST_SCALE:g} and {LARGEST_SCALE:g},"
                f" got {self.scale:g}"
            )
        if self.lines is not None and not MIN_SIDE <= self.lines <= MAX_SIDE:
            raise StylizeError(f"a working size has {MIN_SIDE} to {MAX_SIDE} lines, got {self.lines}")

    @classmethod
    def parse(cls, text: str) -> WorkingSize:
        """``2``, ``1.5``: strokes so many times larger; ``360p``: as large as on a 360p video.

        Raises:
            StylizeError: ``text`` is neither, or out of range.
        """
        if match := re.fullmatch(r"(\d{1,5})p", text):
            return cls(lines=int(match[1]))
        if re.fullmatch(r"\d{1,5}(\.\d*)?|\.\d+", text):
            return cls(scale=float(text))
        raise StylizeError(f"the style scale is a number such as 2, or a size such as 360p; got {text!r}")

    def shrunk(self, part: float) -> WorkingSize:
        """At ``part`` of this working size's width and height, or at the smallest there is."""
        if self.lines is not None:
            return WorkingSize(lines=max(MIN_SIDE, round(self.lines * part)))
        return WorkingSize(min(LARGEST_SCALE, self.scale / part))

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a frame of ``height`` and ``width`` is stylized.

        They are at most four times the frame's own, and none that no frame may have.
        """
        shorter = min(height, width)
        shrink = self.scale if self.lines is None else shorter / self.lines
        if shrink < 1:
            largest = max(max(height, width) / MAX_SIDE, math.sqrt(height * width / _LARGEST_PIXELS))
            shrink = max(shrink, SMALLEST_SCALE, min(1, largest))
        if shrink == 1:
            return height, width
        sides = (_STEP * round(side / shrink / _STEP) for side in (height, width))
        working_height, working_width = (max(MIN_SIDE, side) for side in sides)
        return working_height, working_width


def stylize_at(network: Network, frame: Frame, size: tuple[int, int]) -> Frame:
    """Stylize ``frame``, uint8 ``[H, W, 3]`` BGR, at ``size`` (height, width); same shape out."""
    return done_at(network.stylize, frame, size)


def done_at(stylize: Callable[[Frame], Frame], frame: Frame, size: tuple[int, int]) -> Frame:
    """As :func:`stylize_at`, for a bare function instead of a :class:`Network`."""
    height, width = frame.shape[:2]
    if size == (height, width):
        return stylize(frame)
    working = resized(frame, *size)
    stylized = stylize(working)
    if size[0] * size[1] < height * width:
        return upsample_guided(stylized, working, frame)
    return resized(stylized, height, width)
