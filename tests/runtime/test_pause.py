"""Space pauses and goes on, in a real terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stylize_video.interrupts import _last_acts
from stylize_video.pause import PauseKey
from stylize_video.video.source import VideoSource
from support import MakeClip, command_line

pty = pytest.importorskip("pty", reason="pseudo terminals are a POSIX thing")
termios = pytest.importorskip("termios", reason="likewise")

SECONDS = 60


class Terminal:
    """The user's side of a pseudo terminal in which a command runs."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_TERMINAL, *command], stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        self.screen = ""
        os.set_blocking(self._ours, False)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def look(self) -> str:
        try:
            while part := os.read(self._ours, 65536):
                self.screen += part.decode(errors="replace")
        except OSError:  # nothing just now, or closed
            pass
        return self.screen

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.look():
            assert time.monotonic() < deadline, f"no {text!r} in {self.screen!r}"
            assert self.process.poll() is None, f"no {text!r} in {self.screen!r}"
            time.sleep(0.02)

    def wait(self) -> int:
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            self.look()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.look()
        return int(self.process.returncode)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


# A session's leader gets a controlling terminal by an ioctl, and Ctrl-C reaches what has one.
_IN_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.tcsetpgrp(0, os.getpgrp())
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def stylizing_in_a_terminal(source: Path) -> Iterator[Terminal]:
    terminal = Terminal([*command_line("stylize_video.cli:main"), str(source), "--device", "cpu"])
    try:
        yield terminal
    finally:
        terminal.close()


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def settled(path: Path) -> int:
    """The size of a file that grows no more."""
    sizes = [size(path)]
    deadline = time.monotonic() + SECONDS
    while len(sizes) < 5 or len(set(sizes[-5:])) > 1:
        assert time.monotonic() < deadline, f"{path} grows on"
        time.sleep(0.1)
        sizes.append(size(path))
    return sizes[-1]


def test_space_pauses_and_goes_on(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "long.mp4", frames=300, width=320, height=240)
    journal = tmp_path / ".long.photo.mp4.resume"
    with stylizing_in_a_terminal(source) as terminal:
        while size(journal) < 5000:
            time.sleep(0.02)
            terminal.look()
            assert terminal.process.poll() is None, terminal.screen
        terminal.press(b"x ")  # other keys do nothing
        terminal.wait_for("paused: space goes on")
        paused = settled(journal)  # what is decoded already is still encoded
        assert paused >= 5000
        time.sleep(0.5)
        assert size(journal) == paused
        terminal.press(b" ")
        terminal.wait_for("going on")
        assert terminal.wait() == 0, terminal.screen
        assert termios.tcgetattr(terminal.theirs) == terminal.before
    with VideoSource(tmp_path / "long.photo.mp4") as video:
        assert sum(1 for _ in video) == 300


def test_ctrl_c_in_a_pause(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "long.mp4", frames=300, width=320, height=240)
    with stylizing_in_a_terminal(source) as terminal:
        terminal.wait_for("long.photo.mp4")
        while size(tmp_path / ".long.photo.mp4.resume") < 5000:
            time.sleep(0.02)
        terminal.press(b" ")
        terminal.wait_for("paused")
        terminal.press(b"\x03")
        assert terminal.wait() == 128 + signal.SIGINT
        assert "interrupted: what was done is in" in terminal.screen.replace("\r\n", " ")
        assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_space_pauses_after_a_shell_had_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z and fg: shells give jobs the terminal as it is before a command, which hands over lines."""
    master, terminal = os.openpty()
    told: list[str] = []
    with os.fdopen(terminal) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        in_front = [os.getpgrp()]
        monkeypatch.setattr("os.tcgetpgrp", lambda _: in_front[0])
        lines = termios.tcgetattr(terminal)
        with PauseKey(told.append) as pause:
            termios.tcsetattr(terminal, termios.TCSANOW, lines)
            in_front[0] += 1
            os.write(master, b"  ")
            assert pause.wait() == 0  # a job in the background that reads is stopped
            assert termios.tcgetattr(terminal) == lines
            in_front[0] -= 1
            assert pause.wait() > 0
        assert told == ["paused: space goes on, Ctrl-C stops", "going on"]
        assert termios.tcgetattr(terminal) == lines
    os.close(master)


def test_a_terminal_that_is_gone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    master, terminal = os.openpty()
    with os.fdopen(terminal) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr("os.tcgetpgrp", lambda _: os.getpgrp())
        with PauseKey(lambda _: None) as pause:
            os.close(master)
            assert pause.wait() == 0
        with PauseKey(lambda _: None) as pause:
            assert pause.wait() == 0


def test_the_terminal_of_another_job_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that went on in the background (Ctrl-Z, bg) is stopped where it changes the terminal."""
    master, terminal = os.openpty()
    with os.fdopen(terminal) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        in_front = [os.getpgrp()]
        monkeypatch.setattr("os.tcgetpgrp", lambda _: in_front[0])
        before = termios.tcgetattr(terminal)
        with PauseKey(lambda _: None):
            changed = termios.tcgetattr(terminal)
            assert changed != before
            in_front[0] += 1
            for act in list(_last_acts.values()):
                act()
        assert termios.tcgetattr(terminal) == changed
    os.close(master)


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_jobs_that_share_a_terminal_leave_it_as_it_was(
    first_ends_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that a script starts at once; each may find what another has set."""
    master, terminal = os.openpty()
    with os.fdopen(terminal) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr("os.tcgetpgrp", lambda _: os.getpgrp())
        before = termios.tcgetattr(terminal)
        jobs = [PauseKey(lambda _: None).__enter__() for _ in range(2)]
        ends, stays = jobs if first_ends_first else reversed(jobs)
        ends.__exit__(None, None, None)
        os.write(master, b"  ")
        assert stays.wait() > 0, "keys arrive without a line's end"
        stays.__exit__(None, None, None)
        assert termios.tcgetattr(terminal) == before
    os.close(master)


def test_without_a_terminal_nothing_waits() -> None:
    told: list[str] = []
    with PauseKey(told.append) as pause:
        assert pause.wait() == 0
    assert pause.wait() == 0
    assert not told
