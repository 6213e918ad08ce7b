"""Measurements: stages one by one, whole jobs in turn, and a command from the outside."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from stylize_video.bench.contenders import Contender
from stylize_video.errors import SourceError, StylizeError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.machine import most_at_once
from stylize_video.network import Network
from stylize_video.pipeline import stylize_file
from stylize_video.session import StyleSession
from stylize_video.sink import VideoSink
from stylize_video.source import VideoSource
from stylize_video.style import Style
from stylize_video.threads import in_order, opencv_threads_for
from stylize_video.working_size import WorkingSize, stylize_at

_MOST_TIMED = 60
_HELD_BYTES = 300 * 2**20
_WARM_SIDE = 64


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
    the network's floats and back. ``encode`` are milliseconds a frame on average, with the end of the file:
    encoders gather frames, and single ones say little."""

    decode: Timing
    adapt: Timing
    infer: Timing
    encode: float

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        stages = {
            "decoding": self.decode.median,
            "the network": self.infer.median,
            "encoding": self.encode,
        }
        return max(stages, key=lambda name: stages[name])


@dataclass(frozen=True)
class Throughput:
    """Frames a second, and milliseconds of processor time a frame, over all cores.

    On a busy machine the second still says what the first would be on an idle one.
    """

    fps: float
    core_ms: float

    @classmethod
    def median(cls, measured: Sequence[Throughput]) -> Throughput:
        return cls(
            float(np.median([m.fps for m in measured])), float(np.median([m.core_ms for m in measured]))
        )


@dataclass(frozen=True)
class Speed:
    """One contender at one size.

    ``network`` is the network alone, ``whole`` all from file to file, both with several
    frames at once and as medians over the rounds; ``cold`` are the seconds that opening it and the
    first frame take, in a process that has run it before. ``whole`` and ``stages`` are None for what
    only the network is measured of; ``frames`` is how many it had in each round.
    """

    name: str
    precision: str
    device: str
    width: int
    height: int
    network: Throughput
    infer: Timing
    cold: float
    whole: Throughput | None = None
    stages: Stages | None = None
    frames: int = 0

    @property
    def share(self) -> float | None:
        """Of the network's speed, what is left from file to file."""
        return self.whole.fps / self.network.fps if self.whole else None

    @property
    def core_share(self) -> float | None:
        """Of the processor time from file to file, what the network alone needs; on CPUs.

        Where :attr:`share` is much lower, cores wait for something, or for other programs.
        """
        if self.whole is None or self.device != "cpu":
            return None
        return self.network.core_ms / self.whole.core_ms

    @property
    def megapixel_ms(self) -> float:
        """Milliseconds that the network takes for a million pixels, by processor time on a CPU."""
        milliseconds = self.network.core_ms if self.device == "cpu" else 1000 / self.network.fps
        return 1e6 * milliseconds / (self.width * self.height)

    def to_dict(self) -> dict[str, Any]:
        bottleneck = self.stages.bottleneck if self.stages else None
        return {**asdict(self), "bottleneck": bottleneck, "megapixel_ms": self.megapixel_ms}


@dataclass(frozen=True)
class Outside:
    """A whole ``stylize-video`` process as the operating system saw it.

    ``peak_megabytes`` is None where the system does not tell a process its own, as Windows.
    """

    first_frame_seconds: float
    peak_megabytes: float | None


