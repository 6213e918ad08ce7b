"""Stages that run beside the caller: one reads ahead, one writes behind, one works on several at once.

Queues are bounded, so memory does not grow; an exception in a thread is raised in
the caller; and leaving the ``with`` block always ends the thread. OpenCV has threads of
its own, which get no more cores than one frame of several has.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Generic, TypeVar

import cv2

from stylize_video.interrupts import uninterrupted
from stylize_video.machine import cores

T = TypeVar("T")
R = TypeVar("R")

_POLL_SECONDS = 0.1
_END = object()


class ReadAhead(Generic[T]):
    """Iterates over ``items`` in a thread, at most ``depth`` ahead of the caller.

    Leaving the block calls ``stop_waiting``, where ``items`` may wait for what does not come.
    """

    def __init__(
        self, items: Iterable[T], *, depth: int = 4, stop_waiting: Callable[[], None] = lambda: None
    ) -> None:
        self._items, self._stop_waiting = items, stop_waiting
        self._queue: queue.Queue[object] = queue.Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)

    def __enter__(self) -> ReadAhead[T]:
        self._thread.start()
        return self

    def __iter__(self) -> Iterator[T]:
        while (item := self._queue.get()) is not _END:
            yield item  # type: ignore[misc]  # the queue holds nothing but items and the end
        if self._error:
            raise self._error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._stop_waiting()
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not _put(self._queue, item, self._stop):
                    return
        except BaseException as error:  # raised again in the caller
            self._error = error
        _put(self._queue, _END, self._stop)


class WriteBehind(Generic[T]):
    """Calls ``write`` for each item in a thread; the caller waits once ``depth`` are queued.

    Leaving the block waits for everything queued to be written, also after an exception
    in the caller: what was computed is not thrown away. A Ctrl-C meanwhile waits too, so
    that nobody completes a file which the thread still writes; ``stop_waiting`` is called then, where
    ``write`` may wait for a reader that reads no more.
    """

    def __init__(
        self,
        write: Callable[[T], None],
        *,
        depth: int = 4,
        stop_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self._write, self._stop_waiting = write, stop_waiting
        self._queue: queue.Queue[object] = queue.Queue(depth)
        self._failed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write-behind", daemon=True)

    def __enter__(self) -> WriteBehind[T]:
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Queue one item; raises what an earlier one raised."""
        if not _put(self._queue, item, self._failed) and self._error:
            raise self._error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted() as signals:
            self._end(signals, hurry=error is not None)
        if self._error and error is None:
            raise self._error

    def _end(self, signals: Sequence[int], *, hurry: bool) -> None:
        is_told = False
        while self._thread.is_alive():
            if signals or hurry:
                self._stop_waiting()
            if is_told:
                self._thread.join(_POLL_SECONDS)
                continue
            with suppress(queue.Full):
                self._queue.put(_END, timeout=_POLL_SECONDS)
                is_told = True

    def _work(self) -> None:
        try:
            while (item := self._queue.get()) is not _END:
                self._write(item)  # type: ignore[arg-type]  # as above
        except BaseException as error:  # raised again in the caller
            self._error = error
            self._failed.set()


def in_order(
    function: Callable[[T], R], items: Iterable[T], *, at_once: int
) -> Generator[tuple[T, R], None, None]:
    """Yield each item with what ``function`` makes of it, in order, ``at_once`` in the works at a time.

    Close the generator to stop early; it waits for what is in the works. An error of ``items`` is
    raised behind everything that they gave before.
    """
    if at_once == 1:
        for item in items:
            yield item, function(item)
        return
    waiting: deque[tuple[T, Future[R]]] = deque()
    failed: Exception | None = None
    source = iter(items)
    with ThreadPoolExecutor(at_once, thread_name_prefix="at-once") as pool:
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as error:  # raised again, in its turn
                    failed = error
                    break
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > at_once:  # one more than in the works, so that no thread is idle
                    item, result = waiting.popleft()
                    yield item, result.result()
            while waiting:
                item, result = waiting.popleft()
                yield item, result.result()
            if failed:
                raise failed
        finally:
            for _, result in waiting:
                result.cancel()


class _OpenCVThreads:
    """Shares of the cores for OpenCV's threads; the setting is the process's, the smallest share counts."""

    def __init__(self) -> None:
        # Collecting garbage may close a job wherever another one is in here.
        self._lock = threading.RLock()
        self._shares: list[int] = []
        self._usual = 0

    @contextmanager
    def shared(self, at_once: int) -> Iterator[None]:
        share = max(1, cores() // at_once)
        counted = False
        try:
            with self._lock:
                if not self._shares:
                    self._usual = cv2.getNumThreads()
                self._shares.append(share)
                counted = True
                self._apply()
            yield
        finally:
            if counted:
                with self._lock:
                    self._shares.remove(share)
                    self._apply()

    def _apply(self) -> None:
        cv2.setNumThreads(min([self._usual, *self._shares]))


_opencv_threads = _OpenCVThreads()


def opencv_threads_for(at_once: int) -> AbstractContextManager[None]:
    """Give OpenCV the cores of one frame where ``at_once`` are in the works.

    Its threads wait for work by spinning, in time that the frames beside need: with two cores and
    two frames at once a job takes a fifth more processor time if OpenCV has two threads. It never gets
    more than it had.
    """
    return _opencv_threads.shared(at_once)


def _put(target: queue.Queue[object], item: object, stop: threading.Event) -> bool:
    """Put ``item``, waiting for room; False once ``stop`` is set, so that nobody waits forever."""
    while not stop.is_set():
        try:
            target.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False
