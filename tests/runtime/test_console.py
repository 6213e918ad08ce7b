"""Errors are one sentence and an exit code; progress is a bar or plain lines."""

from __future__ import annotations

import io
import sys

import pytest

from stylize_video.console import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    ProgressLine,
    errors_as_sentences,
    run_command,
)
from stylize_video.errors import StylizeError


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


def test_debug_lets_errors_through() -> None:
    with pytest.raises(StylizeError), errors_as_sentences(debug=True):
        raise StylizeError("with its traceback")


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
