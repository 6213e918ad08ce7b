"""Live sources: a camera, a network stream, or a video file played as if it were one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np

from stylize_video.errors import SourceError, reason
from stylize_video.frame import Frame
from stylize_video.live.cameras import CameraReader, CameraRequest, parse_camera
from stylize_video.live.capture import Read, Reader
from stylize_video.live.packets import AllPackets, LivePackets
from stylize_video.video.decoding import PyAvReader
from stylize_video.video.pipes import as_ffmpeg_knows, without_password
from stylize_video.video.probe import facts_of, video_stream
from stylize_video.video.source import VideoSource, filters_for

_OPEN_SECONDS = 10.0
_READ_SECONDS = 5.0
"""A stream that gives nothing for so long counts as lost."""

_OPTIONS = {"rtsp_transport": "tcp", "reconnect": "1"}
"""To reconnect is to go on in the middle of a file; FFmpeg does it where the server can."""
_MOST_ASPECT = 4
"""Pixels that are said to be wider or higher than that are not."""

_IN_SEGMENTS = {"hls", "applehttp", "dash"}
_JUMP_SECONDS = 10.0
"""Time stamps of a live stream that are so far apart do not belong together."""
_FILES = {"mpegts", "mpeg", "flv", "matroska", "webm", "mov", "mp4", "nut"}
"""Formats with time stamps: where a server says how large such a file is, it is no live stream."""
_SHORT_SECONDS = 1.0


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

    def read(self) -> Read | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        at = frame.pts * self._info.time_base
        over = max(at + 1 / self._info.rate, self._info.end or 0)
        self.end = float(over - self._start)
        return Read(_squared(frame.image, self._info.pixel_aspect), due=float(at - self._start))

    def close(self) -> None:
        self._video.close()


class StreamReader:
    """A network stream, opened by PyAV, which can give up waiting, and read by the rules of files.

    A live one does not fall behind: what the decoder is too slow for is left out. One that comes in
    segments, many frames at once, is played at its own speed though it is live.

    Raises:
        SourceError: it cannot be reached, holds no video, or one that cannot be shown rightly.
    """

    end: float | None = None

    def __init__(self, url: str) -> None:
        self._shown = shown = without_password(url)
        try:
            timeout = (_OPEN_SECONDS, _READ_SECONDS)
            container = av.open(as_ffmpeg_knows(url), options=_OPTIONS, timeout=timeout)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{shown} cannot be opened ({reason(error)}): is it right, and running?"
            ) from error
        try:
            self._facts = facts = facts_of(container, shown, seekable=False)
        except SourceError:
            container.close()
            raise
        names = set(container.format.name.split(","))
        is_file = not names.isdisjoint(_FILES) and container.size > 0
        self.live = not container.duration and not is_file
        self.fps = None if self.live else float(facts.rate)
        self._is_paced = not self.live or not _IN_SEGMENTS.isdisjoint(names)
        self._packets = AllPackets(container) if self._is_paced else LivePackets(container, facts)
        self._decoder = PyAvReader(
            shown, facts, filters_for(shown, facts), shared=self._packets, low_delay=True
        )
        self._lasts = _seconds_in(container)
        self._start: float | None = None
        self._due = self._over = 0.0

    def read(self) -> Read | None:
        frame = self._decoder.read()
        if frame is None:
            if not self.live and (self._packets.failed or self._over < self._lasts - _SHORT_SECONDS):
                raise SourceError(f"{self._shown} broke off after {self._over:.1f} seconds")
            return None
        aspect = self._facts.pixel_aspect
        image = _squared(frame.image, 1 / aspect if self._decoder.is_turned else aspect)
        if isinstance(self._packets, LivePackets):
            captured_at, frames = self._packets.account_for(frame.pts)
            return Read(image, age=time.perf_counter() - captured_at, frames=frames)
        return Read(image, due=self._due_at(float(frame.pts * self._facts.time_base)))

    def _due_at(self, seconds: float) -> float:
        if self._start is None:
            self._start = seconds
        if self.live and abs(seconds - self._start - self._due) > _JUMP_SECONDS:
            self._start = seconds - self._due  # another programme, with a clock of its own
        self._due = seconds - self._start
        self._over = self._due + float(1 / self._facts.rate)
        return self._due

    def close(self) -> None:
        self._packets.close()


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


def _seconds_in(container: av.container.InputContainer) -> float:
    """How long the video says that it is; 0 where it does not."""
    stream = video_stream(container)
    return float((stream.duration or 0) * (stream.time_base or 0)) if stream else 0.0


def _squared(image: Frame, pixel_aspect: Fraction) -> Frame:
    """The picture in square pixels: windows, pages and cameras know no others."""
    height, width = image.shape[:2]
    wanted = round(width * pixel_aspect)
    if wanted == width or not 1 / _MOST_ASPECT <= pixel_aspect <= _MOST_ASPECT:
        return image
    return np.asarray(cv2.resize(image, (wanted, height), interpolation=cv2.INTER_LINEAR), np.uint8)
