"""Sound that a container cannot hold as it is, encoded anew for it, in step with the pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""The usual order of so many channels, by FFmpeg's names; Opus has no other."""

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Samples a second that AAC has."""

_USUAL_RATE = 48000

_FORMATS = {"aac": ("AAC", "fltp", 96_000), "libopus": ("Opus", "flt", 64_000)}
"""By FFmpeg's name of the encoder: what it makes, of which samples, and bits a second for a channel."""

_OPTIONS = {"aac": {"aac_coder": "fast"}}
"""Three times as fast, and at so many bits as good: all sound is encoded while the file is completed."""

_ENCODERS = {
    "mp4": "aac",
    "mov": "aac",
    "matroska": "aac",
    "mpegts": "aac",
    "webm": "libopus",
}
"""By the kind of file, of those that store times; in others the encoder's run-in would be heard."""

_GAP = Fraction(4, 100)
"""Seconds by which a time stamp may be wrong: less is jitter, more is a gap or an overlap."""

_LONGEST_GAP = 3600
"""Seconds that are filled with silence; beyond that a time stamp is taken for damage."""

_LOUDEST = 1e6
"""Samples of sound are within 1; of more, infinities and NaN some encoders make nothing."""


def usual_layout(channels: int) -> str | None:
    """FFmpeg's name of the usual order of so many channels."""
    return _LAYOUTS.get(channels)


class SoundEncoder:
    """Decodes the packets of ``source`` and encodes them into a new stream of ``target``.

    Create it by :meth:`open`, before anything is written.

    Attributes:
        stream: the new stream.
        name: what it is encoded as, for people.
    """

    def __init__(self, source: Any, target: av.container.OutputContainer, encoder: str) -> None:
        self.name, samples, bits = _FORMATS[encoder]
        decoder = source.codec_context
        self._channels = channels = decoder.layout.nb_channels
        layout = _LAYOUTS[channels]
        rate = decoder.sample_rate
        self._rate = rate if encoder == "aac" and rate in _RATES else _USUAL_RATE
        self.stream: Any = target.add_stream(encoder, rate=self._rate)
        context: Any = self.stream.codec_context
        context.layout, context.format = layout, samples
        context.bit_rate = bits * channels
        context.options = _OPTIONS.get(encoder, {})
        context.time_base = Fraction(1, self._rate)
        self.stream.time_base = context.time_base
        self._resampled = (samples, layout, self._rate)
        self._resampler = av.AudioResampler(*self._resampled)
        self._decoded: tuple[str, str, int] | None = None
        self._waiting = av.AudioFifo()
        self._ready: list[av.Packet[Any]] = []
        self._heard: int | None = None
        self._encoded = 0

    @classmethod
    def open(cls, source: Any, target: av.container.OutputContainer) -> SoundEncoder | None:
        """None where this sound cannot be decoded, or there is no encoder for this kind of file."""
        encoder, decoder = _ENCODERS.get(target.format.name), source.codec_context
        if encoder is None or decoder is None or not decoder.codec.is_decoder:
            return None
        if decoder.layout.nb_channels not in _LAYOUTS or not decoder.sample_rate:
            return None
        try:
            with av.open(io.BytesIO(), "w", format=target.format.name) as trial:
                cls(source, trial, encoder)
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError):
            return None
        return cls(source, target, encoder)

    def encode(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        """What is ready once ``packet`` is in; one that cannot be decoded becomes silence."""
        try:
            frames: Any = packet.decode()
        except (av.error.FFmpegError, ValueError):
            return []
        for frame in frames:
            if frame.pts is None and self._heard is None and packet.pts is not None:
                frame.pts, frame.time_base = packet.pts, packet.time_base
            self._resample(frame)
        self._encode()
        return self._taken()

    def flush(self) -> list[av.Packet[Any]]:
        """The last packets."""
        if self._heard is None:
            return []
        self._resample(None)
        self._encode(partial=True)
        self._ready += self.stream.encode(None)
        return self._taken()

    def _taken(self) -> list[av.Packet[Any]]:
        ready, self._ready = self._ready, []
        return ready

    def _resample(self, frame: av.AudioFrame | None) -> None:
        if frame is not None:
            decoded = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self._decoded not in (None, decoded):  # as between a film and its advertisements
                self._resample(None)
                self._resampler = av.AudioResampler(*self._resampled)
            self._decoded = decoded
        for resampled in self._resampler.resample(frame):
            self._take(resampled)

    def _take(self, frame: av.AudioFrame) -> None:
        """Put a frame behind what was heard: after silence where there is a gap, never into what is full."""
        at = self._heard
        if frame.pts is not None and frame.time_base:
            at = round(frame.pts * frame.time_base * self._rate)
        if self._heard is None:
            self._heard = self._encoded = at or 0
        gap = 0 if at is None else at - self._heard
        if _GAP * self._rate < gap < _LONGEST_GAP * self._rate:
            self._add_silence(gap)
        elif gap < -_GAP * self._rate:
            return  # this time has its sound already
        self._silence_damage(frame)
        frame.pts = None
        self._waiting.write(frame)
        self._heard += frame.samples

    def _silence_damage(self, frame: av.AudioFrame) -> None:
        for plane in self._planes(frame):
            samples = np.frombuffer(plane, np.float32)
            sane = np.abs(samples) < _LOUDEST
            if not sane.all():
                plane.update(np.where(sane, samples, np.float32(0)).tobytes())

    def _planes(self, frame: av.AudioFrame) -> tuple[Any, ...]:
        """The planes that there are: PyAV gives 7.1 one more, which is no memory of anybody."""
        return frame.planes[: self._channels if frame.format.is_planar else 1]

    def _add_silence(self, samples: int) -> None:
        while samples:
            count = min(samples, self._rate)
            silence = av.AudioFrame(*self._resampled[:2], samples=count)
            silence.sample_rate = self._rate
            for plane in self._planes(silence):
                plane.update(bytes(plane.buffer_size))
            self._waiting.write(silence)
            self._heard = (self._heard or 0) + count
            samples -= count
            self._encode()  # or an hour of silence would be in memory

    def _encode(self, *, partial: bool = False) -> None:
        for frame in self._whole_frames(partial=partial):
            frame.pts, frame.time_base = self._encoded, Fraction(1, self._rate)
            self._encoded += frame.samples
            self._ready += self.stream.encode(frame)

    def _whole_frames(self, *, partial: bool) -> Iterator[av.AudioFrame]:
        if not self.stream.codec_context.is_open:
            self.stream.codec_context.open()
        size = self.stream.codec_context.frame_size or self._rate // 50
        while self._waiting.samples >= size or (partial and self._waiting.samples):
            frame = self._waiting.read(size, partial)
            if frame is None:
                return
            yield frame
