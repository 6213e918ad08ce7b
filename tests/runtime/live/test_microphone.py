"""Recordings with sound; where there is no microphone, one is told."""

from __future__ import annotations

import os
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from live_support import ManualClock, live_threads, wait_until
from stylize_video.live.controls import Notice
from stylize_video.live.microphone import Microphone, Sound, SoundTrack
from support import Command, MakeClip

SINE = "lavfi:sine=frequency=440:sample_rate=48000,arealtime"
"""A microphone that hears one tone, as fast as it sounds."""


@pytest.mark.parametrize("name", ["live.mp4", "live.webm"])
def test_a_recording_has_the_microphones_sound(
    name: str, command_here: Command, make_clip: MakeClip, invert_style: Path, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=60, sound=False)
    result = command_here(
        "stylize-camera", source, "-s", invert_style, "--no-window", "--record", name,
        "--microphone", SINE, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with av.open(str(tmp_path / name)) as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    assert len(samples) / 48_000 == pytest.approx(2, abs=0.7)
    spectrum = np.abs(np.fft.rfft(samples[: 48_000 // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=4)
    times = [float(frame.time) for frame in frames if frame.time is not None]
    assert (np.diff(times) > 0).all()


def test_sound_that_comes_faster_than_it_sounds(
    command: Command, make_clip: MakeClip, invert_style: Path, tmp_path: Path
) -> None:
    """It would never end, and neither would the recording."""
    source = make_clip(tmp_path / "clip.mp4", frames=60, sound=False)
    begun = time.monotonic()
    result = command(
        "stylize-camera", source, "-s", invert_style, "--no-window", "--record", "live.mp4",
        "--microphone", SINE.removesuffix(",arealtime"), cwd=tmp_path, timeout=60,
    )  # fmt: skip
    taken = time.monotonic() - begun
    assert result.returncode == 0, result.stderr
    with av.open(str(tmp_path / "live.mp4")) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert 1 < samples / 48_000 < taken + 3


def test_a_microphone_that_is_not_there(command_here: Command, clip: Path, tmp_path: Path) -> None:
    result = command_here(
        "stylize-camera", clip, "--no-window", "--record", tmp_path / "a.mp4", "--microphone", "alsa:hw:9"
    )
    assert result.returncode == 2
    assert "the microphone alsa:hw:9 cannot be opened" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_microphone_that_ends_is_told(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    with wave.open(str(tmp_path / "short.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(800))
    result = command_here(
        "stylize-camera", clip, "-s", invert_style, "--no-window", "--record", tmp_path / "a.mp4",
        "--microphone", f"wav:{tmp_path / 'short.wav'}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "short.wav gives no sound: what is recorded is silent until it is back" in result.stderr


TONE = np.sin(2 * np.pi * 10 * np.arange(960) / 960)
"""20 ms at 48 kHz, ten times up and down; one goes on where the last one ended."""


class Heard:
    """A microphone of 20 ms a block with a clock of its own, and a track that is written at 25 fps meanwhile.

    ``tone`` says at which seconds there is one. Of what the device does not give, ``gone``, nothing is
    ever heard; after ``stall`` seconds without anything, from the second on, it comes as fast as it can.
    """

    def __init__(
        self,
        path: Path,
        *,
        tone: Callable[[float], bool],
        speed: float = 1.0,
        gone: tuple[float, float] = (0, 0),
        stall: tuple[float, float] = (0, 0),
    ) -> None:
        self.path = path
        self._tone, self._speed, self._gone, self._stall = tone, speed, gone, stall

    def record(self, seconds: float) -> NDArray[np.float32]:
        """The sound of the file, [samples]."""
        clock = ManualClock()
        began, blocks = clock.now, self._blocks(seconds)
        following = next(blocks)
        with av.open(str(self.path), "w") as container:
            track = SoundTrack(container, at=began, clock=clock)
            for picture in range(round(25 * seconds)):
                while following[0] <= picture / 25:
                    clock.now = began + following[0]
                    track.take(following[1])
                    following = next(blocks)
                clock.now = began + picture / 25
                track.copy_until(Fraction(picture, 25))
            track.close()
        return sound_of(self.path)

    def _blocks(self, seconds: float) -> Iterator[tuple[float, Sound]]:
        """When each comes, and what it is."""
        for number in range(round(50 * seconds) + 50):
            sounded = number * 0.02 / self._speed
            arrives = sounded + 0.02 / self._speed
            if self._gone[0] <= sounded < self._gone[1]:
                continue
            if (behind := arrives - self._stall[0]) >= 0:
                arrives = max(arrives, sum(self._stall) + 0.2 * behind)
            samples = TONE * (0.4 if self._tone(sounded) else 0)
            yield arrives, np.array([samples, samples], np.float32)


def sound_of(path: Path) -> NDArray[np.float32]:
    """The first channel, [samples] from second 0 on."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "stereo", 48_000)
        frames = list(container.decode(audio=0))
        start = round(float(frames[0].time or 0) * 48_000)
        parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    return np.concatenate([np.zeros(max(0, start)), *parts])[max(0, -start) :].astype(np.float32)


def onset(sound: NDArray[np.float32]) -> float:
    """The second at which the tone begins."""
    loud = np.abs(sound) > 0.05
    assert loud.any(), "there is no tone"
    return float(np.argmax(loud)) / 48_000


def silent_seconds(sound: NDArray[np.float32]) -> float:
    """How much of it is silence, in pieces of 5 ms."""
    pieces = np.abs(sound[: len(sound) // 240 * 240]).reshape(-1, 240).max(1)
    return float((pieces < 0.02).sum()) * 0.005


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_what_a_microphone_does_not_give_is_silence(name: str, tmp_path: Path) -> None:
    """What comes after it is in step again."""
    sound = Heard(tmp_path / name, tone=lambda at: at < 2 or at >= 6, gone=(3, 5)).record(8)
    assert onset(sound[2 * 48_000 + 4800 :]) + 2.1 == pytest.approx(6, abs=0.04)
    assert len(sound) / 48_000 == pytest.approx(7.96, abs=0.06)


@pytest.mark.parametrize("speed", [0.99, 0.9995, 1.0005, 1.01])
def test_a_microphone_whose_clock_is_wrong_stays_in_step(speed: float, tmp_path: Path) -> None:
    sound = Heard(tmp_path / "a.mp4", tone=lambda at: at >= 28, speed=speed).record(30)
    assert onset(sound) == pytest.approx(28, abs=0.05)


def test_drift_is_evened_out_without_gaps(tmp_path: Path) -> None:
    sound = Heard(tmp_path / "a.mp4", tone=lambda at: True, speed=0.99).record(10)
    assert silent_seconds(sound[4800:-4800]) == 0
    steepest = 0.4 * np.abs(np.diff(TONE)).max()
    assert np.abs(np.diff(sound[4800:-4800])).max() < 1.3 * steepest  # there are no clicks


def test_what_is_only_late_is_kept(tmp_path: Path) -> None:
    """The computer had something else to do, and the device kept what it heard meanwhile."""
    sound = Heard(tmp_path / "a.mp4", tone=lambda at: True, stall=(3, 0.6)).record(6)
    assert silent_seconds(sound[4800:-4800]) == 0


def test_pictures_do_not_wait_for_a_microphone_that_gives_nothing(tmp_path: Path) -> None:
    clock, told = ManualClock(), []
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        track = SoundTrack(container, at=clock.now, clock=clock, on_silence=lambda: told.append(clock.now))
        clock.now += 5
        track.copy_until(Fraction(5))
        assert track._samples / 48_000 == pytest.approx(4.2, abs=0.01)
        assert told == [clock.now]
        track.close()
    assert len(sound_of(tmp_path / "a.mkv")) / 48_000 == pytest.approx(5, abs=0.05)


def test_sound_that_nobody_took_is_silence(tmp_path: Path) -> None:
    """The encoder was too slow, for longer than sound waits."""
    clock = ManualClock()
    began = clock.now
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        track = SoundTrack(container, at=began, clock=clock)
        for number in range(750):
            clock.now = began + (number + 1) * 0.02
            loud = 0.4 if number == 0 or number >= 700 else 0.0
            if number == 700:
                track.copy_until(Fraction(14))
            track.take(np.array([TONE, TONE], np.float32) * np.float32(loud))
        track.copy_until(Fraction(15))
        track.close()
    assert onset(sound_of(tmp_path / "a.mp4")[48_000:]) + 1 == pytest.approx(14, abs=0.04)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_sound_that_begins_late_has_silence_before(name: str, tmp_path: Path) -> None:
    sound = Heard(tmp_path / name, tone=lambda at: True, gone=(0, 1.5)).record(3)
    assert onset(sound) == pytest.approx(1.5, abs=0.05)


class Pipe:
    """A device of FFmpeg's that is there while its other end is open."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.device = f"s16le:{path}"
        self._end: int | None = None

    def plug_in(self) -> None:
        """Wait until it is opened, then give half a second of a tone."""
        self._end = os.open(self.path, os.O_WRONLY)
        os.write(self._end, (np.sin(np.arange(22_050) * 0.05) * 12_000).astype("<i2").tobytes())

    def is_empty(self) -> bool:
        """Whether all was read; whoever wants more waits."""
        import fcntl
        import termios

        assert self._end is not None
        return fcntl.ioctl(self._end, termios.FIONREAD, bytes(4)) == bytes(4)

    def pull_out(self) -> None:
        if self._end is not None:
            os.close(self._end)
            self._end = None


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    if sys.platform == "win32":
        pytest.skip("there are no named pipes among the files here")
    pipe = Pipe(tmp_path / "pipe")
    yield pipe
    pipe.pull_out()
    wait_until(lambda: not live_threads())


@pytest.fixture
def opened(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Microphone, list[Notice]]]:
    """The pipe as a microphone, plugged in, and what is told of it."""
    monkeypatch.setattr("stylize_video.live.microphone._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("stylize_video.live.microphone._CLOSE_SECONDS", 0.2)
    notices: list[Notice] = []
    plugging = threading.Thread(target=pipe.plug_in)
    plugging.start()
    microphone = Microphone(pipe.device, on_notice=notices.append)
    plugging.join()
    yield microphone, notices
    microphone.close()


def test_a_microphone_that_was_pulled_out_is_told_and_comes_back(
    pipe: Pipe, opened: tuple[Microphone, list[Notice]], tmp_path: Path
) -> None:
    microphone, notices = opened
    pipe.pull_out()
    wait_until(lambda: len(notices) == 1)
    assert "gives no sound" in notices[0].text
    assert notices[0].is_essential
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        track = microphone.track(container, at=time.perf_counter())
        pipe.plug_in()
        wait_until(lambda: track._arrived.qsize() > 3)
        track.copy_until(Fraction(1))
        track.close()
    assert "is back" in notices[1].text
    assert len(notices) == 2
    onset(sound_of(tmp_path / "a.mkv"))


def broadcast(path: Path, codec: str, *, rate: int, layout: str, tone: int) -> Path:
    """Three seconds of a tone as MPEG-TS."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        samples = (np.sin(2 * np.pi * tone * np.arange(3 * rate) / rate) * 12_000).astype(np.int16)
        channels = len(stream.layout.channels)
        frame = av.AudioFrame.from_ndarray(np.tile(samples, (channels, 1)), "s16p", layout)
        frame.sample_rate = rate
        for packet in (packet for part in (frame, None) for packet in stream.encode(part)):
            container.mux(packet)
    return path


@pytest.mark.parametrize("codec", ["mp2", "aac"])
def test_sound_whose_rate_and_channels_change_goes_on(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AAC is decoded to what recordings want, so that its first part needs no conversion."""
    monkeypatch.setattr("stylize_video.live.microphone._RETRY_SECONDS", 0.01)
    stereo = broadcast(tmp_path / "a.ts", codec, rate=48_000, layout="stereo", tone=480)
    mono = broadcast(tmp_path / "b.ts", codec, rate=44_100, layout="mono", tone=960)
    (tmp_path / "ab.ts").write_bytes(stereo.read_bytes() + mono.read_bytes())
    microphone = Microphone(f"mpegts:{tmp_path / 'ab.ts'}")  # again and again
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        track = microphone.track(container, at=time.perf_counter())
        wait_until(track._arrived.full)
    microphone.close()
    assert all(block.shape[0] == 2 for _, block in track._arrived.queue)
    sound = np.hstack([block[0] for _, block in track._arrived.queue])
    seconds = sound[: len(sound) // 48_000 * 48_000].reshape(-1, 48_000)
    tones = {int(np.abs(np.fft.rfft(second)).argmax()) for second in seconds}
    assert {480, 960} <= tones


def test_a_microphone_that_hangs_keeps_nobody(pipe: Pipe, opened: tuple[Microphone, list[Notice]]) -> None:
    microphone, _ = opened
    wait_until(pipe.is_empty)
    began = time.perf_counter()
    microphone.close()
    assert time.perf_counter() - began < 5