def scaled_clip(source: Path, folder: Path, *, width: int, height: int, frames: int) -> Path:
    """The first ``frames`` of a video at another size, repeated where it is shorter."""
    target = folder / f"{width}x{height}.mp4"
    different = min(frames, _held_frames(width, height))
    with VideoSource(source) as video:
        images = [
            np.asarray(cv2.resize(f.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            for f, _ in zip(video, range(different), strict=False)
        ]
        info = video.info
    resized = VideoSink(target, replace(info, width=width, height=height), overwrite=True)
    step = round(1 / info.rate / info.time_base) or 1
    for index in range(frames):
        resized.write(TimedFrame(index * step, images[index % len(images)]))
    return resized.finish(whole=False)


def whole_rounds(frames: int) -> int:
    """``frames``, or a few more: rounds of as many at once as a file job has, two at least.

    In a last round that is not full cores would wait, and the rate would come out too low.
    """
    at_once = most_at_once()
    return at_once * max(2, math.ceil(frames / at_once))


def measure_stages(clip: Path, session: StyleSession, infer: Timing, *, frames: int) -> Stages:
    """Time decoding and encoding one after the other, each with all cores."""
    with VideoSource(clip) as video:
        decode, images = _timed(video, frames)
        info = video.info
    border = StyleSession(_border_of(session.style), str(session.device), input_range=1)
    border.prepare(*images[0].image.shape[:2])
    adapt = _each(border.stylize, [frame.image for frame in images])
    with TemporaryDirectory() as folder:
        sink = VideoSink(Path(folder) / "out.mp4", info, overwrite=True)
        start = time.perf_counter()
        for frame in images:
            sink.write(frame)
        sink.finish(whole=False)
        encode = 1000 * (time.perf_counter() - start) / len(images)
    return Stages(Timing.of(decode), Timing.of(adapt), infer, encode)


def measure_speeds(
    clip: Path,
    contenders: Sequence[Contender],
    *,
    rounds: int,
    seconds: float,
    working_size: WorkingSize = WorkingSize(),
) -> list[Speed]:
    """Run every contender in turn, round after round, so that all see the same machine.

    Args:
        clip: the video to stylize.
        contenders: what runs.
        rounds: how often each one runs; medians are reported.
        seconds: about how long one run may take; slow contenders stylize fewer frames.
        working_size: where networks work.
    """
    with VideoSource(clip) as video:
        most = _held_frames(video.info.width, video.info.height)
        images = [frame.image for frame, _ in zip(video, range(most), strict=False)]
        total = video.info.frame_count or len(images)
    height, width = images[0].shape[:2]
    size = working_size.of(height, width)
    runs = [_Run(contender, images, size, total=total, seconds=seconds) for contender in contenders]
    with TemporaryDirectory() as folder:
        for _ in range(rounds):
            for run in runs:
                run.measure_network()
                run.measure_whole(clip, Path(folder) / "out.mp4", working_size)
    return [run.speed(clip) for run in runs]


class _Run:
    """One contender's measurements, as they gather."""

    def __init__(
        self,
        contender: Contender,
        images: Sequence[Frame],
        size: tuple[int, int],
        *,
        total: int,
        seconds: float,
    ) -> None:
        self._contender, self._images, self._size = contender, images, size
        # What the first one of a process costs, and the trial of a style, are not its own.
        contender.open(1).stylize(np.ascontiguousarray(images[0][:_WARM_SIDE, :_WARM_SIDE]))
        start = time.perf_counter()
        alone = contender.open(1)
        self._stylize(alone, images[0])
        self._cold = time.perf_counter() - start
        self._prepare(alone)
        one = min(self._each(alone, 3))
        self._total = total
        self._count = whole_rounds(math.ceil(min(seconds / one, total)))
        self._infer = Timing.of(self._each(alone, min(self._count, _MOST_TIMED)))
        self._network = contender.open(most_at_once())
        self._prepare(self._network)
        self._alone: list[Throughput] = []
        self._whole: list[Throughput] = []

    def measure_network(self) -> None:
        """The network alone, with as many frames at once as a file job has."""
        frames = (self._images[index % len(self._images)] for index in range(self._count))
        at_once = getattr(self._network, "at_once", 1)

        def run() -> None:
            with opencv_threads_for(at_once):
                for _ in in_order(lambda image: self._stylize(self._network, image), frames, at_once=at_once):
                    pass

        self._alone.append(_throughput(run, self._count))

    def measure_whole(self, clip: Path, output: Path, working_size: WorkingSize) -> None:
        """From file to file."""
        if isinstance(self._network, StyleSession):
            job = functools.partial(
                stylize_file,
                clip,
                output,
                self._network,
                working_size=working_size,
                overwrite=True,
                max_frames=self._count,
            )
            self._whole.append(_throughput(job, min(self._count, self._total)))

    def speed(self, clip: Path) -> Speed:
        """What was measured, with the stages."""
        network = self._network
        height, width = self._images[0].shape[:2]
        described = network.style.precision if isinstance(network, StyleSession) else None
        return Speed(
            self._contender.name,
            described or str(getattr(network, "precision", "")),
            str(network.device) if isinstance(network, StyleSession) else "cpu",
            width,
            height,
            Throughput.median(self._alone),
            self._infer,
            self._cold,
            Throughput.median(self._whole) if self._whole else None,
            measure_stages(clip, network, self._infer, frames=min(self._count, _MOST_TIMED))
            if isinstance(network, StyleSession)
            else None,
            self._count,
        )

    def _prepare(self, network: Network) -> None:
        if isinstance(network, StyleSession):
            network.prepare(*self._size)

    def _stylize(self, network: Network, image: Frame) -> Frame:
        return stylize_at(network, image, self._size)

    def _each(self, network: Network, count: int) -> list[float]:
        images = [self._images[index % len(self._images)] for index in range(count)]
        return _each(lambda image: self._stylize(network, image), images)


def _throughput(run: Callable[[], object], count: int) -> Throughput:
    start, processor = time.perf_counter(), time.process_time()
    run()
    used, took = time.process_time() - processor, time.perf_counter() - start
    return Throughput(count / took, 1000 * used / count)


def _held_frames(width: int, height: int) -> int:
    """How many frames of this size are held in memory to measure with."""
    return max(3, min(150, _HELD_BYTES // (width * height * 3)))


def measure_outside(
    clip: Path,
    style: Path,
    *,
    device: str,
    precision: str = "auto",
    style_scale: str = "1",
    frames: int | None = None,
) -> Outside:
    """Start ``stylize-video`` as a user would: seconds until one frame is written, and peak memory.

    Memory is that of ``frames`` frames, by default of the whole clip; it does not grow with their number.

    An installed package is compiled to bytecode. So is this one, by the first of three starts, even where
    Python is told to write none; the median of the three counts.

    Raises:
        StylizeError: the command failed.
    """
    with TemporaryDirectory() as folder:
        # -P: what lies in the working folder, beside downloaded files perhaps, is not imported.
        command = [sys.executable, "-P", "-c", _RUN_AND_REPORT_MEMORY, str(clip), "--style", str(style)]
        command += ["--device", device, "--precision", precision, "--style-scale", style_scale]
        command += ["-q", "-y", "-o", str(Path(folder) / "out.mp4")]
        run = functools.partial(_output_of, env=_with_bytecode(folder))
        starts = []
        for _ in range(3):
            start = time.perf_counter()
            run([*command, "--max-frames", "1"])
            starts.append(time.perf_counter() - start)
        kilobytes = run(command if frames is None else [*command, "--max-frames", str(frames)]).strip()
    return Outside(float(np.median(starts)), int(kilobytes) / 1024 if kilobytes else None)


def _output_of(command: list[str], *, env: dict[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise StylizeError(f"stylize-video failed when it was measured: {last[0].removeprefix('error: ')}")
    return done.stdout


def _with_bytecode(folder: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}


# getrusage() would count what this process held when it forked; Linux's VmHWM starts anew.
_RUN_AND_REPORT_MEMORY = """
import atexit
from pathlib import Path
from stylize_video.cli import main

def report():
    status = Path("/proc/self/status")
    if status.exists():
        print(next(line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line))
        return
    try:
        import resource
    except ImportError:
        return
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


def _border_of(style: Style) -> Style:
    """Nothing but the border of a style: what it costs is what adapting costs."""
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("frames", "stylized")]
    levels = []
    # Scaling by two keeps the optimizer from removing everything.
    nodes = [helper.make_node("Add", ["frames", "frames"], ["stylized"])]
    if style.rgb_model() is not None:
        levels = [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["frames", "scale", "zero"], ["levels"]),
            helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["stylized"]),
        ]
    graph = helper.make_graph(nodes, "border", infos[:1], infos[1:], levels)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Style("border", Path("border.onnx"), None, None, model)
