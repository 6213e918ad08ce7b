"""Time codes: every number there is, in order."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import pytest

from stylize_video.video.timecode import later


def numbers(minutes: int, frames: int, dropped: int) -> Iterator[str]:
    """All time codes from 0 on: in the first second of a minute some are left out, but for every tenth."""
    for minute in range(minutes):
        for second in range(60):
            for number in range(frames):
                if not (dropped and minute % 10 and second == 0 and number < dropped):
                    yield f"00:{minute:02}:{second:02}{';' if dropped else ':'}{number:02}"


@pytest.mark.parametrize(
    ("rate", "frames", "dropped"),
    [
        (Fraction(25), 25, 0),
        (Fraction(24000, 1001), 24, 0),
        (Fraction(30000, 1001), 30, 0),
        (Fraction(30000, 1001), 30, 2),
        (Fraction(60000, 1001), 60, 4),
    ],
)
def test_every_frame_has_its_number(rate: Fraction, frames: int, dropped: int) -> None:
    codes = list(numbers(12, frames, dropped))
    begin = codes[1500]
    assert [later(begin, index - 1500, rate) for index in range(1500, len(codes))] == codes[1500:]


def test_a_day_ends() -> None:
    assert later("23:59:59:24", 1, Fraction(25)) == "00:00:00:00"


@pytest.mark.parametrize("text", ["", "noon", "1:00:00:00", "01:00:00"])
def test_what_is_none(text: str) -> None:
    assert later(text, 0, Fraction(25)) is None
