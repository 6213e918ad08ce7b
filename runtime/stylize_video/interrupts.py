"""Ctrl-C, SIGTERM and SIGHUP: when they may stop a job, and when they have to wait.

Python raises KeyboardInterrupt between any two instructions of the main thread: also where a lock
of :mod:`threading` or :mod:`queue` was just taken, which nobody releases then, so that other threads
wait for ever. While a job's threads work, signals therefore wait (:func:`uninterrupted`) and are let
through at points where nothing is half done.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

_TERMINATING = [signal.SIGTERM]
if hasattr(signal, "SIGHUP"):  # not on Windows
    _TERMINATING.append(signal.SIGHUP)
STOPPING = (signal.SIGINT, *_TERMINATING)
"""Signals that ask a process to stop, as far as the system has them."""
_AGAIN_SECONDS = 0.02
_PATIENCE_SECONDS = 5.0


class Terminated(KeyboardInterrupt):  # not an error: somebody asked for it
    """SIGTERM or SIGHUP, its ``signal_number``: ends a job as cleanly as Ctrl-C does."""

    def __init__(self, signal_number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.signal_number = signal_number


def interrupt_on_termination() -> None:
    """Let a job finish its file, as Ctrl-C does, where a service manager stops it or its terminal closes.

    What is ignored stays ignored: under nohup a job survives its terminal. For commands: from here on
    a signal may end the process where one before could not stop it.
    """
    global _is_command
    _is_command = True

    def interrupt(number: int, frame: object) -> None:
        raise Terminated(number)

    for number in _TERMINATING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def stop_at_once() -> None:
    """Let a signal end the process without a word: nothing is left that it could spoil."""
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


class _Block:
    """Signals that wait during one :func:`uninterrupted` block, and who would get them without it."""

    def __init__(self, outer: _Block | None) -> None:
        self._outer = outer
        self.waiting: list[int] = []
        self.lets_through = False
        self._before: dict[int, Any] = {}

    def take_over(self) -> None:
        for number in STOPPING:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):  # None: a handler that Python cannot give back
                self._before[number] = handler
                signal.signal(number, self._handle)

    def give_back(self) -> None:
        # One that comes meanwhile raises here; those that are not given back go on to whom they belong.
        self.lets_through = True
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Pass on what waits. The first that raises stands for all: people press Ctrl-C twice."""
        try:
            while self.waiting:
                number = self.waiting.pop(0)
                if self._outer and self._before[number] == self._outer._handle:
                    self._outer._take(number)
                else:
                    self._pass_on(number)
        finally:
            self.waiting.clear()
        self._is_not_stopped()

    def _handle(self, number: int, frame: object) -> None:
        global _stopping_since
        now = time.monotonic()
        _stopping_since = _stopping_since or now
        if not self.lets_through and now - _stopping_since > _PATIENCE_SECONDS:
            if _is_command:
                _end_at_once(number)
            self._pass_on(number)
        else:
            self._take(number)

    def _take(self, number: int) -> None:
        """Let a signal wait, or through: also one that waited in a block inside, which is no second one."""
        if self.lets_through:
            self._pass_on(number)
            self._is_not_stopped()
        else:
            self.waiting.append(number)

    def _is_not_stopped(self) -> None:
        """Whoever got the signals does not stop for them, unless they wait further out."""
        global _stopping_since
        if self._outer is None or self._outer.lets_through:
            _stopping_since = None

    def _pass_on(self, number: int) -> None:
        handler = self._before[number]
        if callable(handler):
            handler(number, None)
        else:  # the system's own: it ends the process
            signal.signal(number, handler)
            signal.raise_signal(number)


def at_sudden_end(owner: object, act: Callable[[], object]) -> None:
    """Have ``act`` done where a signal ends a command's process at once, as long as ``owner`` is there.

    It takes no lock, which what hangs may hold, and does no harm where it is too late.
    """
    _last_acts[owner] = act


def _end_at_once(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)  # one more ends what hangs here
    for act in list(_last_acts.values()):
        with suppress(Exception):
            act()
    with suppress(Exception):  # a printing thread may hold the lock of sys.stderr itself
        os.write(sys.stderr.fileno(), b"error: interrupted once more: ended at once, nothing was completed\n")
    signal.raise_signal(number)


_last_acts: WeakKeyDictionary[object, Callable[[], object]] = WeakKeyDictionary()
_innermost: _Block | None = None
_stopping_since: float | None = None
"""When the first signal came that stops the outermost block, by ``time.monotonic``."""
_is_command = False


@contextmanager
def uninterrupted() -> Iterator[Sequence[int]]:
    """Ctrl-C, SIGTERM and SIGHUP wait for the end of the block, and stop the caller there.

    :func:`let_through` and :func:`interruptible` let them stop the block before. They stop the caller of a
    block that fails, too, with its error for a cause: a loop that goes on after errors ends. The block
    gets the signals that wait, to be quicker then. One that comes five seconds after a first one stops the
    block wherever it is, so that nobody is kept by what hangs; it ends the process of a command
    (:func:`at_sudden_end`), but not a notebook. Only the main thread is ever interrupted; in others this
    does nothing.
    """
    global _innermost, _stopping_since
    if threading.current_thread() is not threading.main_thread():
        yield ()
        return
    outer, block = _innermost, _Block(_innermost)
    handled = sys.exception()  # such as an interruption of before, where this cleans up after it
    failure: BaseException | None = None
    try:
        block.take_over()
        _innermost = block
        yield block.waiting
    except BaseException as error:
        failure = error
        if _is_interruption(error, handled):
            block.waiting.clear()
        raise
    finally:
        _innermost = outer
        if outer is None:
            _stopping_since = None
        block.give_back()
        try:
            block.deliver()
        except KeyboardInterrupt as interruption:
            interruption.__cause__ = failure
            raise
        finally:
            del failure, handled  # their tracebacks hold this frame


def _is_interruption(error: BaseException | None, handled: BaseException | None) -> bool:
    """Whether a signal stopped the block, or led to what failed; what was ``handled`` already is none."""
    while error and error is not handled and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None and error is not handled


def let_through() -> None:
    """Let signals that wait stop an :func:`uninterrupted` block here; where none waits, do nothing."""
    if (block := _block_of_this_thread()) is not None:
        block.deliver()


def interruptible(call: Callable[[], None]) -> None:
    """Let signals stop an :func:`uninterrupted` block at any moment of ``call``, which may take long."""
    block = _block_of_this_thread()
    if block is None:
        call()
        return
    block.lets_through = True
    try:
        block.deliver()
        call()
    finally:
        block.lets_through = False


def _block_of_this_thread() -> _Block | None:
    return _innermost if threading.current_thread() is threading.main_thread() else None


def _interrupt_soon(number: signal.Signals) -> None:
    time.sleep(_AGAIN_SECONDS)
    _thread.interrupt_main(number)


@contextmanager
def noted_interrupts() -> Iterator[threading.Event]:
    """The event is set as soon as Ctrl-C raises KeyboardInterrupt.

    Ctrl-C during the import of an extension module surfaces as ImportError: the event tells. In a
    ``__del__`` Python only reports it, so it is raised again 20 ms later.
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
        # Without waiting for the thread, as threading does: it may be there sooner than we are gone.
        _thread.start_new_thread(_interrupt_soon, (number,))

    signal.signal(signal.SIGINT, note)
    sys.unraisablehook = come_again
    try:
        yield interrupted
    finally:
        sys.unraisablehook = tell_of_others
        signal.signal(signal.SIGINT, signal.default_int_handler)
