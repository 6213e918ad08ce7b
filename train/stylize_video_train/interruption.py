"""Signals that end a training after the step it is in."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stylize_video.interrupts import STOPPING


class StopRequest:
    """``signal_number`` is that of the signal that asked to stop; 0 as long as none did."""

    signal_number = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note Ctrl-C, SIGTERM and SIGHUP, so that the step ends; a second Ctrl-C interrupts at once.

    Not so a second SIGTERM: ``timeout`` and others send it to the process and then to its group. What is
    ignored, as under nohup or behind a script's ``&``, stays ignored.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal_number and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal_number = request.signal_number or number

    obeyed = [n for n in STOPPING if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, note) for number in obeyed}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """For workers: signals reach every process of a terminal or group, and the loop decides when to stop."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
