"""Which part of a video is taken, at what rate and size: all before the style sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from stylize_video.errors import StylizeError
from stylize_video.frame import TimedFrame, resized
from stylize_video.values import Scale, check_kind, fraction_of, rate_of
from stylize_video.video.info import VideoInfo, Window
from stylize_video.video.timing import at_rate

_ASPECT_TOLERANCE = Fraction(1, 200)
"""Share by which the shape of a picture may change where its sides are rounded to whole pixels."""

_LONGEST = 10**8
"""Seconds; more than three years."""


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
        StylizeError: a number makes no sense, or ``scale`` is no :class:`Scale`.
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
            object.__setattr__(self, name, None if value is None else fraction_of(f"the {name}", value))
        object.__setattr__(self, "fps", None if fps is None else rate_of(fps))
        if scale is not None:
            check_kind("scale", scale, Scale)
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
