"""The benchmark measures what it says; how fast this machine is, no test asks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from stylize_video.bench import measure
from stylize_video.bench.baseline import transformer_net
from stylize_video.bench.cli import stylize_bench
from stylize_video.bench.contenders import find_contenders
from stylize_video.bench.measure import (
    Outside,
    Speed,
    Stages,
    Throughput,
    Timing,
    measure_outside,
    measure_stages,
    scaled_clip,
)
from stylize_video.bench.openvino import OpenVinoNetwork
from stylize_video.errors import StyleError, StylizeError
from stylize_video.session import StyleSession
from stylize_video.sink import VideoSink
from stylize_video.source import VideoSource
from stylize_video.style import Style, find_style, find_variants
from stylize_video.threads import in_order
from support import ROOT, Command, draw_picture


def test_the_baseline_is_the_fields_network() -> None:
    style = transformer_net(width=32)
    parameters = sum(
        int(np.prod(t.dims)) for t in style.model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT
    )
    # Johnson et al.'s network with instance normalisation has 1.68 million.
    assert abs(parameters - 1_679_235) < 100
    kinds = [node.op_type for node in style.model.graph.node]
    assert kinds.count("Conv") == 16
    assert kinds.count("InstanceNormalization") == 15
    frame = draw_picture(0, 64, 48)
    session = StyleSession(transformer_net(width=4), "cpu", input_range=1)
    assert session.stylize(frame).shape == frame.shape


def test_the_bottleneck_is_the_slowest_stage() -> None:
    fast, slow = Timing(1, 2), Timing(5, 6)
    assert Stages(fast, slow, fast, 5).bottleneck == "encoding"
    assert Stages(fast, fast, slow, 1).bottleneck == "the network"
    timing = Timing.of([0.001, 0.002, 0.003])
    assert timing.median == pytest.approx(2.0)
    assert timing.p95 == pytest.approx(2.9)


def speed(device: str, whole: Throughput | None) -> Speed:
    return Speed("s", "int8", device, 1000, 500, Throughput(50, 40), Timing(20, 21), 0.1, whole)


def test_shares_and_costs() -> None:
    """By the clock, and by processor time where the processor computes."""
    assert speed("cpu", Throughput(10, 50)).share == pytest.approx(0.2)
    assert speed("cpu", Throughput(10, 50)).core_share == pytest.approx(0.8)
    assert speed("cuda:0", Throughput(10, 50)).core_share is None
    assert speed("cpu", None).share is None
    assert speed("cpu", None).core_share is None
    assert speed("cpu", None).megapixel_ms == pytest.approx(80)
    assert speed("cuda:0", None).megapixel_ms == pytest.approx(40)


def test_contenders() -> None:
    path = find_style("photo")
    every = [c.name for c in find_contenders(path, device="cpu", precision=None)]
    assert every == ["photo"] * len(find_variants(path))
    sides = find_contenders(path, device="cpu", precision="auto", against=path, baseline=True, openvino=True)
    names = [c.name for c in sides]
    assert names[:3] == ["photo", "photo (against)", "TransformerNet-32"]
    assert "photo in OpenVINO" in names
    with pytest.raises(StyleError, match="no style 'none'"):
        list(find_contenders(path, device="cpu", precision="auto", against=Path("none")))


@pytest.mark.parametrize("at_once", [1, 2])
def test_openvino_gives_the_same_picture(at_once: int) -> None:
    pytest.importorskip("openvino", reason="an option")
    style = Style.load("photo")
    network = OpenVinoNetwork(style, at_once=at_once)
    session = StyleSession(style, "cpu")
    pictures = [draw_picture(index, 64, 48) for index in range(4)]
    for picture, stylized in in_order(network.stylize, pictures, at_once=at_once):
        error = np.square(session.stylize(picture).astype(float) - stylized).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 38


def test_openvino_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(StylizeError, match="pip install openvino"):
        OpenVinoNetwork(Style.load("photo"))


def test_clips_are_scaled_and_lengthened(clip: Path, tmp_path: Path) -> None:
    scaled = scaled_clip(clip, tmp_path, width=64, height=48, frames=20)
    with VideoSource(scaled) as video:
        assert (video.info.width, video.info.height) == (64, 48)
        assert [frame.pts for frame in video] == sorted({frame.pts for frame in VideoSource(scaled)})
        assert sum(1 for _ in VideoSource(scaled)) == 20


def test_the_command_reports_everything(
    command: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    report = tmp_path / "bench.json"
    result = command(
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
        "megapixel",
        "as fast as photo",
    ):
        assert word in result.stdout
    sizes = json.loads(report.read_text())["sizes"]
    assert [c["name"] for c in sizes[0]["contenders"]] == ["invert", "photo (against)"]
    assert all(
        c["whole"]["fps"] > 0 and c["network"]["core_ms"] > 0 for size in sizes for c in size["contenders"]
    )
    assert sizes[0]["command"]["peak_megabytes"] > 20


def test_encoding_is_counted_to_the_end_of_the_file(
    clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoders take frames at once and work later."""

    class Slow(VideoSink):
        def finish(self, *, whole: bool = True) -> Path:
            time.sleep(0.4)
            return super().finish(whole=whole)

    monkeypatch.setattr("stylize_video.bench.measure.VideoSink", Slow)
    session = StyleSession(Style.load(invert_style), "cpu")
    stages = measure_stages(clip, session, Timing(1, 1), frames=4)
    assert stages.encode > 100


