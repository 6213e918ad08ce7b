"""Neural style for videos, as a library.

::

    from stylize_video import Look, open_session, stylize_file, stylize_picture

    session = open_session("photo", at_once=2)  # for files: several frames at a time
    stylize_file("clip.mp4", "styled.mp4", session, look=Look(strength=0.7))
    stylize_picture("photo.jpg", "styled.jpg", session)

Everything here is loaded on first use, so that importing the package costs nothing. A session is an
object, and threads may share one. Two settings of the process change while a job runs, and are given
back at its end: in the main thread Ctrl-C, SIGTERM and SIGHUP wait for a moment at which nothing is
half done, and OpenCV has fewer threads where several frames are stylized at once.

One thing is settled at once, for this process and those it starts: nobody is told that styles
are run. ONNX Runtime's builds keep a number for the user and a database in the home folder
(``~/.cache/Microsoft``) from their first import on, and report to their makers over the network.
``ORT_DISABLE_TELEMETRY=1`` keeps them from it, if it is there before that import; with ``0`` in
the environment, they may.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stylize_video.cluster import ClusterError
    from stylize_video.colors import ColorTags
    from stylize_video.contract import Precision
    from stylize_video.edit import Edit
    from stylize_video.encoding import Encoding
    from stylize_video.errors import (
        DeviceError,
        JobInterrupted,
        SinkError,
        SourceError,
        StyleError,
        StylizeError,
    )
    from stylize_video.frame import Frame, TimedFrame
    from stylize_video.guard import try_out
    from stylize_video.inputs import Source
    from stylize_video.journal import StaleJournalError
    from stylize_video.ladder import OutOfMemoryError
    from stylize_video.look import Look
    from stylize_video.network import Network
    from stylize_video.picture_job import stylize_picture
    from stylize_video.pipeline import Hooks, Result, stylize_file, stylize_frames
    from stylize_video.pipes import RawFormat
    from stylize_video.session import StyleSession
    from stylize_video.sink import VideoSink
    from stylize_video.source import VideoSource
    from stylize_video.style import Style
    from stylize_video.stylizer import Stylizer
    from stylize_video.values import Scale
    from stylize_video.variants import open_session
    from stylize_video.video_info import VideoInfo
    from stylize_video.working_size import WorkingSize

__version__ = "0.1.0"

__all__ = [
    "ClusterError",
    "ColorTags",
    "DeviceError",
    "Edit",
    "Encoding",
    "Frame",
    "Hooks",
    "JobInterrupted",
    "Look",
    "Network",
    "OutOfMemoryError",
    "Precision",
    "RawFormat",
    "Result",
    "Scale",
    "SinkError",
    "Source",
    "SourceError",
    "StaleJournalError",
    "Style",
    "StyleError",
    "StyleSession",
    "StylizeError",
    "Stylizer",
    "TimedFrame",
    "VideoInfo",
    "VideoSink",
    "VideoSource",
    "WorkingSize",
    "open_session",
    "stylize_file",
    "stylize_frames",
    "stylize_picture",
    "try_out",
]

_HOMES = {
    "cluster": ("ClusterError",),
    "colors": ("ColorTags",),
    "contract": ("Precision",),
    "edit": ("Edit",),
    "encoding": ("Encoding",),
    "errors": ("DeviceError", "JobInterrupted", "SinkError", "SourceError", "StyleError", "StylizeError"),
    "frame": ("Frame", "TimedFrame"),
    "guard": ("try_out",),
    "inputs": ("Source",),
    "journal": ("StaleJournalError",),
    "ladder": ("OutOfMemoryError",),
    "look": ("Look",),
    "network": ("Network",),
    "picture_job": ("stylize_picture",),
    "pipeline": ("Hooks", "Result", "stylize_file", "stylize_frames"),
    "pipes": ("RawFormat",),
    "session": ("StyleSession",),
    "sink": ("VideoSink",),
    "source": ("VideoSource",),
    "style": ("Style",),
    "stylizer": ("Stylizer",),
    "values": ("Scale",),
    "variants": ("open_session",),
    "video_info": ("VideoInfo",),
    "working_size": ("WorkingSize",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


if not TYPE_CHECKING:  # a type checker that saw it would let misspelt names pass

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
