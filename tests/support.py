"""What the tests share: the commands, small real videos, and small real styles with known answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stylize_video.errors import JobInterrupted
from stylize_video.jobs.pipeline import Hooks, stylize_file
from stylize_video.styles.session import StyleSession

ROOT = Path(__file__).resolve().parents[1]

Command = Callable[..., "subprocess.CompletedProcess[str]"]

MakeClip = Callable[..., Path]
"""As :func:`write_clip`."""


def command_line(entry_point: str) -> list[str]:
    """How to start the command of an entry point such as ``package.cli:main``."""
    module, function = entry_point.split(":")
    return [sys.executable, "-c", f"from {module} import {function}; {function}()"]


def draw_picture(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """A colourful RGB picture ``[H, W, 3]`` whose square moves with ``index``."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y + 4 * index) % 256], -1).astype(np.uint8)
    left = (5 * index) % max(1, width - width // 4)
    picture[height // 4 : height // 2, left : left + width // 4] = (230, 40, 90)
    return picture


def write_clip(
    path: Path,
    *,
    frames: int = 12,
    width: int = 96,
    height: int = 64,
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    sound: bool = True,
) -> Path:
    """A small H.264 clip with moving shapes, and AAC sound unless ``sound`` is off."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = time_base
        video.options = {"crf": "12", "preset": "ultrafast"}
        audio = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(draw_picture(index, width, height), format="rgb24")
            frame.pts = pts[index] if pts else index
            frame.time_base = time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if isinstance(audio, av.AudioStream):
            rate, seconds = 44100, float((pts[-1] if pts else frames) * time_base)
            tone = (np.sin(np.arange(int(rate * seconds)) * 0.05) * 8000).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = rate, 0, Fraction(1, rate)
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
    return path


def half_of(whole: Path, path: Path) -> Path:
    """The first half of an MP4's bytes, with the header of all of it in front."""
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"movflags": "+faststart"}) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def save_style(path: Path, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> Path:
    """A style that is one 3x3 convolution with ``weight`` ``[3, 3, 3, 3]``, clamped to 0..1."""
    nodes = [
        helper.make_node("Conv", ["frames", "weight", "bias"], ["raw"], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["raw", "low", "high"], ["stylized"]),
    ]
    values = {
        "weight": weight.astype(np.float32),
        "bias": np.zeros(3, np.float32) if bias is None else bias.astype(np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(1, np.float32),
    }
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "style",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save_model(model, str(path))
    return path


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing beyond ``size`` fails in this process, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="this system limits no process's files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def interrupted_run(source: Path, output: Path, session: StyleSession, *, after: int, **how: Any) -> Path:
    """The part that Ctrl-C leaves after so many frames."""
    left = after

    def press() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    with pytest.raises(JobInterrupted) as caught:
        stylize_file(source, output, session, hooks=Hooks(on_frame=press), **how)
    assert caught.value.part
    return caught.value.part
