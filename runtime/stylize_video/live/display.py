"""Whether a window can be shown here, and still is.

OpenCV's window toolkit ends the whole process where it finds no display, or loses it, and cannot
be stopped from it; so whether there is one has to be known before.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2

from stylize_video.errors import SinkError

_QT_PLUGIN = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms" / "libqxcb.so"


def display_problem(
    environment: Mapping[str, str] = os.environ, *, platform: str = sys.platform
) -> str | None:
    """Why no window can be shown, None where one can."""
    if not cv2.currentUIFramework():
        return "this OpenCV has no windows (pip uninstall opencv-python-headless, pip install opencv-python)"
    if not platform.startswith("linux"):
        return None
    display = environment.get("DISPLAY")
    if not display:
        if environment.get("WAYLAND_DISPLAY"):
            return "OpenCV's windows need an X server, and DISPLAY is not set (switch XWayland on)"
        return "there is no display (DISPLAY is not set)"
    try:
        # What the toolkit will load; where that fails it ends the process too.
        if _QT_PLUGIN.exists():
            ctypes.CDLL(str(_QT_PLUGIN))
        x11 = _xlib()
    except OSError as error:
        return f"{str(error).split(':')[0]} is missing (install it with the system's packages)"
    connection = x11.XOpenDisplay(display.encode())
    if not connection:
        return f"the display {display} cannot be opened"
    x11.XCloseDisplay(connection)
    return None


def require_display() -> None:
    """Raise SinkError where no window can be shown; the sentence says what to do instead."""
    if problem := display_problem():
        raise SinkError(f"no window can be shown: {problem}; watch in a browser with --serve --no-window")


class DisplayWatch:
    """Knows when the display has gone, by a connection of its own, before the toolkit has to notice."""

    def __init__(self) -> None:
        self._poll: select.poll | None = None
        if sys.platform.startswith("linux"):
            x11 = _xlib()
            # Never closed: the process ends with its window, and closing what is gone would end it at once.
            if connection := x11.XOpenDisplay(None):
                self._poll = select.poll()
                self._poll.register(x11.XConnectionNumber(connection), select.POLLRDHUP)

    @property
    def is_gone(self) -> bool:
        return self._poll is not None and bool(self._poll.poll(0))


def _xlib() -> ctypes.CDLL:
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
    x11.XCloseDisplay.argtypes = x11.XConnectionNumber.argtypes = [ctypes.c_void_p]
    return x11
