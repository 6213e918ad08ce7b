"""Everything in a source besides its pictures: sound, subtitles, covers, attachments and what describes them.

Packets are copied bit for bit, in step with the frames. Sound that the output's container cannot hold
is encoded anew, and what else it cannot hold left out, with one warning line each.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Set
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import av.error

from stylize_video.errors import reason
from stylize_video.video.file_packets import FilePackets
from stylize_video.video.info import Window
from stylize_video.video.metadata import copy_metadata, description_of
from stylize_video.video.probe import is_cover, video_stream
from stylize_video.video.shared_packets import SharedPackets
from stylize_video.video.sound_encoder import SoundEncoder, usual_layout

_log = logging.getLogger(__name__)

_COPIED = ("audio", "subtitle")

_UNLISTED = {
    "mpegts": {"aac", "aac_latm", "ac3", "dca", "dvbsub", "eac3", "mp3", "mp3float", "opus", "truehd"}
}
"""Codecs that FFmpeg's muxers hold but do not list, by the names of their decoders."""

_NEW_IN_MP4 = ("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be")

_LATE = Fraction(4, 100)
"""Seconds by which sound may be early, or cut, without a word; about one frame."""

_CUT_BY_LIST = ("mp4", "mov")
"""Containers whose edit lists say what of a stream is not shown."""


