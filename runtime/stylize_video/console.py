"""What every command shares: errors as one sentence, exit codes, progress."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TextIO

from stylize_video.bounds import limit_libraries
from stylize_video.errors import JobInterrupted, StylizeError, first_line
from stylize_video.interrupts import Terminated, at_sudden_end, noted_interrupts, stop_at_once
from stylize_video.quiet import silence_libraries
from stylize_video.text import printable

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

_PLAIN_SECONDS = 2.0
_SHOW_CURSOR = b"\x1b[?25h\n"
_OF_THE_TRAINING_SIDE = frozenset({"torch", "torchvision", "onnxscript"})
"""Packages that stylizing does without: the extra ``train`` brings them."""


def say(text: str) -> None:
    """One line on stderr; where nobody reads it any more, what it tells of goes on."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def fail(message: str, code: int = EXIT_ERROR) -> NoReturn:
    """End the command with one line on stderr."""
    say(f"error: {message}")
    raise SystemExit(code)


class _PrintableFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        return printable(super().formatMessage(record))


def interruption_code(interruption: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, as shells expect."""
    if isinstance(interruption, Terminated | JobInterrupted):
        return 128 + interruption.signal_number
    return EXIT_INTERRUPTED


def run_command(command: Callable[..., None]) -> None:
    """Entry point of a command: its parameters are what typer makes of the function's."""
    from stylize_video.usage import run

    silence_libraries()
    limit_libraries()
    _write_out_what_an_encoding_lacks(sys.stdout)
    try:
        try:
            run(command)
        except KeyboardInterrupt as interruption:  # before the command itself began
            fail("interrupted", interruption_code(interruption))
        except Exception as error:  # of --help and its like: a command tells its own
            debug = "--debug" in sys.argv
            if isinstance(error, OSError) and error.filename is None and not debug:
                _fail_to_print(error)
            _fail_because_of(error, debug=debug)
    except SystemExit as ending:
        _flush_output(told=bool(ending.code))
        atexit.register(stop_at_once)  # in the exit's own functions Ctrl-C would be a traceback
        raise


def _fail_because_of(error: Exception, *, debug: bool) -> NoReturn:
    """End the command with a sentence on ``error``, which is raised again where there is none."""
    sentence = None if debug else _sentence_on(error)
    if sentence is None:
        raise error
    fail(sentence)


def _sentence_on(error: Exception) -> str | None:
    """What to tell of an error; None of one that no user can do anything about."""
    if isinstance(error, StylizeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or let the network work at a smaller size"
    if isinstance(error, ModuleNotFoundError) and error.name in _OF_THE_TRAINING_SIDE:
        return f"{error.name} is not installed, which this needs: pip install 'stylize-video[train]'"
    if isinstance(error, ImportError):
        return f"a package cannot be loaded ({first_line(error)}); stylize-doctor says what to install"
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return None


def _flush_output(*, told: bool) -> None:
    """Let what was printed reach its place now; ``told`` says that the command has failed already.

    At its end the interpreter would try, and complain in words of its own.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), sys.stdout.fileno())
        if not told:
            _fail_to_print(error)


def _fail_to_print(error: OSError) -> NoReturn:
    """End the command as standard output takes no more: without a word where its reader left."""
    if isinstance(error, BrokenPipeError):
        raise SystemExit(EXIT_ERROR) from None
    fail(f"cannot write to standard output: {error.strerror}")


def _write_out_what_an_encoding_lacks(stream: TextIO | None) -> None:
    """Let ``stream`` take every character, as stderr does: Windows gives files and pipes old code pages."""
    if isinstance(stream, TextIOWrapper) and stream.errors == "strict":  # None, or a notebook's own, else
        stream.reconfigure(errors="backslashreplace")


@contextmanager
def errors_as_sentences(*, debug: bool) -> Iterator[None]:
    """End the command with a sentence and exit code 2 on an error that users can understand.

    Interruptions end it with a sentence and :func:`interruption_code`, a reader that left with exit code
    2 alone. ``debug`` lets errors through with their tracebacks.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.WARNING)
    try:
        with noted_interrupts() as interrupted:
            yield
    except KeyboardInterrupt as interruption:
        sentence, stopped_by = _what_interrupted(interruption)
        fail(sentence, interruption_code(stopped_by))
    except BrokenPipeError:
        raise SystemExit(EXIT_ERROR) from None
    except Exception as error:
        if interrupted.is_set() and isinstance(error, ImportError | SystemError):
            fail("interrupted", EXIT_INTERRUPTED)
        _fail_because_of(error, debug=debug)


def _what_interrupted(interruption: KeyboardInterrupt) -> tuple[str, KeyboardInterrupt]:
    """What to say of an interruption, and which one it was.

    An interrupted job has a sentence, also where one more Ctrl-C interrupted that; one that failed with
    a signal waiting has that of its error.
    """
    error: BaseException | None = interruption
    while error:
        if isinstance(error, KeyboardInterrupt) and str(error):
            return str(error), error
        if isinstance(error, KeyboardInterrupt) and isinstance(error.__cause__, StylizeError):
            return f"interrupted: {error.__cause__}", error
        error = error.__context__
    return "interrupted", interruption


class ProgressLine:
    """A progress bar with rate and time left; plain lines where stderr is no terminal.

    Args:
        label: what is counted towards, such as the output's name.
        unit: what is counted, such as ``fps``.
        quiet: show nothing.
    """

    def __init__(self, label: str, *, unit: str = "fps", quiet: bool = False) -> None:
        self._label, self._unit = printable(label), unit
        self._show: Callable[[], None] = lambda: None
        self._quiet = quiet
        self.total: int | None = None
        self.done = self._done_before = 0
        self.detail = ""
        self._started = self._shown = time.perf_counter()
        self._bar = None
        if not quiet and sys.stderr and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self._label, total=None, rate="", detail="")

    def __enter__(self) -> ProgressLine:
        if self._bar:
            at_sudden_end(self, lambda: os.write(sys.stderr.fileno(), _SHOW_CURSOR))
            with suppress(OSError):  # a terminal that is gone ends no work, here and below
                self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            with suppress(OSError):
                self._bar.stop()

    def start(self, total: int | None) -> None:
        """Begin counting; what came before (loading, the first frame) does not slow the rate shown."""
        self.total = total
        self._started = self._shown = time.perf_counter()

    def resume(self, done: int) -> None:
        """What an earlier run did counts as done, but not for the rate."""
        self.done += done
        self._done_before += done

    def extend(self, more: int | None) -> None:
        """Another file is begun, of about so many; the clock runs from the first one on."""
        if self.total is None:
            self.start(more)
        else:
            self.total += more or 0

    def advance(self, detail: str = "", *, count: int = 1) -> None:
        """Count so many more."""
        self.done += count
        self.detail = detail
        if self._bar:
            rate = f"{self.rate:.1f} {self._unit}"
            with suppress(OSError):
                self._bar.update(self._task, completed=self.done, total=self.total, rate=rate, detail=detail)
        elif not self._quiet and time.perf_counter() - self._shown >= _PLAIN_SECONDS:
            self._shown = time.perf_counter()
            say(self._plain())

    def leave_out(self, seconds: float) -> None:
        """Time that was a pause, and no work."""
        self._started += seconds

    def tell(self, message: str) -> None:
        """Show one line, above the bar where there is one."""
        if self._bar:
            with suppress(OSError):
                self._bar.console.print(printable(message), markup=False, highlight=False)
        elif not self._quiet:
            say(message)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @property
    def rate(self) -> float:
        return (self.done - self._done_before) / self.seconds if self.seconds > 0 else 0.0

    def _plain(self) -> str:
        of = f"/{self.total}" if self.total else ""
        left = ""
        if self.total and self.rate:
            minutes, seconds = divmod(max(0, round((self.total - self.done) / self.rate)), 60)
            left = f", {minutes}:{seconds:02d} left"
        detail = f", {self.detail}" if self.detail else ""
        return f"{self._label}: {self.done}{of}, {self.rate:.1f} {self._unit}{left}{detail}"
