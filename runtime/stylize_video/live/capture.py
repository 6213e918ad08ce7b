"""Reads a live source in a thread of its own; only the newest frame is kept.

Whoever is slower than the source misses frames, and never falls behind. Where decoding is slower,
the readers of live sources leave frames out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, Protocol

from stylize_video.errors import SourceError
from stylize_video.frame import Frame
from stylize_video.live.statistics import Clock, Rate

State = Literal["live", "lost", "ended"]

_RETRY_SECONDS = 1.0
_CATCH_UP_SECONDS = 1.0
_CLOSE_SECONDS = 2.0
"""A thread that waits longer for a source that hangs is left to itself, and ends with the process at last."""
_FAR_LESS = 0.75
"""Part of the promised rate; a machine that is busy may take a little less than what there is."""
_SLOWEST_FPS = 0.5
"""A source that is slower has no rate that could be measured."""


class Read(NamedTuple):
    """A frame that was read.

    Attributes:
        image: upright, with square pixels.
        due: when it is to be shown, in seconds from the first frame on; None: at once.
        age: seconds since its capture, as far as its time stamps tell; else since it came.
        frames: how many the source gave since the last one: this one, and those left out.
    """

    image: Frame
    due: float | None = None
    age: float = 0.0
    frames: int = 1


class Reader(Protocol):
    """Gives one frame after the other.

    Attributes:
        live: frames come when they come, and a source that is lost may return. The others
            have time stamps that say when a frame is due, and an end.
        fps: the rate that the source promises, None where it does not say.
        end: when the last frame given is over, in seconds; None where nobody says.
    """

    live: bool
    fps: float | None
    end: float | None

    def read(self) -> Read | None:
        """The next frame; None at the end or once the source is lost.

        Raises:
            SourceError: it has an end and broke off before.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class CapturedFrame:
    """A frame, its number from 1 on, and when it was captured, in seconds of the capture's clock.

    Those that were left out undecoded have numbers too.
    """

    index: int
    image: Frame
    captured_at: float


class _Pace:
    """Lets frames of a file wait until they are due.

    Args:
        clock: seconds.
        stop: ends the waiting.
    """

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        self._clock, self._stop = clock, stop
        self._started_at: float | None = None

    def begin_anew(self) -> None:
        """The next frame is shown at once."""
        self._started_at = None

    def wait_until(self, due: float) -> None:
        """Wait for that second of the file."""
        now = self._clock()
        if self._started_at is None or now - self._started_at - due > _CATCH_UP_SECONDS:
            self._started_at = now - due  # at the start, and after the machine slept
        self._stop.wait(max(0.0, self._started_at + due - now))


class Capture:
    """The newest frame of a source that is opened, read, and opened again where it was lost.

    A file is played at its own speed, to its end, or over and over with ``loop``.

    Args:
        open_reader: opens the source; called again after it was lost.
        clock: seconds; that of time stamps.
        loop: begin again at the end.
        retry_seconds: between two tries to open a lost source.

    Raises:
        SourceError: on entering, the source cannot be opened.
    """

    def __init__(
        self,
        open_reader: Callable[[], Reader],
        *,
        clock: Clock = time.perf_counter,
        loop: bool = False,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._open_reader = open_reader
        self._clock, self._loop, self._retry_seconds = clock, loop, retry_seconds
        self._changed = threading.Condition()
        self._newest: CapturedFrame | None = None
        self._state: State = "live"
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._rate = Rate(clock)
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)
        self._pace = _Pace(clock, self._stop)
        self._reader: Reader | None = None
        self.source_fps: float | None = None
        """What the source promises, None where it does not say."""
        self._is_live = False

    def __enter__(self) -> Capture:
        self._reader = self._open_reader()
        self.source_fps, self._is_live = self._reader.fps, self._reader.live
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_CLOSE_SECONDS)

    @property
    def state(self) -> State:
        """``lost`` while the source is away, ``ended`` once there will be no more frames."""
        return self._state

    @property
    def fps(self) -> float:
        """Frames a second that arrive, with those that are left out."""
        return self._rate.value

    @property
    def given_fps(self) -> float | None:
        """Frames a second that the source gives: what it promises, of a live one what arrives if that is
        far less, as from a webcam in the dark; None where nothing is known yet."""
        promised = self.source_fps
        if not self._is_live or self.captured < 2:
            return promised
        arriving = max(self.fps, _SLOWEST_FPS)
        return promised if promised and arriving > _FAR_LESS * promised else arriving

    @property
    def captured(self) -> int:
        """Frames that have arrived."""
        return self._rate.count

    def newest(self, *, after: int, timeout: float) -> CapturedFrame | None:
        """The newest frame, as soon as its number is above ``after``; None after ``timeout`` seconds.

        What went wrong in the thread is raised here, such as a video by URL that broke off.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has(after) or self._state == "ended", timeout)
            if self._error:
                raise self._error
            return self._newest if self._has(after) else None

    def _has(self, after: int) -> bool:
        return self._newest is not None and self._newest.index > after

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                if self._reader is None and not self._reopened():
                    continue
                self._read_one()
        except BaseException as error:  # raised again in the caller
            self._error = error
        finally:
            self._close_reader()
            self._turn("ended")

    def _read_one(self) -> None:
        assert self._reader is not None  # for the type checker: _work sees to it
        try:
            item = self._reader.read()
        except SourceError:
            if not self._loop:
                raise
            self._lose()  # and begin again, as at its end
            return
        if item is None:
            self._at_end(self._reader)
            return
        if item.due is not None:
            self._pace.wait_until(item.due)
        self._rate.tick(item.frames)
        with self._changed:
            self._newest = CapturedFrame(self._rate.count, item.image, self._clock() - item.age)
            self._state = "live"
            self._changed.notify_all()

    def _at_end(self, reader: Reader) -> None:
        if reader.end is not None:
            self._pace.wait_until(reader.end)
        if reader.live:
            self._lose()
            return
        self._close_reader()
        if not self._loop:
            self._stop.set()

    def _lose(self) -> None:
        self._close_reader()
        self._turn("lost")
        self._stop.wait(self._retry_seconds)

    def _reopened(self) -> bool:
        try:
            self._reader = self._open_reader()
        except SourceError:
            self._turn("lost")
            self._stop.wait(self._retry_seconds)
            return False
        self.source_fps, self._is_live = self._reader.fps, self._reader.live
        return True

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            self._pace.begin_anew()

    def _turn(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()
