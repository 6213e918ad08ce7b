"""Live sources: a camera, a network stream, or a video file played as if it were one."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from stylize_video.errors import SourceError
from stylize_video.frame import Frame
from stylize_video.live.cameras import CameraReader, CameraRequest
from stylize_video.source import VideoSource

_log = logging.getLogger(__name__)

_OPEN_SECONDS = 10.0
_READ_SECONDS = 5.0
"""A stream that gives nothing for so long counts as lost."""

_LIVE_OPTIONS = {"flags": "low_delay", "rtsp_transport": "tcp"}
_DAMAGED_IN_A_ROW = 100


class Reader(Protocol):
    """Gives one frame after the other.

    Attributes:
        live: frames come when they come, and a source that is lost may return. The others
            have time stamps that say when a frame is due, and an end.
        fps: the rate that the source promises, None where it does not say.
    """

    live: bool
    fps: float | None

    def read(self) -> tuple[Frame, float | None] | None:
        """The next frame and when it is due, in seconds; None at the end or once the source is lost."""

    def close(self) -> None: ...


class FileReader:
    """A video file, played at its own speed.

    Raises:
        SourceError: the file is missing or no video.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self._video = VideoSource(path)
        self._frames = iter(self._video)
        info = self._video.info
        self._time_base, self._start = info.time_base, info.start_pts
        self.fps: float | None = float(info.rate)

    def read(self) -> tuple[Frame, float | None] | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        return frame.image, float((frame.pts - self._start) * self._time_base)

    def close(self) -> None:
        self._video.close()


class StreamReader:
    """A network stream, opened by PyAV, which can give up waiting.

    Raises:
        SourceError: it cannot be reached, or holds no video.
    """

    def __init__(self, url: str) -> None:
        try:
            self._container = av.open(url, options=_LIVE_OPTIONS, timeout=(_OPEN_SECONDS, _READ_SECONDS))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{url} cannot be opened ({_reason(error)}): is it right, and running?"
            ) from error
        stream = next(iter(self._container.streams.video), None)
        if stream is None:
            self._container.close()
            raise SourceError(f"{url} has no video in it")
        self._reformatter = VideoReformatter()  # kept, or every frame would start threads and fill tables
        # Decoding in several threads would hold frames back.
        stream.thread_type = "SLICE"
        self.live = not self._container.duration
        rate = stream.average_rate
        self.fps = float(rate) if rate and not self.live else None
        self._start = stream.start_time or 0
        self._frames = self._decoded(stream)

    def read(self) -> tuple[Frame, float | None] | None:
        try:
            frame = next(self._frames, None)
        except (av.error.FFmpegError, OSError) as error:
            _log.debug("the stream is lost: %s", error)
            return None
        if frame is None:
            return None
        due = None
        if not self.live and frame.pts is not None and frame.time_base is not None:
            due = float((frame.pts - self._start) * frame.time_base)
        picture = self._reformatter.reformat(frame, format="bgr24", threads=1)
        return np.asarray(picture.to_ndarray(), np.uint8), due

    def close(self) -> None:
        self._container.close()

    def _decoded(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        damaged = 0
        for packet in self._container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # lost on the way; the next ones may be whole
                damaged += 1
                if damaged > _DAMAGED_IN_A_ROW:
                    raise
                continue
            damaged = 0
            for frame in frames:
                if isinstance(frame, av.VideoFrame):
                    yield frame


def reader_opener(source: str, request: CameraRequest = CameraRequest()) -> Callable[[], Reader]:
    """What opens a source: a camera's index or device, a URL, or a file.

    Raises:
        SourceError: ``source`` is none of these.
    """
    if source.isdecimal():
        return lambda: CameraReader(int(source), request)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        return lambda: StreamReader(source)
    path = Path(source)
    if sys.platform.startswith("linux") and (source.startswith("/dev/") or path.is_char_device()):
        return lambda: CameraReader(source, request)
    if not path.exists():
        raise SourceError(
            f"{source} is no camera, URL or file: name a camera's number (--list-cameras), http://… or rtsp://…,"
            " or a video that exists"
        )
    return lambda: FileReader(path)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
