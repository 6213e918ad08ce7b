"""Frames a second of networks and of whole jobs, measured in turn."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from stylize_video.bench.contenders import Contender, MeasuredNetwork
from stylize_video.bench.stages import Stages, Timing, measure_stages, seconds_of_each
from stylize_video.frame import Frame, TimedFrame
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.machine import most_at_once
from stylize_video.styles.session import StyleSession
from stylize_video.styles.working_size import WorkingSize, stylize_at
from stylize_video.threads import in_order, opencv_threads_for
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource

_MOST_TIMED = 60
"""Frames of which each is timed."""

_HELD_BYTES = 300 * 2**20
"""Memory for the frames that are measured with."""

_WARM_SIDE = 64
"""Pixels of the frame with which everything is warmed up."""

_log = logging.getLogger(__name__)


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
    only the network is measured of; ``frames`` is how many it had in each round. ``working_pixels`` is
    how many of a frame's the network sees.
    """

    name: str
    precision: str
    device: str
    width: int
    height: int
    network: Throughput
    infer: Timing
    cold: float
    frames: int
    working_pixels: int
    whole: Throughput | None = None
    stages: Stages | None = None

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
    def bottleneck(self) -> str | None:
        """The stage that takes longest where all cores work on it."""
        if self.stages is None:
            return None
        stages = {
            "decoding": self.stages.decode.median,
            "the network": 1000 / self.network.fps,
            "encoding": self.stages.encode,
        }
        return max(stages, key=lambda name: stages[name])

    @property
    def megapixel_ms(self) -> float:
        """Milliseconds that the network takes for a million pixels that it sees: of processor time, over all
        cores, on a CPU, and by the clock elsewhere."""
        milliseconds = self.network.core_ms if self.device == "cpu" else 1000 / self.network.fps
        return 1e6 * milliseconds / self.working_pixels

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bottleneck": self.bottleneck, "megapixel_ms": self.megapixel_ms}


def scaled_clip(source: Path, folder: Path, *, width: int, height: int, frames: int) -> Path:
    """The first ``frames`` of a video at another size, repeated where it is shorter.

    Warns where it is enlarged.
    """
    target = folder / f"{width}x{height}.mp4"
    different = min(frames, _held_frames(width, height))
    with VideoSource(source) as video:
        info = video.info
        larger = width > info.width or height > info.height
        if larger:
            _log.warning(
                "%s has %dx%d: enlarged to %dx%d it is softer than footage of that size",
                *(source, info.width, info.height, width, height),
            )
        kind = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
        images = [
            np.asarray(cv2.resize(f.image, (width, height), interpolation=kind), np.uint8)
            for f, _ in zip(video, range(different), strict=False)
        ]
    step = round(1 / info.rate / info.time_base) or 1
    resized = VideoSink(target, replace(info, width=width, height=height), overwrite=True)
    try:
        for index in range(frames):
            resized.write(TimedFrame(index * step, images[index % len(images)]))
        return resized.finish(whole=False)
    finally:
        resized.discard()  # nothing once it is finished


def whole_rounds(frames: int) -> int:
    """``frames``, or a few more: rounds of as many at once as a file job has, two at least.

    In a last round that is not full cores would wait, and the rate would come out too low.
    """
    at_once = most_at_once()
    return at_once * max(2, math.ceil(frames / at_once))


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
    size = working_size.size_for(height, width)
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
        # Warm up first: imports and the trial of an unknown style must not count as its opening time.
        contender.open(1).stylize(np.ascontiguousarray(images[0][:_WARM_SIDE, :_WARM_SIDE]))
        start = time.perf_counter()
        alone = contender.open(1)
        self._stylize(alone, images[0])
        self._cold = time.perf_counter() - start
        alone.prepare(*size)
        one = min(self._each(alone, 3))
        self._total = total
        self._count = whole_rounds(math.ceil(min(seconds / one, total)))
        self._infer = Timing.of(self._each(alone, min(self._count, _MOST_TIMED)))
        self._network = contender.open(most_at_once())
        self._network.prepare(*size)
        # Others have no whole jobs to measure.
        self._session = self._network if isinstance(self._network, StyleSession) else None
        self._alone: list[Throughput] = []
        self._whole: list[Throughput] = []

    def measure_network(self) -> None:
        """The network alone, with as many frames at once as a file job has."""
        frames = (self._images[index % len(self._images)] for index in range(self._count))
        at_once = self._network.at_once

        def run() -> None:
            with opencv_threads_for(at_once):
                for _ in in_order(lambda image: self._stylize(self._network, image), frames, at_once=at_once):
                    pass

        self._alone.append(_throughput(run, self._count))

    def measure_whole(self, clip: Path, output: Path, working_size: WorkingSize) -> None:
        """From file to file."""
        if self._session:
            job = functools.partial(
                stylize_file,
                clip,
                output,
                self._session,
                working_size=working_size,
                overwrite=True,
                max_frames=self._count,
            )
            self._whole.append(_throughput(job, min(self._count, self._total)))

    def speed(self, clip: Path) -> Speed:
        """What was measured, with the stages."""
        height, width = self._images[0].shape[:2]
        timed = min(self._count, _MOST_TIMED)
        stages = None
        if session := self._session:
            stages = measure_stages(clip, session, lambda image: self._stylize(session, image), frames=timed)
        return Speed(
            name=self._contender.name,
            precision=self._network.precision,
            device=str(self._network.device),
            width=width,
            height=height,
            network=Throughput.median(self._alone),
            infer=self._infer,
            cold=self._cold,
            frames=self._count,
            working_pixels=self._size[0] * self._size[1],
            whole=Throughput.median(self._whole) if self._whole else None,
            stages=stages,
        )

    def _stylize(self, network: MeasuredNetwork, image: Frame) -> Frame:
        return stylize_at(network, image, self._size)

    def _each(self, network: MeasuredNetwork, count: int) -> list[float]:
        images = [self._images[index % len(self._images)] for index in range(count)]
        return seconds_of_each(lambda image: self._stylize(network, image), images)


def _throughput(run: Callable[[], object], count: int) -> Throughput:
    start, processor = time.perf_counter(), time.process_time()
    run()
    used, took = time.process_time() - processor, time.perf_counter() - start
    return Throughput(count / took, 1000 * used / count)


def _held_frames(width: int, height: int) -> int:
    """How many frames of this size are held in memory to measure with."""
    return max(3, min(150, _HELD_BYTES // (width * height * 3)))
