"""Which part of a video is taken, at what rate and size: all before the style sees it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING

from stylize_video.bounds import MAX_SIDE
from stylize_video.contract import MIN_SIDE
from stylize_video.errors import StylizeError
from stylize_video.frame import TimedFrame, resized
from stylize_video.timing import at_rate

if TYPE_CHECKING:
    from stylize_video.source import VideoInfo

_ASPECT_TOLERANCE = Fraction(1, 200)
"""Share by which the shape of a picture may change where its sides are rounded to whole pixels."""

_LONGEST = 10**8
"""Seconds; more than three years."""


@dataclass(frozen=True)
class Scale:
    """A size in pixels, with one side None to keep the aspect; or a factor."""

    width: int | None = None
    height: int | None = None
    factor: float | Fraction | None = None

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a frame of this size afterwards.

        Raises:
            StylizeError: a side would leave what can be stylized, 16 to 16384.
        """
        if self.factor is not None:
            size = (round(width * self.factor), round(height * self.factor))
        else:
            size = (
                self.width or round(Fraction(width * (self.height or 0), height)),
                self.height or round(Fraction(height * (self.width or 0), width)),
            )
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
            raise StylizeError(
                f"the size must be from {MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE},"
                f" got {size[0]}x{size[1]}"
            )
        return size


@dataclass(frozen=True)
class Window:
    """A part of a video in the time of its own stamps, in seconds; None is an open end.

    ``shift`` is taken off every time stamp, so that what is in it starts anew at 0.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    shift: Fraction = Fraction(0)

    def holds(self, seconds: Fraction) -> bool:
        """Whether what starts at ``seconds`` is in it."""
        return (self.start is None or seconds >= self.start) and (self.end is None or seconds < self.end)


@dataclass(frozen=True, init=False)
class Edit:
    """What is taken of a video.

    Args:
        start: seconds after its first frame; the result begins there, at time 0.
        end: seconds after its first frame, in the source.
        fps: frames a second of the result, see :func:`rate_of`: frames are repeated or left out.
            None keeps each at its own time.
        scale: the size of the result.

    Raises:
        StylizeError: a number makes no sense.
    """

    start: Fraction | None
    end: Fraction | None
    fps: Fraction | None
    scale: Scale | None

    def __init__(
        self,
        start: float | Fraction | Decimal | None = None,
        end: float | Fraction | Decimal | None = None,
        fps: float | Fraction | Decimal | None = None,
        scale: Scale | None = None,
    ) -> None:
        for name, value in {"start": start, "end": end}.items():
            object.__setattr__(self, name, None if value is None else _fraction(f"the {name}", value))
        object.__setattr__(self, "fps", None if fps is None else rate_of(fps))
        object.__setattr__(self, "scale", scale)
        self._check()

    def _check(self) -> None:
        if max(self.start or 0, self.end or 0) > _LONGEST:
            raise StylizeError("a start or an end of more than three years is in no video")
        if self.start is not None and self.start < 0:
            raise StylizeError(f"the start must not be negative, got {float(self.start):g} s")
        if self.end is not None and self.end <= (self.start or 0):
            raise StylizeError(f"the end must be after the start, got {float(self.end):g} s")

    def window(self, first: Fraction, time_base: Fraction) -> Window:
        """The part in a video's own time; its first frame is at ``first`` seconds."""
        end = None if self.end is None else first + self.end
        if self.start is None:
            return Window(None, end)
        start = first + self.start
        return Window(start, end, round(start / time_base) * time_base)

    def apply(self, frames: Iterable[TimedFrame], info: VideoInfo) -> tuple[Iterable[TimedFrame], VideoInfo]:
        """Frames of the new rate and size, and what is known of them."""
        if self.scale:
            frames, info = _scaled(frames, info, self.scale.size_of(info.width, info.height))
        if self.fps:
            frames, info = at_rate(frames, info, self.fps)
        return frames, info


def parse_time(text: str) -> Fraction:
    """Seconds of ``90``, ``90.5``, ``1:30`` or ``0:01:30.5``.

    Raises:
        StylizeError: it is none of these.
    """
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?|\.\d+", text):
        raise StylizeError(f"a time is written as 90, 90.5, 1:30 or 0:01:30.5, not {text!r}")
    seconds = Fraction(0)
    for part in text.split(":"):
        seconds = 60 * seconds + Fraction(part)
    return seconds


def parse_rate(text: str) -> Fraction:
    """Frames a second of ``25``, ``29.97`` or ``30000/1001``.

    Decimals near the rates of television are taken for them: 29.97 is 30000/1001.

    Raises:
        StylizeError: it is no number.
    """
    try:
        return rate_of(Fraction(text) if "/" in text else float(text))
    except (ValueError, ZeroDivisionError):
        raise StylizeError(f"frames a second are written as 25, 29.97 or 30000/1001, not {text!r}") from None


def rate_of(fps: float | Fraction | Decimal) -> Fraction:
    """Frames a second as a fraction; decimals near the rates of television are taken for them.

    Raises:
        StylizeError: it is not above 0, or above 1000.
    """
    rate = _fraction("a frame rate", fps).limit_denominator(10_000)
    if not 0 < rate <= 1000:
        taken = ", which is taken for 0" if fps and not rate else ""
        raise StylizeError(f"the frames a second must be above 0 and at most 1000, got {float(fps):g}{taken}")
    television = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    is_decimal = not isinstance(fps, Fraction) and rate.denominator != 1
    return television if is_decimal and television and abs(rate - television) < Fraction(1, 200) else rate


def _fraction(name: str, value: float | Fraction | Decimal) -> Fraction:
    if not isinstance(value, Real | Decimal) or not math.isfinite(value):
        raise StylizeError(f"{name} must be a number, got {value!r}")
    # 0.1 means a tenth, which no float is.
    return value if isinstance(value, Fraction) else Fraction(float(value)).limit_denominator(10**6)


def parse_scale(text: str) -> Scale:
    """A :class:`Scale` of ``1280x720``, ``1280x``, ``x720``, ``0.5`` or ``50%``.

    Raises:
        StylizeError: it is none of these.
    """
    if sides := re.fullmatch(r"(\d*)[xX](\d*)", text):
        width, height = (int(side) if side else None for side in sides.groups())
        if width or height:
            return Scale(width, height)
    elif number := re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text):
        factor = Fraction(number[1]) / (100 if number[2] else 1)
        if factor:
            return Scale(factor=factor)
    raise StylizeError(f"a size is written as 1280x720, 1280x, x720, 0.5 or 50%, not {text!r}")


def _scaled(
    frames: Iterable[TimedFrame], info: VideoInfo, size: tuple[int, int]
) -> tuple[Iterable[TimedFrame], VideoInfo]:
    width, height = size

    def scaled() -> Iterator[TimedFrame]:
        for frame in frames:
            alpha = None if frame.alpha is None else resized(frame.alpha, height, width)
            yield TimedFrame(frame.pts, resized(frame.image, height, width), alpha)

    # What is seen keeps its shape: where the sides change differently, the pixels do too.
    aspect = info.pixel_aspect * Fraction(info.width * height, info.height * width)
    if abs(aspect / info.pixel_aspect - 1) < _ASPECT_TOLERANCE:
        aspect = info.pixel_aspect
    aspect = aspect.limit_denominator(10_000)
    return scaled(), replace(info, width=width, height=height, pixel_aspect=aspect)
