"""A file that one process at a time holds, and its owner alone can read."""

from __future__ import annotations

import io
import os
import stat
from importlib import import_module
from pathlib import Path
from typing import Any

from stylize_video.errors import SinkError

_LOCKED_BYTE = 2**31 - 2
"""Windows' locks also forbid reading, so a byte beyond any journal's end is locked."""


def open_private(path: Path, *, new: bool = False) -> io.FileIO:
    """Open for reading and appending, unbuffered; never through a link, never anybody else's file.

    Raises:
        OSError: it cannot be opened, belongs to somebody else, or is there although it has to be ``new``.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    if new:
        flags |= os.O_EXCL
    handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode) or (hasattr(os, "getuid") and facts.st_uid != os.getuid()):
        os.close(handle)
        raise PermissionError(1, "it belongs to somebody else", str(path))
    return io.FileIO(handle, "r+b")


def lock(file: io.FileIO, path: Path) -> None:
    """Hold the file until it is closed.

    Raises:
        SinkError: another process holds it.
    """
    try:
        _lock_or_fail(file)
    except (BlockingIOError, PermissionError) as error:
        raise SinkError(f"another process is writing {path} just now") from error
    except (ImportError, OSError):  # a system or a network folder without locks
        return


def _lock_or_fail(file: io.FileIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        msvcrt: Any = import_module("msvcrt")
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            file.seek(0)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
