"""Rates, latencies, and the file they go to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_support import ManualClock
from stylize_video.errors import SinkError
from stylize_video.live.statistics import Monitor, Rate, StatisticsFile


@given(st.floats(2, 200))
def test_a_steady_rate_is_told(fps: float) -> None:
    clock = ManualClock()
    rate = Rate(clock)
    for _ in range(int(3 * fps)):
        clock.now += 1 / fps
        rate.tick()
    assert rate.value == pytest.approx(fps, rel=0.01)


def test_a_rate_falls_at_once_when_nothing_comes() -> None:
    clock = ManualClock()
    rate = Rate(clock)
    assert rate.value == 0
    for _ in range(60):
        clock.now += 1 / 30
        rate.tick()
    clock.now += 1
    assert rate.value == pytest.approx(1)
    clock.now += 5
    assert rate.value == 0
    assert rate.count == 60


def test_latencies_in_percentiles() -> None:
    clock = ManualClock()
    monitor = Monitor(clock)
    for milliseconds in range(1, 101):
        clock.now += 0.02
        monitor.stylized(0.010)
        monitor.shown(milliseconds / 1000)
    report = monitor.report(130, 60.0, (640, 360), (320, 180))
    assert report.latency_p50_ms == pytest.approx(50.5)
    assert report.latency_p95_ms == pytest.approx(95.05)
    assert report.stylize_ms == pytest.approx(10)
    assert (report.captured, report.shown, report.dropped) == (130, 100, 30)
    assert report.display_fps == pytest.approx(50, rel=0.01)
    text = "\n".join(report.lines())
    for fact in ("camera 60.0", "shown 50.0", "delay 50 ms", "640x360", "320x180", "30 dropped"):
        assert fact in text


def test_a_line_a_second_and_one_at_the_end(tmp_path: Path) -> None:
    clock = ManualClock()
    monitor = Monitor(clock)
    path = tmp_path / "stats.jsonl"
    with StatisticsFile(path, clock) as file:
        for _ in range(100):
            clock.now += 0.05
            file.write(monitor.report(0, 0.0, (0, 0), (0, 0)))
        file.write(monitor.report(7, 0.0, (0, 0), (0, 0)), last=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) in (5, 6)
    assert lines[-1]["captured"] == 7
    assert lines[0]["seconds"] < lines[-1]["seconds"]


def test_statistics_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot write the statistics"):
        StatisticsFile(tmp_path / "nowhere" / "stats.jsonl", ManualClock())
