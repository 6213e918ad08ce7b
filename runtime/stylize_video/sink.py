"""Writes stylized frames into a video file, with the source's time stamps and its sound.

OpenCV's own writer keeps neither, which is why PyAV is used. The file grows under a
temporary name beside the output and takes its place only when it is whole; what is whole
is never thrown away, also where its place was taken meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.error

from stylize_video.encoder import VideoEncoder
from stylize_video.encoding import Encoding
from stylize_video.errors import SinkError
from stylize_video.files import (
    LONGEST_NAME,
    for_ffmpeg,
    put_in_place,
    sole_temporary_beside,
    temporary_beside,
)
from stylize_video.frame import TimedFrame
from stylize_video.interrupts import uninterrupted
from stylize_video.journal import Journal
from stylize_video.probe import reason
from stylize_video.shared_packets import SharedPackets
from stylize_video.source import VideoInfo
from stylize_video.streams import StreamCopier

_MOV = {"movflags": "+faststart", "movie_timescale": "90000"}
"""Playable before it is loaded; starts of streams to 1/90000 s, where 1/1000 is usual."""

_MUXING = {".mp4": _MOV, ".mov": _MOV, ".gif": {"loop": "0"}, ".webp": {"loop": "0"}}
"""Options of containers; pictures that move go on for ever."""

_LIVE_MOV = {"movflags": "+hybrid_fragmented+delay_moov", "frag_duration": "1000000"}
"""Playable but for its last second while it is written, and in the end a plain file whose index is
behind the frames. The delay is for edit lists, without which nothing begins at 0."""

_LIVE_MATROSKA = {"cluster_time_limit": "1000"}
_LIVE_MUXING = {".mp4": _LIVE_MOV, ".mov": _LIVE_MOV, ".mkv": _LIVE_MATROSKA, ".webm": _LIVE_MATROSKA}


class Track(Protocol):
    """What is written in step with the frames."""

    def copy_until(self, seconds: Fraction | None) -> None:
        """Write what starts before ``seconds``; None writes all that is left."""

    def close(self) -> None: ...


class VideoSink:
    """One output file.

    Args:
        output: where the finished file goes.
        info: the source whose time base, colours and sound are kept.
        overwrite: replace a file that is there.
        encoding: codec and quality; by default what suits the file's ending.
        copy_streams: copy sound, subtitles, chapters and metadata.
        others: where those come from, by default ``info.path``.
        journal: keeps what is encoded until the end, so that a later run can go on.
        sound: makes a track of sound that arrives beside the frames.
        live: frames come once only; after a crash or on a full disk they are in a playable part.

    Raises:
        SinkError: the output exists, or its folder is missing or cannot be written.
    """

    def __init__(
        self,
        output: Path,
        info: VideoInfo,
        *,
        overwrite: bool = False,
        encoding: Encoding = Encoding(),
        copy_streams: bool = True,
        others: SharedPackets | Path | None = None,
        journal: Journal | None = None,
        sound: Callable[[av.container.OutputContainer], Track] | None = None,
        live: bool = False,
    ) -> None:
        self.output = output
        self.frames = journal.frames if journal else 0
        self._journal = journal
        self._info = info
        check_output(output, info.path, overwrite=overwrite)
        codec, options = encoding.resolved(output)
        self._overwrite = overwrite
        try:
            if live:
                self._temporary = _free_name(output, "part")
                self._temporary.touch(exist_ok=False)  # it may stay, and has the permissions of any file
            else:
                self._temporary = sole_temporary_beside(output) if journal else temporary_beside(output)
        except OSError as error:
            raise SinkError(f"cannot write {output}: {error.strerror}") from error
        self._live = live
        self._is_unfinished = True  # the temporary file is there, and nobody else's
        self._last_pts: deque[int] = deque(maxlen=2)
        if journal and journal.last_pts is not None:
            self._last_pts.append(journal.last_pts)
        self._others: Track | None = None
        try:
            suffix = output.suffix.lower()
            muxing = _MUXING.get(suffix, {})
            if live:
                muxing = {**muxing, **_LIVE_MUXING.get(suffix, {}), "flush_packets": "1"}
                options["bf"] = "0"  # of frames out of order MP4 would leave the last one beyond its end
            self._container = av.open(for_ffmpeg(self._temporary), "w", options=muxing)
            self._encoder = VideoEncoder(
                self._container, info, codec=codec, options=options, bitrate=encoding.bitrate
            )
            if copy_streams:
                self._others = StreamCopier(others or info.path, self._container, window=info.window)
            if sound:
                self._others = sound(self._container)
            if journal:
                journal.begin_run(self._encoder.open())
        except SinkError:
            self.discard()
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.discard()
            raise SinkError(f"cannot write {output}: {reason(error)}") from error
        except BaseException:
            self.discard()
            raise

    def write(self, frame: TimedFrame) -> None:
        """Encode one frame and copy the sound up to it.

        Raises:
            SinkError: the disk is full, or the encoder refuses the frame.
        """
        with self._errors_as_sentences():
            if self._journal:
                self._journal.add_frame(frame.pts)
            for packet in self._encoder.encode(frame):
                self._put(packet)
            if self._others and not self._journal:
                self._others.copy_until(frame.pts * self._info.time_base)
        self._last_pts.append(frame.pts)
        self.frames += 1

    def add_run(self, content: bytes) -> int:
        """Take over the journal of a run elsewhere, whose frames follow upon these; returns how many.

        Raises:
            SinkError: this sink has no journal, or the run does not fit.
        """
        if self._journal is None:
            raise SinkError(f"{self.output} has no journal that could take a run over")
        with self._errors_as_sentences():
            frames = self._journal.add_run(content)
        self._last_pts.append(self._journal.last_pts or 0)
        self.frames += frames
        return frames

    def finish(self, *, whole: bool = True) -> Path:
        """Complete the file and move it to its place.

        ``whole`` says that all of the source is in it, so that sound which goes on after
        the last frame is kept too; otherwise sound ends with the last frame. Ctrl-C waits until
        the file is in its place.

        Raises:
            SinkError: the disk is full; or somebody else's file has the name now, and the
                sentence says under which one all of this one is.
        """
        path, taken = self.output, ""
        with uninterrupted():
            with self._errors_as_sentences():
                self._complete(whole=whole)
                try:
                    check_output(path, self._info.path, overwrite=self._overwrite)
                except SinkError:  # it was free when this began
                    path = _free_name(path, "new")
                    taken = f"{self.output} was taken meanwhile; the whole video is in {path}"
                self._move_to(path)
                if self._journal:
                    self._journal.remove_parts()
                    self._journal.remove()
            if taken:
                raise SinkError(taken)
        return path

    def keep_part(self) -> Path | None:
        """After an interruption: complete what there is as a playable file of its own.

        Returns its path, or None where no frame was written.
        """
        if not self.frames:
            self.discard()
            return None
        # A second Ctrl-C asks for what is being done already.
        with contextlib.suppress(KeyboardInterrupt), uninterrupted(), self._errors_as_sentences():
            self._complete(whole=False)
            part = _free_name(self.output, "part")
            self._move_to(part)
            if self._journal:
                self._journal.add_part(part)
        return part

    def discard(self) -> None:
        """Remove what was written, but for the journal: that gets the frames inside the encoder too."""
        if self._journal:
            with contextlib.suppress(Exception):  # the disk may be full, the encoder what failed
                for packet in self._encoder.flush():
                    self._journal.add_packet(packet)
        self._close()
        if self._is_unfinished:
            self._is_unfinished = False
            self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._others:
            self._others.close()
        with contextlib.suppress(Exception):  # closing writes, which may be what failed
            self._container.close()

    def _is_playable(self) -> bool:
        """Whether there are frames in what could be written."""
        self._close()
        with contextlib.suppress(av.error.FFmpegError, OSError), av.open(for_ffmpeg(self._temporary)) as part:
            return next(part.decode(video=0), None) is not None
        return False

    def _move_to(self, path: Path) -> None:
        put_in_place(self._temporary, path)
        self._is_unfinished = False

    def _complete(self, *, whole: bool) -> None:
        with self._errors_as_sentences():
            for packet in self._encoder.flush(self._info.end if whole else None):
                self._put(packet)
            if self._journal:
                self._join(self._journal)
            if self._others:
                self._others.copy_until(None if whole else self._end())
                self._others.close()
            self._container.close()

    def _put(self, packet: av.Packet[Any]) -> None:
        if self._journal:
            self._journal.add_packet(packet)
        else:
            self._container.mux(packet)

    def _join(self, journal: Journal) -> None:
        """Write what all runs encoded, with the sound in step."""
        for packet in journal.packets():
            if self._others and packet.pts is not None:
                self._others.copy_until(packet.pts * self._info.time_base)
            packet.stream = self._encoder.stream
            self._container.mux(packet)

    def _end(self) -> Fraction:
        """Seconds at which the last frame's time is over."""
        last = self._last_pts[-1]
        duration = last - self._last_pts[0] if len(self._last_pts) > 1 else 0
        one_frame = Fraction(duration) * self._info.time_base if duration else 1 / self._info.rate
        return last * self._info.time_base + one_frame

    @contextlib.contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        """Any failure removes the temporary file, but for a live one's, and is told as one sentence."""
        try:
            yield
        except SinkError:
            self.discard()
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            kept = "" if self._journal else "; nothing was kept"
            if self._live and self._is_unfinished and self._is_playable():
                self._move_to(self._temporary)  # it stays where it is
                kept = f"; what came before is in {self._temporary}"
            self.discard()
            raise SinkError(f"writing {self.output} failed: {reason(error)}{kept}") from error


def check_output(output: Path, source: Path, *, overwrite: bool) -> None:
    """Raise SinkError where ``output`` must not or cannot be written."""
    if output.is_dir():
        raise SinkError(f"{output} is a folder; name a file with -o")
    if not output.parent.is_dir():
        raise SinkError(f"cannot write {output}: the folder {output.parent} does not exist")
    if output.exists() and not output.is_file():
        raise SinkError(f"{output} is no ordinary file; choose another output with -o")
    if output.exists() and source.exists() and output.samefile(source):
        raise SinkError(f"{output} is the source itself; choose another output with -o")
    if output.exists() and not overwrite:
        raise SinkError(f"{output} already exists; pass -y to replace it, or name another file")


def _free_name(output: Path, word: str) -> Path:
    """``clip.photo.part.mp4`` beside ``clip.photo.mp4`` for ``part``, numbered where that is taken."""
    stem = output.stem
    while len(os.fsencode(f"{stem}.{word}999{output.suffix}")) > LONGEST_NAME:
        stem = stem[:-1]
    path = output.with_name(f"{stem}.{word}{output.suffix}")
    number = 2
    while path.exists():
        path = output.with_name(f"{stem}.{word}{number}{output.suffix}")
        number += 1
    return path
