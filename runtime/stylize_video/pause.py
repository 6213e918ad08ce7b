"""Space pauses a job, and lets it go on, where a terminal is there to press it."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from stylize_video.interrupts import at_sudden_end

with contextlib.suppress(ImportError):  # Windows
    import termios
    import tty

_POLL_SECONDS = 0.1
_LOCAL = 3
"""Which of a terminal's attributes says whether it waits for a line's end."""


class PauseKey:
    """Looks for the space bar between two frames; elsewhere than in a terminal it does nothing.

    Keys arrive at once inside the ``with`` block, and the terminal is as before after it, or after that of
    the last job that shares it.
    Ctrl-C works as ever, in a pause too.

    Args:
        tell: shows the user what happens.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._keys: _Terminal | _Console | None = None

    def __enter__(self) -> PauseKey:
        self._keys = _open_keys()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keys:
            self._keys.close()
        self._keys = None

    def wait(self) -> float:
        """Return at once, or after a pause if space was pressed: the seconds that it took."""
        if self._keys is None or self._keys.read(0) != " ":
            return 0.0
        start = time.monotonic()
        self._tell("paused: space goes on, Ctrl-C stops")
        while self._keys.read(_POLL_SECONDS) != " ":
            pass
        self._tell("going on")
        return time.monotonic() - start


class _Terminal:
    """A POSIX terminal that hands over keys without waiting for a line's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ended = False
        self._before: list[list[Any]] = []
        """Its attributes where this process changed them last: one that shares it may have done so before."""
        self._restore = partial(_restore, descriptor, self._before)
        at_sudden_end(self, self._restore)
        try:
            self._take_keys(termios.TCSAFLUSH)
        except termios.error as error:
            raise OSError(*error.args) from error

    def read(self, seconds: float) -> str:
        """The next key, or nothing after ``seconds``."""
        if self._ended:
            return " " if seconds else ""
        try:
            if not _is_in_front(self._descriptor):
                time.sleep(seconds)
                return ""
            self._take_keys(termios.TCSANOW)
            if not select.select([self._descriptor], [], [], seconds)[0]:
                return ""
            key = os.read(self._descriptor, 1)
        except (OSError, termios.error):
            key = b""
        self._ended = not key  # then nobody can press a key any more: a pause must not last for ever
        return key.decode(errors="replace")

    def close(self) -> None:
        with contextlib.suppress(OSError, termios.error):
            self._restore()

    def _take_keys(self, when: int) -> None:
        """Have keys at once, also where a shell (Ctrl-Z, fg) or another job took the terminal back."""
        attributes = termios.tcgetattr(self._descriptor)
        if attributes[_LOCAL] & termios.ICANON:
            self._before[:] = [attributes]
            tty.setcbreak(self._descriptor, when)


def _restore(descriptor: int, before: list[list[Any]]) -> None:
    for attributes in before:
        if _is_in_front(descriptor):
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _is_in_front(descriptor: int) -> bool:
    """Whether a terminal is this process's: one in the background that reads or changes it is stopped."""
    return os.tcgetpgrp(descriptor) == os.getpgrp()


class _Console:
    """The same on Windows."""

    def __init__(self, msvcrt: Any) -> None:
        self._msvcrt = msvcrt

    def read(self, seconds: float) -> str:
        if not self._msvcrt.kbhit():
            time.sleep(seconds)
            return ""
        return str(self._msvcrt.getwch())

    def close(self) -> None:
        """Nothing was changed."""


def _open_keys() -> _Terminal | _Console | None:
    """The keys of this process, None where it has no terminal or runs in its background."""
    try:
        descriptor = sys.stdin.fileno()
        if not os.isatty(descriptor):
            return None
        if sys.platform == "win32":
            import msvcrt

            return _Console(msvcrt)
        if not _is_in_front(descriptor):
            return None
        return _Terminal(descriptor)
    except (AttributeError, OSError, ValueError):  # no stdin, or one that is no file
        return None
