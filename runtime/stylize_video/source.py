"""Video files as frames with their presentation time stamps (PTS).

OpenCV decodes (upright, whatever the rotation metadata says); PyAV reads what OpenCV
does not tell: the time base, colour tags, and whether the file is a video at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import cv2
import numpy as np

from stylize_video.errors import SourceError
from stylize_video.frame import TimedFrame
from stylize_video.quiet import quiet_stderr

_HDR = {16: "PQ", 18: "HLG"}
"""FFmpeg's numbers of the transfer characteristics that 8-bit frames cannot hold."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded.

    ``time_base`` is the length in seconds of one PTS unit; ``rate`` the average frame
    rate (a hint only: time stamps decide); ``frame_count`` an estimate, None where
    unknown; ``colorspace`` and ``color_range`` are FFmpeg's numbers, 2 and 0 where the
    file does not say; ``pixel_aspect`` is the width of a pixel over its height.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    start_pts: int
    rate: Fraction
    frame_count: int | None
    colorspace: int
    color_primaries: int
    color_trc: int
    color_range: int
    pixel_aspect: Fraction


class VideoSource:
    """Iterates over the frames of a video file, in order of presentation.

    Raises:
        SourceError: the file is missing, is no video, or holds no frame that decodes.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.exists():
            raise SourceError(f"the video {path} does not exist")
        if not path.is_file():
            raise SourceError(f"{path} is not a file; name one video")
        facts = _probe(path)
        if facts["color_trc"] in _HDR:
            raise SourceError(
                f"{path} is HDR ({_HDR[facts['color_trc']]}), which would come out washed out;"
                " convert it to SDR first (for example with ffmpeg's zscale and tonemap filters)"
            )
        reader, first = _first_that_decodes(path, facts["time_base"], facts["start_pts"])
        self._reader: _Reader = reader
        self._first: TimedFrame | None = first
        height, width = first.image.shape[:2]
        rotated = (width, height) != (facts.pop("coded_width"), facts.pop("coded_height"))
        if rotated and facts["pixel_aspect"] != 1:
            facts["pixel_aspect"] = 1 / facts["pixel_aspect"]
        self.info = VideoInfo(path=path, width=width, height=height, **facts)

    def __iter__(self) -> Iterator[TimedFrame]:
        previous = None
        while (frame := self._first or self._reader.read()) is not None:
            self._first = None
            # Damaged files repeat time stamps; no frame may be lost for it.
            pts = frame.pts if previous is None else max(frame.pts, previous + 1)
            previous = pts
            yield TimedFrame(pts, frame.image)

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()


class _Reader(Protocol):
    """Decodes one frame after the other."""

    def read(self) -> TimedFrame | None:
        """The next frame, None at the end."""

    def close(self) -> None: ...


class _OpenCvReader:
    """The usual way."""

    def __init__(self, path: Path, time_base: Fraction, start_pts: int) -> None:
        self._time_base, self._start_pts = time_base, start_pts
        with quiet_stderr():
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)

    def read(self) -> TimedFrame | None:
        decoded, image = self._capture.read()
        if not decoded:
            return None
        # The position is that of the frame just read, in milliseconds from the stream's start.
        position = Fraction(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        pts = self._start_pts + round(position / 1000 / self._time_base)
        return TimedFrame(pts, np.asarray(image, np.uint8))

    def close(self) -> None:
        self._capture.release()


class _PyAvReader:
    """For what this OpenCV has no decoder for, such as AV1 in its wheels."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path))
        stream = next(s for s in self._container.streams.video if not _is_cover(s))
        stream.thread_type = "AUTO"
        self._frames = self._container.decode(stream)

    def read(self) -> TimedFrame | None:
        for frame in self._frames:
            if frame.pts is not None:
                image = np.rot90(frame.to_ndarray(format="bgr24"), -(frame.rotation // -90) % 4)
                return TimedFrame(frame.pts, np.ascontiguousarray(image, np.uint8))
        return None

    def close(self) -> None:
        self._container.close()


def _first_that_decodes(path: Path, time_base: Fraction, start_pts: int) -> tuple[_Reader, TimedFrame]:
    """A reader for this file and its first frame: OpenCV's if it can, else PyAV's."""
    openers: tuple[Callable[[], _Reader], ...] = (
        lambda: _OpenCvReader(path, time_base, start_pts),
        lambda: _PyAvReader(path),
    )
    for opener in openers:
        reader = opener()
        try:
            with quiet_stderr():  # a decoder that is missing complains there
                first = reader.read()
        except av.error.FFmpegError:
            first = None
        if first is not None:
            return reader, first
        reader.close()
    raise SourceError(f"{path} has no video frames that can be decoded")


def _probe(path: Path) -> dict[str, Any]:
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"{path} is not a video that can be read ({_reason(error)})") from error
    with container:
        stream = next((s for s in container.streams.video if not _is_cover(s)), None)
        if stream is None:
            raise SourceError(f"{path} has no video in it")
        codec = stream.codec_context
        time_base = stream.time_base or Fraction(1, 90_000)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        count = stream.frames or None
        if count is None and container.duration:
            count = round(container.duration / av.time_base * rate) or None
        return {
            "coded_width": codec.width,
            "coded_height": codec.height,
            "time_base": time_base,
            "start_pts": stream.start_time or 0,
            "rate": rate,
            "frame_count": count,
            "colorspace": int(codec.colorspace),
            "color_primaries": int(codec.color_primaries),
            "color_trc": int(codec.color_trc),
            "color_range": int(codec.color_range),
            "pixel_aspect": stream.sample_aspect_ratio or Fraction(1),
        }


def _is_cover(stream: av.VideoStream) -> bool:
    """Pictures attached to a music file are video streams too."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
