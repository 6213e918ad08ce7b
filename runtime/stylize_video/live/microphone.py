"""Sound for recordings, from a microphone that FFmpeg can open."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from stylize_video.errors import SourceError
from stylize_video.quiet import quiet_stderr

_DEVICES = {"linux": "alsa:default", "darwin": "avfoundation::default", "win32": "dshow:audio=Microphone"}
_QUEUED = 500
"""Frames that wait for a recording's encoder, ten seconds or so; sound beyond that is lost."""
_AHEAD_SECONDS = 2.0
"""Sound comes in bursts, but what comes so much faster than it sounds is of no microphone."""
_RATE = 48_000


class Microphone:
    """Reads a microphone in a thread while a recording wants its sound.

    Args:
        device: FFmpeg's input format and device, such as ``alsa:hw:1``; ``default`` for the usual one.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, device: str = "default") -> None:
        if device == "default":
            device = _DEVICES.get(sys.platform, "alsa:default")
        form, _, name = device.partition(":")
        try:
            with quiet_stderr():
                self._container = av.open(name, format=form)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"the microphone {device} cannot be opened: name one as FORMAT:DEVICE, such as alsa:hw:1"
                " (arecord -l lists them), or record without --microphone"
            ) from error
        if not self._container.streams.audio:
            self._container.close()
            raise SourceError(f"{device} gives no sound")
        self._lock = threading.Lock()
        self._track: SoundTrack | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="microphone", daemon=True)
        self._thread.start()

    def track(self, target: av.container.OutputContainer, *, at: float) -> SoundTrack:
        """Begin a sound track in a file that is about to be written, whose pictures begin ``at`` that second.

        Seconds are those of ``time.perf_counter``.
        """
        track = SoundTrack(target, at=at)
        with self._lock:
            self._track = track
        return track

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._container.close()

    def _read(self) -> None:
        with contextlib.suppress(av.error.FFmpegError, OSError):  # unplugged: the picture goes on
            for frame in self._container.decode(audio=0):
                if self._stop.is_set():
                    return
                with self._lock:
                    if self._track:
                        self._track.take(frame)


class SoundTrack:
    """The sound of one recording: AAC (Opus in WebM), in step with its pictures, which begin ``at``.

    What nobody heard, before the file was open or since an encoder was too slow, is silence.
    """

    def __init__(self, target: av.container.OutputContainer, *, at: float) -> None:
        self._target = target
        codec = "libopus" if target.format.name == "webm" else "aac"
        self._stream: Any = target.add_stream(codec, rate=_RATE, layout="stereo")
        self._format = "flt" if codec == "libopus" else "fltp"
        self._resampler = av.AudioResampler(self._format, "stereo", _RATE)
        self._frames: queue.Queue[tuple[float, av.AudioFrame]] = queue.Queue(_QUEUED)
        self._at = at
        self._missing: float | None = None  # seconds before the next frame; None before the first
        self._heard = 0.0
        self._samples = 0
        self._closed = False

    def take(self, frame: av.AudioFrame) -> None:
        """One frame as it arrives; in the microphone's thread."""
        if self._closed:
            return
        seconds = frame.samples / frame.sample_rate
        now = time.perf_counter() - self._at
        if self._missing is None:
            self._missing = self._heard = max(0.0, now - seconds)
        if self._heard > now + _AHEAD_SECONDS:
            return
        self._heard += seconds
        try:
            self._frames.put_nowait((self._missing, frame))
            self._missing = 0.0
        except queue.Full:
            self._missing += seconds

    def copy_until(self, seconds: Fraction | None) -> None:
        """Encode all that has arrived: it is of now, as the frames are."""
        for _ in range(self._frames.qsize()):  # more may come meanwhile, without an end
            missing, frame = self._frames.get_nowait()
            self._put_silence(missing)
            frame.pts = None
            for part in self._resampler.resample(frame):
                self._put(part)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(av.error.FFmpegError, OSError):  # what failed is told by the pictures' side
            for packet in self._stream.encode(None):
                self._target.mux(packet)

    def _put_silence(self, seconds: float) -> None:
        left = round(seconds * _RATE)
        while left:
            count = min(left, _RATE)
            shape = (2, count) if self._format == "fltp" else (1, 2 * count)
            silence = av.AudioFrame.from_ndarray(np.zeros(shape, np.float32), self._format, "stereo")
            silence.sample_rate = _RATE
            self._put(silence)
            left -= count

    def _put(self, part: av.AudioFrame) -> None:
        part.pts, part.time_base = self._samples, Fraction(1, _RATE)
        self._samples += part.samples
        for packet in self._stream.encode(part):
            self._target.mux(packet)
