"""Strokes of any size on frames of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize_video.errors import StylizeError
from stylize_video.frame import Frame
from stylize_video.styles.contract import MIN_SIDE
from stylize_video.styles.variants import open_session
from stylize_video.styles.working_size import WorkingSize, stylize_at
from stylize_video.stylizer import Stylizer
from stylize_video.video.source import VideoSource
from support import Command, draw_picture


class Recorder:
    """Gives frames back, changed in a way that shows, and remembers their sizes."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def stylize(self, frame: Frame) -> Frame:
        self.sizes.append((frame.shape[0], frame.shape[1]))
        return np.asarray(255 - frame, np.uint8)


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("1", (1080, 1920), (1080, 1920)),
        ("2", (720, 1280), (360, 640)),
        ("1.5", (720, 1280), (480, 852)),
        (".5", (100, 60), (200, 120)),
        ("360p", (2160, 3840), (360, 640)),
        ("360p", (3840, 2160), (640, 360)),
        ("360p", (240, 320), (360, 480)),
        ("360p", (360, 642), (360, 642)),
        ("16", (64, 64), (16, 16)),
        ("16384p", (64, 96), (256, 384)),  # four times as large is the most
        ("360p", (16, 4096), (64, 16384)),
        (".25", (16, 8192), (32, 16384)),  # no side is longer than a frame's may be
        (".25", (4320, 7680), (6144, 10924)),  # nor are there more pixels
        (".5", (64, 20000), (64, 20000)),
    ],
)
def test_working_sizes(text: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert WorkingSize.parse(text).size_for(*size) == expected


@pytest.mark.parametrize(
    "text", ["0", "0.1", "17", "-1", "nan", "inf", "big", "360", "8p", "40000p", "99999999p", "", "p"]
)
def test_scales_that_make_no_sense(text: str) -> None:
    with pytest.raises(StylizeError, match=r"style scale|working size"):
        WorkingSize.parse(text)


@pytest.mark.parametrize("numbers", [{"scale": "2"}, {"scale": None}, {"lines": "360"}, {"lines": 360.5}])
def test_what_is_no_number_is_told(numbers: dict[str, Any]) -> None:
    with pytest.raises(StylizeError, match="the style scale is a number and lines a whole one, got"):
        WorkingSize(**numbers)


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 200), st.integers(16, 200), st.floats(0.25, 16))
def test_every_frame_keeps_its_size(height: int, width: int, scale: float) -> None:
    network = Recorder()
    frame = draw_picture(1, width, height)
    working_size = WorkingSize(scale)
    assert Stylizer(network, working_size=working_size).stylize(frame).shape == frame.shape
    assert network.sizes == [working_size.size_for(height, width)]
    assert min(network.sizes[0]) >= 16


def test_at_full_size_nothing_is_resized() -> None:
    frame = draw_picture(1, 61, 47)
    np.testing.assert_array_equal(stylize_at(Recorder(), frame, (47, 61)), 255 - frame)


def test_strokes_grow_with_the_scale() -> None:
    """What a style does at half size, enlarged, is what style-scale 2 gives, edges apart."""
    session = open_session("photo", device="cpu", precision="fp32")
    frame = draw_picture(2, 256, 192)
    small = frame.reshape(96, 2, 128, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    twice = stylize_at(session, frame, (96, 128))
    blocks = twice.reshape(96, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(blocks - session.stylize(small)).mean() < 2


def test_the_command_takes_it(command_here: Command, clip: Path, tmp_path: Path) -> None:
    frames = {}
    for scale in ("1", "2", "32p"):
        output = tmp_path / f"{scale}.mp4"
        result = command_here("stylize-video", clip, "--style-scale", scale, "--max-frames", 2, "-o", output)
        assert result.returncode == 0, result.stderr
        with VideoSource(output) as video:
            frames[scale] = next(iter(video)).image
    assert (frames["2"] == frames["32p"]).all()  # the clip has 64 lines
    assert (frames["2"] != frames["1"]).any()
    result = command_here("stylize-video", clip, "--style-scale", "large")
    assert result.returncode == 2
    assert "such as 360p" in result.stderr


def test_smaller_still_stays_in_range() -> None:
    assert WorkingSize(2.0).shrunk(0.5) == WorkingSize(4.0)
    assert WorkingSize(8.0).shrunk(0.33) == WorkingSize(16.0)
    assert WorkingSize(lines=360).shrunk(0.5) == WorkingSize(lines=180)
    assert WorkingSize(lines=20).shrunk(0.1) == WorkingSize(lines=MIN_SIDE)
