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

_POLL_SECONDS = 0.1


class PauseKey:
    """Looks for the space bar between two frames; elsewhere than in a terminal it does nothing.

    Keys arrive at once inside the ``with`` block, and the terminal is as before after it.
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
        import termios
        import tty

        self._descriptor = descriptor
        self._ended = False
        self._gone = OSError, termios.error
        try:
            self._before = termios.tcgetattr(descriptor)
        except termios.error as error:
            raise OSError(*error.args) from error
        self._restore = termios.tcsetattr, termios.TCSADRAIN
        at_sudden_end(self, partial(termios.tcsetattr, descriptor, termios.TCSANOW, self._before))
        tty.setcbreak(descriptor)

    def read(self, seconds: float) -> str:
        """The next key, or nothing after ``seconds``."""
        if self._ended or not select.select([self._descriptor], [], [], seconds)[0]:
            return " " if self._ended and seconds else ""
        try:
            key = os.read(self._descriptor, 1)
        except OSError:
            key = b""
        self._ended = not key  # then nobody can press a key any more: a pause must not last for ever
        return key.decode(errors="replace")

    def close(self) -> None:
        restore, when = self._restore
        with contextlib.suppress(*self._gone):
            # In the background it is the shell's, and whoever changes it is stopped.
            if os.tcgetpgrp(self._descriptor) == os.getpgrp():
                restore(self._descriptor, when, self._before)


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
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            return None
        return _Terminal(descriptor)
    except (AttributeError, OSError, ValueError):  # no stdin, or one that is no file
        return None
