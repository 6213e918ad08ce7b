"""Sound for recordings and the stream, from a microphone that FFmpeg can open."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import groupby
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from stylize_video.errors import SourceError
from stylize_video.live.controls import Notice
from stylize_video.live.statistics import Clock
from stylize_video.quiet import quiet_stderr

_DEVICES = {"linux": "alsa:default", "darwin": "avfoundation::default", "win32": "dshow:audio=Microphone"}
_PRINTING = {"alsa", "jack", "oss", "pulse"}
"""Formats whose libraries print why a device does not open."""

_RATE = 48_000
_QUEUED = 500
"""Blocks that wait for a recording's encoder, ten seconds or so; sound beyond that is lost."""
_HELD_SECONDS = 0.3
"""Blocks are held so long before they are written: whether one is late is known from those behind it."""
_SILENT_SECONDS = 0.8
_STEP_SECONDS = 0.1
"""What is out of step by more is put right at once, by silence or by a cut."""
_UNSEEN_SECONDS = 0.02
"""What is out of step by less is left alone; in between sound is stretched."""
_MOST_STRETCH = 0.02

_RETRY_SECONDS = 1.0
_CLOSE_SECONDS = 1.0

Sound = NDArray[np.float32]
"""[2, samples], left and right, at 48 kHz, from -1 to 1."""


