"""Stopping waits where a file would break, and is never mistaken for an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stylize_video.console import EXIT_INTERRUPTED, errors_as_sentences
from stylize_video.errors import JobInterrupted, SinkError, StylizeError
from stylize_video.interrupts import (
    Terminated,
    interrupt_on_termination,
    let_through,
    noted_interrupts,
    uninterrupted,
)

TERMINATING = [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *TERMINATING)}
    for number in TERMINATING:  # also where this runs under nohup
        signal.signal(number, signal.SIG_DFL)
    yield
    after = signal.getsignal(signal.SIGINT)
    for number in TERMINATING:
        signal.signal(number, before[number])
    assert after == before[signal.SIGINT]


def stopped(number: signal.Signals, done: list[int], error: Exception | None = None) -> None:
    """A block that is asked to stop twice, does its work all the same, and may fail."""
    with uninterrupted():
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.append(number)
        if error:
            raise error


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        stopped(signal.SIGINT, done)
    assert done == [signal.SIGINT]


@pytest.mark.parametrize("number", TERMINATING)
def test_sigterm_and_sighup_wait_too(number: signal.Signals) -> None:
    interrupt_on_termination()
    done: list[int] = []
    with pytest.raises(Terminated):
        stopped(number, done)
    assert done == [number]


def test_a_signal_that_is_ignored_stays_so() -> None:
    number = TERMINATING[-1]
    signal.signal(number, signal.SIG_IGN)
    interrupt_on_termination()
    signal.raise_signal(number)
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012
        signal.raise_signal(number)
        stopped(signal.SIGINT, done)
    assert done == [signal.SIGINT]


HANGING = """
    with interrupts.uninterrupted():
        stop()
        with interrupts.uninterrupted():
            pass
        stop()
        print("hangs on")
"""
SLOW_INSIDE = """
    with interrupts.uninterrupted():
        with interrupts.uninterrupted():
            stop()
            time.sleep(0.001)
        print("goes on")
"""
STOPPING = """
    with interrupts.uninterrupted():
        try:
            stop()
            interrupts.let_through()
        finally:
            with interrupts.uninterrupted():
                stop()
"""
GOING_ON = """
    signal.signal(signal.SIGINT, lambda *_: None)
    with interrupts.uninterrupted():
        for _ in range(3):
            stop()
            interrupts.let_through()
"""
TWO_JOBS = """
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt), interrupts.uninterrupted():
            stop()
