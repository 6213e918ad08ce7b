"""Writes a video so that a later run can go on: what is encoded is in a journal until the end."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import av.error

from stylize_video.errors import SinkError, reason
from stylize_video.files import sole_temporary_beside
from stylize_video.frame import TimedFrame
from stylize_video.resuming.journal import Journal
from stylize_video.video.encoding import Codec, Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.sink import FAILURES, VideoSink

_log = logging.getLogger(__name__)


class ResumableSink(VideoSink):
    """A :class:`VideoSink` whose packets go into ``journal`` first, and in the end with those of earlier
    runs into the file.
    """

    def __init__(
        self,
        output: Path,
        info: VideoInfo,
        journal: Journal,
        *,
        overwrite: bool = False,
        encoding: Encoding = Encoding(),
        copy_streams: bool = True,
    ) -> None:
        self._journal = journal
        self._has_begun = self._is_flushed = False
        super().__init__(output, info, overwrite=overwrite, encoding=encoding, copy_streams=copy_streams)
        self.frames = journal.frames
        if journal.last_pts is not None:
            self._last_pts.append(journal.last_pts)

    def add_run(self, content: bytes) -> int:
        """Take over the journal of a run elsewhere, whose frames follow upon these; returns how many.

        Raises:
            SinkError: the run does not fit.
        """
        with self._errors_as_sentences():
            frames = self._journal.add_run(content)
        self._last_pts.clear()  # the one before is no longer the last
        self._last_pts.append(self._journal.last_pts or 0)
        self.frames += frames
        return frames

    def discard(self) -> None:
        """Remove the file; the journal stays, and gets the frames inside the encoder too."""
        if self._has_begun:
            with contextlib.suppress(*FAILURES):  # the disk may be full, the encoder what failed
                self._add_packets()
        super().discard()

    def _make_temporary(self) -> Path:
        return sole_temporary_beside(self.output)

    def _open(self, codec: Codec, options: Mapping[str, str], bitrate: int | None) -> None:
        self._open_file = partial(super()._open, codec, options, bitrate)
        self._open_file()
        self._journal.begin_run(self._encoder.open())
        self._has_begun = True

    def _write(self, frame: TimedFrame) -> None:
        self._journal.add_frame(frame.pts)
        for packet in self._encoder.encode(frame):
            self._journal.add_packet(packet)

    def _complete(self, *, whole: bool) -> None:
        """Write the file; without sound where it is refused, as a later run could not do better."""
        try:
            super()._complete(whole=whole)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise SinkError(
                    f"writing {self.output} failed: {reason(error)}; beside what is done already,"
                    f" {-(-self._journal.size // 10**6)} MB must be free to complete it"
                ) from error
            if isinstance(error, OSError) or self._track is None:
                raise
            refused = f"{self.output.suffix} files refuse the sound or subtitles of this source"
            _log.warning("%s (%s): %s is without them", refused, reason(error), self.output)
            self._close()
            self._copied = None
            self._open_file()
            self._encoder.open()
            super()._complete(whole=whole)

    def _flush(self, end: Fraction | None) -> None:
        """Write what all runs encoded, with the sound in step."""
        self._add_packets()
        packets = self._journal.packets(self._ticks(end), usual=self._usual, adds_up=self._adds_up())
        for index, packet in enumerate(packets):
            if packet.pts is not None:
                if not index:
                    self._begin_at(packet.pts)
                if self._track:
                    self._track.copy_until(packet.pts * self._info.time_base)
            self._mux([packet])

    def _add_packets(self) -> None:
        if not self._is_flushed:
            self._is_flushed = True
            for packet in self._encoder.flush():
                self._journal.add_packet(packet)

    def _after_finish(self) -> None:
        self._journal.remove_parts()
        self._journal.remove()

    def _after_part(self, part: Path) -> None:
        self._journal.add_part(part)

    def _kept(self) -> str:
        return ""  # the journal says what is
