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
    from stylize_video.effects.look import Look
    from stylize_video.errors import (
        DeviceError,
        JobInterrupted,
        JobStopped,
        SinkError,
        SourceError,
        StyleError,
        StylizeError,
    )
    from stylize_video.frame import Frame, TimedFrame
    from stylize_video.jobs.cluster import ClusterError
    from stylize_video.jobs.picture import stylize_picture
    from stylize_video.jobs.pipeline import Hooks, Result, stylize_file, stylize_frames
    from stylize_video.resuming.journal import StaleJournalError
    from stylize_video.styles.contract import Precision
    from stylize_video.styles.guard import try_out
    from stylize_video.styles.ladder import OutOfMemoryError
    from stylize_video.styles.network import Network
    from stylize_video.styles.session import StyleSession
    from stylize_video.styles.style import Style
    from stylize_video.styles.variants import open_session
    from stylize_video.styles.working_size import WorkingSize
    from stylize_video.stylizer import Stylizer
    from stylize_video.values import Scale
    from stylize_video.video.colors import ColorTags
    from stylize_video.video.edit import Edit
    from stylize_video.video.encoding import Encoding
    from stylize_video.video.info import VideoInfo
    from stylize_video.video.inputs import Source
    from stylize_video.video.pipes import RawFormat
    from stylize_video.video.sink import VideoSink
    from stylize_video.video.source import VideoSource

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
    "JobStopped",
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
    "effects.look": ("Look",),
    "errors": (
        "DeviceError",
        "JobInterrupted",
        "JobStopped",
        "SinkError",
        "SourceError",
        "StyleError",
        "StylizeError",
    ),
    "frame": ("Frame", "TimedFrame"),
    "jobs.cluster": ("ClusterError",),
    "jobs.picture": ("stylize_picture",),
    "jobs.pipeline": ("Hooks", "Result", "stylize_file", "stylize_frames"),
    "resuming.journal": ("StaleJournalError",),
    "styles.contract": ("Precision",),
    "styles.guard": ("try_out",),
    "styles.ladder": ("OutOfMemoryError",),
    "styles.network": ("Network",),
    "styles.session": ("StyleSession",),
    "styles.style": ("Style",),
    "styles.variants": ("open_session",),
    "styles.working_size": ("WorkingSize",),
    "stylizer": ("Stylizer",),
    "values": ("Scale",),
    "video.colors": ("ColorTags",),
    "video.edit": ("Edit",),
    "video.encoding": ("Encoding",),
    "video.info": ("VideoInfo",),
    "video.inputs": ("Source",),
    "video.pipes": ("RawFormat",),
    "video.sink": ("VideoSink",),
    "video.source": ("VideoSource",),
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
