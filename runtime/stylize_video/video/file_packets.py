"""The packets of a file besides its pictures', which are read a second time for it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from stylize_video.errors import reason
from stylize_video.files import for_ffmpeg
from stylize_video.video.info import Window
from stylize_video.video.joins import Joins, is_joined
from stylize_video.video.probe import TIMES_MAY_JUMP, all_packets
from stylize_video.video.shared_packets import INTERLEAVE_SECONDS

_log = logging.getLogger(__name__)

_REACH = 30
"""Seconds by which a packet before a part may reach into it; of subtitles that began earlier none is kept."""

_SURE = 20
"""Packets in a row that are far behind a part; the time stamps of fewer may be damaged."""


class FilePackets:
    """Packets of a file's streams near a part of it; as :class:`SharedPackets`, but for a file.

    Attributes:
        container: the file.
        name: what it is called.

    Raises:
        av.error.FFmpegError, OSError: it cannot be opened.
    """

    def __init__(self, path: Path, window: Window) -> None:
        self.name = str(path)
        self.container = av.open(for_ffmpeg(path))
        self._window = window
        self._wanted: Collection[int] = ()
        self._packets = self._demux()

    def want(self, indices: Collection[int]) -> None:
        """Give packets of these streams; before the first is asked for."""
        self._wanted = indices

    def next(self) -> av.Packet[Any] | None:
        """The next of them, None at the end."""
        try:
            return next(self._packets, None)
        except av.error.FFmpegError as error:
            _log.warning("sound and subtitles break off: %s", reason(error))
            return None

    def first_of(self, index: int) -> av.Packet[Any] | None:
        """The first packet of a stream, wherever this is in the file."""
        with av.open(for_ffmpeg(self.name)) as again:
            return next((p for p in all_packets(again, again.streams[index]) if p.size), None)

    def close(self) -> None:
        self.container.close()

    def _demux(self) -> Iterator[av.Packet[Any]]:
        if not self._wanted:
            return
        times_may_jump = self.container.format.flags & TIMES_MAY_JUMP
        if self._window.start and not (times_may_jump and is_joined(self.name)):
            self._seek(int((self._window.start - _REACH) * av.time_base))
        packets: Iterator[av.Packet[Any]]
        if times_may_jump:  # joins are seen in the pictures too
            packets = Joins().in_one_time(all_packets(self.container))
        else:
            packets = all_packets(self.container, *(self.container.streams[index] for index in self._wanted))
        beyond = 0
        for packet in packets:  # the demuxer ends with empty ones
            if packet.dts is not None and packet.stream.index in self._wanted:
                yield packet
            beyond = beyond + 1 if self._is_far_behind(packet) else 0
            if beyond == _SURE:
                return

    def _is_far_behind(self, packet: av.Packet[Any]) -> bool:
        """Whether what comes in the file from here on is behind the part, if this time is no damaged one."""
        end = self._window.end
        if end is None or packet.pts is None:
            return False
        return packet.pts * packet.time_base >= end + Fraction(INTERLEAVE_SECONDS)

    def _seek(self, time: int) -> None:
        """Go on near this time; from the start where that is later than it or no seeking works."""
        if time <= 0:
            return
        try:
            self.container.seek(time)
        except av.error.FFmpegError:  # which has read on to look for it
            self.container.close()
            self.container = av.open(for_ffmpeg(self.name))
