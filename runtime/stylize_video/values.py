"""Sizes, times and rates as people write them.

Digits are counted before they are converted: Python refuses numbers of thousands of them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real

from stylize_video.bounds import MAX_SIDE, MAX_VIDEO_PIXELS
from stylize_video.errors import StylizeError
from stylize_video.styles.contract import MIN_SIDE


@dataclass(frozen=True)
class Scale:
    """A size in pixels, with one side None to keep the aspect; or a factor.

    Raises:
        StylizeError: it is both or neither, or has a number that makes no sense.
    """

    width: int | None = None
    height: int | None = None
    factor: float | Fraction | None = None

    def __post_init__(self) -> None:
        sides = [side for side in (self.width, self.height) if side is not None]
        if bool(sides) == (self.factor is not None):
            raise StylizeError("a size is a width, a height or both, or else a factor")
        for side in sides:
            if not isinstance(side, Integral) or side < 1:
                raise StylizeError(f"a width or a height is a whole number of pixels, got {side!r}")
        if self.factor is not None and fraction_of("the factor of a size", self.factor) <= 0:
            raise StylizeError(f"the factor of a size must be above 0, got {self.factor}")

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
            is_side = self.factor is not None and self.factor >= MIN_SIDE
            hint = f"; {self.factor} is a factor, {self.factor}x would be a width" if is_side else ""
            raise StylizeError(
                f"the size must be from {MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE},"
                f" got {size[0]}x{size[1]}{hint}"
            )
        return size


def check_kind(name: str, value: object, kind: type) -> None:
    """Raise StylizeError where ``value``, which callers know as ``name``, is something else than ``kind``."""
    if not isinstance(value, kind):
        raise StylizeError(f"{name} must be of the type {kind.__name__}, got {value!r}")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of ``640x360``.

    Raises:
        StylizeError: ``text`` is no size, or one that no frame may have.
    """
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text)
    if not match or min(int(match[1]), int(match[2])) < MIN_SIDE:
        raise StylizeError(f"sizes look like 640x360 and are at least {MIN_SIDE}x{MIN_SIDE}, got {text!r}")
    width, height = int(match[1]), int(match[2])
    if max(width, height) > MAX_SIDE or width * height > MAX_VIDEO_PIXELS:
        raise StylizeError(
            f"{text} is larger than any video that is read: at most {MAX_SIDE} pixels a side"
            f" and {MAX_VIDEO_PIXELS / 1e6:.0f} megapixels"
        )
    return width, height


def parse_scale(text: str) -> Scale:
    """A :class:`Scale` of ``1280x720``, ``1280x``, ``x720``, ``0.5`` or ``50%``.

    Raises:
        StylizeError: it is none of these.
    """
    if sides := re.fullmatch(r"(\d{0,9})[xX](\d{0,9})", text):
        width, height = (int(side) if side else None for side in sides.groups())
        if width or height:
            return Scale(width, height)
    elif number := re.fullmatch(r"(\d{1,9}(?:\.\d{1,99})?)(%?)", text):
        factor = Fraction(number[1]) / (100 if number[2] else 1)
        if factor:
            return Scale(factor=factor)
    raise StylizeError(f"a size is written as 1280x720, 1280x, x720, 0.5 or 50%, not {text!r}")


def parse_bitrate(text: str) -> int:
    """Bits a second of ``5M``, ``800k`` or ``5000000``.

    Raises:
        StylizeError: it is none of these.
    """
    if not (number := re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)([kKM]?)", text)):
        raise StylizeError(f"a bit rate is written as 5M, 800k or 5000000 bits a second, not {text!r}")
    return round(Fraction(number[1]) * {"": 1, "M": 10**6}.get(number[2], 1000))


def parse_time(text: str) -> Fraction:
    """Seconds of ``90``, ``90.5``, ``1:30`` or ``0:01:30.5``.

    Raises:
        StylizeError: it is none of these.
    """
    if not re.fullmatch(r"(\d{1,9}:){0,2}\d{1,9}(\.\d{1,99})?|\.\d{1,99}", text):
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
    rate = fraction_of("a frame rate", fps).limit_denominator(10_000)
    if not 0 < rate <= 1000:
        taken = ", which is taken for 0" if fps and not rate else ""
        raise StylizeError(f"the frames a second must be above 0 and at most 1000, got {float(fps):g}{taken}")
    television = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    is_decimal = not isinstance(fps, Fraction) and rate.denominator != 1
    return television if is_decimal and television and abs(rate - television) < Fraction(1, 200) else rate


def fraction_of(name: str, value: float | Fraction | Decimal) -> Fraction:
    """``value`` as a fraction, decimals to six places.

    Raises:
        StylizeError: it is no finite number; the sentence calls it ``name``.
    """
    if not isinstance(value, Real | Decimal) or not math.isfinite(value):
        raise StylizeError(f"{name} must be a number, got {value!r}")
    # 0.1 means a tenth, which no float is.
    return value if isinstance(value, Fraction) else Fraction(float(value)).limit_denominator(10**6)
