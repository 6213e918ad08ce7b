"""Commands silence libraries that print past Python; a library leaves stderr to its program."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stylize_video import quiet
from stylize_video.quiet import quiet_stderr


def test_silence_in_many_threads_ends(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet, "_is_command", True)
    inside = threading.Barrier(8)

    def shout() -> None:
        inside.wait()
        for _ in range(200):
            with quiet_stderr():
                os.write(2, b"never seen")

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(shout) for _ in range(8)]:
            future.result()
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


def test_in_a_library_stderr_belongs_to_the_program(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other threads log there, and processes that they start inherit it."""
    monkeypatch.setattr(quiet, "_is_command", False)
    with quiet_stderr():
        os.write(2, b"a log line of another thread")
    assert capfd.readouterr().err == "a log line of another thread"
