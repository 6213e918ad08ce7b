"""Stages keep order, bound memory, pass errors on, and always end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from stylize_video.machine import cores
from stylize_video.threads import ReadAhead, WriteBehind, in_order, opencv_threads_for


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def test_items_arrive_in_order() -> None:
    with ReadAhead(range(100), depth=3) as items:
        assert list(items) == list(range(100))


def test_reading_ahead_is_bounded() -> None:
    produced = []

    def numbers() -> Iterator[int]:
        for n in range(1000):
            produced.append(n)
            yield n

    with ReadAhead(numbers(), depth=3) as items:
        iterator = iter(items)
        next(iterator)
        time.sleep(0.2)
        assert len(produced) <= 6  # taken, queued, and one in hand
    assert len(produced) < 1000


def test_errors_of_the_source_come_after_its_items() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken source")

    with ReadAhead(broken()) as items:
        iterator = iter(items)
        assert next(iterator) == 1
        with pytest.raises(ValueError, match="broken source"):
            next(iterator)


def test_writing_keeps_order_and_finishes_at_the_end_of_the_block() -> None:
    written: list[int] = []

    def slow(n: int) -> None:
        time.sleep(0.001)
        written.append(n)

    with WriteBehind(slow, depth=2) as sink:
        for n in range(50):
            sink.put(n)
    assert written == list(range(50))


def test_errors_of_the_writer_reach_the_caller() -> None:
    def full(_: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), WriteBehind(full, depth=1) as sink:  # noqa: PT012
        for n in range(100):
            sink.put(n)
            time.sleep(0.001)
    with pytest.raises(OSError, match="disk full"), WriteBehind(full) as sink:
        sink.put(1)  # the error comes when the block ends


def test_what_is_offered_does_not_wait() -> None:
    written: list[int] = []
    may_write = threading.Event()

    def slow(n: int) -> None:
        may_write.wait(20)
        if n == 99:
            raise OSError("disk full")
        written.append(n)

    with pytest.raises(OSError, match="disk full"), WriteBehind(slow, depth=2) as sink:  # noqa: PT012
        taken = [n for n in range(10) if sink.offer(n)]
        assert 2 <= len(taken) <= 3  # one is in the works
        may_write.set()
        while not sink.offer(99):
            time.sleep(0.001)
        while True:  # until it is told
            sink.offer(100)
            time.sleep(0.001)
    assert written == taken


def test_an_interruption_still_writes_what_was_queued() -> None:
    written: list[int] = []

    def slow(n: int) -> None:
        time.sleep(0.01)
        written.append(n)

    def interrupted() -> None:
        with WriteBehind(slow, depth=4) as sink:
            for n in range(4):
                sink.put(n)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written == [0, 1, 2, 3]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_several_at_once_come_in_order(at_once: int) -> None:
    def slow_at_first(n: int) -> int:
        time.sleep(0.02 if n % 4 == 0 else 0)
        return n * n

    assert list(in_order(slow_at_first, range(30), at_once=at_once)) == [(n, n * n) for n in range(30)]


def test_several_really_are_in_the_works_and_never_more() -> None:
    together = threading.Barrier(3)
    started: list[int] = []

    def meet(n: int) -> None:
        started.append(n)
        together.wait(timeout=10)  # breaks unless three threads are here at a time

    pairs = in_order(meet, range(9), at_once=3)
    next(pairs)
    time.sleep(0.1)
    assert len(started) <= 6
    assert sum(1 for _ in pairs) == 8


def test_errors_come_in_their_turn() -> None:
    def third_fails(n: int) -> int:
        if n == 3:
            raise ValueError("third")
        return n

    pairs = in_order(third_fails, range(10), at_once=2)
    assert [next(pairs)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(pairs)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_a_source_that_fails_loses_nothing_read_before(at_once: int) -> None:
    def ten_and_no_more() -> Iterator[int]:
        yield from range(10)
        raise ValueError("torn")

    got: list[int] = []
    pairs = in_order(lambda n: n, ten_and_no_more(), at_once=at_once)
    with pytest.raises(ValueError, match="torn"):
        got.extend(n for n, _ in pairs)
    assert got == list(range(10))


def test_closing_stops_early() -> None:
    done: list[int] = []

    def work(n: int) -> None:
        time.sleep(0.01)
        done.append(n)

    pairs = in_order(work, range(1000), at_once=2)
    next(pairs)
    pairs.close()
    assert len(done) <= 5


def test_opencv_gets_the_cores_of_one_frame_until_the_last_job_ends() -> None:
    usual = cv2.getNumThreads()
    first, second = opencv_threads_for(cores()), opencv_threads_for(cores())
    with first:
        assert cv2.getNumThreads() == 1
        second.__enter__()
    assert cv2.getNumThreads() == 1
    second.__exit__(None, None, None)
    assert cv2.getNumThreads() == usual
    with opencv_threads_for(cores()):
        with opencv_threads_for(1):
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == usual


def test_opencv_never_gets_more_threads_than_it_had() -> None:
    usual = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with opencv_threads_for(1):
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(usual)


@pytest.mark.parametrize("held", ["held", ""])
def test_ctrl_c_at_any_moment_leaves_nobody_waiting(held: str) -> None:
    program = Path(__file__).with_name("interruption_sweep.py")
    command = [sys.executable, str(program), held]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # our helpers among them
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr
