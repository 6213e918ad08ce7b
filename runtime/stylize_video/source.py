"""Video files as frames with their presentation time stamps (PTS).

OpenCV decodes (upright, whatever the rotation metadata says); PyAV reads what OpenCV
does not tell: the time base, colour tags, and whether the file is a video at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np

from stylize_video.errors import SourceError
from stylize_video.frame import Frame, TimedFrame


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

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SourceError(f"the video {path} does not exist")
        if not path.is_file():
            raise SourceError(f"{path} is not a file; name one video")
        facts = _probe(path)
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{path} cannot be decoded: this OpenCV has no decoder for it")
        first = self._read()
        if first is None:
            self._capture.release()
            raise SourceError(f"{path} has no video frames that can be decoded")
        self._first: tuple[float, Frame] | None = first
        height, width = first[1].shape[:2]
        rotated = (width, height) != (facts.pop("coded_width"), facts.pop("coded_height"))
        if rotated and facts["pixel_aspect"] != 1:
            facts["pixel_aspect"] = 1 / facts["pixel_aspect"]
        # OpenCV counts milliseconds from the stream's first time stamp.
        self.info = VideoInfo(path=path, width=width, height=height, **facts)

    def __iter__(self) -> Iterator[TimedFrame]:
        previous = None
        while (read := self._first or self._read()) is not None:
            self._first = None
            milliseconds, image = read
            pts = self.info.start_pts + round(Fraction(milliseconds) / 1000 / self.info.time_base)
            if previous is not None and pts <= previous:
                pts = previous + 1  # damaged files repeat time stamps; no frame may be lost for it
            previous = pts
            yield TimedFrame(pts, image)

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._capture.release()

    def _read(self) -> tuple[float, Frame] | None:
        decoded, image = self._capture.read()
        if not decoded:
            return None
        # The position is that of the frame just read (FFmpeg backend).
        return self._capture.get(cv2.CAP_PROP_POS_MSEC), np.asarray(image, np.uint8)


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
