"""What each stage costs alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stylize_video.bench.stages import Stages, Timing, measure_stages
from stylize_video.session import StyleSession
from stylize_video.sink import VideoSink
from stylize_video.style import Style


def test_the_bottleneck_is_the_slowest_stage() -> None:
    fast, slow = Timing(1, 2), Timing(5, 6)
    assert Stages(fast, slow, fast, 5).bottleneck == "encoding"
    assert Stages(fast, fast, slow, 1).bottleneck == "the network"
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
    stages = measure_stages(clip, session, Timing(1, 1), frames=4)
    assert stages.encode > 100