"""


@pytest.mark.parametrize("of_command", [True, False], ids=["command", "notebook"])
@pytest.mark.parametrize(
    ("block", "patience", "stops"),
    [
        (HANGING, 0, True),
        (HANGING, 60, False),
        (SLOW_INSIDE, 0, False),
        (STOPPING, 0, True),
        (GOING_ON, 0, False),
        (TWO_JOBS, 0, False),
    ],
)
def test_one_more_ctrl_c_much_later_stops_what_hangs(
    block: str, patience: int, stops: bool, of_command: bool
) -> None:
    """It ends a command's process; a program of somebody else gets a KeyboardInterrupt."""
    program = (
        "import contextlib, signal, time\n"
        "from stylize_video import interrupts\n"
        f"interrupts._PATIENCE_SECONDS = {patience}\n"
        "def stop():\n"
        "    time.sleep(0.001)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        f"{'interrupts.interrupt_on_termination()' * of_command}\n"
        f"with contextlib.suppress(KeyboardInterrupt):{block}"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    sentence = "error: interrupted once more: ended at once, nothing was completed\n"
    ended = (-signal.SIGINT, sentence) if stops and of_command else (0, "")
    assert (result.returncode, result.stderr) == ended
    assert ("hangs on" in result.stdout) == (block == HANGING and not stops)


def test_a_sudden_end_leaves_a_usable_terminal_and_no_half_file(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="pseudo terminals are a POSIX thing")
    termios = pytest.importorskip("termios", reason="likewise")
    program = (
        "import signal, sys\n"
        "from stylize_video import VideoInfo, VideoSink, interrupts\n"
        "from stylize_video.console import ProgressLine\n"
        "from stylize_video.pause import PauseKey\n"
        "interrupts._PATIENCE_SECONDS = 0\n"
        "interrupts.interrupt_on_termination()\n"
        "line = ProgressLine('hanging')\n"
        "with interrupts.uninterrupted(), line, PauseKey(print), VideoSink('o.mp4', VideoInfo.of(64, 48)):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('hangs on')\n"
    )
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    begin = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); exec(sys.argv[1])"
    process = subprocess.Popen(
        [sys.executable, "-c", begin, program],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm"},
    )
    assert process.wait(60) == -signal.SIGINT
    shown = os.read(ours, 65536).decode()
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert shown.endswith("nothing was completed\r\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATING])
def test_a_signal_stops_the_caller_of_a_block_that_fails(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loop that goes on after errors would take the next file."""
    interrupt_on_termination()
    done: list[int] = []

    def batch() -> None:
        with errors_as_sentences(debug=False):
            for _ in range(2):
                with suppress(StylizeError), uninterrupted():
                    stopped(number, done, SinkError("the disk is full"))

    with pytest.raises(SystemExit) as ended:
        batch()
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == "error: interrupted: the disk is full\n"
    assert done == [number]


def test_an_error_that_an_interruption_led_to_comes_first() -> None:
    """Ctrl-C was obeyed already; the second one asks for the same."""

    def failing() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            try:
                let_through()
            except KeyboardInterrupt:
                stopped(signal.SIGINT, [], SinkError("the disk is full"))

    with pytest.raises(SinkError, match="the disk is full"):
        failing()


def test_an_interruption_of_before_takes_no_signal_away() -> None:
    """A program may stylize the next file where it handles the interruption of the one before."""
    with suppress(KeyboardInterrupt):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt), uninterrupted():
                stopped(signal.SIGINT, [], SinkError("the disk is full"))


def test_nothing_happens_without_a_signal_or_in_another_thread() -> None:
    done = []

    def block() -> None:
        with uninterrupted(), noted_interrupts() as interrupted:
            done.append(interrupted.is_set())

    block()
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert done == [False, False]


def test_an_import_that_ctrl_c_broke_is_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    def broken_import() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as interruption:  # as the start of an extension module does
            raise ImportError("initialization failed") from interruption

    with pytest.raises(SystemExit) as end, errors_as_sentences(debug=False):
        broken_import()
    assert end.value.code == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


class Interrupting:
    """Ctrl-C while it is collected: the interpreter swallows what is raised there."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)


def swallowed(number: signal.Signals) -> None:
    """Sleeps on after a callback swallowed the interruption."""
    with noted_interrupts():
        interrupt_on_termination()
        Interrupting(number)
        for _ in range(500):
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGINT, KeyboardInterrupt), *((number, Terminated) for number in TERMINATING)],
)
def test_ctrl_c_that_a_callback_swallows_comes_again(
    number: signal.Signals, kind: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kind) as raised:
        swallowed(number)
    assert type(raised.value) is kind
    assert not capsys.readouterr().err


def test_other_swallowed_errors_are_still_told() -> None:
    class Failing:
        def __del__(self) -> None:
            raise ValueError("as ever")

    told: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, told.append
    try:
        with noted_interrupts():
            Failing()
        assert sys.unraisablehook == told.append
    finally:
        sys.unraisablehook = before
    assert len(told) == 1


def test_one_more_ctrl_c_does_not_hide_what_was_kept(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted_twice() -> None:
        with errors_as_sentences(debug=False):
            try:
                raise JobInterrupted("interrupted: what was done is in out.part.mp4")
            except JobInterrupted:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(SystemExit) as ended:
        interrupted_twice()
    assert ended.value.code == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted: what was done is in out.part.mp4\n"


def test_any_other_import_error_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), errors_as_sentences(debug=False):
        raise ImportError("a broken installation")
    assert "a broken installation" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATING])
def test_one_more_signal_while_python_exits_is_no_traceback(number: signal.Signals) -> None:
    program = (
        "import atexit, signal\n"
        "from stylize_video import usage\n"
        "from stylize_video.console import fail, run_command\n"
        "from stylize_video.interrupts import interrupt_on_termination\n"
        f"atexit.register(lambda: signal.raise_signal({int(number)}))\n"
        "interrupt_on_termination()\n"
        "usage.run = lambda command: fail('interrupted', 130)\n"
        "run_command(print)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (-number, "error: interrupted\n")


def test_ctrl_c_before_a_command_begins_is_a_sentence() -> None:
    program = (
        "import signal\n"
        "from stylize_video import usage\n"
        "from stylize_video.console import run_command\n"
        "usage.run = lambda command: signal.raise_signal(signal.SIGINT)\n"
        "run_command(print)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (EXIT_INTERRUPTED, "error: interrupted\n")
