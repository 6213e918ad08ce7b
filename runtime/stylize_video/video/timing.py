"""Frames at other times: at a steady rate, or at those that a kind of result can hold."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain

from stylize_video.errors import SourceError
from stylize_video.frame import TimedFrame
from stylize_video.video.info import VideoInfo

_log = logging.getLogger(__name__)

ROUNDING = Fraction(2, 1000)
"""Seconds that a frame may be late: containers round time stamps, some to milliseconds."""

_LONGEST_STILL = 86_400
"""Seconds that one frame may be repeated for; a wrong time stamp would fill any disk."""

_FASTEST_TICKS = 120
"""Frames a second; what seems to need more are inexact time stamps."""

_GIF_RATE = Fraction(50)
_GIF_TIME_BASE, _GIF_SHORTEST = Fraction(1, 100), 2
"""GIF counts hundredths of a second. Browsers show delays of less than two of them as ten."""


def repeated(frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
    """One frame for each time at which it is shown."""
    for frame in frames:
        for pts in (frame.pts, *frame.again):
            yield replace(frame, pts=pts, again=())


def for_avi(frames: Iterable[TimedFrame], info: VideoInfo) -> tuple[Iterable[TimedFrame], VideoInfo]:
    """Frames for AVI, which stores an order and a rate, and no time stamps: each at the nearest tick.

    The first is at 0, where the sound begins too. Ticks may stay empty, so that a rate which varies is that
    of the fastest part.
    """
    rate = info.rate
    if info.base_rate and rate < info.base_rate <= _FASTEST_TICKS:
        rate = info.base_rate

    first = info.start_pts * info.time_base

    def ticks(pts: int) -> Fraction:
        return (pts * info.time_base - first) * rate

    def nearest(pts: int) -> int:
        return math.floor(ticks(pts) + Fraction(1, 2))  # round() makes steps of 0 and 2 of halves

    def stamped() -> Iterator[TimedFrame]:
        last: int | None = None
        late = Fraction(0)  # ticks
        for frame in frames:
            tick = nearest(frame.pts) if last is None else max(nearest(frame.pts), last + 1)
            late = max(late, tick - ticks(frame.pts))
            last = tick + len(frame.again)  # which at_rate gives, a tick apart
            yield replace(frame, pts=tick, again=range(tick + 1, last + 1))
        if late > 1:
            _log.warning(
                "AVI stores no time stamps, but %.4g frames a second: some are up to %.2f s late",
                float(rate), float(late / rate),
            )  # fmt: skip

    shift = info.window.shift + first
    window = replace(info.window, shift=shift)
    return stamped(), replace(info, time_base=1 / rate, start_pts=0, rate=rate, window=window)


def at_rate(
    frames: Iterable[TimedFrame], info: VideoInfo, fps: Fraction
) -> tuple[Iterable[TimedFrame], VideoInfo]:
    """Frames at a steady rate: at each tick the one that is on screen; others are left out or repeated.

    Raises:
        SourceError: while they are read, one is on screen for more than a day.
    """
    first = info.start_pts * info.time_base
    # Units in which both the rate and (nearly) the first frame's time are whole.
    units = 1 if (first * fps).denominator == 1 else 100
    time_base = 1 / fps / units
    start = round(first / time_base)

    slack = min(ROUNDING, 1 / fps / 2)

    def resampled() -> Iterator[TimedFrame]:
        """Each frame with the ticks at which it is on screen."""
        shown: TimedFrame | None = None
        gap, tick = 1 / info.rate, 0
        for frame in chain(frames, [None]):
            if shown:
                end = info.end if frame is None else frame.pts * info.time_base
                begin = shown.pts * info.time_base
                if end is not None and end > begin:
                    gap = end - begin
                if gap > _LONGEST_STILL:
                    hours = f"{float(gap / 3600):.0f} hours"
                    raise SourceError(f"one frame is on screen for {hours}; leave out the frame rate")
                after = max(tick, math.ceil((begin - first + gap - slack) * fps))
                ticks = range(start + tick * units, start + after * units, units)
                if ticks:
                    yield replace(shown, pts=ticks[0], again=ticks[1:])
                tick = after
            shown = frame

    count = info.frame_count and max(1, round(info.frame_count / info.rate * fps))
    return resampled(), replace(
        info, time_base=time_base, start_pts=start, rate=fps, base_rate=fps, frame_count=count
    )


def at_average_rate(
    frames: Iterable[TimedFrame], info: VideoInfo, kind: str
) -> tuple[Iterable[TimedFrame], VideoInfo]:
    """Frames for pipes without time stamps: only a frame can fill time there, one that stays is repeated."""
    read = 0

    def counted() -> Iterator[TimedFrame]:
        nonlocal read
        for frame in frames:
            read += 1
            yield frame

    def told() -> Iterator[TimedFrame]:
        given = 0
        for frame in resampled:
            given += 1
            yield frame
        if given < read:
            _log.warning(
                "%d of %d frames are left out: %s holds no time stamps, but %.4g frames a second",
                read - given, read, kind, float(info.rate),
            )  # fmt: skip

    resampled, info = at_rate(counted(), info, info.rate)
    return told(), info


def for_gif(
    frames: Iterable[TimedFrame], info: VideoInfo, name: str
) -> tuple[Iterable[TimedFrame], VideoInfo]:
    """Frames for a GIF: each as soon as the one before was shown long enough, if it is not over by then."""

    def hundredths(pts: int) -> int:
        return round(pts * info.time_base / _GIF_TIME_BASE)

    def spaced() -> Iterator[TimedFrame]:
        waiting: TimedFrame | None = None
        has_told = False
        for frame in frames:
            pts, *again = map(hundredths, (frame.pts, *frame.again))
            if waiting and pts > waiting.pts:
                yield waiting
                pts = max(pts, (waiting.pts, *waiting.again)[-1] + _GIF_SHORTEST)
            elif waiting:
                pts = waiting.pts
                if not has_told:
                    has_told = True
                    _log.warning("GIF shows at most %d frames a second; %s gets no more", _GIF_RATE, name)
            shown = [pts]
            for time in again:
                if time >= shown[-1] + _GIF_SHORTEST:
                    shown.append(time)
            waiting = replace(frame, pts=pts, again=shown[1:])
        if waiting:
            yield waiting

    rate = min(info.rate, _GIF_RATE)
    count = info.frame_count and max(1, round(info.frame_count / info.rate * rate))
    start = hundredths(info.start_pts)
    return spaced(), replace(info, time_base=_GIF_TIME_BASE, start_pts=start, rate=rate, frame_count=count)
