"""The measures against ground truth: motion that is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenes import Box, Texture, noisy
from stylize_video.eval.metrics import noise_gain, sharpness, warping_error
from stylize_video.eval.motion import Motion
from stylize_video.frame import Frame

TEXTURE = Texture(5)
WIDTH, HEIGHT = 160, 120
# A camera that moves by (dx, dy) sees every point move by (-dx, -dy).
PANS = [(0, 0), (4, 0), (8, -4), (3, 0), (-5, 7), (1, 2)]
"""On a network's stride of four, and off it."""


def pan(dx: float, dy: float) -> tuple[Frame, Frame, Motion]:
    """Two frames of one scene and the motion from the first to the second."""
    motion = Motion.shift(-dx, -dy, height=HEIGHT, width=WIDTH)
    return TEXTURE.at(0, 0), TEXTURE.at(dx, dy), motion


def error(one: Frame, other: Frame, motion: Motion) -> float:
    value = warping_error(one, other, motion)
    assert value is not None
    return value


@pytest.mark.parametrize("step", PANS, ids=str)
def test_a_pan_by_whole_pixels_has_no_error(step: tuple[int, int]) -> None:
    assert error(*pan(*step)) == 0


@settings(max_examples=20, deadline=None)
@given(dx=st.floats(-9, 9), dy=st.floats(-9, 9))
def test_a_pan_by_parts_of_a_pixel_has_next_to_none(dx: float, dy: float) -> None:
    assert error(*pan(dx, dy)) < 1e-4  # less than noise of two levels of 255 makes


@pytest.mark.parametrize("step", PANS, ids=str)
@pytest.mark.parametrize("sigma", [4.0, 12.0])
def test_white_noise_has_twice_its_variance(step: tuple[int, int], sigma: float) -> None:
    one, other, motion = pan(*step)
    one, other = (np.asarray(frame // 2 + 64, np.uint8) for frame in (one, other))  # nothing is clipped
    found = error(noisy(one, sigma, seed=1), noisy(other, sigma, seed=2), motion)
    assert found == pytest.approx(2 * (sigma / 255) ** 2, rel=0.05)


@pytest.mark.parametrize("step", PANS, ids=str)
def test_flicker_raises_the_error_by_its_square(step: tuple[int, int]) -> None:
    one, other, motion = pan(*step)
    one, other = (np.asarray(frame // 2 + 32, np.uint8) for frame in (one, other))
    errors = [error(one, np.asarray(other + level, np.uint8), motion) for level in (0, 5, 10, 20)]
    assert errors == pytest.approx([(level / 255) ** 2 for level in (0, 5, 10, 20)], rel=1e-4, abs=1e-9)


def test_what_an_occluder_hides_does_not_count() -> None:
    """A box moves across a panning scene; both motions and what can be seen are known."""
    dx, dy, box = 3, -2, Box(30, 40, 50, 30, speed=7)
    frames = []
    for index in range(2):
        frame = TEXTURE.at(dx * index, dy * index)
        covered = box.mask(index, frame.shape)
        texture = Texture(6).at(-box.x - box.speed * index, 0)
        frame[covered] = texture[covered]
        frames.append(frame)
    scene = Motion.shift(-dx, -dy, height=HEIGHT, width=WIDTH)
    before, after = (box.mask(index, (HEIGHT, WIDTH)) for index in range(2))
    flow = scene.flow.copy()
    flow[before] = (box.speed, 0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    arrived = after[(y - dy).clip(0, HEIGHT - 1), (x - dx).clip(0, WIDTH - 1)]
    visible = np.where(before, True, scene.visible & ~arrived)
    assert error(frames[0], frames[1], Motion(flow, visible)) == 0
    assert error(frames[0], frames[1], Motion(flow, np.ones_like(visible))) > 0.001
    assert error(frames[0], frames[1], scene) > 0.001


def test_nothing_visible_is_no_error_but_none() -> None:
    one, other, motion = pan(0, 0)
    assert warping_error(one, other, Motion(motion.flow, np.zeros_like(motion.visible))) is None
    assert not Motion.shift(WIDTH + 5, 0, height=HEIGHT, width=WIDTH).visible.any()


def test_blur_lowers_sharpness_and_lowers_it_more_than_a_pixel_grid_raises_it() -> None:
    picture = TEXTURE.at(0, 0)
    blurred = [np.asarray(cv2.GaussianBlur(picture, (0, 0), s), np.uint8) for s in (1.0, 2.0, 4.0)]
    values = [sharpness(frame) for frame in (picture, *blurred)]
    assert values == sorted(values, reverse=True)
    assert values[2] < 0.95 * values[0]
    striped = picture.astype(int)
    striped[::2] += 6
    assert sharpness(np.asarray(striped.clip(0, 255), np.uint8)) < 1.03 * values[0]


def test_sharpness_of_a_ramp_is_its_slope() -> None:
    ramp = np.repeat(np.arange(0, 240, 3, dtype=np.uint8)[None], 40, 0)
    assert sharpness(np.dstack([ramp] * 3)) == pytest.approx(3, rel=0.05)


def test_noise_gain_of_known_styles() -> None:
    still = np.asarray(TEXTURE.at(0, 0) // 4 + 32, np.uint8)
    assert noise_gain(still, lambda frame: frame) == 1
    assert noise_gain(still, lambda frame: 255 - frame) == 1
    assert noise_gain(still, lambda frame: still) == 0
    assert noise_gain(still, lambda frame: np.asarray(frame * 2, np.uint8)) == pytest.approx(2)
    soft = noise_gain(still, lambda frame: np.asarray(cv2.blur(frame, (3, 3)), np.uint8))
    assert soft == pytest.approx(1 / 3, abs=0.05)
    white = np.full_like(still, 255)  # whose noise is cut off, and never dark
    assert noise_gain(white, lambda frame: np.asarray(frame // 128 * 255, np.uint8)) == 0
