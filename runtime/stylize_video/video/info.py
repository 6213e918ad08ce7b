"""What is known of a video's frames before they are decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from numbers import Integral
from pathlib import Path

from stylize_video.errors import StylizeError
from stylize_video.values import rate_of
from stylize_video.video.colors import BT709, ColorTags


@dataclass(frozen=True)
class Window:
    """A part of a video in the time of its own stamps, in seconds; None is an open end.

    ``shift`` is taken off every time stamp: what is in it starts anew at 0. Without a ``start`` that is
    what the source's clock showed at its beginning, where this says nothing, as in broadcasts.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    shift: Fraction = Fraction(0)

    def holds(self, seconds: Fraction) -> bool:
        """Whether what starts at ``seconds`` is in it."""
        return (self.start is None or seconds >= self.start) and (self.end is None or seconds < self.end)


class Ending:
    """When a video is over; ``find`` looks for it, once it is asked for."""

    def __init__(
        self, seconds: Fraction | None = None, *, find: Callable[[], Fraction | None] | None = None
    ) -> None:
        if find:
            self._find = find
        else:
            self.seconds = seconds

    @cached_property
    def seconds(self) -> Fraction | None:
        """The second of the video's own time at which its last frame is over, None where nothing tells.

        Of what is read once, and of a part that ends inside of a file that does not say how long it is, this
        is set when all frames have been read.
        """
        return self._find()


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video's frames before they are decoded.

    ``time_base`` is the length in seconds of one PTS unit; ``rate`` the average frame
    rate (a hint only: time stamps decide), and ``base_rate`` the lowest at whose ticks all
    frames seem to be, None where that is unknown; ``frame_count`` an estimate, None where
    unknown; ``pixel_aspect`` is the width of a pixel over its height. ``window``
    is the part of the file that is taken; its shift is off all time stamps already.
    ``first_number`` is that of the first picture and ``color_profile`` its ICC profile, where the
    video is numbered pictures.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    start_pts: int
    rate: Fraction
    frame_count: int | None = None
    colors: ColorTags = BT709
    pixel_aspect: Fraction = Fraction(1)
    base_rate: Fraction | None = None
    window: Window = field(default_factory=Window)
    first_number: int | None = None
    color_profile: bytes | None = field(default=None, repr=False)
    ending: Ending = field(default_factory=Ending, compare=False, repr=False)

    @property
    def end(self) -> Fraction | None:
        """The second at which the last frame is over, where that is known by now."""
        return None if self.ending.seconds is None else self.ending.seconds - self.window.shift

    @classmethod
    def of(cls, width: int, height: int, rate: float | Fraction = 25) -> VideoInfo:
        """Of frames that come from no file, ``rate`` a second: their time stamps count them, from 0 on.

        Raises:
            StylizeError: a side is no whole number above 0; the rate is not above 0, or above 1000.
        """
        if not all(isinstance(side, Integral) and side > 0 for side in (width, height)):
            raise StylizeError(
                f"a width and a height are whole numbers above 0, got {width!r} and {height!r}"
            )
        rate = rate_of(rate)
        return cls(Path(), width, height, time_base=1 / rate, start_pts=0, rate=rate)
