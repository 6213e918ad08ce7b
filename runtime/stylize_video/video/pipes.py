"""Video that is read once, from front to back, and video written to a pipe.

``ffmpeg ... -f nut - | stylize-video - | ffmpeg -i - ...``: NUT keeps time stamps and
sound, Y4M is known to most programs and has neither, raw frames have nothing at all.
URLs and cameras of the network are read in the same way: they may not be asked twice.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import av
import av.error

from stylize_video.errors import SinkError, SourceError, reason
from stylize_video.frame import TimedFrame
from stylize_video.values import parse_rate, parse_size, rate_of
from stylize_video.video.edit import Edit
from stylize_video.video.encoder import VideoEncoder
from stylize_video.video.encoding import PIPE_FORMATS
from stylize_video.video.info import VideoInfo
from stylize_video.video.probe import facts_of
from stylize_video.video.shared_packets import SharedPackets
from stylize_video.video.source import VideoSource
from stylize_video.video.stdio import BUFFER, StandardInput, StandardOutput
from stylize_video.video.streams import StreamCopier

STANDARD = "-"
"""What standard input and output are called."""

_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp")
_SECONDS_TO_OPEN, _SECONDS_TO_READ = 15.0, 30.0

UNTIMED_PIPES = ("y4m", "raw")


@dataclass(frozen=True)
class RawFormat:
    """What frames without any header are: their size, rate, and FFmpeg's name of their pixels."""

    width: int
    height: int
    rate: float | Fraction = Fraction(25)
    pixels: str = "bgr24"

    def __post_init__(self) -> None:
        rate_of(self.rate)
        try:
            av.VideoFormat(self.pixels)
        except ValueError:
            some = "bgr24, rgb24, yuv420p, nv12"
            raise SourceError(f"unknown pixel format {self.pixels!r}; some are {some}") from None


def raw_format_of(size: str, rate: str | None = None, pixels: str | None = None) -> RawFormat:
    """The format of raw frames as users type it; what they leave out is as usual.

    Raises:
        StylizeError: the size is none of a frame, the rate is no number, or the pixels are unknown.
    """
    raw = RawFormat(*parse_size(size))
    return replace(raw, rate=parse_rate(rate) if rate else raw.rate, pixels=pixels or raw.pixels)


def is_url(text: str) -> bool:
    """Whether ``text`` is an address of the network that can be read."""
    return "://" in text and urlsplit(text).scheme.lower() in _SCHEMES


def as_ffmpeg_knows(url: str) -> str:
    """The address with its scheme in small letters: FFmpeg knows no others."""
    scheme, colon, rest = url.partition("://")
    return f"{scheme.lower()}{colon}{rest}"


