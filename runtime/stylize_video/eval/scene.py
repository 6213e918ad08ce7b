"""What steadiness is measured on: footage, or a picture that a camera passes over."""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.eval.motion import Motion, MotionEstimator
from stylize_video.frame import Frame
from stylize_video.video.inputs import is_picture
from stylize_video.video.pictures import read_picture
from stylize_video.video.probe import probe
from stylize_video.video.source import VideoSource

_VIEW = 360, 640
"""Height and width of the frames."""

_REACH = 64
"""Pixels that the camera goes to each side."""

_TURN = math.radians(2)
"""To each side."""

_ZOOM = 1.15
"""At the most; 1 at the least."""

_ROUND = 60
"""Frames until the camera is back where it began."""

_RATE = 25
"""Frames a second."""


class Scene(Protocol):
    """Frames, and how their points move from one to the other."""

    @property
    def count(self) -> int | None:
        """About how many frames there are, None where nobody says."""

    def frames(self) -> Generator[tuple[float, Frame], None, None]:
        """Each frame, uint8 ``[H, W, 3]`` BGR, with its seconds after the first one."""

    def motion(self, one: tuple[int, Frame], other: tuple[int, Frame]) -> Motion:
        """From one frame to another, each with its number."""


def open_scene(path: Path) -> Scene:
    """The scene of a video, or of a picture.

    Raises:
        SourceError: it cannot be read.
    """
    return PassedOver(read_picture(path)[0]) if is_picture(path) else Footage(path)


class Footage:
    """A video, whose motion is estimated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._estimator = MotionEstimator()

    @property
    def count(self) -> int | None:
        return probe(str(self._path)).frame_count

    def frames(self) -> Generator[tuple[float, Frame], None, None]:
        with VideoSource(self._path) as video:
            first: int | None = None
            for frame in video:
                first = frame.pts if first is None else first
                yield float((frame.pts - first) * video.info.time_base), frame.image

    def motion(self, one: tuple[int, Frame], other: tuple[int, Frame]) -> Motion:
        return self._estimator.between(one[1], other[1])


class PassedOver:
    """A picture in a camera's view of 640x360 that shifts, turns and zooms over it: motion known exactly.

    One round of 60 frames, at up to ten pixels a frame, rarely whole ones.
    """

    def __init__(self, picture: Frame) -> None:
        height, width = picture.shape[:2]
        # At the least zoom the view, turned and shifted all the way, still lies inside.
        needed = [side + 2 * _REACH + math.sin(_TURN) * max(_VIEW) + 2 for side in _VIEW]
        scale = max(needed[0] / height, needed[1] / width)
        # What the camera never sees is cut away: enlarged, a strip of a picture would fill the memory.
        wide, high = (
            min(side, math.ceil(most / scale))
            for side, most in zip((width, height), needed[::-1], strict=True)
        )
        top, left = (height - high) // 2, (width - wide) // 2
        picture = picture[top : top + high, left : left + wide]
        size = math.ceil(wide * scale), math.ceil(high * scale)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        self._picture = np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)

    @property
    def count(self) -> int | None:
        return _ROUND + 1

    def frames(self) -> Generator[tuple[float, Frame], None, None]:
        for index in range(_ROUND + 1):
            view = self._to_picture(index)[:2]
            method = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            frame = cv2.warpAffine(self._picture, view, _VIEW[::-1], flags=method)
            yield index / _RATE, np.asarray(frame, np.uint8)

    def motion(self, one: tuple[int, Frame], other: tuple[int, Frame]) -> Motion:
        way = np.linalg.inv(self._to_picture(other[0])) @ self._to_picture(one[0])
        return Motion.affine(way[:2], height=_VIEW[0], width=_VIEW[1])

    def _to_picture(self, index: int) -> NDArray[np.float64]:
        """Where the view's pixels are in the picture at frame ``index``, ``[3, 3]``."""
        angle = 2 * math.pi * index / _ROUND
        turn = _TURN * math.sin(angle)
        zoom = 1 + (_ZOOM - 1) * (1 - math.cos(angle)) / 2
        cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom
        x, y = (side / 2 for side in self._picture.shape[1::-1])
        x, y = x + _REACH * math.sin(angle), y + _REACH * math.sin(2 * angle) / 4
        middle_x, middle_y = (_VIEW[1] - 1) / 2, (_VIEW[0] - 1) / 2
        return np.array(
            [
                [cos, -sin, x - 0.5 - cos * middle_x + sin * middle_y],
                [sin, cos, y - 0.5 - sin * middle_x - cos * middle_y],
                [0, 0, 1],
            ]
        )
