"""Time codes (SMPTE ST 12-1): hours, minutes, seconds and frames, by which editors find a frame again."""

from __future__ import annotations

import re
from fractions import Fraction

_TIME_CODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")


def later(code: str, frames: int, rate: Fraction) -> str | None:
    """The time code of so many frames later, at ``rate`` frames a second; None where ``code`` is none.

    ``01:00:00;00`` drops the numbers of two frames a minute, but for every tenth, to keep pace with the clock
    at 29.97 frames a second.
    """
    match = _TIME_CODE.fullmatch(code)
    if match is None:
        return None
    hours, minutes, seconds, number = (int(match[group]) for group in (1, 2, 3, 5))
    second = round(rate)
    dropped = 2 * (second // 30) if match[4] != ":" and second % 30 == 0 else 0
    minutes += 60 * hours
    count = (60 * minutes + seconds) * second + number - dropped * (minutes - minutes // 10) + frames
    tens, rest = divmod(count, 600 * second - 9 * dropped)
    count += dropped * (9 * tens + max(0, rest - dropped) // (60 * second - dropped))
    seconds, number = divmod(count, second)
    clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{clock}{match[4]}{number:02}"
