"""Rates, latencies, and the file they go to."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_support import ManualClock
from stylize_video.errors import SinkError
from stylize_video.live.statistics import Monitor, Rate, StatisticsFile, StreamState


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


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (StreamState(True, 2.71, 3), "stream 2.7 Mbit/s · 3 dropped"),
        (StreamState(False, 0.0, 3), "stream lost, it is tried again · 3 dropped"),
    ],
)
def test_a_stream_is_in_a_line_of_its_own(state: StreamState, line: str) -> None:
    report = Monitor(lambda: 0.0).report(0, 0.0, (0, 0), (0, 0), stream=state)
    assert report.lines()[-1] == line


def test_figures_of_a_slow_picture_are_not_of_minutes_ago() -> None:
    clock = ManualClock()
    monitor = Monitor(clock)
    for seconds in [1.3] * 30 + [0.2] * 20:
        clock.now += 1
        monitor.stylized(seconds)
        monitor.shown(seconds)
    report = monitor.report(50, 1.0, (64, 48), (64, 48), state="lost")
    assert report.stylize_ms == pytest.approx(200)
    assert (report.latency_p50_ms, report.latency_p95_ms) == pytest.approx((200, 200))
    assert report.state == "lost"
    clock.now += 600
    assert monitor.report(50, 0.0, (64, 48), (64, 48)).latency_p50_ms == pytest.approx(200)


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
    assert lines[-1]["state"] == "live"


def test_statistics_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot write the statistics"):
        StatisticsFile(tmp_path / "nowhere" / "stats.jsonl", ManualClock())


def test_a_pipe_that_nobody_reads_is_an_error_at_once(pipe: tuple[Path, int]) -> None:
    path, end = pipe
    os.close(end)
    with pytest.raises(SinkError, match="nobody reads from this pipe; start its reader first"):
        StatisticsFile(path, ManualClock())


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A pipe, and the end of it that reads."""
    if sys.platform == "win32":
        pytest.skip("there are no named pipes among the files here")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, end
    with suppress(OSError):
        os.close(end)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_reader_that_leaves_or_stalls_is_told_once(pipe: tuple[Path, int], leaves: bool) -> None:
    clock = ManualClock()
    statistics = Monitor(clock).report(0, 0.0, (0, 0), (0, 0))
    path, end = pipe
    told: list[str] = []
    with StatisticsFile(path, clock, on_failure=told.append) as file:
        if leaves:
            os.close(end)
        for _ in range(1000):
            clock.now += 1
            file.write(statistics)
        assert len(told) == 1
        assert told[0].startswith(f"writing the statistics {path} failed: ")
        with pytest.raises(SinkError, match="writing the statistics"):
            file.write(statistics, last=True)


def test_standard_output_may_be_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of services, and of programs that run others; no name opens it."""
    clock = ManualClock()
    ours, theirs = socket.socketpair()
    with ours, theirs, open(theirs.fileno(), "w", closefd=False) as standard_output:
        monkeypatch.setattr(
            "stylize_video.live.statistics._STANDARD_OUTPUT", Path("/dev/fd", str(theirs.fileno()))
        )
        monkeypatch.setattr(sys, "stdout", standard_output)
        with StatisticsFile(Path("-"), clock) as file:
            file.write(Monitor(clock).report(0, 0.0, (0, 0), (0, 0)), last=True)
        assert json.loads(ours.recv(2**16))["state"] == "live"


def test_a_full_disk_is_told_and_ends_nothing() -> None:
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("there is no /dev/full")
    clock = ManualClock()
    told: list[str] = []
    statistics = Monitor(clock).report(0, 0.0, (0, 0), (0, 0))
    with StatisticsFile(path, clock, on_failure=told.append) as file:
        for _ in range(3):
            clock.now += 1
            file.write(statistics)
    assert told == ["writing the statistics /dev/full failed: No space left on device"]
