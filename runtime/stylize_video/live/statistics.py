"""How fast the live picture is, and how old: rates, latencies, and the file they are written to."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from stylize_video.errors import SinkError

Clock = Callable[[], float]
"""Seconds from any start on; tests bring their own."""

_RATE_SECONDS = 2.0
_LATENCY_SECONDS = 10.0
_STYLIZE_SECONDS = 2.0
_LINE_SECONDS = 1.0

_STANDARD_OUTPUT = Path("/dev/stdout")
"""Opened by its name, so that not to wait for the reader concerns nobody else who writes to it; some systems
have no such name, and sockets cannot be opened by it."""


class Rate:
    """Events a second, over the last two seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: deque[float] = deque()
        self._lock = threading.Lock()
        self.count = 0
        """All events since the start."""

    def tick(self, count: int = 1) -> None:
        """Count one, or some that came together."""
        now = self._clock()
        with self._lock:
            self.count += count
            self._times.extend([now] * count)
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
        while self._times and self._times[0] < now - _RATE_SECONDS:
            self._times.popleft()


class _Recent:
    """Numbers of the last ``seconds``, and at least the newest one."""

    def __init__(self, clock: Clock, *, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._numbers: deque[tuple[float, float]] = deque()

    def add(self, number: float) -> None:
        self._numbers.append((self._clock(), number))
        self._forget()

    @property
    def values(self) -> NDArray[np.float64]:
        """0 where there was none yet."""
        self._forget()
        return np.array([number for _, number in self._numbers] or [0.0])

    def _forget(self) -> None:
        while len(self._numbers) > 1 and self._numbers[0][0] < self._clock() - self._seconds:
            self._numbers.popleft()


@dataclass(frozen=True)
class StreamState:
    """How the stream that goes out does.

    ``mbit_s`` are millions of bits a second over the last three seconds, picture and sound; ``dropped``
    frames were left out because encoder or network were too slow.
    """

    connected: bool
    mbit_s: float
    dropped: int

    def line(self) -> str:
        """For people."""
        how = f"{self.mbit_s:.1f} Mbit/s" if self.connected else "lost, it is tried again"
        return f"stream {how} · {self.dropped} dropped"


@dataclass(frozen=True)
class Statistics:
    """One look at the live picture.

    Rates are frames a second over the last two seconds; ``latency_*`` are milliseconds
    from a frame's capture until it was shown, over the last ten seconds; ``stylize_ms`` is
    the median of the network, the look and the resizing together, over the last two. Sizes are
    width and height. ``dropped`` frames were captured but never shown, because a newer one was
    there; those that came while the picture was frozen are not among them. ``state`` is the
    source's: ``live``, ``lost`` or ``ended``.
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
    state: str = "live"
    stream: StreamState | None = None
    """None where none goes out."""

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
            *([self.stream.line()] if self.stream else []),
        ]


class Monitor:
    """Gathers what goes into :class:`Statistics`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock()
        self._stylized = Rate(clock)
        self._shown = Rate(clock)
        self._latencies = _Recent(clock, seconds=_LATENCY_SECONDS)
        self._stylize_seconds = _Recent(clock, seconds=_STYLIZE_SECONDS)
        self._let_go = 0

    def stylized(self, seconds: float) -> None:
        """One frame went through the style in so many seconds."""
        self._stylized.tick()
        self._stylize_seconds.add(seconds)

    def shown(self, latency: float) -> None:
        """One frame reached every output, so many seconds after its capture."""
        self._shown.tick()
        self._latencies.add(latency)

    def let_go(self, frames: int) -> None:
        """So many frames came while the picture was frozen."""
        self._let_go += frames

    def report(
        self,
        captured: int,
        capture_fps: float,
        size: tuple[int, int],
        working_size: tuple[int, int],
        *,
        state: str = "live",
        stream: StreamState | None = None,
    ) -> Statistics:
        """The statistics now; sizes are width and height."""
        p50, p95 = np.percentile(self._latencies.values, (50, 95)) * 1000
        return Statistics(
            seconds=round(self._clock() - self._started, 3),
            capture_fps=round(capture_fps, 2),
            stylize_fps=round(self._stylized.value, 2),
            display_fps=round(self._shown.value, 2),
            latency_p50_ms=round(float(p50), 2),
            latency_p95_ms=round(float(p95), 2),
            stylize_ms=round(float(np.median(self._stylize_seconds.values)) * 1000, 2),
            captured=captured,
            shown=self._shown.count,
            dropped=max(0, captured - self._shown.count - self._let_go),
            size=size,
            working_size=working_size,
            state=state,
            stream=stream,
        )


class StatisticsFile:
    """Appends statistics to a file, one JSON object a line, once a second and at the end.

    A failure on the way is reported and ends the file, not the picture; it is raised with the last line.

    Args:
        path: the file, a pipe, or ``-`` for standard output; a reader that stalls is a failure, as one
            that leaves.
        clock: seconds.
        on_failure: called once.

    Raises:
        SinkError: the file cannot be opened, or is a pipe that nobody reads.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path, self._clock, self._on_failure = path, clock, on_failure
        self._due = clock() + _LINE_SECONDS
        self._failure: SinkError | None = None
        self._file = _opened(path)

    def write(self, statistics: Statistics, *, last: bool = False) -> None:
        """Write a line if one is due, or if it is the ``last``.

        Raises:
            SinkError: it is the last one, and some could not be written.
        """
        now = self._clock()
        if not self._failure and (last or now >= self._due):
            self._write(statistics, now)
        if self._failure and last:
            raise self._failure

    def _write(self, statistics: Statistics, now: float) -> None:
        self._due = now + _LINE_SECONDS
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(statistics)}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            self._failure = SinkError(f"writing the statistics {self._path} failed: {error.strerror}")
            self._on_failure(str(self._failure))

    def __enter__(self) -> StatisticsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # what could not be written is tried again
            self._file.close()


def _opened(path: Path) -> TextIO:
    """The file, at its end; a pipe without waiting, neither for a reader to come nor for one to read."""
    name = _STANDARD_OUTPUT if path == Path("-") else path
    is_pipe = name.is_fifo()
    try:
        if is_pipe:
            return os.fdopen(os.open(name, os.O_WRONLY | os.O_NONBLOCK), "w", encoding="utf-8")
        return name.open("a", encoding="utf-8")
    except OSError as error:
        if path == Path("-") and not is_pipe and sys.stdout:
            return os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        nobody = is_pipe and error.errno == errno.ENXIO
        why = "nobody reads from this pipe; start its reader first" if nobody else error.strerror
        raise SinkError(f"cannot write the statistics {path}: {why}") from error
