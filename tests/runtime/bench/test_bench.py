"""The benchmark measures what it says; how fast this machine is, no test asks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench_support import speed
from stylize_video.bench import process
from stylize_video.bench.cli import _print_costs, _print_table, stylize_bench
from stylize_video.bench.process import ProcessCost
from stylize_video.bench.stages import Stages, Timing
from stylize_video.bench.throughput import Throughput, whole_rounds
from stylize_video.machine import most_at_once
from support import ROOT, Command


@pytest.fixture
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is started once and once more for its memory, where people get the median of three."""
    monkeypatch.setattr(process, "_STARTS", 1)


@pytest.mark.usefixtures("one_start")
def test_the_command_reports_everything(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    report = tmp_path / "bench.json"
    result = command_here(
        "stylize-bench", clip, "--style", invert_style, "--against", "photo", "--size", "64x48",
        "--size", "96x64", "--frames", 6, "--rounds", 1, "--seconds", 0.3, "--style-scale", 2,
        "--json", report,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for word in (
        "64x48",
        "96x64",
        "end to end",
        "decode",
        "encode",
        "bottleneck",
        "MB",
        "of processor time for a megapixel that the network sees",
        "stylize-video --device auto --precision auto writes its first frame after",
        "as fast as photo",
    ):
        assert word in result.stdout
    sizes = json.loads(report.read_text())["sizes"]
    assert [c["name"] for c in sizes[0]["contenders"]] == ["invert", "photo (against)"]
    assert all(
        c["whole"]["fps"] > 0 and c["network"]["core_ms"] > 0 for size in sizes for c in size["contenders"]
    )
    assert sizes[0]["command"]["peak_megabytes"] > 20
    asked = json.loads(report.read_text())["asked"]
    frames = whole_rounds(6)
    assert asked == {
        "clip": str(clip), "style": str(invert_style), "frames": frames, "rounds": 1, "seconds": 0.3,
        "style_scale": "2", "sizes": ["64x48", "96x64"], "device": "auto", "precision": "auto",
        "against": "photo", "baseline": False, "openvino": False,
    }  # fmt: skip
    assert all(c["frames"] % most_at_once() == 0 for size in sizes for c in size["contenders"])
    assert "64x48 is measured, 1 to go" in result.stderr


def test_no_more_than_all_of_the_network_is_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages = Stages(Timing(1, 2), Timing(1, 2), 1)
    fast, slow = (
        speed("cpu", whole=whole, stages=stages) for whole in (Throughput(59, 30), Throughput(25, 30))
    )
    _print_table([fast], ProcessCost(1, 1))
    out = capsys.readouterr().out
    assert "s int8 cpu end to end is as fast as the network alone; the bottleneck is the network" in out
    assert "118" not in out
    _print_table([slow], ProcessCost(1, 1))
    assert "end to end reaches 50% of the network alone; the" in capsys.readouterr().out


@pytest.mark.usefixtures("one_start")
def test_memory_that_the_system_does_not_tell_is_unknown(
    clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    """As on Windows, which has neither of the two that tell it."""
    program = process._RUN_AND_REPORT_MEMORY.replace("/proc/self/status", str(tmp_path / "missing"))
    monkeypatch.setattr(process, "_RUN_AND_REPORT_MEMORY", program)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/acted_windows"), prepend=os.pathsep)
    report = tmp_path / "bench.json"
    stylize_bench(
        clip, str(invert_style), ["64x48"], frames=3, rounds=1, seconds=0.1, device="cpu", json_file=report
    )
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "first frame after" in line]
    assert line.endswith(" s")
    assert json.loads(report.read_text())["sizes"][0]["command"]["peak_megabytes"] is None


def test_processor_time_and_the_clock_stand_in_no_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    speeds = [speed(device) for device in ("cpu", "cuda:0")]
    _print_costs([speeds, speeds])
    first, second = capsys.readouterr().out.split("milliseconds of ")[1:]
    assert first.startswith("processor time for a megapixel")
    assert first.split()[-5:] == ["s", "int8", "cpu", "80", "80"]
    assert second.startswith("the clock for a megapixel")
    assert second.split()[-5:] == ["s", "int8", "cuda:0", "40", "40"]


@pytest.mark.parametrize(("asked", "passed_on"), [("fp32", "fp32"), ("all", "auto")])
def test_the_precision_is_passed_on(
    asked: str, passed_on: str, clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def measured(*_: object, **options: object) -> ProcessCost:
        seen.append(options["precision"])
        return ProcessCost(1, 1)

    monkeypatch.setattr("stylize_video.bench.process.measure_process", measured)
    stylize_bench(clip, str(invert_style), ["64x48"], precision=asked, frames=3, rounds=1, seconds=0.1)
    assert seen == [passed_on]


def test_what_was_measured_is_kept_and_shown_where_the_rest_fails(
    clip: Path,
    invert_style: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And written before it is shown: who reads the tables may leave."""
    processes = iter([ProcessCost(1, 1)])
    monkeypatch.setattr("stylize_video.bench.process.measure_process", lambda *_, **__: next(processes))
    report = tmp_path / "bench.json"
    with pytest.raises(StopIteration):
        stylize_bench(
            clip, str(invert_style), ["64x48", "96x64"], frames=3, rounds=1, seconds=0.1, json_file=report
        )
    assert len(json.loads(report.read_text())["sizes"]) == 1
    assert "64x48, milliseconds a frame" in capsys.readouterr().out


def test_reports_take_no_place_of_what_is_read(command_here: Command, clip: Path, invert_style: Path) -> None:
    before = clip.read_bytes(), invert_style.read_bytes()
    for place in (clip, invert_style):
        result = command_here("stylize-bench", clip, "--against", invert_style, "--json", place)
        assert result.returncode == 2
        assert "is one of the inputs; name another file with --json" in result.stderr
    assert (clip.read_bytes(), invert_style.read_bytes()) == before


def test_seconds_that_are_no_number(command_here: Command, clip: Path) -> None:
    result = command_here("stylize-bench", clip, "--seconds", "nan")
    assert result.returncode == 2
    assert "seconds of a turn must be a number" in result.stderr


def test_where_the_report_goes_is_looked_at_first(command_here: Command, tmp_path: Path) -> None:
    for place, sentence in ((tmp_path / "missing" / "a.json", "does not exist"), (tmp_path, "is a folder")):
        result = command_here("stylize-bench", "no.mp4", "--json", place)
        assert result.returncode == 2
        assert sentence in result.stderr
        assert "no.mp4" not in result.stderr


@pytest.mark.parametrize("size", ["99999x99999", "16385x16", "16384x16384"])
def test_sizes_beyond_any_video(size: str, command_here: Command) -> None:
    result = command_here("stylize-bench", "no.mp4", "--size", size)
    assert result.returncode == 2
    assert f"{size} is larger than any video that is read" in result.stderr


@pytest.mark.parametrize("size", ["161x90", "160x91"])
def test_odd_sizes_are_refused(size: str, command_here: Command, clip: Path) -> None:
    result = command_here("stylize-bench", clip, "--size", size)
    assert result.returncode == 2
    assert f"measured at even sizes, as H.264 has them; got {size}" in result.stderr


@pytest.mark.parametrize("size", ["640", "8x8", "axb", "-1x20"])
def test_sizes_that_make_no_sense(size: str, command_here: Command, clip: Path) -> None:
    result = command_here("stylize-bench", clip, f"--size={size}")
    assert result.returncode == 2
    assert "sizes look like 640x360" in result.stderr
