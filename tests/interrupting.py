"""Ctrl-C at a chosen moment."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class CtrlC:
    """Comes at the ``left``-th call, line or return of a :meth:`coming` block; above 0 it has not come."""

    def __init__(self, left: int) -> None:
        self.left = left

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Count what this thread does in frames that the block calls."""
        before = signal.getsignal(signal.SIGINT)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            signal.signal(signal.SIGINT, before)  # it may come just where one is about to be given back

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return self._trace
