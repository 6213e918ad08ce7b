"""Global motion: fitted whatever moves by itself, and not where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stylize_video.effects.global_motion import fit_global_motion

HEIGHT, WIDTH = 90, 160
TEXTURED = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
RELATIVE = st.floats(-0.04, 0.04)  # turning by two degrees a frame, or zooming by 4 %


def affine(motion: NDArray[np.float32], height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float32]:
    """The flow by ``motion`` ``[2, 3]`` times (x, y, 1), from the middle of the frame."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.asarray(np.stack([x - width / 2, y - height / 2, np.ones_like(x)], -1) @ motion.T, np.float32)


@settings(max_examples=60, deadline=None)
@given(
    turn=st.tuples(RELATIVE, RELATIVE, RELATIVE, RELATIVE),
    shift=st.tuples(st.floats(1, 12), st.floats(-12, 12)),
    apart=st.sampled_from([(-9, 0), (9, 9), (0, 30)]),
    noise=st.floats(0, 0.1),
    size=st.tuples(st.integers(40, 90), st.integers(40, 160)),
)
def test_a_camera_is_followed_behind_something_that_moves_by_itself(
    turn: tuple[float, ...],
    shift: tuple[float, float],
    apart: tuple[int, int],
    noise: float,
    size: tuple[int, int],
) -> None:
    height, width = size
    motion = np.array([[turn[0], turn[1], shift[0]], [turn[2], turn[3], shift[1]]], np.float32)
    true = affine(motion, height, width)
    flow = true + np.random.default_rng(1).normal(0, noise, true.shape).astype(np.float32)
    flow[: height // 2, : width // 3] += apart
    found = fit_global_motion(flow, TEXTURED[:height, :width])
    assert found is not None
    assert found.dtype == np.float32
    assert np.abs(found - true).max() < 0.15


@pytest.mark.parametrize("corner", [(0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)], ids=str)
def test_a_zoom_into_a_corner_is_no_rest(corner: tuple[int, int]) -> None:
    motion = np.array([[0.02, 0, 0.02 * (WIDTH / 2 - corner[0])], [0, 0.02, 0.02 * (HEIGHT / 2 - corner[1])]])
    true = affine(motion.astype(np.float32))
    found = fit_global_motion(true, TEXTURED)
    assert found is not None
    assert np.abs(found - true).max() < 0.05


def test_two_motions_are_no_cameras() -> None:
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[: HEIGHT // 2] = (2, 0)
    assert fit_global_motion(flow, TEXTURED) is None


def test_without_texture_there_is_none() -> None:
    flow = np.full((HEIGHT, WIDTH, 2), 3, np.float32)
    frame = np.full((HEIGHT, WIDTH), 99, np.uint8)
    assert fit_global_motion(flow, frame) is None
    frame[:, : WIDTH // 2] = TEXTURED[:, : WIDTH // 2]  # beside a wall that has none
    assert fit_global_motion(flow, frame) is not None


def test_somebody_who_moves_before_a_plain_wall_is_no_camera() -> None:
    flow = np.full((HEIGHT, WIDTH, 2), 3, np.float32)
    frame = np.full((HEIGHT, WIDTH), 99, np.uint8)
    frame[60:, 20:140] = TEXTURED[60:, 20:140]  # shoulders
    frame[10:60, 60:100] = TEXTURED[10:60, 60:100]  # a head
    assert fit_global_motion(flow, frame) is None


def test_a_camera_at_rest_moves_nothing() -> None:
    flow = np.random.default_rng(2).normal(0, 0.1, (HEIGHT, WIDTH, 2)).astype(np.float32)
    assert fit_global_motion(flow, TEXTURED) is None


def test_the_smallest_frames_have_too_few_pixels() -> None:
    assert fit_global_motion(np.ones((16, 16, 2), np.float32), TEXTURED[:16, :16]) is None
