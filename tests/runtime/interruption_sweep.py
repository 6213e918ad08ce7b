"""Ctrl-C in many places of the main thread while the stages of a job run; test_threads starts this."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from contextlib import AbstractContextManager, closing, nullcontext
from types import FrameType
from typing import Any

from stylize_video.interrupts import interruptible, uninterrupted
from stylize_video.threads import ReadAhead, WriteBehind, in_order


def interrupt_everywhere(held: bool, *, every: int = 29) -> None:
    """Ctrl-C at every so many calls, lines and returns of the main thread: nobody may wait for ever.

    ``held`` says that signals wait meanwhile, as in a job; no thread may be left then either.
    """
    left = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)
        return trace

    place = interruptions = 0
    while left <= 0:
        place += every
        left = place
        faulthandler.dump_traceback_later(20, exit=True)
        try:
            sys.settrace(trace)
            run_all_stages(uninterrupted() if held else nullcontext())
        except KeyboardInterrupt:
            interruptions += 1
        finally:
            sys.settrace(None)
        assert not held or threading.active_count() == 1
    faulthandler.cancel_dump_traceback_later()
    assert interruptions > 50


def run_all_stages(around: AbstractContextManager[object]) -> None:
    written: list[int] = []
    with (
        around,
        WriteBehind(written.append, depth=1) as sink,
        ReadAhead(range(4), depth=1) as items,
        closing(in_order(lambda n: n, items, at_once=2)) as pairs,
    ):
        for n, _ in pairs:
            sink.put(n)
            interruptible(lambda: None)


if __name__ == "__main__":
    interrupt_everywhere(sys.argv[1] == "held")
