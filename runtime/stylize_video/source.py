"""Video files as frames with their presentation time stamps (PTS).

OpenCV decodes (upright, whatever the rotation metadata says); PyAV reads what OpenCV
does not tell: the time base, colour tags, and whether the file is a video at all. What
needs a filter, interlaced and HDR videos, PyAV decodes too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av.error
import cv2
import numpy as np

from stylize_video.decoding import OpenCvReader, PyAvReader, Reader
from stylize_video.errors import SourceError
from stylize_video.filters import Filter, deinterlacing, ten_bits, tone_mapping
from stylize_video.frame import TimedFrame
from stylize_video.probe import Probe, probe
from stylize_video.quiet import quiet_stderr
from stylize_video.tonemap import TRANSFERS

_log = logging.getLogger(__name__)

_SEEK_SECONDS = 2
"""How much earlier a seek aims: containers and decoders are not exact about it."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video's frames before they are decoded.

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

    Interlaced frames are made whole, and HDR is tone-mapped to SDR.

    Raises:
        SourceError: the file is missing, is no video, or holds no frame that decodes.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.exists():
            raise SourceError(f"the video {path} does not exist")
        if not path.is_file():
            raise SourceError(f"{path} is not a file; name one video")
        facts = probe(str(path))
        self._open_again, self._reader, first = _first_that_decodes(str(path), facts)
        self._first: TimedFrame | None = first
        self._previous: int | None = None
        self.info = _info(path, facts, width=first.image.shape[1], height=first.image.shape[0])

    def __iter__(self) -> Iterator[TimedFrame]:
        size = (self.info.width, self.info.height)
        while (frame := self._first or self._reader.read()) is not None:
            self._first = None
            # Damaged files repeat time stamps; no frame may be lost for it.
            pts = frame.pts if self._previous is None else max(frame.pts, self._previous + 1)
            self._previous = pts
            image = frame.image
            if image.shape[1::-1] != size:  # broadcasts change it on the way
                image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            yield TimedFrame(pts, image)

    def skip_past(self, pts: int) -> None:
        """Go on with the first frame after this time, as if all before it had been read.

        Seeking goes to a keyframe a little before; what lies between is decoded. Where a
        container has no index to seek by, that is everything from the start on.
        """
        early = max(self.info.start_pts, pts - round(_SEEK_SECONDS / self.info.time_base))
        if early > self.info.start_pts:
            found = self._reader.seek(early)
            if found is None or found.pts > pts:
                self._reader.close()
                self._reader = self._open_again()
                found = self._reader.read()
            self._first, self._previous = found, None
        for frame in self:
            if frame.pts > pts:
                self._first, self._previous = frame, pts
                return

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()


def _first_that_decodes(name: str, facts: Probe) -> tuple[Callable[[], Reader], Reader, TimedFrame]:
    """How to open a reader for this file, one that is open, and its first frame: OpenCV's, else PyAV's."""
    filters = _filters(name, facts)
    openers: list[Callable[[], Reader]] = [lambda: PyAvReader(name, facts, filters)]
    if not filters:
        openers.insert(0, lambda: OpenCvReader(name, facts))
    for opener in openers:
        reader = opener()
        try:
            with quiet_stderr():  # a decoder that is missing complains there
                first = reader.read()
        except av.error.FFmpegError:
            first = None
        if first is not None:
            return opener, reader, first
        reader.close()
    raise SourceError(f"{name} has no video frames that can be decoded")


def _filters(name: str, facts: Probe) -> list[Filter]:
    filters: list[Filter] = [deinterlacing] if facts.interlaced else []
    if facts.color_trc in TRANSFERS:
        _log.warning("%s is HDR (%s); it is tone-mapped to SDR", name, TRANSFERS[facts.color_trc])
        filters += [ten_bits, tone_mapping(facts.color_trc)]
    return filters


def _info(path: Path, facts: Probe, *, width: int, height: int) -> VideoInfo:
    """What of ``facts`` is true of the frames, which are upright and SDR, ``width`` by ``height``."""
    turned = (width, height) != (facts.width, facts.height)
    tone_mapped = facts.color_trc in TRANSFERS
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=facts.time_base,
        start_pts=facts.start_pts,
        rate=facts.rate,
        frame_count=facts.frame_count,
        colorspace=1 if tone_mapped else facts.colorspace,
        color_primaries=1 if tone_mapped else facts.color_primaries,
        color_trc=1 if tone_mapped else facts.color_trc,
        color_range=1 if tone_mapped else facts.color_range,
        pixel_aspect=1 / facts.pixel_aspect if turned else facts.pixel_aspect,
    )
