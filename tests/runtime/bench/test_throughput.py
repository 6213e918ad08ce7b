"""Frames a second are those of the contender, whole rounds of them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench_support import speed
from stylize_video.bench.contenders import Contender
from stylize_video.bench.stages import Stages, Timing
from stylize_video.bench.throughput import Throughput, measure_speeds, scaled_clip, whole_rounds
from stylize_video.errors import SinkError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.styles.device import Device
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource


def test_shares_and_costs() -> None:
    """By the clock, and by processor time where the processor computes."""
    assert speed("cpu", whole=Throughput(10, 50)).share == pytest.approx(0.2)
    assert speed("cpu", whole=Throughput(10, 50)).core_share == pytest.approx(0.8)
    assert speed("cuda:0", whole=Throughput(10, 50)).core_share is None
    assert speed("cpu").share is None
    assert speed("cpu").core_share is None
    assert speed("cpu").megapixel_ms == pytest.approx(80)
    assert speed("cuda:0").megapixel_ms == pytest.approx(40)
    smaller = replace(speed("cpu"), working_pixels=125_000)
    assert smaller.megapixel_ms == pytest.approx(320)


def test_the_bottleneck_is_the_slowest_stage() -> None:
    """Of the network with several frames at once, as in a job; one alone takes longer."""
    job = speed("cpu", whole=Throughput(10, 50))  # the network takes 20 ms
    assert job.bottleneck is None
    for decode, encode, slowest in ((1, 21, "encoding"), (21, 1, "decoding"), (19, 19, "the network")):
        stages = Stages(Timing(decode, 30), Timing(1, 1), encode)
        assert replace(job, infer=Timing(40, 41), stages=stages).bottleneck == slowest


class Full(VideoSink):
    """On a disk that fills up."""

    def write(self, frame: TimedFrame) -> None:
        raise SinkError("the disk is full")


def test_an_error_leaves_no_half_of_a_clip(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize_video.bench.throughput.VideoSink", Full)
    with pytest.raises(SinkError, match="full"):
        scaled_clip(clip, tmp_path, width=64, height=48, frames=20)
    assert not list(tmp_path.iterdir())


def test_a_clip_that_is_enlarged_is_told(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scaled_clip(clip, tmp_path, width=96, height=64, frames=2)
    assert not caplog.records
    scaled_clip(clip, tmp_path, width=192, height=128, frames=2)
    assert "has 96x64: enlarged to 192x128 it is softer than footage of that size" in caplog.text


def test_clips_are_scaled_and_lengthened(clip: Path, tmp_path: Path) -> None:
    scaled = scaled_clip(clip, tmp_path, width=64, height=48, frames=20)
    with VideoSource(scaled) as video:
        assert (video.info.width, video.info.height) == (64, 48)
        assert [frame.pts for frame in video] == sorted({frame.pts for frame in VideoSource(scaled)})
        assert sum(1 for _ in VideoSource(scaled)) == 20


@pytest.mark.parametrize(
    ("cores", "asked", "given"), [(2, 3, 4), (4, 3, 8), (4, 9, 12), (1, 1, 2), (3, 7, 9)]
)
def test_turns_are_whole_rounds(cores: int, asked: int, given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.bench.throughput.most_at_once", lambda: cores)
    assert whole_rounds(asked) == given


class Unchanged:
    """A network that gives frames back, as many at once as it is opened for: with fewer it waits in vain."""

    precision, device = "fp32", Device("cpu")

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._all = threading.Barrier(at_once)

    def prepare(self, height: int, width: int) -> None:
        pass

    def stylize(self, frame: Frame) -> Frame:
        self._all.wait(timeout=20)
        return frame


def test_slow_contenders_are_not_measured_while_cores_wait(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three frames of four at once took as long as four: a rate a quarter too low, and more with two."""
    monkeypatch.setattr("stylize_video.bench.throughput.most_at_once", lambda: 4)
    (speed,) = measure_speeds(clip, [Contender("unchanged", Unchanged)], rounds=1, seconds=1e-9)
    assert speed.frames == 8


def test_what_a_first_opening_costs_is_not_the_contenders(clip: Path) -> None:
    """A process warms up once, and a style is tried out once."""
    opened: list[int] = []

    def open_(at_once: int) -> Unchanged:
        if not opened:
            time.sleep(0.5)
        opened.append(at_once)
        return Unchanged(at_once)

    (speed,) = measure_speeds(clip, [Contender("unchanged", open_)], rounds=1, seconds=1e-9)
    assert speed.cold < 0.4
