"""What the tests of the benchmark share."""

from __future__ import annotations

from stylize_video.bench.stages import Stages, Timing
from stylize_video.bench.throughput import Speed, Throughput


def speed(device: str, *, whole: Throughput | None = None, stages: Stages | None = None) -> Speed:
    """How fast a style is on a device: 20 ms a frame of half a megapixel, on two cores."""
    return Speed(
        name="s",
        precision="int8",
        device=device,
        width=1000,
        height=500,
        network=Throughput(50, 40),
        infer=Timing(20, 21),
        cold=0.1,
        frames=8,
        working_pixels=1000 * 500,
        whole=whole,
        stages=stages,
    )
