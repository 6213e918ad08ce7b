"""What each stage costs alone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from stylize_video.bench.stages import Timing, measure_stages
from stylize_video.frame import TimedFrame
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource


def test_timings() -> None:
    timing = Timing.of([0.001, 0.002, 0.003])
    assert timing.median == pytest.approx(2.0)
    assert timing.p95 == pytest.approx(2.9)


def test_encoding_is_counted_to_the_end_of_the_file(
    clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoders take frames at once and work later."""

    class Slow(VideoSink):
        def finish(self, *, whole: bool = True) -> Path:
            time.sleep(0.4)
            return super().finish(whole=whole)

    monkeypatch.setattr("stylize_video.bench.stages.VideoSink", Slow)
    session = StyleSession(Style.load(invert_style), "cpu")
    stages = measure_stages(clip, session, session.stylize, frames=4)
    assert stages.encode > 100


def test_what_the_style_makes_is_encoded(
    clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[TimedFrame] = []

    class Watched(VideoSink):
        def write(self, frame: TimedFrame) -> None:
            written.append(frame)
            super().write(frame)

    monkeypatch.setattr("stylize_video.bench.stages.VideoSink", Watched)
    session = StyleSession(Style.load(invert_style), "cpu")
    measure_stages(clip, session, session.stylize, frames=4)
    with VideoSource(clip) as video:
        for source, frame in zip(video, written, strict=False):
            np.testing.assert_array_equal(frame.image, 255 - source.image)
    assert len(written) == 4
