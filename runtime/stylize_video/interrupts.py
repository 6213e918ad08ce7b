"""Ctrl-C, SIGTERM and SIGHUP: when they may stop a job, and when they have to wait."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_TERMINATING = [signal.SIGTERM]
if hasattr(signal, "SIGHUP"):  # not on Windows
    _TERMINATING.append(signal.SIGHUP)
_STOPPING = (signal.SIGINT, *_TERMINATING)
_AGAIN_SECONDS = 0.02


class Terminated(KeyboardInterrupt):  # not an error: somebody asked for it
    """SIGTERM or SIGHUP, its ``number``: ends a job as cleanly as Ctrl-C does."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number


def interrupt_on_termination() -> None:
    """Let a job finish its file, as Ctrl-C does, where a service manager stops it or its terminal closes.

    What is ignored stays ignored: under nohup a job survives its terminal.
    """

    def interrupt(number: int, frame: object) -> None:
        raise Terminated(number)

    for number in _TERMINATING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


@contextmanager
def uninterrupted() -> Iterator[Sequence[int]]:
    """Ctrl-C, SIGTERM and SIGHUP wait for the end of the block, and stop the caller there.

    Completing a file takes a moment, and people who press Ctrl-C press it twice.
    An error of the block comes first. The block gets the signals that wait, to be quicker then.
    """
    waiting: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield waiting
        return

    def wait(number: int, frame: object) -> None:
        waiting.append(number)

    before = {n: handler for n in _STOPPING if (handler := signal.getsignal(n)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, wait)
    try:
        yield waiting
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if waiting:
        signal.raise_signal(waiting[0])


@contextmanager
def noted_interrupts() -> Iterator[threading.Event]:
    """The event is set as soon as Ctrl-C raises KeyboardInterrupt.

    Extension modules that are being imported turn it into an ImportError; with the event
    one can tell. Callbacks of the interpreter, of a collected object say, swallow it; it comes
    again a moment later then.
    """
    interrupted = threading.Event()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield interrupted
        return
    tell_of_others = sys.unraisablehook

    def note(number: int, frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def come_again(swallowed: Any) -> None:
        if not issubclass(swallowed.exc_type, KeyboardInterrupt):
            tell_of_others(swallowed)
            return
        number = signal.SIGTERM if issubclass(swallowed.exc_type, Terminated) else signal.SIGINT
        again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main, [number])
        again.daemon = True
        again.start()

    signal.signal(signal.SIGINT, note)
    sys.unraisablehook = come_again
    try:
        yield interrupted
    finally:
        sys.unraisablehook = tell_of_others
        signal.signal(signal.SIGINT, signal.default_int_handler)
