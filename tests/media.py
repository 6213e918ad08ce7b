"""Awkward videos that the tests make: in other colours, interlaced, high dynamic range; and pipes."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""RGB ``[H, W, 3]``."""

_LUMA = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Weights of red and blue in the luma of each matrix, by FFmpeg's numbers."""


@dataclass(frozen=True)
class Coding:
    """How a video is coded; colours are FFmpeg's numbers."""

    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=lambda: {"crf": "4", "preset": "ultrafast"})
    colorspace: int = 2
    color_range: int = 1
    color_primaries: int = 2
    color_trc: int = 2
    pixel_aspect: Fraction = Fraction(1)
    time_base: Fraction = Fraction(1, 25)
    tag: str | None = None


HEVC10 = Coding("libx265", "yuv420p10le", {"x265-params": "log-level=none:crf=4:bframes=0"})


def write_video(
    path: Path,
    pictures: Iterable[NDArray[np.floating]],
    coding: Coding = Coding(),
    *,
    pts: Iterable[int] = (),
) -> Path:
    """Write RGB pictures ``[H, W, 3]`` of 0..1 by our own colour arithmetic, not a converter's."""
    stamps = list(pts)
    with av.open(str(path), "w") as container:
        stream: av.VideoStream | None = None
        for index, picture in enumerate(pictures):
            if stream is None:
                added = container.add_stream(coding.codec, rate=round(1 / coding.time_base))
                assert isinstance(added, av.VideoStream)
                stream = added
                _set_up(stream, picture.shape[1], picture.shape[0], coding)
            frame = coded(picture, coding)
            frame.pts = stamps[index] if stamps else index
            frame.time_base = coding.time_base
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode(None))
    return path


def coded(picture: NDArray[np.floating], coding: Coding) -> av.VideoFrame:
    """A frame of YUV 4:2:0 in 8 or 10 bits, with its tags."""
    bits = 10 if "10" in coding.pixels else 8
    height, width = picture.shape[:2]
    frame = av.VideoFrame(width, height, coding.pixels)
    luma, *chroma = _yuv(picture, coding, bits)
    for plane, values in zip(frame.planes, (luma, *(c[::2, ::2] for c in chroma)), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        data = np.ascontiguousarray(values.astype("<u2" if bits == 10 else np.uint8)).view(np.uint8)
        rows[:, : data.shape[1]] = data
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = coding.colorspace, coding.color_range
    return frame


def _yuv(picture: NDArray[np.floating], coding: Coding, bits: int) -> list[NDArray[np.floating]]:
    red_weight, blue_weight = _LUMA[coding.colorspace]
    red, green, blue = np.moveaxis(np.asarray(picture, float), -1, 0)
    y = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    u, v = (blue - y) / (2 - 2 * blue_weight), (red - y) / (2 - 2 * red_weight)
    top, unit = 2**bits - 1, 2 ** (bits - 8)
    if coding.color_range == 2:
        planes = [y * top, u * top + 128 * unit, v * top + 128 * unit]
    else:
        planes = [(16 + 219 * y) * unit, (128 + 224 * u) * unit, (128 + 224 * v) * unit]
    return [np.clip(plane.round(), 0, top) for plane in planes]


def _set_up(stream: av.VideoStream, width: int, height: int, coding: Coding) -> None:
    stream.width, stream.height, stream.pix_fmt = width, height, coding.pixels
    stream.options = dict(coding.options)
    codec = stream.codec_context
    codec.time_base = coding.time_base
    codec.sample_aspect_ratio = coding.pixel_aspect
    codec.colorspace, codec.color_range = coding.colorspace, coding.color_range
    codec.color_primaries, codec.color_trc = coding.color_primaries, coding.color_trc
    if coding.tag:
        codec.codec_tag = coding.tag


def colour_bars(colours: list[tuple[float, float, float]], *, height: int = 48) -> NDArray[np.floating]:
    """One bar of 32 columns each, RGB of 0..1."""
    return np.repeat(np.repeat(np.array([colours], float), 32, 1), height, 0)


def bar_middles(picture: NDArray[np.generic]) -> NDArray[np.generic]:
    """The colours in the middles of :func:`colour_bars`."""
    return picture[picture.shape[0] // 2, 16::32]


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@contextmanager
def standard_input(path: Path) -> Iterator[None]:
    """File descriptor 0 is a pipe that the contents of ``path`` come through."""

    def feed(end: int) -> None:
        with os.fdopen(end, "wb") as pipe:
            pipe.write(path.read_bytes())

    reading, writing = os.pipe()
    with _replaced(0, reading, threading.Thread(target=feed, args=(writing,))):
        yield


@contextmanager
def standard_output(path: Path) -> Iterator[None]:
    """File descriptor 1 is a pipe whose contents go to ``path``."""

    def drain(end: int) -> None:
        with os.fdopen(end, "rb") as pipe:
            path.write_bytes(pipe.read())

    reading, writing = os.pipe()
    with _replaced(1, writing, threading.Thread(target=drain, args=(reading,))):
        yield


@contextmanager
def _replaced(descriptor: int, end: int, other_end: threading.Thread) -> Iterator[None]:
    saved = os.dup(descriptor)
    os.dup2(end, descriptor)
    os.close(end)
    other_end.start()
    try:
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
        other_end.join()


def write_apng(path: Path) -> Path:
    """Three plain pictures, ever lighter, ten a second."""
    with av.open(str(path), "w", format="apng") as container:
        stream = container.add_stream("apng", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for index in range(3):
            picture = np.full((48, 64, 3), 60 + 50 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


EXIF_CAMERA, EXIF_NEXT_DIRECTORY = b"Cam\0", 38


def exif_of(orientation: int, order: str = "<") -> bytes:
    """EXIF data: the camera, how the picture has to be turned, and a directory for a thumbnail."""
    tags = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, EXIF_CAMERA)
    tags += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 2)
    return head + tags + struct.pack(f"{order}I", EXIF_NEXT_DIRECTORY) + bytes(6)


DISPLAY_MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""By EXIF's orientation a, b, c and d: the pixel at x, y is shown at a*x + c*y, b*x + d*y."""
