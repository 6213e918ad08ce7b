"""Measurements: stages one by one, whole jobs in turn, and a command from the outside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from onnx import TensorProto, helper

from stylize_video.errors import SourceError
from stylize_video.frame import TimedFrame
from stylize_video.pipeline import stylize_file
from stylize_video.session import StyleSession
from stylize_video.sink import VideoSink
from stylize_video.source import VideoSource
from stylize_video.style import Style


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
    """What each stage costs alone. ``adapt`` is the part of ``infer`` that turns frames into
    the network's floats and back; ``cold`` is opening the session and its first frame."""

    decode: Timing
    adapt: Timing
    infer: Timing
    encode: Timing
    cold: float

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        stages = {"decoding": self.decode, "the network": self.infer, "encoding": self.encode}
        return max(stages, key=lambda name: stages[name].median)


@dataclass(frozen=True)
class Speed:
    """One contender at one size: frames a second, medians over the rounds."""

    name: str
    precision: str
    device: str
    width: int
    height: int
    end_to_end: float
    inference: float
    stages: Stages

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bottleneck": self.stages.bottleneck}


@dataclass(frozen=True)
class Outside:
    """A whole ``stylize-video`` process as the operating system saw it."""

    first_frame_seconds: float
    peak_megabytes: float


OpenSession = Callable[[], StyleSession]


def scaled_clip(source: Path, folder: Path, *, width: int, height: int, frames: int) -> Path:
    """The first ``frames`` of a video at another size, repeated where it is shorter."""
    target = folder / f"{width}x{height}.mp4"
    with VideoSource(source) as video:
        images = [
            np.asarray(cv2.resize(f.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            for f, _ in zip(video, range(frames), strict=False)
        ]
        info = video.info
    resized = VideoSink(target, replace(info, width=width, height=height), overwrite=True)
    step = round(1 / info.rate / info.time_base) or 1
    for index in range(frames):
        resized.write(TimedFrame(index * step, images[index % len(images)]))
    return resized.finish(whole=False)


def measure_stages(clip: Path, open_session: OpenSession, *, frames: int) -> Stages:
    """Time decoding, the network and encoding one after the other, each with all cores."""
    with VideoSource(clip) as video:
        decode, images = _timed(video, frames)
        info = video.info
    start = time.perf_counter()
    session = open_session()
    session.stylize(images[0].image)
    cold = time.perf_counter() - start
    infer = _each(session.stylize, [frame.image for frame in images])
    border = StyleSession(_identity_style(), str(session.device))
    border.stylize(images[0].image)
    adapt = _each(border.stylize, [frame.image for frame in images])
    with TemporaryDirectory() as folder:
        sink = VideoSink(Path(folder) / "out.mp4", info, overwrite=True)
        encode = _each(sink.write, images)
        sink.discard()
    return Stages(Timing.of(decode), Timing.of(adapt), Timing.of(infer), Timing.of(encode), cold)


def measure_speeds(
    clip: Path, contenders: Mapping[str, OpenSession], *, rounds: int, seconds: float
) -> dict[str, Speed]:
    """Run every contender in turn, round after round, so that all see the same machine.

    Args:
        clip: the video to stylize.
        contenders: how to open each one's session, by name.
        rounds: how often each one runs; medians are reported.
        seconds: about how long one run may take; slow contenders stylize fewer frames.
    """
    sessions = {name: opener() for name, opener in contenders.items()}
    with VideoSource(clip) as video:
        images = [frame.image for frame in video]
    counts = {}
    for name, session in sessions.items():
        session.stylize(images[0])
        one = min(_each(session.stylize, images[:3]))
        counts[name] = int(np.clip(seconds / one, 3, len(images)))
    whole: dict[str, list[float]] = {name: [] for name in sessions}
    alone: dict[str, list[float]] = {name: [] for name in sessions}
    with TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, session in sessions.items():
                count = counts[name]
                alone[name].append(count / sum(_each(session.stylize, images[:count])))
                start = time.perf_counter()
                stylize_file(clip, Path(folder) / "out.mp4", session, overwrite=True, max_frames=count)
                whole[name].append(count / (time.perf_counter() - start))
    height, width = images[0].shape[:2]
    return {
        name: Speed(
            name,
            session.style.precision,
            str(session.device),
            width,
            height,
            float(np.median(whole[name])),
            float(np.median(alone[name])),
            measure_stages(clip, contenders[name], frames=min(counts[name], 60)),
        )
        for name, session in sessions.items()
    }


def measure_outside(clip: Path, style: Path, *, device: str) -> Outside:
    """Start ``stylize-video`` as a user would: seconds until one frame is written, and peak memory."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _RUN_AND_REPORT_MEMORY, str(clip), "--style", str(style)]
        command += ["--device", device, "-q", "-y", "-o", str(Path(folder) / "out.mp4")]
        starts = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([*command, "--max-frames", "1"], check=True, capture_output=True)
            starts.append(time.perf_counter() - start)
        whole = subprocess.run(command, check=True, capture_output=True, text=True)
    return Outside(float(np.median(starts)), int(whole.stdout) / 1024)


# getrusage() would count what this process held when it forked; Linux's VmHWM starts anew.
_RUN_AND_REPORT_MEMORY = """
import atexit, resource
from pathlib import Path
from stylize_video.cli import main

def report():
    status = Path("/proc/self/status")
    if status.exists():
        print(next(line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line))
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

atexit.register(report)
main()
"""


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


def _each(call: Callable[[Any], object], items: Sequence[Any]) -> list[float]:
    seconds = []
    for item in items:
        start = time.perf_counter()
        call(item)
        seconds.append(time.perf_counter() - start)
    return seconds


def _identity_style() -> Style:
    """Nothing but the border: what it costs is what adapting costs."""
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("frames", "stylized")]
    # Scaling by two keeps the optimizer from removing everything.
    node = helper.make_node("Add", ["frames", "frames"], ["stylized"])
    graph = helper.make_graph([node], "identity", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Style("identity", Path("identity.onnx"), None, None, model)
