"""A picture that a camera passes over: whether its motion is what its frames show."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenes import Texture
from stylize_video.errors import SourceError
from stylize_video.eval.measure import IDENTITY, evaluate
from stylize_video.eval.metrics import warping_error
from stylize_video.eval.motion import Motion
from stylize_video.eval.scene import Footage, PassedOver, open_scene
from stylize_video.frame import Frame


@pytest.fixture(scope="module")
def scene() -> PassedOver:
    return PassedOver(Texture(3).at(0, 0, width=900, height=560))


@pytest.fixture(scope="module")
def frames(scene: PassedOver) -> list[Frame]:
    return [frame for _, frame in scene.frames()]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (7, 8), (15, 20), (22, 52), (40, 30)])
def test_frames_move_as_the_scene_says(one: int, other: int, scene: PassedOver, frames: list[Frame]) -> None:
    motion = scene.motion((one, frames[one]), (other, frames[other]))
    error = warping_error(frames[one], frames[other], motion)
    still = warping_error(frames[one], frames[other], Motion.shift(0, 0, height=360, width=640))
    assert error is not None
    assert still is not None
    assert error < 1e-4  # rounding and interpolation
    assert still > 20 * error
    assert motion.visible.mean() > 0.6


def test_the_camera_comes_back_to_where_it_began(scene: PassedOver, frames: list[Frame]) -> None:
    assert len(frames) == 61
    assert np.abs(frames[0].astype(int) - frames[60]).max() <= 1
    assert np.abs(scene.motion((0, frames[0]), (60, frames[60])).flow).max() < 1e-3
    fastest = max(
        np.linalg.norm(scene.motion((i, f), (i + 1, f)).flow, axis=-1).max() for i, f in enumerate(frames)
    )
    assert 8 < fastest < 10
    shifts = [np.linalg.norm(scene.motion((i, f), (i + 1, f)).flow[180, 320]) for i, f in enumerate(frames)]
    assert max(shifts) < 9
    assert np.median(shifts) > 2


@settings(max_examples=6, deadline=None)
@given(width=st.integers(1, 1500), height=st.integers(1, 1500))
def test_no_border_comes_into_view(width: int, height: int) -> None:
    """Whatever the picture's shape: where it is one grey, so is every frame."""
    scene = PassedOver(np.full((height, width, 3), 200, np.uint8))
    for index, (_, frame) in zip(range(61), scene.frames(), strict=True):
        if index % 6 == 0:
            assert frame.shape == (360, 640, 3)
            assert frame.min() == frame.max() == 200


def test_a_strip_of_a_picture_takes_no_more_memory_than_what_is_seen_of_it() -> None:
    strip = np.full((20, 30_000, 3), 90, np.uint8)
    tracemalloc.start()
    _, frame = next(PassedOver(strip).frames())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame.min() == frame.max() == 90
    assert peak < 50e6


def test_pictures_are_passed_over_and_videos_followed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.PNG"), Texture(3).at(0, 0))
    assert isinstance(open_scene(tmp_path / "one.PNG"), PassedOver)
    assert isinstance(open_scene(tmp_path / "clip.mkv"), Footage)
    measured = evaluate(tmp_path / "one.PNG", max_frames=8)
    assert (measured.width, measured.height, measured.frames, measured.cuts) == (640, 360, 8, [])
    assert (measured.rows[IDENTITY].warping_error or 1) < 2e-5
    animated = tmp_path / "moves.png"
    animated.write_bytes(b"\x89PNG\r\n\x1a\n....acTL........IDAT")
    assert isinstance(open_scene(animated), Footage)
    (tmp_path / "none.jpg").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="not a picture"):
        open_scene(tmp_path / "none.jpg")
