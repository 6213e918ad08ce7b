"""Silences libraries that print past Python, where the process is a command of ours.

Their messages go to file descriptor 2, which belongs to the whole process. In a program that uses this
package its own log lines, and the stderr of the processes that it starts, would be lost with them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class _Silence:
    """One redirection of file descriptor 2, shared by all threads that are in it at the same time.

    The descriptor belongs to the whole process: two threads that each saved and restored
    it could restore the other's redirection, and stderr would be lost for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: int | None = None

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            with suppress(OSError):  # a service may run without a stderr
                self._saved = os.dup(2)
                with Path(os.devnull).open("wb") as null:
                    os.dup2(null.fileno(), 2)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved is not None:
                os.dup2(self._saved, 2)
                os.close(self._saved)
                self._saved = None


_silence = _Silence()
_is_command = False


def silence_libraries() -> None:
    """From here on :func:`quiet_stderr` counts: for commands, whose stderr is theirs alone."""
    global _is_command
    _is_command = True


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what C libraries write to file descriptor 2, for calls whose failures get a sentence of ours.

    Outside of commands it does nothing.
    """
    if not _is_command:
        yield
        return
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()
