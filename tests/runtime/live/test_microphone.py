"""Recordings with sound; where there is no microphone, one is told."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from stylize_video.live import microphone
from stylize_video.live.microphone import SoundTrack
from support import Command, MakeClip

SINE = "lavfi:sine=frequency=440:sample_rate=48000,arealtime"
"""A microphone that hears one tone, as fast as it sounds."""


@pytest.mark.parametrize("name", ["live.mp4", "live.webm"])
def test_a_recording_has_the_microphones_sound(
    name: str, command: Command, make_clip: MakeClip, invert_style: Path, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=60, sound=False)
    result = command(
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
    result = command(
        "stylize-camera", source, "-s", invert_style, "--no-window", "--record", "live.mp4",
        "--microphone", SINE.removesuffix(",arealtime"), cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with av.open(str(tmp_path / "live.mp4")) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert 1 < samples / 48_000 < 5


def test_a_microphone_that_is_not_there(command: Command, clip: Path, tmp_path: Path) -> None:
    result = command(
        "stylize-camera", clip, "--no-window", "--record", tmp_path / "a.mp4", "--microphone", "alsa:hw:9"
    )
    assert result.returncode == 2
    assert "the microphone alsa:hw:9 cannot be opened" in result.stderr
    assert not list(tmp_path.iterdir())


def heard(loud: bool) -> av.AudioFrame:
    """20 ms, of a tone or of silence."""
    tone = np.sin(np.arange(960) * 0.05) * (12_000 if loud else 0)
    frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], "s16", "mono")
    frame.sample_rate = 48_000
    return frame


def onset(path: Path) -> float:
    """The second at which the tone begins."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray()).max(0) > 0.05
            if loud.any():
                # Interleaved samples are two a moment.
                moment = int(np.argmax(loud)) / (1 if frame.format.is_planar else 2)
                return float(frame.time or 0) + moment / 48_000
    raise AssertionError("there is no tone")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_sound_that_nobody_took_is_silence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.02, 0.02)
    monkeypatch.setattr(microphone, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with av.open(str(tmp_path / name), "w") as container:
        track = SoundTrack(container, at=0)
        for _ in range(700):  # 14 seconds, more than wait
            track.take(heard(loud=False))
        track.copy_until(Fraction(14))
        for _ in range(50):
            track.take(heard(loud=True))
        track.copy_until(Fraction(15))
        track.close()
    assert onset(tmp_path / name) == pytest.approx(14, abs=0.04)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_sound_that_begins_late_has_silence_before(name: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        track = SoundTrack(container, at=time.perf_counter() - 1.52)
        for _ in range(50):
            track.take(heard(loud=True))
        track.copy_until(None)
        track.close()
    assert onset(tmp_path / name) == pytest.approx(1.5, abs=0.05)
