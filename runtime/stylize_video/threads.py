"""Stages that run beside the caller: one reads ahead, one writes behind, one works on several at once.

Queues are bounded, so memory does not grow; an exception in a thread is raised in
the caller; and leaving the ``with`` block always ends the thread.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from stylize_video.interrupts import uninterrupted

T = TypeVar("T")
R = TypeVar("R")

_POLL_SECONDS = 0.1
_END = object()


class ReadAhead(Generic[T]):
    """Iterates over ``items`` in a thread, at most ``depth`` ahead of the caller."""

    def __init__(self, items: Iterable[T], *, depth: int = 4) -> None:
        self._items = items
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
    that nobody completes a file which the thread still writes.
    """

    def __init__(self, write: Callable[[T], None], *, depth: int = 4) -> None:
        self._write = write
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
        with uninterrupted():
            _put(self._queue, _END, self._failed)
            self._thread.join()
        if self._error and error is None:
            raise self._error

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

    Close the generator to stop early; it waits for what is in the works.
    """
    if at_once == 1:
        for item in items:
            yield item, function(item)
        return
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="at-once") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > at_once:  # one more than in the works, so that no thread is idle
                    item, result = waiting.popleft()
                    yield item, result.result()
            while waiting:
                item, result = waiting.popleft()
                yield item, result.result()
        finally:
            for _, result in waiting:
                result.cancel()


def _put(target: queue.Queue[object], item: object, stop: threading.Event) -> bool:
    """Put ``item``, waiting for room; False once ``stop`` is set, so that nobody waits forever."""
    while not stop.is_set():
        try:
            target.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False