def without_password(url: str) -> str:
    """The address without the user and the password that cameras have in theirs."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url


class StreamSource(VideoSource):
    """Iterates over the frames of standard input (``-``) or of a URL.

    Its other streams come as packets with the frames: see ``others``.

    Args:
        name: ``-`` or the URL.
        edit: which part is taken; what is before it is read all the same.
        alpha: give transparency too.
        raw: what the frames are, where they come without a header.

    Raises:
        SourceError: nothing can be read, or it is no video.
    """

    def __init__(
        self, name: str, *, edit: Edit = Edit(), alpha: bool = False, raw: RawFormat | None = None
    ) -> None:
        self._input = _standard_input() if name == STANDARD else None
        with self._input.opening() if self._input else contextlib.nullcontext():
            container = _open(name, raw, self._input)
            shown = _shown(name)
            self._kind = container.format.name
            try:
                facts = facts_of(container, shown, seekable=False)
            except SourceError:
                container.close()
                raise
            self.others = SharedPackets(container)
            live = name != STANDARD and container.duration is None
            self._begin(Path(shown), facts, edit=edit, alpha=alpha, shared=self.others, live=live)

    def _why_no_frames(self) -> str:
        if self._input and not self._input.seekable() and "mp4" in self._kind:
            return "an MP4 with its index at its end cannot be read from a pipe; name the file"
        return super()._why_no_frames()

    def close(self) -> None:
        """As for any video; standard input is given back too."""
        super().close()
        if self._input:
            self._input.close()

    def stop_waiting(self) -> None:
        """Let whoever waits for more of standard input, in another thread, find its end."""
        if self._input:
            self._input.stop()


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD else without_password(name)


def _standard_input() -> StandardInput:
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "the terminal"
        raise SourceError(f"standard input is {what}; pipe a video into it, or name a file")
    return StandardInput()


def _open(
    name: str, raw: RawFormat | None, standard_input: StandardInput | None
) -> av.container.InputContainer:
    options, address = {}, as_ffmpeg_knows(name)
    if raw:
        size, rate = f"{raw.width}x{raw.height}", str(raw.rate)
        options = {"video_size": size, "pixel_format": raw.pixels, "framerate": rate}
    elif address.startswith("rtsp"):
        options = {"rtsp_transport": "tcp"}  # lost packets would be grey frames
    form = "rawvideo" if raw else None
    try:
        if standard_input:
            return av.open(standard_input, "r", format=form, options=options, buffer_size=BUFFER)
        timeout = (_SECONDS_TO_OPEN, _SECONDS_TO_READ)
        return av.open(address, "r", format=form, options=options, timeout=timeout)
    except av.error.ExitError as error:
        raise SourceError(f"{_shown(name)} gives no answer within {_SECONDS_TO_OPEN:g} seconds") from error
    except (av.error.FFmpegError, ValueError, OSError) as error:
        hint = "; raw frames need --raw-size" if name == STANDARD and not raw else ""
        raise SourceError(
            f"{_shown(name)} is not a video that can be read ({reason(error)}){hint}"
        ) from error


class PipeSink:
    """Writes frames to standard output, as they come.

    Args:
        kind: one of :data:`PIPE_FORMATS`.
        info: the frames' size, times and colours.
        others: the other streams of the source, copied where the container holds them.

    Raises:
        SinkError: standard output is a terminal or closed.
    """

    def __init__(self, kind: str, info: VideoInfo, *, others: SharedPackets | Path | None = None) -> None:
        if sys.stdout is None:
            raise SinkError("standard output is closed; pipe it on, or name a file with -o")
        if sys.stdout.isatty():
            raise SinkError("the result would go to the terminal; pipe it on, or name a file with -o")
        name, codec = PIPE_FORMATS[kind]
        self.output = Path(STANDARD)
        self.frames = 0
        self._info = info
        self._pipe = StandardOutput()
        options = {"flush_packets": "1"}
        self._container = av.open(self._pipe, "w", format=name, options=options, buffer_size=BUFFER)
        self._encoder = VideoEncoder(self._container, info, codec=codec, options={})
        self._others: StreamCopier | None = None
        if others is not None and kind not in UNTIMED_PIPES:
            self._others = StreamCopier(others, self._container, window=info.window)

    def write(self, frame: TimedFrame) -> None:
        """Write one frame and the sound up to it.

        Raises:
            BrokenPipeError: nobody reads any more.
            SinkError: writing fails in another way.
        """
        with self._errors_as_sentences():
            self._container.mux(self._encoder.encode(frame))
            if self._others:
                self._others.copy_until(frame.pts * self._info.time_base)
        self.frames += 1

    def finish(self, *, whole: bool = True) -> Path:
        with self._errors_as_sentences():
            self._container.mux(self._encoder.flush())
            if self._others and whole:
                self._others.copy_until(None)
            self._close()
        return self.output

    def stop_waiting(self) -> None:
        """Let whoever waits for the reader, in another thread, give up if it does not read on soon."""
        self._pipe.stop()

    def keep_part(self) -> Path | None:
        self._pipe.stop()
        with contextlib.suppress(BrokenPipeError, SinkError):
            self.finish(whole=False)
        return self.output if self.frames else None

    def discard(self) -> None:
        """What was written is gone already; only the pipe is closed."""
        with contextlib.suppress(Exception):  # closing writes, which may be what failed
            self._close()

    def _close(self) -> None:
        if self._others:
            self._others.close()
        self._container.close()

    @contextlib.contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if self._pipe.interruption:
                raise self._pipe.interruption from None
            if isinstance(error, BrokenPipeError):
                raise
            raise SinkError(f"writing to standard output failed: {reason(error)}") from error
