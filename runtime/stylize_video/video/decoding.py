"""Two decoders of video files: OpenCV's, and PyAV's for what OpenCV leaves out."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from inspect import GEN_RUNNING, getgeneratorstate
from typing import Protocol, cast

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from stylize_video.errors import SourceError, reason
from stylize_video.files import for_ffmpeg
from stylize_video.frame import TimedFrame
from stylize_video.quiet import quiet_stderr
from stylize_video.video.damage import Damage, frames_past_damage
from stylize_video.video.filters import Filter, FilterChain, deinterlacing
from stylize_video.video.joins import Joins
from stylize_video.video.orientation import UPRIGHT, is_turned, turned
from stylize_video.video.probe import Probe, all_packets, orientation_of, video_stream

_SAMPLED = 8
"""Every so many rows and columns of a picture tell it from the one before."""


def _step(facts: Probe) -> int:
    """One frame in units of the time stamps."""
    return max(1, round(1 / facts.rate / facts.time_base))


class Reader(Protocol):
    """Decodes one frame after the other.

    ``is_turned`` is whether the file's rows are columns of the frames, once one was read.
    """

    is_turned: bool

    def read(self) -> TimedFrame | None:
        """The next frame, None at the end."""

    def seek(self, pts: int) -> TimedFrame | None:
        """The first frame after going to a keyframe at or before ``pts``; None where that fails."""

    def close(self) -> None: ...


class Packets(Protocol):
    """Packets of an open container, which may come in another way than from itself."""

    container: av.container.InputContainer

    def demux(self, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
        """Those of the video."""


class OpenCvReader:
    """The usual way: upright, right in colour; 8 bits, no filters, and time stamps in order.

    It ends, and ``gave_up`` says so, where a picture may be one that OpenCV cannot convert, such
    as an interlaced one: no error tells, but the picture before stays, at the start whatever was
    in memory.
    """

    def __init__(self, name: str, facts: Probe) -> None:
        self._start, self._time_base = facts.start_pts, facts.time_base
        self._step = _step(facts)
        self._last: int | None = None
        self._sample: bytes | None = None
        self._second: TimedFrame | None = None
        self.gave_up = False
        # What OpenCV's FFmpeg says of damage goes to the program's stderr, unless the first file finds this.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        with quiet_stderr():  # a decoder that is missing complains there
            self._capture = cv2.VideoCapture(for_ffmpeg(name), cv2.CAP_FFMPEG)
        self.is_turned = self._capture.get(cv2.CAP_PROP_ORIENTATION_META) in (90, 270)

    def read(self) -> TimedFrame | None:
        if self._second:
            frame, self._second = self._second, None
            return frame
        if self._sample is not None:
            return self._decode()
        first = self._decode()
        self._second = self._decode()  # which tells whether the first is one
        return None if self.gave_up else first

    def _decode(self) -> TimedFrame | None:
        decoded, image = self._capture.read()
        if not decoded:
            return None
        sample = image[::_SAMPLED, ::_SAMPLED].tobytes()
        self.gave_up = sample == self._sample
        if self.gave_up:
            return None
        self._sample = sample
        # The position is that of the frame just read, in milliseconds from the stream's start.
        position = Fraction(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        pts = round(position / 1000 / self._time_base) + self._start
        if position == 0 and self._last is not None:  # it has no time stamp
            pts = self._last + self._step
        self._last = pts
        return TimedFrame(pts, np.asarray(image, np.uint8))

    def seek(self, pts: int) -> TimedFrame | None:
        self._last = self._second = None
        milliseconds = float((pts - self._start) * self._time_base * 1000)
        return self.read() if self._capture.set(cv2.CAP_PROP_POS_MSEC, milliseconds) else None

    def close(self) -> None:
        self._capture.release()


class PyAvReader:
    """For what OpenCV cannot read or convert, for filters, and for streams.

    Interlaced frames are made whole.

    Args:
        name: the file.
        facts: what is known of it.
        filters: what each frame goes through.
        alpha: give transparency too.
        shared: where to read instead, if the source can be read only once.
        low_delay: hold no frame back to be faster.
    """

    def __init__(
        self,
        name: str,
        facts: Probe,
        filters: Sequence[Filter] = (),
        *,
        alpha: bool = False,
        shared: Packets | None = None,
        low_delay: bool = False,
    ) -> None:
        self._name, self._facts, self._alpha, self._shared = name, facts, alpha, shared
        self._time_base = facts.time_base
        self._step = _step(facts)
        try:
            self._container = shared.container if shared else av.open(for_ffmpeg(name))
        except (av.error.FFmpegError, ValueError) as error:
            raise SourceError(f"{name} is not a video that can be read ({reason(error)})") from error
        stream = video_stream(self._container)
        if stream is None:
            raise SourceError(f"{name} has no video in it")
        # Threads that took a frame each would hold back as many.
        stream.thread_type = "SLICE" if low_delay else "AUTO"
        self._stream, self._filters = stream, tuple(filters)
        self._reformatter = VideoReformatter()  # kept, or every frame would start threads and fill tables
        self.damage = Damage()
        self.is_turned = False
        self._pictures = self._decode()

    def read(self) -> TimedFrame | None:
        try:
            return next(self._pictures, None)
        except (av.error.FFmpegError, ValueError) as error:  # a filter or converter that cannot
            raise SourceError(f"{self._name} has frames that cannot be shown ({reason(error)})") from error

    def seek(self, pts: int) -> TimedFrame | None:
        if not self._facts.timed or self._shared:
            return None
        try:
            self._container.seek(pts, stream=self._stream)
        except av.error.FFmpegError:
            return None
        self.damage = Damage()
        self._pictures = self._decode()
        return self.read()

    def close(self) -> None:
        if getgeneratorstate(self._pictures) == GEN_RUNNING:  # another thread waits for data in there
            return
        self._pictures.close()
        self._container.close()

    def _decode(self) -> Generator[TimedFrame]:
        chain = FilterChain(self._filters) if self._filters else None
        orientation, deinterlaces = UPRIGHT, False
        for frame in self._stamped(self._frames()):
            if frame.interlaced_frame and not deinterlaces:
                deinterlaces = True
                for ready in chain.flush() if chain else ():
                    yield self._timed(ready, orientation)
                chain = FilterChain((deinterlacing, *self._filters))
            orientation = orientation_of(frame)
            self.is_turned = is_turned(orientation)
            for ready in chain.apply(frame) if chain else (frame,):
                yield self._timed(ready, orientation)
        if chain:
            for ready in chain.flush():
                yield self._timed(ready, orientation)

    def _frames(self) -> Iterator[av.VideoFrame]:
        packets = self._packets()
        if not (self._alpha and self._facts.codec == "vp9"):
            yield from frames_past_damage(packets, self.damage)
            return
        # FFmpeg's own VP9 decoder drops transparency; libvpx keeps it.
        decoder = av.VideoCodecContext.create("libvpx-vp9", "r")
        for frame in frames_past_damage(packets, self.damage, decoder):
            frame.time_base = self._time_base
            yield frame

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        if self._shared:
            return self._shared.demux(self._stream)
        if not self._facts.jumps:
            return all_packets(self._container, self._stream)
        packets = Joins().in_one_time(all_packets(self._container))  # the other streams tell of joins too
        index = self._stream.index
        return (cast("av.Packet[av.VideoStream]", p) for p in packets if p.stream.index == index)

    def _stamped(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Frames that all have a PTS, also where the container knows decoding order alone."""
        shift: int | None = None
        expected = self._facts.start_pts
        for frame in frames:
            if not self._facts.timed:
                if shift is None:  # the decoder's delay, which is no time of the video
                    shift = self._facts.start_pts - (frame.dts or 0)
                frame.pts = None if frame.dts is None else frame.dts + shift
            if frame.pts is None:
                frame.pts = frame.dts if self._facts.timed and frame.dts is not None else expected
            expected = frame.pts + self._step
            yield frame

    def _timed(self, frame: av.VideoFrame, orientation: int) -> TimedFrame:
        # A filter may count time in other units.
        pts = round((frame.pts or 0) * (frame.time_base or self._time_base) / self._time_base)
        picture = self._reformatter.reformat(frame, format="bgra" if self._alpha else "bgr24", threads=1)
        pixels = turned(np.asarray(picture.to_ndarray(), np.uint8), orientation)
        image = np.ascontiguousarray(pixels[..., :3])
        alpha = np.ascontiguousarray(pixels[..., 3]) if self._alpha else None
        return TimedFrame(pts, image, alpha)