class StreamCopier:
    """Copies the other streams of ``source`` into ``target``.

    Create it after the video stream was added and before anything is written. Of
    ``window`` those packets are taken that begin in it: sound is cut at their borders,
    some 20 ms apart. Subtitles are cut at those of the window.

    Raises:
        av.error.FFmpegError, OSError: the source cannot be opened, or the target not be written.
    """

    def __init__(
        self, source: Path | SharedPackets, target: av.container.OutputContainer, *, window: Window = Window()
    ) -> None:
        self._target = target
        self._is_cut_by_avi = target.format.name == "avi" and window.start is None
        if self._is_cut_by_avi:
            # It stores no times: what is heard before 0 would move all that comes after.
            window = replace(window, start=window.shift)
        self._window = window
        self._source = source if isinstance(source, SharedPackets) else FilePackets(source, window)
        self._streams: dict[int, Any] = {}
        self._encoders: dict[int, SoundEncoder] = {}
        self._last: dict[int, int] = {}
        self._refused: set[int] = set()
        self._begun: set[int] = set()
        self._pictures: list[av.Packet[Any]] = []
        try:
            self._add_all()
        except BaseException:
            self.close()
            raise
        self._waiting: av.Packet[Any] | None = None
        self._behind: av.Packet[Any] | None = None
        self._run_ins: dict[int, av.Packet[Any]] = {}

    def _add_all(self) -> None:
        """Add what the target holds of the source; the rest gets a warning."""
        container = self._source.container
        main = video_stream(container)
        for stream in container.streams:
            if main is None or stream.index != main.index:
                self._consider(stream)
        copy_metadata(container, self._target, window=self._window, name=self._source.name)
        self._source.want(self._streams.keys())

    def copy_until(self, seconds: Fraction | None) -> None:
        """Copy packets that start before ``seconds`` of the result; None copies all that are left."""
        while self._pictures:
            self._target.mux(self._pictures.pop())
        while (packet := self._waiting or self._next()) is not None:
            self._waiting = None
            start = None if packet.pts is None else packet.pts * packet.time_base
            if seconds is not None and start is not None and start - self._window.shift >= seconds:
                self._waiting = packet
                return
            if packet.stream.type == "subtitle":
                self._cut(packet)
                start = None if packet.pts is None else packet.pts * packet.time_base
            if start is not None and not self._window.holds(start):
                self._warn_if_too_early(packet, start - self._window.shift)
                continue
            if start is not None and self._target.format.name == "avi":
                self._warn_if_late(packet.stream.index, start - self._window.shift)
            shift = round(self._window.shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            index = packet.stream.index
            encoder = self._encoders.get(index)
            self._mux(index, encoder.encode(packet) if encoder else [packet])

    def _cut(self, packet: av.Packet[Any]) -> None:
        """Show a subtitle that reaches into the part from its start on, and none beyond its end."""
        if packet.pts is None or not packet.duration:
            return
        start, end = packet.pts, packet.pts + packet.duration
        if self._window.start is not None:
            start = max(start, math.ceil(self._window.start / packet.time_base))
        if self._window.end is not None:
            end = min(end, round(self._window.end / packet.time_base))
        if start < end:
            packet.pts = packet.dts = start
            packet.duration = end - start

    def _mux(self, index: int, packets: Iterable[av.Packet[Any]]) -> None:
        """Sound that cannot be written costs a warning, never the pictures."""
        for packet in packets:
            packet.stream = self._streams[index]
            try:
                self._target.mux(packet)
            except (av.error.ArgumentError, av.error.InvalidDataError) as error:
                if index not in self._refused:
                    what = "sound" if packet.stream.type == "audio" else "subtitles"
                    _log.warning("%s (stream %d) is not kept everywhere: %s", what, index, reason(error))
                self._refused.add(index)

    def _warn_if_too_early(self, packet: av.Packet[Any], start: Fraction) -> None:
        """AVI begins with the pictures; a sound encoder's run-in before them is no loss."""
        index, is_heard = packet.stream.index, packet.stream.type == "audio" and not packet.is_discard
        if self._is_cut_by_avi and is_heard and start < -_LATE and index not in self._begun:
            _log.warning("AVI begins with the pictures: sound (stream %d) before them is left out", index)
            self._begun.add(index)

    def _warn_if_late(self, index: int, start: Fraction) -> None:
        """AVI begins all streams at 0: sound that starts later is early there."""
        if index not in self._begun and start > _LATE:
            _log.warning("AVI stores no time stamps: sound (stream %d) is %.2f s early", index, float(start))
        self._begun.add(index)

    def close(self) -> None:
        """Write what is inside encoders, and let go of the source."""
        try:
            while self._encoders:
                index, encoder = self._encoders.popitem()
                self._mux(index, encoder.flush())
        finally:
            if isinstance(self._source, FilePackets):  # the others are those who decode
                self._source.close()

    def _next(self) -> av.Packet[Any] | None:
        """The next packet, behind the one before it in its stream.

        Of what an edit list cuts away, a container without one gets the last packet before what is
        heard alone: decoders need a run-in.
        """
        packet, self._behind = self._behind, None
        while packet is None:
            packet = self._source.next()
            if packet is None:
                return None
            index = packet.stream.index
            if packet.is_discard and self._target.format.name not in _CUT_BY_LIST:
                if packet.stream.type == "audio":
                    self._run_ins[index] = packet
                packet = None
            elif index in self._run_ins:
                self._behind, packet = packet, self._run_ins.pop(index)
        self._put_in_order(packet)
        return packet

    def _put_in_order(self, packet: av.Packet[Any]) -> None:
        """No container takes a packet that is before the one ahead of it; it alone is moved."""
        if packet.dts is None:
            return
        index = packet.stream.index
        if index in self._last:  # several subtitles may begin at once
            earliest = self._last[index] + (packet.stream.type == "audio")
            packet.dts = max(packet.dts, earliest)
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
        self._last[index] = packet.dts

    def _consider(self, stream: Any) -> None:
        if stream.type in _COPIED:
            self._add(stream)
        elif stream.type == "attachment":
            self._attach(stream, stream.name, stream.mimetype, stream.data)
        elif stream.type == "video" and is_cover(stream):
            self._add_cover(stream)
        elif stream.type == "video":
            _log.warning("a further video (stream %d) is not kept", stream.index)

    def _add(self, stream: Any) -> None:
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        container = self._target.format.name
        held = codec in self._target.supported_codecs or codec in _UNLISTED.get(container, ())
        if held and self._takes(stream) and (copy := self._copy_of(stream)):
            copy.metadata.update(stream.metadata)
            self._streams[stream.index] = copy
            if container == "mp4" and codec in _NEW_IN_MP4:
                what = f"{codec} sound (stream {stream.index})"
                _log.warning("%s is kept, but players from before 2023 play none in mp4 files", what)
        elif stream.type == "audio" and (encoder := SoundEncoder.open(stream, self._target)):
            encoder.stream.metadata.update(description_of(stream))
            encoder.stream.disposition = stream.disposition
            self._streams[stream.index] = encoder.stream
            self._encoders[stream.index] = encoder
            what = f"{codec} sound (stream {stream.index})"
            is_kept = container != "matroska" and codec in _matroska_codecs()
            hint = "; .mkv keeps it as it is" if is_kept else ""
            _log.warning("%s is encoded anew as %s for %s files%s", what, encoder.name, container, hint)
        else:
            self._not_kept(stream, f"{codec} {'sound' if stream.type == 'audio' else 'subtitles'}")

    def _copy_of(self, stream: Any) -> Any:
        """The same stream of the target, None where it holds no such codec."""
        try:
            copy = self._target.add_stream_from_template(stream)
        except (av.error.FFmpegError, ValueError):
            return None
        copy.disposition = stream.disposition
        if self._target.format.name == "mp4" and stream.type == "audio":
            _name_layout(copy.codec_context)
        return copy

    def _takes(self, stream: Any) -> bool:
        """Whether a file of the target's kind with this stream alone can be begun.

        What a muxer refuses in its header would else be found once the last frame is encoded.
        """
        strict = {key: value for key, value in self._target.options.items() if key == "strict"}
        try:
            with av.open(io.BytesIO(), "w", format=self._target.format.name, options=strict) as trial:
                trial.add_stream_from_template(stream)
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError):
            return False
        return True

    def _add_cover(self, stream: Any) -> None:
        """A picture of the whole: an attachment in Matroska, a stream with one packet elsewhere."""
        if not isinstance(self._source, FilePackets):
            self._not_kept(stream, "cover")
            return
        packet = self._source.first_of(stream.index)
        container = self._target.format.name
        if packet is None:
            return
        if container == "matroska":
            ending = "jpg" if stream.codec_context.name == "mjpeg" else stream.codec_context.name
            name = stream.metadata.get("filename", f"cover.{ending}")
            kind = stream.metadata.get("mimetype", f"image/{'jpeg' if ending == 'jpg' else ending}")
            self._attach(stream, name, kind, bytes(packet))
        elif container == "mp4" and (copy := self._copy_of(stream)):
            packet.stream, packet.pts, packet.dts = copy, 0, 0
            self._pictures.append(packet)
        else:
            self._not_kept(stream, "cover")

    def _attach(self, stream: Any, name: str | None, kind: str | None, content: bytes) -> None:
        if self._target.format.name == "matroska":
            self._target.add_attachment(
                name or f"attachment{stream.index}", kind or "application/octet-stream", content
            )
        else:
            self._not_kept(stream, f"attachment {name}" if name else "attachment")

    def _not_kept(self, stream: Any, what: str) -> None:
        container = self._target.format.name
        hint = "" if container == "matroska" else "; .mkv holds almost anything"
        if stream.codec_context and stream.codec_context.name == "mov_text":
            hint = "; .mp4 and .mov hold them"
        _log.warning("%s (stream %d) cannot be kept in %s files%s", what, stream.index, container, hint)


@cache
def _matroska_codecs() -> Set[str]:
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        return container.supported_codecs


def _name_layout(codec: Any) -> None:
    """Give sound whose source says only how many channels it has, as MXF does, the usual order of them.

    MP4 holds no PCM without.
    """
    layout = codec.layout
    usual = usual_layout(layout.nb_channels)
    if usual and layout.name == f"{layout.nb_channels} channels":
        codec.layout = usual