@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_the_command_that_is_measured_has_the_precision_asked_for(
    precision: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="2048")

    monkeypatch.setattr("stylize_video.bench.measure.subprocess.run", run)
    outside = measure_outside(clip, Path("photo.onnx"), device="cpu", precision=precision)
    assert outside.peak_megabytes == 2
    assert all(command[command.index("--precision") + 1] == precision for command in commands)


def test_memory_that_the_system_does_not_tell_is_unknown(
    clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    """As on Windows, which has neither of the two that tell it."""
    program = measure._RUN_AND_REPORT_MEMORY.replace("/proc/self/status", str(tmp_path / "missing"))
    monkeypatch.setattr(measure, "_RUN_AND_REPORT_MEMORY", program)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/acted_windows"))
    report = tmp_path / "bench.json"
    stylize_bench(
        clip, str(invert_style), ["64x48"], frames=3, rounds=1, seconds=0.1, device="cpu", json_file=report
    )
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "first frame after" in line]
    assert line.endswith(" s")
    assert json.loads(report.read_text())["sizes"][0]["command"]["peak_megabytes"] is None


def test_a_command_that_fails_is_a_sentence(clip: Path) -> None:
    with pytest.raises(StylizeError, match=r"failed when it was measured: .*no style 'none'"):
        measure_outside(clip, Path("none"), device="cpu")


@pytest.mark.parametrize(("asked", "passed_on"), [("fp32", "fp32"), ("all", "auto")])
def test_the_precision_is_passed_on(
    asked: str, passed_on: str, clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def outside(*_: object, **options: object) -> Outside:
        seen.append(options["precision"])
        return Outside(1, 1)

    monkeypatch.setattr("stylize_video.bench.measure.measure_outside", outside)
    stylize_bench(clip, str(invert_style), ["64x48"], precision=asked, frames=3, rounds=1, seconds=0.1)
    assert seen == [passed_on]


def test_where_the_report_goes_is_looked_at_first(command: Command, tmp_path: Path) -> None:
    for place, sentence in ((tmp_path / "missing" / "a.json", "does not exist"), (tmp_path, "is a folder")):
        result = command("stylize-bench", "no.mp4", "--json", place)
        assert result.returncode == 2
        assert sentence in result.stderr
        assert "no.mp4" not in result.stderr


@pytest.mark.parametrize("size", ["99999x99999", "16385x16", "16384x16384"])
def test_sizes_beyond_any_video(size: str, command: Command) -> None:
    result = command("stylize-bench", "no.mp4", "--size", size)
    assert result.returncode == 2
    assert f"{size} is larger than any video that is read" in result.stderr


@pytest.mark.parametrize("size", ["640", "8x8", "axb", "-1x20"])
def test_sizes_that_make_no_sense(size: str, command: Command, clip: Path) -> None:
    result = command("stylize-bench", clip, f"--size={size}")
    assert result.returncode == 2
    assert "sizes look like 640x360" in result.stderr