class Microphone:
    """Reads a microphone in a thread, for whatever wants its sound; opened again where it was lost.

    Args:
        device: FFmpeg's input format and device, such as ``alsa:hw:1``; ``default`` for the usual one.
        on_notice: called when it is gone, and when it is back.
        clock: seconds; that of the pictures.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(
        self,
        device: str = "default",
        *,
        on_notice: Callable[[Notice], None] = lambda _: None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._device = _DEVICES.get(sys.platform, "alsa:default") if device == "default" else device
        self._on_notice, self._clock = on_notice, clock
        self._lock = threading.Lock()
        self._tracks: list[SoundTrack] = []
        self._is_gone = False
        self._stop = threading.Event()
        container = self._open()
        self._thread = threading.Thread(target=self._work, args=(container,), name="microphone", daemon=True)
        self._thread.start()

    def track(self, target: av.container.OutputContainer, *, at: float) -> SoundTrack:
        """Begin a sound track in what is about to be written, whose pictures begin at that second."""
        track = SoundTrack(target, at=at, clock=self._clock, on_silence=lambda: self._turn(gone=True))
        with self._lock:
            self._tracks = [other for other in self._tracks if not other.is_closed] + [track]
        return track

    def close(self) -> None:
        """End; a device that hangs is left to its thread, which ends with the process."""
        self._stop.set()
        self._thread.join(_CLOSE_SECONDS)

    def _open(self) -> av.container.InputContainer:
        form, _, name = self._device.partition(":")
        try:
            # Not around what may wait, as a pipe does: nobody else could print meanwhile.
            with quiet_stderr() if form in _PRINTING else contextlib.nullcontext():
                container = av.open(name, format=form)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"the microphone {self._device} cannot be opened: name one as FORMAT:DEVICE, such as"
                " alsa:hw:1 (arecord -l lists them), or record without --microphone"
            ) from error
        if not container.streams.audio:
            container.close()
            raise SourceError(f"{self._device} gives no sound")
        return container

    def _work(self, container: av.container.InputContainer | None) -> None:
        while container:
            with contextlib.closing(container):
                self._listen(container)
            container = None
            while container is None and not self._stop.is_set():
                self._turn(gone=True)
                self._stop.wait(_RETRY_SECONDS)
                with contextlib.suppress(SourceError):
                    container = self._open()

    def _listen(self, container: av.container.InputContainer) -> None:
        """Hand on what is heard, to the end of the device or until ``close``."""
        with contextlib.suppress(av.error.FFmpegError, OSError):  # unplugged
            for block in _blocks(container.decode(audio=0)):
                if self._stop.is_set():
                    return
                self._turn(gone=False)
                with self._lock:
                    tracks = self._tracks
                for track in tracks:
                    track.take(block)

    def _turn(self, *, gone: bool) -> None:
        with self._lock:
            is_new, self._is_gone = gone != self._is_gone, gone
        if is_new and gone:
            silent = "what is recorded is silent until it is back"
            text = f"the microphone {self._device} gives no sound: {silent}"
            self._on_notice(Notice(text, is_essential=True))
        elif is_new:
            self._on_notice(Notice(f"the microphone {self._device} is back"))


def _blocks(frames: Iterable[av.AudioFrame]) -> Iterator[Sound]:
    """What frames sound like, whose rate, channels and format may change on the way."""
    for _, alike in groupby(
        frames, key=lambda frame: (frame.sample_rate, frame.layout.name, frame.format.name)
    ):
        resampler = av.AudioResampler("fltp", "stereo", _RATE)
        for frame in alike:
            frame.pts = None
            for part in resampler.resample(frame):
                yield np.asarray(part.to_ndarray(), np.float32)


class SoundTrack:
    """Sound of a recording or stream, AAC (Opus in WebM), in step with its pictures, which begin ``at``.

    The microphone has a clock of its own, and drops out. When each block arrives says where it
    belongs: what nobody heard is silence, what is too much is cut, and drift is evened out by
    stretching.

    Args:
        target: the file.
        at: when its pictures begin, in seconds of ``clock``.
        clock: seconds; that of the pictures.
        on_silence: called while the microphone gives nothing.
        silent_seconds: what has not come so long after it should have is silence, and pictures need not
            wait for it; 0 where there is no microphone.
    """

    def __init__(
        self,
        target: av.container.OutputContainer,
        *,
        at: float,
        clock: Clock = time.perf_counter,
        on_silence: Callable[[], None] = lambda: None,
        silent_seconds: float = _SILENT_SECONDS,
    ) -> None:
        self._target, self._at, self._clock, self._on_silence = target, at, clock, on_silence
        codec = "libopus" if target.format.name == "webm" else "aac"
        self._stream: Any = target.add_stream(codec, rate=_RATE, layout="stereo")
        self._format = "flt" if codec == "libopus" else "fltp"
        self._arrived: queue.Queue[tuple[float, Sound]] = queue.Queue(_QUEUED)
        self._held: deque[tuple[float, Sound]] = deque()
        self._samples = 0
        self._last_sample: Sound = np.zeros((2, 1), np.float32)
        self._silent_seconds = silent_seconds
        self._seconds = 0.0  # of pictures
        self._end = sys.maxsize  # in samples
        self.is_closed = False

    def take(self, block: Sound) -> None:
        """One block as it arrives; in the microphone's thread."""
        if not self.is_closed:
            with contextlib.suppress(queue.Full):
                self._arrived.put_nowait((self._clock() - self._at, block))

    def copy_until(self, seconds: Fraction | None) -> None:
        """Encode what has arrived and is no longer held: it is of now, as the frames are."""
        now = self._clock() - self._at
        self._seconds = now if seconds is None else float(seconds)
        self._collect()
        while self._held and self._held[0][0] <= now - _HELD_SECONDS:
            self._put_next()
        missing = now - self._silent_seconds - self._samples / _RATE
        if missing > 0 and not self._held:
            self._put_silence(missing)
            self._on_silence()

    def close(self) -> None:
        """Encode what is left, as far as there are pictures, and silence where they go on."""
        if self.is_closed:
            return
        self.is_closed = True
        self._end = round(self._seconds * _RATE)
        self._collect()
        with contextlib.suppress(av.error.FFmpegError, OSError):  # the pictures' side reports what failed
            while self._held:
                self._put_next()
            self._put_silence(self._seconds - self._samples / _RATE)
            for packet in self._stream.encode(None):
                self._target.mux(packet)

    def discard(self) -> None:
        """Take no more sound; what is left is not written."""
        self.is_closed = True
        self._collect()
        self._held.clear()

    def _collect(self) -> None:
        for _ in range(self._arrived.qsize()):  # more may come meanwhile, without an end
            self._held.append(self._arrived.get_nowait())

    def _put_next(self) -> None:
        """Write the next block so that it ends when it should."""
        lag = self._lag()
        _, block = self._held.popleft()
        if not self._samples or abs(lag) > _STEP_SECONDS:
            self._put_silence(lag)
            self._put(block[:, max(0, -round(lag * _RATE)) :])
        else:
            beyond = np.sign(lag) * max(0.0, abs(lag) - _UNSEEN_SECONDS)
            samples = round(block.shape[1] * (1 + np.clip(beyond, -_MOST_STRETCH, _MOST_STRETCH)))
            self._put(_stretched(block, samples, before=self._last_sample))

    def _lag(self) -> float:
        """Seconds by which the next block is late.

        Blocks are held up on the way, but none comes before it has sounded: the least late one of
        those that came soon after it counts.
        """
        first = self._held[0][0]
        lag, end = np.inf, self._samples
        for arrived, block in self._held:
            if arrived > first + _HELD_SECONDS:
                break
            end += block.shape[1]
            lag = min(lag, arrived - end / _RATE)
        return float(lag)

    def _put_silence(self, seconds: float) -> None:
        for start in range(0, round(seconds * _RATE), _RATE):  # it may be long
            self._put(np.zeros((2, min(_RATE, round(seconds * _RATE) - start)), np.float32))

    def _put(self, sound: Sound) -> None:
        sound = sound[:, : max(0, self._end - self._samples)]
        if not sound.size:
            return
        shaped = sound if self._format == "fltp" else sound.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(shaped), self._format, "stereo")
        frame.sample_rate = _RATE
        frame.pts, frame.time_base = self._samples, Fraction(1, _RATE)
        self._samples += sound.shape[1]
        self._last_sample = sound[:, -1:]
        for packet in self._stream.encode(frame):
            self._target.mux(packet)


def _stretched(block: Sound, samples: int, *, before: Sound) -> Sound:
    """The block in so many samples, by linear interpolation; ``before`` is the sample in front of it."""
    count = block.shape[1]
    if samples == count:
        return block
    joined = np.hstack([before, block])
    places = np.arange(1, samples + 1) * (count / samples)
    return np.array([np.interp(places, np.arange(count + 1), channel) for channel in joined], np.float32)
