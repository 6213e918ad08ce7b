"""Errors are one sentence and an exit code; progress is a bar or plain lines."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import BinaryIO

import pytest

from stylize_video import console
from stylize_video.console import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    ProgressLine,
    errors_as_sentences,
    run_command,
)
from stylize_video.errors import StylizeError
from support import ROOT, command_line


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (StylizeError("the style is missing"), EXIT_ERROR, "error: the style is missing\n"),
        (
            MemoryError(),
            EXIT_ERROR,
            "error: there is not enough memory; close other programs, or let the network work at a smaller"
            " size\n",
        ),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "error: interrupted\n"),
        (
            OSError(28, "No space left on device", "a.mp4"),
            EXIT_ERROR,
            "error: No space left on device: a.mp4\n",
        ),
    ],
)
def test_errors(error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_, errors_as_sentences(debug=False):
        raise error
    assert exit_.value.code == code
    assert capsys.readouterr().err == sentence


def test_a_package_that_cannot_be_loaded_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "libGL.so.1: cannot open shared object file: No such file or directory"
    with pytest.raises(SystemExit) as exit_, errors_as_sentences(debug=False):
        raise ImportError(f"{reason}\nmore lines")
    assert exit_.value.code == EXIT_ERROR
    told = capsys.readouterr().err
    assert told == f"error: a package cannot be loaded ({reason}); stylize-doctor says what to install\n"
    with pytest.raises(ImportError), errors_as_sentences(debug=True):
        raise ImportError(reason)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("name", "option", "unbuffered"),
    [
        ("stylize-video", "--list-styles", ""),
        ("stylize-video", "--list-styles", "1"),
        ("stylize-bench", "--help", ""),
    ],
)
def test_a_full_disk_behind_standard_output_is_a_sentence(
    name: str, option: str, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("wb") as full:
        result = run_script(name, option, stdout=full)
    assert result.returncode == EXIT_ERROR
    assert result.stderr == b"error: cannot write to standard output: No space left on device\n"


def test_a_reader_that_leaves_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        result = run_script("stylize-video", "--list-styles", stdout=pipe)
    assert result.returncode in (1, EXIT_ERROR)
    assert result.stderr == b""


def run_script(name: str, *arguments: str, stdout: BinaryIO) -> subprocess.CompletedProcess[bytes]:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    command = [*command_line(scripts[name]), *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)


def test_debug_lets_errors_through() -> None:
    with pytest.raises(StylizeError), errors_as_sentences(debug=True):
        raise StylizeError("with its traceback")


def test_an_error_with_debug_is_none_of_printing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without a file's name was told as that of standard output, without its traceback."""

    def listen(debug: bool = False) -> None:
        with errors_as_sentences(debug=debug):
            raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(sys, "argv", ["listen", "--debug"])
    with pytest.raises(OSError, match="Address already in use"):
        run_command(listen)


def test_programming_errors_are_never_hidden() -> None:
    with pytest.raises(ZeroDivisionError), errors_as_sentences(debug=False):
        _ = 1 / 0


def test_plain_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("stylize_video.console.time.perf_counter", lambda: float(next(clock)))
    with ProgressLine("clip.mp4") as progress:
        progress.start(4)
        for _ in range(4):
            progress.advance("detail")
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[0].startswith("clip.mp4: ")
    assert "/4, " in lines[0]
    assert "fps, 0:" in lines[0]
    assert lines[0].endswith("left, detail")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_work_goes_on_where_nobody_reads_its_progress(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a terminal that was closed, or ``2>&1 | head -1``."""

    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

        def write(self, text: str) -> int:
            raise OSError(errno.EIO if is_terminal else errno.EPIPE, "nobody is there")

    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setattr(console, "_PLAIN_SECONDS", 0.0)
    with ProgressLine("clip.mp4") as line:
        line.start(2)
        line.advance()
        line.tell("half of it is done")
        line.advance()
    assert line.done == 2


def test_work_goes_on_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``2>&-``, or a program without a console."""
    monkeypatch.setattr(sys, "stderr", None)
    with ProgressLine("clip.mp4") as line:
        line.start(1)
        line.advance()
    assert line.done == 1


def test_quiet_progress_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr("stylize_video.console.time.perf_counter", lambda: float(next(clock)))
    with ProgressLine("clip.mp4", quiet=True) as progress:
        progress.start(None)
        progress.advance()
    assert capsys.readouterr() == ("", "")


def shortest_path() -> None:
    print("naïve → ∞")


@pytest.mark.parametrize(
    ("encoding", "written"), [("cp437", b"na\x8bve \\u2192 \xec"), ("utf-8", "naïve → ∞".encode())]
)
def test_every_character_can_be_printed(
    encoding: str, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["shortest-path"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, newline="\n"))
    with pytest.raises(SystemExit) as exit_:
        run_command(shortest_path)
    sys.stdout.flush()
    assert not exit_.value.code
    assert out.getvalue() == written + b"\n"


@pytest.mark.parametrize("stdout", [None, io.StringIO()])
def test_standard_output_may_be_something_else(
    stdout: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None under ``pythonw``, and under a shell's ``>&-``."""
    monkeypatch.setattr(sys, "argv", ["shortest-path"])
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as exit_:
        run_command(shortest_path)
    assert not exit_.value.code
