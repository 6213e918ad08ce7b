"""Standard input and output as file objects whose waiting another thread can end.

FFmpeg's own pipe protocol cannot be interrupted.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stylize_video.interrupts import let_through

_INPUT, _OUTPUT = 0, 1
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0

BUFFER = 2**16
"""Bytes that are read or written at a time: what a pipe holds on Linux."""

_CAN_WAIT = os.name == "posix"  # elsewhere select is for sockets alone
_CHUNK = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe which is ready for any takes without waiting."""


class StandardInput:
    """A file to read from whose waiting for data can be ended."""

    name = "standard input"

    def __init__(self) -> None:
        self._descriptor = os.dup(_INPUT)
        self._stopped = threading.Event()
        self._interruption: KeyboardInterrupt | None = None
        self._is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        # What was read before this is no part of it.
        self._begin = os.lseek(self._descriptor, 0, os.SEEK_CUR) if self._is_file else 0

    def seekable(self) -> bool:
        """Whether a file was redirected here, as by ``< clip.mp4``, and no pipe."""
        return self._is_file

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on elsewhere; returns where."""
        start = self._begin if whence == os.SEEK_SET else 0
        return os.lseek(self._descriptor, start + offset, whence) - self._begin

    def tell(self) -> int:
        """The byte that is read next."""
        return self.seek(0, os.SEEK_CUR)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end, or once nobody wants more."""
        try:
            while not self._stopped.is_set():
                if not _CAN_WAIT or select.select([self._descriptor], [], [], _POLL_SECONDS)[0]:
                    return os.read(self._descriptor, size)
        except KeyboardInterrupt as interruption:  # FFmpeg, which called this, would swallow it
            self._interruption = interruption
            self.stop()
        return b""

    @contextmanager
    def opening(self) -> Iterator[None]:
        """A block in which data is read: where it fails this is closed, and a Ctrl-C comes out of it."""
        try:
            yield
            if self._interruption:
                raise self._interruption
        except BaseException:
            self.close()
            if self._interruption:
                raise self._interruption from None
            raise

    def stop(self) -> None:
        """Want no more, from any thread."""
        self._stopped.set()

    def close(self) -> None:
        """Let go of the pipe, once no thread reads any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class StandardOutput:
    """A file to write to that can be told not to wait for its reader any longer."""

    name = "standard output"

    def __init__(self) -> None:
        self._until: float | None = None
        self.interruption: KeyboardInterrupt | None = None
        """The Ctrl-C that came while data was written, which FFmpeg swallows."""

    def write(self, data: bytes) -> int:
        """Write all of ``data``.

        Raises:
            BrokenPipeError: nobody reads, or nobody has read for too long since :meth:`stop`.
        """
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(_OUTPUT, rest[: self._room()]) :]
        except KeyboardInterrupt as interruption:
            self.interruption, self._until = interruption, 0.0
            raise BrokenPipeError("interrupted") from interruption
        return len(data)

    def stop(self) -> None:
        """Wait for the reader a moment longer, from any thread, and then no more."""
        if self._until is None:
            self._until = time.monotonic() + _PATIENCE_SECONDS

    def _room(self) -> int:
        """Bytes that can be written without waiting."""
        while _CAN_WAIT and not select.select([], [_OUTPUT], [], _POLL_SECONDS)[1]:
            if self._until is not None and time.monotonic() >= self._until:
                raise BrokenPipeError("nobody reads")
            let_through()
        return _CHUNK
