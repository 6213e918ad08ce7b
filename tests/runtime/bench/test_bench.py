"""The benchmark measures what it says; how fast this machine is, no test asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from stylize_video.bench.baseline import transformer_net
from stylize_video.bench.measure import Stages, Timing, scaled_clip
from stylize_video.session import StyleSession
from stylize_video.source import VideoSource
from support import Command, draw_picture


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
    assert Stages(fast, slow, fast, slow, 0.1).bottleneck == "encoding"
    assert Stages(fast, fast, slow, fast, 0.1).bottleneck == "the network"
    timing = Timing.of([0.001, 0.002, 0.003])
    assert timing.median == pytest.approx(2.0)
    assert timing.p95 == pytest.approx(2.9)


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
        "--size", "96x64", "--frames", 6, "--rounds", 1, "--json", report,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for word in ("64x48", "96x64", "end to end", "decode", "encode", "bottleneck", "MB", "times photo"):
        assert word in result.stdout
    sizes = json.loads(report.read_text())["sizes"]
    assert [c["name"] for c in sizes[0]["contenders"]] == ["invert", "photo (against)"]
    assert all(c["end_to_end"] > 0 and c["inference"] > 0 for size in sizes for c in size["contenders"])
    assert sizes[0]["command"]["peak_megabytes"] > 20


@pytest.mark.parametrize("size", ["640", "8x8", "axb", "-1x20"])
def test_sizes_that_make_no_sense(size: str, command: Command, clip: Path) -> None:
    result = command("stylize-bench", clip, f"--size={size}")
    assert result.returncode == 2
    assert "sizes look like 640x360" in result.stderr
