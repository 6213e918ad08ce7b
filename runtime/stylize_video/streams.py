"""Everything in a source besides its pictures: sound, subtitles, chapters, metadata.

Packets are copied bit for bit, in step with the frames. What the output's container
cannot hold is left out with one warning line each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

_log = logging.getLogger(__name__)

_COPIED = ("audio", "subtitle")


class StreamCopier:
    """Copies the other streams of ``source`` into ``target``.

    Create it after the video stream was added and before anything is written.
    """

    def __init__(self, source: Path, target: av.container.OutputContainer) -> None:
        self._source = av.open(str(source))
        self._target = target
        self._streams: dict[int, Any] = {}
        for stream in self._source.streams:
            if stream.type in _COPIED:
                self._add(stream)
            elif stream.type in ("attachment", "data"):
                _log.warning("%s: %s stream %d is not kept", source.name, stream.type, stream.index)
        target.metadata.update(self._source.metadata)
        if chapters := self._source.chapters():
            target.set_chapters(chapters)
        self._packets = self._demux()
        self._waiting: av.Packet[Any] | None = None

    def copy_until(self, seconds: Fraction | None) -> None:
        """Copy packets that start before ``seconds``; None copies all that are left."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = None
            if seconds is not None and packet.pts is not None and packet.pts * packet.time_base >= seconds:
                self._waiting = packet
                return
            packet.stream = self._streams[packet.stream.index]
            self._target.mux(packet)

    def close(self) -> None:
        self._source.close()

    def _add(self, stream: Any) -> None:
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        if codec in self._target.supported_codecs:
            try:
                copy = self._target.add_stream_from_template(stream)
            except (av.error.FFmpegError, ValueError):
                pass  # told below
            else:
                copy.metadata.update(stream.metadata)
                self._streams[stream.index] = copy
                return
        kind = "sound" if stream.type == "audio" else "subtitles"
        _log.warning(
            "%s %s (stream %d) cannot be kept in %s files; .mkv holds almost anything",
            codec,
            kind,
            stream.index,
            self._target.format.name,
        )

    def _demux(self) -> Iterator[av.Packet[Any]]:
        if self._streams:
            for packet in self._source.demux(*(self._source.streams[i] for i in self._streams)):
                if packet.dts is not None:  # the demuxer ends with an empty packet
                    yield packet
