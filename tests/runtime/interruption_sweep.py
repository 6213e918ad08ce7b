"""Ctrl-C in many places of the main thread while the stages of a job run; test_threads starts this."""

from __future__ import annotations

import faulthandler
import sys
import threading
from contextlib import AbstractContextManager, closing, nullcontext

from interrupting import CtrlC
from stylize_video.interrupts import interruptible, uninterrupted
from stylize_video.threads import ReadAhead, WriteBehind, in_order


def interrupt_everywhere(held: bool, *, every: int = 29) -> None:
    """Ctrl-C at every so many calls, lines and returns of the main thread: nobody may wait for ever.

    ``held`` says that signals wait meanwhile, as in a job; no thread may be left then either.
    """
    place = interruptions = 0
    has_come = True
    while has_come:
        place += every
        ctrl_c = CtrlC(place)
        faulthandler.dump_traceback_later(20, exit=True)
        try:
            with ctrl_c.coming():
                run_all_stages(uninterrupted() if held else nullcontext())
        except KeyboardInterrupt:
            interruptions += 1
        has_come = ctrl_c.left <= 0
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
