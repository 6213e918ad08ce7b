"""How fast the live picture is, and how old: rates, latencies, and the file they are written to."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import numpy as np

from stylize_video.errors import SinkError

Clock = Callable[[], float]
"""Seconds from any start on; tests bring their own."""

_RATE_SECONDS = 2.0
_LATENCIES = 300
_MEASURED = 60


class Rate:
    """Events a second, over the last ``seconds``."""

    def __init__(self, clock: Clock, *, seconds: float = _RATE_SECONDS) -> None:
        self._clock, self._seconds = clock, seconds
        self._times: deque[float] = deque()
        self._lock = threading.Lock()
        self.count = 0
        """All events since the start."""

    def tick(self) -> None:
        """Count one."""
        now = self._clock()
        with self._lock:
            self.count += 1
            self._times.append(now)
            self._forget(now)

    @property
    def value(self) -> float:
        """Events a second; 0 where there were fewer than two of late."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            if len(self._times) < 2:
                return 0.0
            # Up to now, not up to the last one: a source that stalled slows down at once.
            between = self._times[-1] - self._times[0]
            period = max(between / (len(self._times) - 1), now - self._times[-1])
            return 1 / period if period > 0 else 0.0

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] < now - self._seconds:
            self._times.popleft()


@dataclass(frozen=True)
class Statistics:
    """One look at the live picture.

    Rates are frames a second over the last two seconds; ``latency_*`` are milliseconds
    from a frame's capture until it was shown, over the last 300 frames; ``stylize_ms`` is
    the median of the network, the look and the resizing together. Sizes are width and height.
    ``dropped`` frames were captured but never shown, because a newer one was there.
    """

    seconds: float
    capture_fps: float
    stylize_fps: float
    display_fps: float
    latency_p50_ms: float
    latency_p95_ms: float
    stylize_ms: float
    captured: int
    shown: int
    dropped: int
    size: tuple[int, int]
    working_size: tuple[int, int]

    def lines(self) -> list[str]:
        """For people: a few short lines."""
        width, height = self.size
        across, down = self.working_size
        return [
            f"camera {self.capture_fps:.1f} fps · style {self.stylize_fps:.1f} fps"
            f" · shown {self.display_fps:.1f} fps",
            f"delay {self.latency_p50_ms:.0f} ms (95 %: {self.latency_p95_ms:.0f} ms)"
            f" · style {self.stylize_ms:.0f} ms",
            f"{width}x{height}, stylized at {across}x{down} · {self.dropped} dropped",
        ]


class Monitor:
    """Gathers what :class:`Statistics` tells."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock()
        self._stylized = Rate(clock)
        self._shown = Rate(clock)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._stylize_seconds: deque[float] = deque(maxlen=_MEASURED)

    def stylized(self, seconds: float) -> None:
        """One frame went through the style in so many seconds."""
        self._stylized.tick()
        self._stylize_seconds.append(seconds)

    def shown(self, latency: float) -> None:
        """One frame reached every output, so many seconds after its capture."""
        self._shown.tick()
        self._latencies.append(latency)

    def report(
        self, captured: int, capture_fps: float, size: tuple[int, int], working_size: tuple[int, int]
    ) -> Statistics:
        """The statistics now; sizes are width and height."""
        latencies = np.array(self._latencies) * 1000 if self._latencies else np.zeros(1)
        seconds = np.array(self._stylize_seconds) if self._stylize_seconds else np.zeros(1)
        p50, p95 = np.percentile(latencies, (50, 95))
        return Statistics(
            seconds=round(self._clock() - self._started, 3),
            capture_fps=round(capture_fps, 2),
            stylize_fps=round(self._stylized.value, 2),
            display_fps=round(self._shown.value, 2),
            latency_p50_ms=round(float(p50), 2),
            latency_p95_ms=round(float(p95), 2),
            stylize_ms=round(float(np.median(seconds)) * 1000, 2),
            captured=captured,
            shown=self._shown.count,
            dropped=max(0, captured - self._shown.count),
            size=size,
            working_size=working_size,
        )


class StatisticsFile:
    """Appends statistics to a file, one JSON object a line, once a second and at the end.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(self, path: Path, clock: Clock, *, seconds: float = 1.0) -> None:
        self._path, self._clock, self._seconds = path, clock, seconds
        self._due = clock() + seconds
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise SinkError(f"cannot write the statistics {path}: {error.strerror}") from error

    def write(self, statistics: Statistics, *, last: bool = False) -> None:
        """Write a line if one is due, or if it is the ``last``."""
        now = self._clock()
        if now < self._due and not last:
            return
        self._due = now + self._seconds
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(statistics)}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise SinkError(f"writing the statistics {self._path} failed: {error.strerror}") from error

    def __enter__(self) -> StatisticsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
