"""Recordings with sound; where there is no microphone, one is told."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

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


def test_a_microphone_that_is_not_there(command: Command, clip: Path, tmp_path: Path) -> None:
    result = command(
        "stylize-camera", clip, "--no-window", "--record", tmp_path / "a.mp4", "--microphone", "alsa:hw:9"
    )
    assert result.returncode == 2
    assert "the microphone alsa:hw:9 cannot be opened" in result.stderr
    assert not list(tmp_path.iterdir())
