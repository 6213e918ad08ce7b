"""The warping error over time as a picture."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stylize_video.eval.trace import Trace
from stylize_video.frame import Frame
from stylize_video.video.pictures import write_picture

_WIDTH, _HEIGHT = 1000, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 40, 50
_ROW = 22
_COLOURS = ((120, 120, 120), (40, 40, 210), (190, 110, 20), (50, 150, 40), (170, 50, 160), (20, 140, 220))
_INK, _FAINT = (60, 60, 60), (225, 225, 225)
_GOLDEN = 0.618034
"""Part of the colour circle from one further colour to the next: none comes near an earlier one for long."""


def save_plot(path: Path, traces: Mapping[str, Trace]) -> None:
    """Write :func:`plot` as a PNG.

    Raises:
        SinkError: it cannot be written.
    """
    write_picture(path, plot(traces))


def plot(traces: Mapping[str, Trace]) -> Frame:
    """Curves over the frame number on axes from zero, under a legend: uint8 ``[H, W, 3]`` BGR.

    A curve is broken where a frame has no error, as after a cut.
    """
    axes = _Axes.around(traces)
    picture = np.full((axes.bottom + _BOTTOM, _WIDTH, 3), 255, np.uint8)
    _write(picture, "warping error (MSE) of each frame with the one before", (_LEFT, 20))
    _draw_axes(picture, axes)
    for number, (name, trace) in enumerate(traces.items()):
        colour = _colour(number)
        row = _TOP + _ROW * number
        cv2.line(picture, (_LEFT, row - 5), (_LEFT + 30, row - 5), colour, 3)
        _write(picture, name, (_LEFT + 38, row))
        _draw_curve(picture, axes, trace, colour)
    return picture


@dataclass(frozen=True)
class _Axes:
    """Frames to the right, errors upwards from ``bottom`` to ``top``, where ``high`` is."""

    frames: int
    step: float
    high: float
    top: int
    bottom: int

    @classmethod
    def around(cls, traces: Mapping[str, Trace]) -> _Axes:
        highest = max((p for t in traces.values() for p in t.points if p is not None), default=0.0) or 1.0
        frames = max((len(t.points) * t.frames_a_point for t in traces.values()), default=1)
        step = _round_step(highest)
        top = _TOP + _ROW * len(traces)
        return cls(max(2, frames), step, step * math.ceil(highest / step), top, top + _HEIGHT)

    def at(self, frame: float, error: float) -> tuple[int, int]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * frame / (self.frames - 1)
        return round(x), round(self.bottom - (self.bottom - self.top) * error / self.high)


def _draw_axes(picture: Frame, axes: _Axes) -> None:
    for tick in range(round(axes.high / axes.step) + 1):
        error = tick * axes.step
        x, y = axes.at(0, error)
        cv2.line(picture, (x, y), axes.at(axes.frames - 1, error), _FAINT, 1)
        _write(picture, f"{error:.2g}", (8, y + 4))
    for frame in range(0, axes.frames, max(1, round(_round_step(axes.frames)))):
        x, y = axes.at(frame, 0)
        _write(picture, str(frame), (x - 8, y + _ROW))


def _draw_curve(picture: Frame, axes: _Axes, trace: Trace, colour: tuple[int, int, int]) -> None:
    middle = (trace.frames_a_point - 1) / 2
    points = [
        None if error is None else axes.at(index * trace.frames_a_point + middle, error)
        for index, error in enumerate(trace.points)
    ]
    for before, point, after in zip([None, *points], points, [*points[1:], None], strict=False):
        if point and before:
            cv2.line(picture, before, point, colour, 2, cv2.LINE_AA)
        elif point and not after:  # a shot of two frames has one error
            cv2.circle(picture, point, 3, colour, cv2.FILLED, cv2.LINE_AA)


def _colour(number: int) -> tuple[int, int, int]:
    """BGR of the curve with this number, each different."""
    if number < len(_COLOURS):
        return _COLOURS[number]
    further = number - len(_COLOURS)
    rgb = colorsys.hls_to_rgb(further * _GOLDEN % 1, 0.35 if further % 2 else 0.6, 0.7)
    red, green, blue = (round(255 * part) for part in rgb)
    return blue, green, red


def _round_step(highest: float) -> float:
    """A step of 1, 2 or 5 times a power of ten, with at most ten of them up to ``highest``."""
    power = 10.0 ** math.floor(math.log10(highest))
    return next(power * factor for factor in (0.1, 0.2, 0.5, 1.0) if highest / (power * factor) <= 10)


def _write(picture: Frame, text: str, at: tuple[int, int]) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
