"""What each stage costs alone: decoding, the border of the network, the network, and encoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from stylize_video.errors import SourceError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.styles.contract import INPUT_NAME, OUTPUT_NAME
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource


@dataclass(frozen=True)
class Timing:
    """Milliseconds a frame: median and 95th percentile."""

    median: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        return cls(*(1000 * float(np.percentile(seconds, q)) for q in (50, 95)))


@dataclass(frozen=True)
class Stages:
    """What the stages around the network cost alone. ``adapt`` is the part of stylizing one frame that turns
    it into the network's floats and back. ``encode`` are milliseconds a frame on average, with the end of the
    file: encoders gather frames, and single ones say little."""

    decode: Timing
    adapt: Timing
    encode: float


def measure_stages(
    clip: Path, session: StyleSession, stylize: Callable[[Frame], Frame], *, frames: int
) -> Stages:
    """Time decoding, and encoding what ``stylize`` makes of it, one after the other, each with all cores."""
    with VideoSource(clip) as video:
        decode, images = _timed(video, frames)
        info = video.info
    border = StyleSession(_border_of(session.style), str(session.device), input_range=1)
    border.prepare(*images[0].image.shape[:2])
    adapt = seconds_of_each(border.stylize, [frame.image for frame in images])
    images = [replace(frame, image=stylize(frame.image)) for frame in images]
    with TemporaryDirectory() as folder:
        sink = VideoSink(Path(folder) / "out.mp4", info, overwrite=True)
        try:
            start = time.perf_counter()
            for frame in images:
                sink.write(frame)
            sink.finish(whole=False)
        finally:
            sink.discard()  # nothing once it is finished
        encode = 1000 * (time.perf_counter() - start) / len(images)
    return Stages(Timing.of(decode), Timing.of(adapt), encode)


def _timed(frames: Iterable[TimedFrame], count: int) -> tuple[list[float], list[TimedFrame]]:
    seconds: list[float] = []
    result: list[TimedFrame] = []
    iterator = iter(frames)
    while len(result) < count:
        start = time.perf_counter()
        frame = next(iterator, None)
        if frame is None:
            break
        seconds.append(time.perf_counter() - start)
        result.append(frame)
    if not result:
        raise SourceError("the clip to measure with has no frames")
    return seconds, result


def seconds_of_each(call: Callable[[Any], object], items: Sequence[Any]) -> list[float]:
    """How long ``call`` takes for every one of ``items``."""
    seconds = []
    for item in items:
        start = time.perf_counter()
        call(item)
        seconds.append(time.perf_counter() - start)
    return seconds


def _border_of(style: Style) -> Style:
    """A style that does nothing but convert: what it costs is what adapting ``style`` to frames costs."""
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in (INPUT_NAME, OUTPUT_NAME)]
    levels = []
    # Scaling by two keeps the optimizer from removing everything.
    nodes = [helper.make_node("Add", [INPUT_NAME, INPUT_NAME], [OUTPUT_NAME])]
    if style.rgb_model() is not None:
        levels = [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", [INPUT_NAME, "scale", "zero"], ["levels"]),
            helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], [OUTPUT_NAME]),
        ]
    graph = helper.make_graph(nodes, "border", infos[:1], infos[1:], levels)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Style("border", Path("border.onnx"), metadata=None, fixed_size=None, model=model)
