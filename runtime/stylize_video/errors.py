"""Everything that can go wrong and has a sentence for the user.

::

    StylizeError
    ├── SourceError        a video or picture cannot be read
    ├── SinkError          a result cannot be written
    ├── StyleError         a style is missing, broken, or no style
    └── DeviceError        the device asked for cannot run the style
"""

from __future__ import annotations


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


def first_line(error: BaseException) -> str:
    """The first line of what ``error`` says; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
