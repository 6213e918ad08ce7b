"""Holds a wanted frame rate by the size at which frames are stylized."""

from __future__ import annotations

from collections import deque

from stylize_video.errors import StylizeError
from stylize_video.live.statistics import Clock

SCALES = tuple(2 ** (-step / 5) for step in range(9))
"""The working sizes, as fractions of a frame's sides; a step takes a quarter off the pixels."""

_LOWER_AT = 0.95
"""Part of the time between two frames that may be busy before the size is lowered."""
_AIM_AT = 0.85
"""Part that is aimed at when the size is lowered."""
_SMALL_PART = 1 / 3
"""Part of a frame's time that the style takes where it is not made smaller: where even the smallest size
misses the aim, the rest is what is slow."""
_RAISE_AT = 0.78
"""Part that the next larger size may be expected to need for it to be tried."""
_SAMPLES = 10
_HELD = 6
_FIRST_SAMPLES = 2
_FAR_TOO_LONG = 3.0
"""Times the time between two frames: where all of the very first frames take longer, no more are waited
for, and the size is halved at most: they may be slow for another reason."""
_HALVED = 5
"""Steps to half of the size."""
_RAISE_SECONDS = 1.0
_REGRET_SECONDS = 10.0
_LONGEST_WAIT = 600.0
_TOO_SLOW_SECONDS = 5.0


class Governor:
    """Chooses the working size, so that a frame takes no longer than ``1 / target_fps``.

    It looks at how long frames take, not at how many there are: a slow camera is no
    reason to work smaller. The gap between the thresholds keeps it from going to and fro
    on a steady machine; and where a larger size has to be given up again soon after it
    was tried, the next try waits twice as long.

    Args:
        target_fps: the rate to hold, in frames a second.
        clock: seconds.

    Raises:
        StylizeError: ``target_fps`` is not positive.
    """

    def __init__(self, target_fps: float, clock: Clock) -> None:
        if not target_fps > 0:
            raise StylizeError(f"the frame rate to hold must be above 0, got {target_fps:g}")
        self.target_fps = target_fps
        self._clock = clock
        self._level = 0
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        self._roomy_since: float | None = None
        self._raised_at: float | None = None
        self._waits: dict[int, float] = {}  # before a level is tried that was given up
        self.typical = 0.0, 0.0
        """Seconds that most frames of late took, and the part of them that depends on the size."""
        self.changes = 0
        """How often the size was changed."""
        self._too_slow_since: float | None = None
        self._is_starting = True

    @property
    def scale(self) -> float:
        """The working size as a fraction of a frame's sides."""
        return SCALES[self._level]

    @property
    def is_too_slow(self) -> bool:
        """Whether the rate has not been held for some time though a smaller size would be no help."""
        since = self._too_slow_since
        return since is not None and self._clock() - since >= _TOO_SLOW_SECONDS

    def observe(self, busy: float, stylize: float, *, source_fps: float | None = None) -> None:
        """Take note of one frame, and change the size where that is due.

        Args:
            busy: seconds from taking the frame until the next one could be taken.
            stylize: the part of them that depends on the working size.
            source_fps: what the source gives at most; holding more makes no sense.
        """
        self._samples.append((busy, stylize))
        period = 1 / min(self.target_fps, source_fps or self.target_fps)
        complete = len(self._samples) == _SAMPLES
        if complete:
            self._is_starting = False
        elif not self._is_far_too_slow(period):
            return
        if self._raised_at is not None and self._clock() - self._raised_at >= _REGRET_SECONDS:
            self._raised_at = None
            self._waits.pop(self._level, None)  # it lasted
        # Above the median: a rate is held only when most frames make it. Of the first few one may have
        # been the first of its size, which takes longer.
        rank = _HELD if complete else 0
        busy, stylize = (sorted(values)[rank] for values in zip(*self._samples, strict=True))
        self.typical = busy, stylize
        lower = self._level
        if busy > _LOWER_AT * period:
            lower = self._level_for(busy, stylize, _AIM_AT * period)
        if busy <= period or lower != self._level:
            self._too_slow_since = None
        elif self._too_slow_since is None:
            self._too_slow_since = self._clock()
        if busy > _LOWER_AT * period:
            self._roomy_since = None
            if lower != self._level:
                self._lower(lower)
        elif self._level and self._expected(self._level - 1, busy, stylize) <= _RAISE_AT * period:
            self._raise_in_time()
        else:
            self._roomy_since = None

    def _is_far_too_slow(self, period: float) -> bool:
        if not self._is_starting or len(self._samples) < _FIRST_SAMPLES or self._level == len(SCALES) - 1:
            return False
        return min(busy for busy, _ in self._samples) > _FAR_TOO_LONG * period

    def _expected(self, level: int, busy: float, stylize: float) -> float:
        """Seconds a frame would take there: what depends on the size grows with the pixels."""
        return busy - stylize + stylize * (SCALES[level] / SCALES[self._level]) ** 2

    def _level_for(self, busy: float, stylize: float, aim: float) -> int:
        """The largest that reaches the aim; where none does, one at which the style is not what is slow."""
        lowest = self._level + _HALVED if self._is_starting else len(SCALES) - 1
        levels = range(self._level, min(lowest + 1, len(SCALES)))
        rest = busy - stylize
        expected = {level: self._expected(level, busy, stylize) for level in levels}
        fits = [level for level in levels[1:] if expected[level] <= aim]
        small = [level for level in levels if expected[level] - rest <= _SMALL_PART * expected[level]]
        return (fits or small or levels[-1:])[0]

    def _lower(self, level: int) -> None:
        if self._raised_at is not None:
            self._raised_at = None
            waited = max(self._waits.get(self._level, 0.0), _REGRET_SECONDS)
            self._waits[self._level] = min(2 * waited, _LONGEST_WAIT)
        self._go_to(level)

    def _raise_in_time(self) -> None:
        now = self._clock()
        if self._roomy_since is None:
            self._roomy_since = now
        elif now - self._roomy_since >= self._waits.get(self._level - 1, _RAISE_SECONDS):
            self._raised_at = now
            self._go_to(self._level - 1)

    def _go_to(self, level: int) -> None:
        self._level = level
        self._samples.clear()
        self._roomy_since = None
        self.changes += 1
