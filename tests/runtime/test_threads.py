"""Stages keep order, bound memory, pass errors on, and always end."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from stylize_video import threads
from stylize_video.machine import cores
from stylize_video.threads import ReadAhead, WriteBehind, in_order, opencv_threads_for


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before
    assert not threads._ends


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


def test_no_thread_is_idle_while_the_caller_works_on_a_result() -> None:
    begun: queue.SimpleQueue[int] = queue.SimpleQueue()
    pairs = in_order(begun.put, range(9), at_once=2)
    next(pairs)
    # The one that the caller has, two beside it, and one for the thread that is done first.
    assert sorted(begun.get(timeout=10) for _ in range(4)) == [0, 1, 2, 3]
    pairs.close()


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


def test_what_a_program_sets_meanwhile_stays() -> None:
    usual = cv2.getNumThreads()
    other = 3 if usual != 3 else 4
    try:
        with opencv_threads_for(cores()):
            cv2.setNumThreads(other)
            with opencv_threads_for(cores()):
                assert cv2.getNumThreads() == other
        assert cv2.getNumThreads() == other
    finally:
        cv2.setNumThreads(usual)


def _python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_can_do_a_job(clip: Path, tmp_path: Path) -> None:
    """OpenCV's threads, which the parent used, stay there; whoever waits for them waits for ever."""
    program = (
        "import multiprocessing, sys, numpy as np\n"
        "from stylize_video import open_session, stylize_file\n"
        "def job(target):\n"
        "    session = open_session('photo', device='cpu', at_once=2)\n"
        "    return stylize_file(sys.argv[1], target, session, max_frames=3).frames\n"
        "open_session('photo', device='cpu').stylize(np.zeros((360, 640, 3), np.uint8))\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    print(pool.map_async(job, [sys.argv[2]]).get(30))\n"
    )
    done = _python(program, clip, tmp_path / "o.mp4")
    assert (done.returncode, done.stdout) == (0, "[3]\n"), done.stderr


def test_a_program_may_end_while_frames_are_in_the_works(clip: Path) -> None:
    program = (
        "import sys\n"
        "from stylize_video import VideoSource, open_session, stylize_frames\n"
        "video = VideoSource(sys.argv[1])\n"
        "frames = stylize_frames(video, open_session('photo', device='cpu', at_once=2))\n"
        "print(next(frames).pts)\n"
        "sys.exit(3)\n"
    )
    done = _python(program, clip)
    assert (done.returncode, done.stdout, done.stderr) == (3, "0\n", "")


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_job_of_a_daemon_thread_leaves_its_part_file(at_once: int, clip: Path, tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "from stylize_video import Hooks, open_session, stylize_file, threads\n"
        "session = open_session('photo', device='cpu', at_once=int(sys.argv[3]))\n"
        "began = threading.Event()\n"
        "def on_frame():\n"
        "    began.set()\n"
        "    threads._is_ending.wait()\n"
        "def job():\n"
        "    stylize_file(sys.argv[1], sys.argv[2], session, hooks=Hooks(on_frame=on_frame))\n"
        "threading.Thread(target=job, daemon=True).start()\n"
        "began.wait()\n"
    )
    done = _python(program, clip, tmp_path / "o.mkv", at_once)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"the program ends: what was done is in {tmp_path / 'o.part.mkv'}\n"
    assert (tmp_path / "o.part.mkv").exists()


@pytest.mark.parametrize("held", ["held", ""])
def test_ctrl_c_at_any_moment_leaves_nobody_waiting(held: str) -> None:
    program = Path(__file__).with_name("interruption_sweep.py")
    command = [sys.executable, str(program), held]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # our helpers among them
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr
