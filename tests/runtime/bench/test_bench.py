"""The benchmark measures what it says; how fast this machine is, no test asks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from stylize_video.bench import measure
from stylize_video.bench.baseline import transformer_net
from stylize_video.bench.cli import _print_table, stylize_bench
from stylize_video.bench.contenders import Contender, find_contenders
from stylize_video.bench.measure import (
    Outside,
    Speed,
    Stages,
    Throughput,
    Timing,
    measure_outside,
    measure_speeds,
    measure_stages,
    scaled_clip,
    whole_rounds,
)
from stylize_video.bench.openvino import OpenVinoNetwork
from stylize_video.errors import StyleError, StylizeError
from stylize_video.frame import Frame
from stylize_video.machine import most_at_once
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


def test_openvino_runs_styles_of_one_size(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="an option")
    model = onnx.load_model(find_style("photo"))
    for value in (*model.graph.input, *model.graph.output):
        for dim, side in zip(list(value.type.tensor_type.shape.dim)[2:], (48, 64), strict=True):
            dim.dim_value = side
    onnx.save_model(model, tmp_path / "fixed.onnx")
    style = Style.load(tmp_path / "fixed.onnx")
    assert style.fixed_size == (48, 64)
    picture = draw_picture(0, 100, 80)
    stylized = OpenVinoNetwork(style).stylize(picture)
    error = np.square(StyleSession(style, "cpu").stylize(picture).astype(float) - stylized).mean()
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 38


def test_styles_of_any_name_and_of_no_variants(invert_style: Path, tmp_path: Path) -> None:
    odd = tmp_path / "Photo.ONNX"
    shutil.copy(invert_style, odd)
    (only,) = find_contenders(odd, device="cpu", precision=None)
    session = only.open(1)
    assert isinstance(session, StyleSession)
    assert session.style.path == odd
    names = [c.name for c in find_contenders(odd, device="cpu", precision="auto", openvino=True)]
    assert names == ["Photo", "Photo in OpenVINO"]


def test_contenders_are_tried_out_elsewhere_first(
    invert_style: Path, swap_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []
    monkeypatch.setattr("stylize_video.guard._try_one", tried.append)
    monkeypatch.setattr("stylize_video.guard._sound_here", set())
    monkeypatch.setenv("STYLIZE_VIDEO_CACHE", str(invert_style))  # a file: nothing can be remembered there
    mine = Path(shutil.copy(invert_style, tmp_path / "mine.onnx"))
    other = Path(shutil.copy(swap_style, tmp_path / "other.onnx"))
    for contender in find_contenders(mine, device="cpu", precision="auto", against=other):
        contender.open(1)
        contender.open(1)
    assert tried == [mine, other]


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
    asked = json.loads(report.read_text())["asked"]
    frames = whole_rounds(6)
    assert asked == {
        "clip": str(clip), "style": str(invert_style), "frames": frames, "rounds": 1, "seconds": 0.3,
        "style_scale": "2",
    }  # fmt: skip
    assert all(c["frames"] % most_at_once() == 0 for size in sizes for c in size["contenders"])
    assert "64x48 is measured, 1 to go" in result.stderr


@pytest.mark.parametrize(
    ("cores", "asked", "given"), [(2, 3, 4), (4, 3, 8), (4, 9, 12), (1, 1, 2), (3, 7, 9)]
)
def test_turns_are_whole_rounds(cores: int, asked: int, given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.bench.measure.most_at_once", lambda: cores)
    assert whole_rounds(asked) == given


class Sleepy:
    """A network of which several frames at once take as long as one, as on as many cores."""

    at_once = 4

    def stylize(self, frame: Frame) -> Frame:
        time.sleep(0.05)
        return frame


def test_slow_contenders_are_not_measured_while_cores_wait(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three frames of four at once took as long as four: a rate a quarter too low, and more with two."""
    monkeypatch.setattr("stylize_video.bench.measure.most_at_once", lambda: 4)
    (speed,) = measure_speeds(clip, [Contender("sleepy", lambda _: Sleepy())], rounds=1, seconds=0.01)
    assert speed.frames == 8
    assert speed.network.fps > 0.75 * 4 / 0.05


def test_what_a_first_opening_costs_is_not_the_contenders(clip: Path) -> None:
    """A process warms up once, and a style is tried out once."""
    opened: list[int] = []

    def open_(at_once: int) -> Sleepy:
        if not opened:
            time.sleep(0.5)
        opened.append(at_once)
        return Sleepy()

    (speed,) = measure_speeds(clip, [Contender("sleepy", open_)], rounds=1, seconds=0.01)
    assert speed.cold < 0.4


def test_no_more_than_all_of_the_network_is_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages = Stages(Timing(1, 2), Timing(1, 2), Timing(1, 2), 1)
    _print_table([replace(speed("cpu", Throughput(59, 30)), stages=stages)], Outside(1, 1))
    out = capsys.readouterr().out
    assert "end to end is as fast as the network alone; the bottleneck" in out
    assert "118" not in out
    _print_table([replace(speed("cpu", Throughput(25, 30)), stages=stages)], Outside(1, 1))
    assert "end to end reaches 50% of the network alone; the" in capsys.readouterr().out


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
    assert all("-P" in command[: command.index("-c")] for command in commands)


def test_no_code_of_the_working_folder_is_run(
    clip: Path, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('code of whoever made this folder')")
    monkeypatch.chdir(tmp_path)
    assert measure_outside(clip, invert_style, device="cpu", frames=2).first_frame_seconds > 0


def test_memory_is_that_of_as_many_frames_as_were_measured(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> str:
        commands.append(command)
        return "2048"

    monkeypatch.setattr("stylize_video.bench.measure._output_of", run)
    measure_outside(clip, Path("photo.onnx"), device="cpu", frames=7)
    assert [command[-2:] for command in commands] == [["--max-frames", str(n)] for n in (1, 1, 1, 7)]


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


def test_what_was_measured_is_kept_and_shown_where_the_rest_fails(
    clip: Path,
    invert_style: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And written before it is shown: who reads the tables may leave."""
    outsides = iter([Outside(1, 1)])
    monkeypatch.setattr("stylize_video.bench.measure.measure_outside", lambda *_, **__: next(outsides))
    report = tmp_path / "bench.json"
    with pytest.raises(StopIteration):
        stylize_bench(
            clip, str(invert_style), ["64x48", "96x64"], frames=3, rounds=1, seconds=0.1, json_file=report
        )
    assert len(json.loads(report.read_text())["sizes"]) == 1
    assert "64x48, milliseconds a frame" in capsys.readouterr().out


def test_reports_take_no_place_of_what_is_read(command: Command, clip: Path, invert_style: Path) -> None:
    before = clip.read_bytes(), invert_style.read_bytes()
    for place in (clip, invert_style):
        result = command("stylize-bench", clip, "--against", invert_style, "--json", place)
        assert result.returncode == 2
        assert "is one of the inputs; name another file with --json" in result.stderr
    assert (clip.read_bytes(), invert_style.read_bytes()) == before


def test_seconds_that_are_no_number(command: Command, clip: Path) -> None:
    result = command("stylize-bench", clip, "--seconds", "nan")
    assert result.returncode == 2
    assert "seconds of a turn must be a number" in result.stderr


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
