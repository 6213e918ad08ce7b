"""Stages that run beside the caller: one reads ahead, one writes behind, one works on several at once.

Queues are bounded, so memory does not grow; an exception in a thread is raised in
the caller; and leaving the ``with`` block always ends the thread, also where Ctrl-C comes at a bad moment:
threads meet in :class:`queue.SimpleQueue` alone, which no signal leaves half done, and are started and
awaited while signals wait. OpenCV has threads of its own, which get no more cores than one frame
of several has.

Where the program ends while a block is still open (a generator that was not read to its end, a job in a
daemon thread), its threads end before: the interpreter would cut them off inside of a library, which
ends the process as a crash does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

import cv2

from stylize_video.interrupts import let_through, uninterrupted
from stylize_video.machine import cores

T = TypeVar("T")
R = TypeVar("R")

_POLL_SECONDS = 0.1
_EXIT_SECONDS = 10.0
"""What jobs of daemon threads get to complete their part files at the program's end, and then each thread."""
_END = object()

_is_ending = threading.Event()
_ends: dict[object, Callable[[], None]] = {}
"""How the threads of each open block are ended at the program's exit."""
_jobs: dict[object, threading.Thread] = {}
"""The threads of the jobs that are running."""


class ProgramEnds(KeyboardInterrupt):
    """Stops the job of a daemon thread where the program ends."""


@contextmanager
def awaited_at_exit() -> Iterator[None]:
    """A job that is stopped by :class:`ProgramEnds`, and completed, where the program ends before."""
    job = object()
    _jobs[job] = threading.current_thread()
    try:
        yield
    finally:
        _jobs.pop(job, None)


@atexit.register
def _end_all() -> None:
    _is_ending.set()
    patience = time.monotonic() + _EXIT_SECONDS
    stopped = set(_jobs.values())
    while _jobs and time.monotonic() < patience:
        time.sleep(_POLL_SECONDS / 10)
    for thread in stopped:
        thread.join(1)  # it may tell of its end, which that of the program must not cut off either
    for end in list(_ends.values()):
        end()


class ReadAhead(Generic[T]):
    """Iterates over ``items`` in a thread, at most ``depth`` ahead of the caller.

    Leaving the block calls ``stop_waiting``, where ``items`` may wait for what does not come.
    """

    def __init__(
        self, items: Iterable[T], *, depth: int = 4, stop_waiting: Callable[[], None] = lambda: None
    ) -> None:
        self._items, self._stop_waiting = items, stop_waiting
        self._queue = _BoundedQueue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)

    def __enter__(self) -> ReadAhead[T]:
        _ends[self] = self._end
        _start([self._thread])
        return self

    def __iter__(self) -> Iterator[T]:
        while (item := self._queue.get()) is not _END:
            if _is_ending.is_set() and threading.current_thread() is not threading.main_thread():
                raise ProgramEnds
            yield item  # type: ignore[misc]  # the queue holds nothing but items and the end
        if self._error:
            raise self._error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.close()
        with uninterrupted():
            self._stop_waiting()
            self._thread.join()
            _ends.pop(self, None)

    def _end(self) -> None:
        self._queue.close()
        self._stop_waiting()
        self._thread.join(_EXIT_SECONDS)

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._queue.put(item):
                    return
        except BaseException as error:  # raised again in the caller
            self._error = error
        self._queue.put_last(_END)


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
        self._queue = _BoundedQueue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write-behind", daemon=True)

    def __enter__(self) -> WriteBehind[T]:
        _ends[self] = self._end
        _start([self._thread])
        return self

    def put(self, item: T) -> None:
        """Queue one item; raises what an earlier one raised."""
        if not self._queue.put(item) and self._error:
            raise self._error

    def offer(self, item: T) -> bool:
        """Queue one item if there is room, without waiting; raises what an earlier one raised."""
        if self._error:
            raise self._error
        return self._queue.offer(item)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put_last(_END)
        with uninterrupted() as signals:
            while self._thread.is_alive():
                if signals or error is not None:
                    self._stop_waiting()
                self._thread.join(_POLL_SECONDS)
            _ends.pop(self, None)
        if self._error and error is None:
            raise self._error

    def _end(self) -> None:
        self._queue.put_last(_END)
        self._stop_waiting()
        self._thread.join(_EXIT_SECONDS)

    def _work(self) -> None:
        try:
            while (item := self._queue.get()) is not _END:
                self._write(item)  # type: ignore[arg-type]  # as above
        except BaseException as error:  # raised again in the caller
            self._error = error
            self._queue.close()


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
    waiting: deque[tuple[T, _Task[T, R]]] = deque()
    failed: Exception | None = None
    source = iter(items)
    tasks: queue.SimpleQueue[_Task[T, R] | None] = queue.SimpleQueue()
    with _workers(tasks, at_once):
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # raised again, in its turn
                failed = error
                break
            task = _Task(function, item)
            waiting.append((item, task))
            tasks.put(task)
            if len(waiting) > at_once + 1:  # one waits, so that no thread is idle while the caller is busy
                item, task = waiting.popleft()
                yield item, task.result()
        while waiting:
            item, task = waiting.popleft()
            yield item, task.result()
        if failed:
            raise failed


