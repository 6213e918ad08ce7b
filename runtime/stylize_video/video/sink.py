"""Writes stylized frames into a video file, with the source's time stamps and its sound.

OpenCV's own writer keeps neither, which is why PyAV is used. The file grows under a
temporary name beside the output and takes its place only when it is whole; what is whole
is never thrown away, also where its place was taken meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
import av.error

from stylize_video.errors import SinkError, reason
from stylize_video.files import (
    LONGEST_NAME,
    behind_links,
    check_result,
    for_ffmpeg,
    put_in_place,
    temporary_beside,
)
from stylize_video.frame import TimedFrame, as_frame, as_timed_frame
from stylize_video.interrupts import at_sudden_end, uninterrupted
from stylize_video.video.durations import PacketDurations
from stylize_video.video.encoder import VideoEncoder
from stylize_video.video.encoding import Codec, Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.shared_packets import SharedPackets
from stylize_video.video.streams import StreamCopier

_MOV = {"movflags": "+faststart", "movie_timescale": "90000", "strict": "experimental"}
"""Playable before it is loaded; starts of streams to 1/90000 s, where 1/1000 is usual; TrueHD too."""

_MUXING = {".mp4": _MOV, ".mov": _MOV, ".gif": {"loop": "0"}, ".webp": {"loop": "0"}}
"""Options of containers; pictures that move go on for ever."""

_WITH_CLOCK = (".ts",)
"""Broadcasts go on with the clock of what they are made of, so that parts of one stay parts of one."""

_ADDING_UP = ("mp4", "mov")
"""Containers that store the times between one packet's decoding and the next one's."""

_PTS_LIMIT = 2**62
"""Of time stamps either way: what containers hold, with room for other time bases."""

FAILURES = (av.error.FFmpegError, OSError, ValueError)
"""What writing raises where the disk is full, or the encoder or the container refuses something."""


class Track(Protocol):
    """What is written in step with the frames."""

    def copy_until(self, seconds: Fraction | None) -> None:
        """Write what starts before ``seconds``; None writes all that is left."""

    def close(self) -> None: ...


class VideoSink:
    """One output file: it is finished at the end of a ``with`` block, and discarded after an error.

    Args:
        output: where the finished file goes.
        info: the source whose time base, colours and sound are kept.
        overwrite: replace a file that is there.
        encoding: codec and quality; by default what suits the file's ending.
        copy_streams: copy sound, subtitles, chapters and metadata.
        others: where those come from, by default ``info.path`` if that is a file.

    Raises:
        SinkError: the output exists, or its folder is missing or cannot be written.
    """

    def __init__(
        self,
        output: str | Path,
        info: VideoInfo,
        *,
        overwrite: bool = False,
        encoding: Encoding = Encoding(),
        copy_streams: bool = True,
        others: SharedPackets | Path | None = None,
    ) -> None:
        self.output = behind_links(Path(output))
        self.frames = 0
        self._info, self._overwrite = info, overwrite
        of_file = info.path if info.path.is_file() else None
        self._copied = (others or of_file) if copy_streams else None
        self._last_pts: deque[int] = deque(maxlen=2)
        self._usual = max(1, round(1 / info.rate / info.time_base))
        self._durations = PacketDurations(self._usual)
        check_output(self.output, info.path, overwrite=overwrite)
        codec, options = encoding.resolved(self.output)
        codec.check_size(info.width, info.height, at_bitrate=encoding.bitrate is not None)
        try:
            self._temporary = self._make_temporary()
        except OSError as error:
            raise SinkError(f"cannot write {output}: {reason(error)}") from error
        self._is_unfinished = True  # the temporary file is there, and nobody else's
        self._opened = contextlib.ExitStack()
        try:
            self._open(codec, options, encoding.bitrate)
        except BaseException as error:
            self.discard()
            if isinstance(error, FAILURES):
                raise SinkError(f"cannot write {output}: {reason(error)}") from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()
        elif self._is_unfinished:
            self.finish()

    def write(self, frame: TimedFrame) -> None:
        """Encode one frame and copy the sound up to it.

        Raises:
            SinkError: the disk is full; the encoder refuses the frame; it has another size than the
                video, or is shown before the one that came last, or at no whole number; or the file was
                finished or discarded.
            StylizeError: it is no :class:`TimedFrame`, or its image is no frame.
        """
        self._check(as_timed_frame(frame))
        with self._errors_as_sentences():
            self._write(frame)
        self._last_pts.append(frame.pts)
        self.frames += 1

    def finish(self, *, whole: bool = True) -> Path:
        """Complete the file and move it to its place.

        ``whole`` says that all of the source is in it, so that sound which goes on after
        the last frame is kept too; otherwise sound ends with the last frame. Ctrl-C waits until
        the file is in its place; one that :func:`uninterrupted` does not keep any more discards it.

        Raises:
            SinkError: the disk is full; no frame was written; or somebody else's file has the name now,
                and the sentence says under which one all of this one is.
        """
        self._check_unfinished()
        if not self.frames:
            self.discard()
            raise SinkError(f"no frame was written to {self.output}")
        with self._whole_or_discarded():
            self._complete(whole=whole)
            path = self._move_to_output()
            self._after_finish()
            if path != self.output:
                self._renamed(path)
        return path

    def keep_part(self) -> Path | None:
        """After an interruption: complete what there is as a playable file of its own.

        Returns its path, or None where no frame was written, or the file was finished or discarded.
        """
        if not self.frames:
            self.discard()
        part: Path | None = None
        while self._is_unfinished:
            # One more Ctrl-C asks for what is being done already, or is about to be.
            with contextlib.suppress(KeyboardInterrupt), self._whole_or_discarded():
                self._complete(whole=False)
                part = self._move_to_free_name("part")
                self._after_part(part)
        return part

    def discard(self) -> None:
        """Remove what was written; nothing where it is finished."""
        self._close()
        if self._is_unfinished:
            self._is_unfinished = False
            self._temporary.unlink(missing_ok=True)

    # What sinks that do more than write a file do otherwise

    def _make_temporary(self) -> Path:
        temporary = temporary_beside(self.output)
        at_sudden_end(self, partial(temporary.unlink, missing_ok=True))
        weakref.finalize(self, _remove, temporary, os.getpid())  # of a sink that nobody finished
        return temporary

    def _muxing(self) -> dict[str, str]:
        """Options of the container."""
        suffix, window = self.output.suffix.lower(), self._info.window
        if suffix in _WITH_CLOCK and window.start is None and window.shift > 0:
            return {"output_ts_offset": f"{float(window.shift):.6f}"}
        return _MUXING.get(suffix, {})

    def _open(self, codec: Codec, options: Mapping[str, str], bitrate: int | None) -> None:
        self._container = av.open(for_ffmpeg(self._temporary), "w", options=self._muxing())
        self._opened.callback(self._container.close)
        self._encoder = VideoEncoder(
            self._container, self._info, codec=codec, options=options, bitrate=bitrate
        )
        self._track = self._make_track()
        if self._track:
            self._opened.callback(self._track.close)

    def _make_track(self) -> Track | None:
        if self._copied is None:
            return None
        return StreamCopier(self._copied, self._container, window=self._info.window)

    def _write(self, frame: TimedFrame) -> None:
        if not self.frames:
            self._begin_at(frame.pts)
        self._durations.add(frame.pts)
        self._mux(self._durations.ready(self._encoder.encode(frame)))
        if self._track:
            self._track.copy_until(frame.pts * self._info.time_base)

    def _flush(self, end: Fraction | None) -> None:
        """Write all packets that are left; the last frame is shown until ``end``, in seconds."""
        over = self._ticks(end)
        self._mux(self._durations.ready(self._encoder.flush(over)))
        self._mux(self._durations.finish(over, adds_up=self._adds_up()))

    def _after_finish(self) -> None:
        """The file is in its place."""

    def _renamed(self, path: Path) -> None:
        """The file is whole, but in another place: somebody else's has its name."""
        raise SinkError(f"{self.output} was taken meanwhile; the whole video is in {path}")

    def _after_part(self, part: Path) -> None:
        """The playable file ``part`` is in its place."""

    def _kept(self) -> str:
        """After a failure: what is kept, as the end of a sentence."""
        return "; nothing was kept"

    # What all of them do alike

    def _begin_at(self, pts: int) -> None:
        """Move all of the file where its first frame, at ``pts``, is before 0: MP4 would hide it."""
        if pts < 0:
            offset = f"{float(-pts * self._info.time_base):.6f}"
            self._container.options.setdefault("output_ts_offset", offset)

    def _mux(self, packets: Iterable[av.Packet[Any]]) -> None:
        for packet in packets:
            packet.stream = self._encoder.stream
            self._container.mux(packet)

    def _ticks(self, seconds: Fraction | None) -> int | None:
        return None if seconds is None else round(seconds / self._info.time_base)

    def _adds_up(self) -> bool:
        return self._container.format.name in _ADDING_UP

    def _check(self, frame: TimedFrame) -> None:
        self._check_unfinished()
        if not isinstance(frame.pts, Integral) or abs(frame.pts) >= _PTS_LIMIT:
            raise SinkError(
                f"time stamps of {self.output} are whole numbers of {self._info.time_base} s,"
                f" got {frame.pts!r}"
            )
        shape, (height, width) = as_frame(frame.image).shape, (self._info.height, self._info.width)
        if shape != (height, width, 3):
            raise SinkError(f"frames of {self.output} are [{height}, {width}, 3], got {list(shape)}")
        if self._last_pts and frame.pts <= self._last_pts[-1]:
            raise SinkError(
                f"time stamps of {self.output} rise from frame to frame, got"
                f" {frame.pts} after {self._last_pts[-1]}"
            )

    def _check_unfinished(self) -> None:
        if not self._is_unfinished:
            raise SinkError(f"{self.output} was finished or given up already")

    def _close(self) -> None:
        with contextlib.suppress(*FAILURES):  # closing writes, which may be what failed
            self._opened.close()

    def _move_to_output(self) -> Path:
        """The name that the file gets: another one where somebody else's file took its own meanwhile."""
        with contextlib.suppress(SinkError, FileExistsError):
            check_output(self.output, self._info.path, overwrite=self._overwrite)
            self._move_to(self.output, replace=self._overwrite)
            return self.output
        return self._move_to_free_name("new")

    def _move_to_free_name(self, word: str) -> Path:
        while True:
            path = free_name(self.output, word)
            with contextlib.suppress(FileExistsError):
                self._move_to(path, replace=False)
                return path

    def _move_to(self, path: Path, *, replace: bool = True) -> None:
        put_in_place(self._temporary, path, replace=replace)
        self._is_unfinished = False

    def _complete(self, *, whole: bool) -> None:
        self._flush(self._info.end if whole else None)
        if self._track:
            self._track.copy_until(None if whole else self._end())
        self._opened.close()

    def _end(self) -> Fraction:
        """Seconds at which the last frame's time is over."""
        last = self._last_pts[-1]
        duration = last - self._last_pts[0] if len(self._last_pts) > 1 else 0
        one_frame = Fraction(duration) * self._info.time_base if duration else 1 / self._info.rate
        return last * self._info.time_base + one_frame

    @contextlib.contextmanager
    def _whole_or_discarded(self) -> Iterator[None]:
        """Ctrl-C waits for the end; an error, and a Ctrl-C that does not wait any more, discard the file."""
        with uninterrupted(), self._errors_as_sentences():
            try:
                yield
            except KeyboardInterrupt:
                self.discard()
                raise

    @contextlib.contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        """Any failure removes the temporary file, but for what is kept, and becomes one sentence."""
        try:
            yield
        except SinkError:
            self.discard()
            raise
        except FAILURES as error:
            kept = self._kept()
            self.discard()
            raise SinkError(f"writing {self.output} failed: {reason(error)}{kept}") from error


def _remove(temporary: Path, process: int) -> None:
    if os.getpid() == process:  # not at the end of a process that was forked
        temporary.unlink(missing_ok=True)


def check_output(output: Path, source: Path, *, overwrite: bool) -> None:
    """Raise SinkError where ``output`` must not or cannot be written."""
    if output.exists() and not (output.is_file() or output.is_dir()):
        raise SinkError(f"{output} is no ordinary file; name another file")
    check_result(output, [source], overwrite=overwrite)


def free_name(output: Path, word: str) -> Path:
    """``clip.photo.part.mp4`` beside ``clip.photo.mp4`` for ``part``, numbered where that is taken."""
    stem = output.stem
    while len(os.fsencode(f"{stem}.{word}999{output.suffix}")) > LONGEST_NAME:
        stem = stem[:-1]
    path = output.with_name(f"{stem}.{word}{output.suffix}")
    number = 2
    while os.path.lexists(path):
        path = output.with_name(f"{stem}.{word}{number}{output.suffix}")
        number += 1
    return path
