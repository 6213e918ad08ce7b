"""Everything that can go wrong and has a sentence for the user, and what stops a job.

::

    StylizeError
    ├── ClusterError              a cluster cannot be reached, or lost a part for good
    ├── ControlError              the live window's controls cannot take a value
    ├── DeviceError               the device asked for cannot run the style
    ├── JobStopped                the program stopped a job of its own
    ├── SinkError                 a result cannot be written
    │   └── StaleJournalError     an interrupted run is there, of another job or not asked for
    ├── SourceError               a video or picture cannot be read
    └── StyleError                a style is missing, broken, or no style
        └── OutOfMemoryError      there is no memory to run it

Training and exporting derive errors of their own. Ctrl-C is none: it stops a job as a KeyboardInterrupt.
"""

from __future__ import annotations

import signal
from pathlib import Path


class StylizeError(Exception):
    """Base of all errors whose message is one clear sentence for the user."""


class SourceError(StylizeError):
    """A video, camera or picture cannot be read."""


class SinkError(StylizeError):
    """A result cannot be written."""


class StyleError(StylizeError):
    """A style file is missing, damaged, or no style at all."""


class DeviceError(StylizeError):
    """The device asked for cannot run the style."""


class JobStopped(StylizeError):  # noqa: N818  # as asked for, as JobInterrupted
    """A program stopped a job by its ``stop``.

    ``part`` is the playable file with what was done, None where that was nothing.
    """

    def __init__(self, sentence: str = "stopped", *, part: Path | None = None) -> None:
        super().__init__(sentence)
        self.part = part


class JobInterrupted(KeyboardInterrupt):
    """Ctrl-C or another signal stopped a job. No StylizeError: a loop that goes on after errors ends.

    ``part`` is the playable file with what was done, None where that was nothing.
    """

    def __init__(
        self, sentence: str, *, part: Path | None = None, signal_number: int = signal.SIGINT
    ) -> None:
        super().__init__(sentence)
        self.part, self.signal_number = part, signal_number


def first_line(error: BaseException) -> str:
    """The first line of what ``error`` says; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def reason(error: BaseException) -> str:
    """Why FFmpeg or the system failed, in its words; the kind of the error where it has none."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