class _Task(Generic[T, R]):
    """A call for another thread."""

    def __init__(self, function: Callable[[T], R], item: T) -> None:
        self._function, self._item = function, item
        self._outcome: queue.SimpleQueue[tuple[BaseException | None, R | None]] = queue.SimpleQueue()

    def run(self) -> None:
        try:
            self._outcome.put((None, self._function(self._item)))
        except BaseException as error:  # raised again by result()
            self._outcome.put((error, None))

    def result(self) -> R:
        """What the function returned or raised, once it has; ask once."""
        error, value = _next_of(self._outcome)
        if error:
            raise error
        return value  # type: ignore[return-value]  # there is one where there is no error


@contextmanager
def _workers(tasks: queue.SimpleQueue[_Task[T, R] | None], count: int) -> Iterator[None]:
    """So many threads run ``tasks``. At the end of the block what none has begun is dropped."""

    def work() -> None:
        while (task := tasks.get()) is not None:
            task.run()

    threads = [threading.Thread(target=work, name=f"at-once_{n}", daemon=True) for n in range(count)]

    def end(patience: float | None = None) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                tasks.get_nowait()
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join(patience)

    try:
        _ends[end] = partial(end, _EXIT_SECONDS)
        _start(threads)
        yield
    finally:
        with uninterrupted():
            end()
            _ends.pop(end, None)


class _BoundedQueue:
    """A queue whose giver waits while ``depth`` items are in it; one thread gives, one takes."""

    def __init__(self, depth: int) -> None:
        self._items: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(depth):
            self._room.put(None)
        self._is_closed = False

    def put(self, item: object) -> bool:
        """Wait for room and give ``item``; False once the queue is closed."""
        _next_of(self._room)
        if self._is_closed:
            self._room.put(None)  # for the next one that asks
            return False
        self._items.put(item)
        return True

    def offer(self, item: object) -> bool:
        """Give ``item`` if there is room; False where there is none."""
        try:
            self._room.get_nowait()
        except queue.Empty:
            return False
        self._items.put(item)
        return True

    def put_last(self, item: object) -> None:
        """Give ``item`` without waiting for room."""
        self._items.put(item)

    def get(self) -> object:
        """Wait for the next item."""
        item = _next_of(self._items)
        self._room.put(None)
        return item

    def close(self) -> None:
        """Take no more; whoever waits for room waits no longer."""
        self._is_closed = True
        self._room.put(None)


def _start(threads: Iterable[threading.Thread]) -> None:
    with uninterrupted():
        for thread in threads:
            thread.start()


def _next_of(items: queue.SimpleQueue[T]) -> T:
    """Wait for the next item; in the main thread signals that wait are let through meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        return items.get()
    while True:
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=_POLL_SECONDS)
        let_through()


class _OpenCVThreads:
    """Shares of the cores for OpenCV's threads; the setting is the process's, the smallest share counts.

    What the program itself sets meanwhile stays.
    """

    def __init__(self) -> None:
        # RLock: the garbage collector may end a job's generator in the very thread that is in here.
        self._lock = threading.RLock()
        self._shares: list[int] = []
        self._usual = self._given = 0
        self._is_forked = False

    @contextmanager
    def shared(self, at_once: int) -> Iterator[None]:
        share = max(1, cores() // at_once)
        counted = False
        try:
            with self._lock:
                if not self._shares:
                    self._usual = self._given = cv2.getNumThreads()
                self._shares.append(share)
                counted = True
                self._apply()
            yield
        finally:
            if counted:
                with self._lock:
                    if share in self._shares:  # not where a fork came between
                        self._shares.remove(share)
                        self._apply()

    def _apply(self) -> None:
        if not self._is_forked and cv2.getNumThreads() == self._given:
            cv2.setNumThreads(min([self._usual, *self._shares]))
            self._given = cv2.getNumThreads()

    def after_fork(self) -> None:
        """In the child: setting a number would wait for threads that only the parent has."""
        self._lock = threading.RLock()
        self._shares.clear()
        self._is_forked = True


_opencv_threads = _OpenCVThreads()


def _after_fork() -> None:
    """Threads, and so the blocks that have any, stay in the parent."""
    _ends.clear()
    _jobs.clear()
    _opencv_threads.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def opencv_threads_for(at_once: int) -> AbstractContextManager[None]:
    """Give OpenCV the cores of one frame where ``at_once`` are in the works.

    Its threads wait for work by spinning, in time that the frames beside need: with two cores and
    two frames at once a job takes a fifth more processor time if OpenCV has two threads. It never gets
    more than it had.
    """
    return _opencv_threads.shared(at_once)
