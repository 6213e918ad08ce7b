"""Windows as far as another system can act it, for every Python that finds this on its PYTHONPATH.

Files that are open can be neither removed nor replaced, names that only POSIX has are gone, processes are
spawned, and ``msvcrt`` is there to lock files with.
"""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess  # noqa: F401  # which takes a system with msvcrt for the real one
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

_POSIX_MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty")
_POSIX_SIGNALS = ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2")
_POSIX_FUNCTIONS = (
    "O_CLOEXEC",
    "O_NOFOLLOW",
    "geteuid",
    "getpgrp",
    "getuid",
    "mkfifo",
    "sysconf",
    "tcgetpgrp",
)


def _is_open(path: Any) -> bool:
    with suppress(OSError):
        facts = os.lstat(path)
        for descriptor in os.listdir("/dev/fd"):
            with suppress(OSError):  # the descriptor of that listing itself
                if os.path.samestat(facts, os.fstat(int(descriptor))):
                    return True
    return False


def _only_closed_files(function: Callable[..., None], count: int) -> Callable[..., None]:
    """``function``, which takes ``count`` paths, as it is where files that are open stay where they are."""

    def guarded(*arguments: Any, **options: Any) -> None:
        for path in arguments[:count]:
            if _is_open(path):
                raise PermissionError(errno.EACCES, "it is being used by another process", os.fspath(path))
        function(*arguments, **options)

    return guarded


class _NoPosixModules:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in _POSIX_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _msvcrt() -> ModuleType:
    module: Any = ModuleType("msvcrt")
    module.LK_NBLCK = 2

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert mode == module.LK_NBLCK
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, count, 0, os.SEEK_CUR)

    module.locking = locking
    return module  # type: ignore[no-any-return]


for _name in ("remove", "unlink"):
    setattr(os, _name, _only_closed_files(getattr(os, _name), 1))
for _name in ("rename", "replace"):
    setattr(os, _name, _only_closed_files(getattr(os, _name), 2))
for _name in _POSIX_SIGNALS:
    delattr(signal, _name)
for _name in _POSIX_FUNCTIONS:
    delattr(os, _name)
sys.modules["msvcrt"] = _msvcrt()
for _name in _POSIX_MODULES:
    sys.modules.pop(_name, None)
sys.meta_path.insert(0, _NoPosixModules())
multiprocessing.set_start_method("spawn")
