"""Sizes, times and rates as people write them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from stylize_video.errors import StylizeError
from stylize_video.values import (
    Scale,
    parse_bitrate,
    parse_rate,
    parse_scale,
    parse_size,
    parse_time,
    rate_of,
)

MANY = "9" * 5000
"""More digits than Python makes a number of."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90.5", 90.5),
        ("1:30", 90),
        ("0:01:30.25", 90.25),
        ("00:00:00", 0),
        ("2:00:00", 7200),
        (".5", 0.5),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == Fraction(seconds)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25", Fraction(25)),
        ("29.97", Fraction(30000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("5", Fraction(5)),
        ("0.001", Fraction(1, 1000)),
        ("30000/1001", Fraction(30000, 1001)),
    ],
)
def test_rates(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate
    assert rate_of(rate if "/" in text else float(text)) == rate


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1280x720", (1280, 720)),
        ("320x", (320, 180)),
        ("x90", (160, 90)),
        ("0.5", (320, 180)),
        ("50%", (320, 180)),
        ("2", (1280, 720)),
    ],
)
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_scale(text).size_of(640, 360) == size


@pytest.mark.parametrize("text", ["", "abc", "-5", "1:2:3:4", "1e3", "12:", MANY, f"1.{MANY}"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(StylizeError, match="a time is written as"):
        parse_time(text)


@pytest.mark.parametrize("text", ["x", "", "12x12x12", "0", "big", "-1x5", MANY, f"{MANY}x", f"1.{MANY}"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(StylizeError, match="a size is written as"):
        parse_scale(text)


@pytest.mark.parametrize("text", ["fast", "1/0", f"{MANY}/1"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(StylizeError, match="frames a second are written as"):
        parse_rate(text)


@pytest.mark.parametrize("scale", [Scale(4, 4), Scale(factor=Fraction(1000))])
def test_sizes_that_no_frame_may_have(scale: Scale) -> None:
    with pytest.raises(StylizeError, match="from 16x16 to 16384x16384"):
        scale.size_of(640, 360)


def test_a_width_alone_is_no_factor() -> None:
    with pytest.raises(StylizeError, match="got 819200x460800; 1280 is a factor, 1280x would be a width"):
        parse_scale("1280").size_of(640, 360)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Scale(), "a width, a height or both, or else a factor"),
        (lambda: Scale(64, factor=2), "a width, a height or both, or else a factor"),
        (lambda: Scale(0), "a whole number of pixels, got 0"),
        (lambda: Scale(64.5), r"a whole number of pixels, got 64\.5"),  # type: ignore[arg-type]
        (lambda: Scale(height="x"), "a whole number of pixels, got 'x'"),  # type: ignore[arg-type]
        (lambda: Scale(factor=float("nan")), "the factor of a size must be a number, got nan"),
        (lambda: Scale(factor=-0.5), r"the factor of a size must be above 0, got -0\.5"),
    ],
)
def test_sizes_that_make_no_sense(make: Callable[[], Scale], sentence: str) -> None:
    with pytest.raises(StylizeError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("text", "bits"), [("5M", 5_000_000), ("2.5M", 2_500_000), ("800k", 800_000), ("64K", 64_000), ("9", 9)]
)
def test_bit_rates(text: str, bits: int) -> None:
    assert parse_bitrate(text) == bits


@pytest.mark.parametrize("text", ["", "fast", "5 M", "5m", "-1", "1e6", "5Mbit", f"1.{MANY}", MANY])
def test_bit_rates_that_are_none(text: str) -> None:
    with pytest.raises(StylizeError, match="a bit rate is written as 5M, 800k or 5000000 bits a second"):
        parse_bitrate(text)


def test_sizes_of_frames() -> None:
    assert parse_size("640x360") == (640, 360)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("640x", "sizes look like 640x360"),
        ("8x8", "at least 16x16, got '8x8'"),
        (f"{MANY}x16", "sizes look like 640x360"),
        ("17000x32", "at most 16384 pixels a side"),
        ("16000x16000", "67 megapixels"),
    ],
)
def test_sizes_of_no_frame(text: str, sentence: str) -> None:
    with pytest.raises(StylizeError, match=sentence):
        parse_size(text)
