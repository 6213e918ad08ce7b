"""Live sources: a camera, a network stream, or a video file played as if it were one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from stylize_video.decoding import quarter_turns
from stylize_video.errors import SourceError, reason
from stylize_video.frame import Frame
from stylize_video.live.cameras import CameraReader, CameraRequest, parse_camera
from stylize_video.pipes import without_password
from stylize_video.source import VideoSource

_log = logging.getLogger(__name__)

_OPEN_SECONDS = 10.0
_READ_SECONDS = 5.0
"""A stream that gives nothing for so long counts as lost."""

_LIVE_OPTIONS = {"flags": "low_delay", "rtsp_transport": "tcp", "reconnect": "1"}
"""To reconnect is to go on in the middle of a file; FFmpeg does it where the server can."""
_DAMAGED_IN_A_ROW = 100
_MOST_ASPECT = 4
"""Pixels that are said to be wider or higher than that are not."""

_IN_SEGMENTS = {"hls", "applehttp", "dash"}
_JUMP_SECONDS = 10.0
"""Time stamps of a live stream that are so far apart do not belong together."""
_FILES = {"mpegts", "mpeg", "flv", "matroska", "webm", "mov", "mp4", "nut"}
"""Formats with time stamps: where a server says how large such a file is, it is no live stream."""
_SHORT_SECONDS = 1.0


class Reader(Protocol):
    """Gives one frame after the other.

    Attributes:
        live: frames come when they come, and a source that is lost may return. The others
            have time stamps that say when a frame is due, and an end.
        fps: the rate that the source promises, None where it does not say.
        end: when the last frame given is over, in seconds; None where nobody says.
    """

    live: bool
    fps: float | None
    end: float | None

    def read(self) -> tuple[Frame, float | None] | None:
        """The next frame and when it is due, in seconds; None at the end or once the source is lost.

        Raises:
            SourceError: it has an end and broke off before.
        """

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
        self._info = info = self._video.info
        self._start = info.start_pts * info.time_base
        self.fps: float | None = float(info.rate)
        self.end: float | None = None

    def read(self) -> tuple[Frame, float | None] | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        at = frame.pts * self._info.time_base
        over = max(at + 1 / self._info.rate, self._info.end or 0)
        self.end = float(over - self._start)
        return _squared(frame.image, self._info.pixel_aspect), float(at - self._start)

    def close(self) -> None:
        self._video.close()


class StreamReader:
    """A network stream, opened by PyAV, which can give up waiting.

    One that comes in segments, many frames at once, is played at its own speed though it is live.

    Raises:
        SourceError: it cannot be reached, or holds no video.
    """

    end: float | None = None

    def __init__(self, url: str) -> None:
        self._shown = shown = without_password(url)
        try:
            self._container = av.open(url, options=_LIVE_OPTIONS, timeout=(_OPEN_SECONDS, _READ_SECONDS))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{shown} cannot be opened ({reason(error)}): is it right, and running?"
            ) from error
        stream = next(iter(self._container.streams.video), None)
        if stream is None:
            self._container.close()
            raise SourceError(f"{shown} has no video in it")
        self._reformatter = VideoReformatter()  # kept, or every frame would start threads and fill tables
        # Decoding in several threads would hold frames back.
        stream.thread_type = "SLICE"
        names = set(self._container.format.name.split(","))
        is_file = not names.isdisjoint(_FILES) and self._container.size > 0
        self.live = not self._container.duration and not is_file
        rate = stream.average_rate
        self.fps = float(rate) if rate and not self.live else None
        self._timed = not self.live or not _IN_SEGMENTS.isdisjoint(names)
        self._lasts = float((stream.duration or 0) * (stream.time_base or 0))
        self._pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
        self._start: float | None = None
        self._due = self._over = 0.0
        self._frames = self._decoded(stream)

    def read(self) -> tuple[Frame, float | None] | None:
        frame, failed = None, False
        try:
            frame = next(self._frames, None)
        except (av.error.FFmpegError, OSError) as error:
            _log.debug("the stream is lost: %s", error)
            failed = True
        if frame is None:
            if not self.live and (failed or self._over < self._lasts - _SHORT_SECONDS):
                raise SourceError(f"{self._shown} broke off after {self._over:.1f} seconds")
            return None
        picture = self._reformatter.reformat(frame, format="bgr24", threads=1)
        pixels = np.asarray(picture.to_ndarray(), np.uint8)
        upright = np.rot90(_squared(pixels, self._pixel_aspect), quarter_turns(frame))
        return np.ascontiguousarray(upright), self._due_of(frame)

    def _due_of(self, frame: av.VideoFrame) -> float | None:
        if not self._timed or frame.time is None:
            return None
        if self._start is None:
            self._start = frame.time
        if self.live and abs(frame.time - self._start - self._due) > _JUMP_SECONDS:
            self._start = frame.time - self._due  # another programme, with a clock of its own
        self._due = frame.time - self._start
        self._over = self._due + float(frame.duration * (frame.time_base or 0))
        return self._due

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
    camera = parse_camera(source)
    if camera is not None:
        return lambda: CameraReader(camera, request)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        return lambda: StreamReader(source)
    path = Path(source)
    if not path.exists():
        raise SourceError(
            f"{source} is no camera, URL or file: name a camera's number (--list-cameras), http://… or rtsp://…,"
            " or a video that exists"
        )
    return lambda: FileReader(path)


def _squared(image: Frame, pixel_aspect: Fraction) -> Frame:
    """The picture in square pixels: windows, pages and cameras know no others."""
    height, width = image.shape[:2]
    wanted = round(width * pixel_aspect)
    if wanted == width or not 1 / _MOST_ASPECT <= pixel_aspect <= _MOST_ASPECT:
        return image
    return np.asarray(cv2.resize(image, (wanted, height), interpolation=cv2.INTER_LINEAR), np.uint8)
