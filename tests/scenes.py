"""Pictures that move in a known way, also by parts of a pixel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame

_WAVES = 40


@dataclass(frozen=True)
class Texture:
    """A plane of waves: a picture that can be looked at from anywhere, exactly."""

    seed: int = 0

    def at(self, dx: float, dy: float, *, width: int = 160, height: int = 120) -> Frame:
        """What a camera sees that has moved by (dx, dy) pixels, uint8 ``[H, W, 3]``."""
        random = np.random.default_rng(self.seed)
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        picture = np.zeros((height, width, 3))
        for _ in range(_WAVES):
            # Lengths from 8 to 80 pixels, the long ones strong, as in photos.
            length, angle, phase = 8 * 10 ** random.random(), *(2 * np.pi * random.random(2))
            along = (np.cos(angle) * (x + dx) + np.sin(angle) * (y + dy)) / length
            strength = length**0.5 * random.uniform(0.5, 1, 3)
            picture += np.sin(2 * np.pi * along + phase)[..., None] * strength
        return np.asarray(np.clip(127 + 4 * picture, 0, 255), np.uint8)


@dataclass(frozen=True)
class Box:
    """A box in front of a scene, at ``x + speed`` after each frame."""

    x: int
    y: int
    width: int
    height: int
    speed: int

    def mask(self, index: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Where the box is in frame ``index``, bool ``[H, W]``."""
        covered = np.zeros(shape[:2], np.bool_)
        left = self.x + self.speed * index
        covered[self.y : self.y + self.height, max(0, left) : max(0, left + self.width)] = True
        return covered


def noisy(frame: Frame, sigma: float, *, seed: int) -> Frame:
    """``frame`` with Gaussian noise of ``sigma`` levels of 255."""
    noise = np.random.default_rng(seed).normal(0, sigma, frame.shape)
    return np.asarray(np.clip(np.rint(frame + noise), 0, 255), np.uint8)


def write_frames(path: Path, frames: Iterable[Frame]) -> Path:
    """A lossless video of ``frames``; name it something.mkv."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        for index, frame in enumerate(frames):
            if not index:
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "bgr0"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return path
