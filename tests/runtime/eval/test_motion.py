"""Estimated motion against known motion, and the rule of what is visible."""

from __future__ import annotations

import numpy as np
import pytest

from scenes import Box, Texture, noisy
from stylize_video.effects.warp import warp
from stylize_video.eval.motion import Motion, MotionEstimator

TEXTURE = Texture(7)
INNER = (slice(16, -16), slice(16, -16))


@pytest.mark.parametrize("step", [(4, 0), (3, -2), (0.5, 0.25), (-6.3, 2.7)], ids=str)
def test_a_pan_is_found(step: tuple[float, float]) -> None:
    one, other = TEXTURE.at(0, 0), TEXTURE.at(*step)
    motion = MotionEstimator().between(one, other)
    wrong = np.linalg.norm(motion.flow + step, axis=-1)[INNER]
    assert np.median(wrong) < 0.15
    assert motion.visible[INNER].mean() > 0.85


def test_what_stands_still_has_no_motion_whatever_its_noise_and_light() -> None:
    one = noisy(np.asarray(TEXTURE.at(0, 0) // 16 + 40, np.uint8), 2, seed=1)
    other = noisy(np.asarray(TEXTURE.at(0, 0) // 16 + 46, np.uint8), 2, seed=2)
    motion = MotionEstimator().between(one, other)
    assert (motion.flow == 0).all(-1).mean() > 0.9
    assert motion.visible.mean() > 0.85


def test_a_plain_wall_whose_light_changes_stands_still() -> None:
    """Its shades, each a little further along, would explain the light as a motion."""
    shades = np.tile(np.arange(40, 168, dtype=np.uint8)[None, :, None], (96, 1, 3))
    one, other = noisy(shades, 1, seed=1), noisy(np.asarray(shades + 6, np.uint8), 1, seed=2)
    assert (MotionEstimator().between(one, other).flow == 0).all(-1).mean() > 0.9


def test_what_gets_covered_is_not_visible() -> None:
    box = Box(30, 30, 50, 50, speed=10)
    frames = []
    for index in range(2):
        frame = TEXTURE.at(0, 0)
        covered = box.mask(index, frame.shape)
        frame[covered] = Texture(8).at(-box.speed * index, 0)[covered]
        frames.append(frame)
    motion = MotionEstimator().between(frames[0], frames[1])
    before, after = (box.mask(index, frames[0].shape) for index in range(2))
    assert motion.visible[after & ~before].mean() < 0.25
    assert motion.visible[~after & ~before].mean() > 0.75


def test_the_rule_of_consistency() -> None:
    """Sundaram et al.: |f + b|² > 0.01 (|f|² + |b|²) + 0.5 is occluded."""
    forward = np.full((20, 30, 2), (2, 0), np.float32)
    limit = np.sqrt(0.01 * 8 + 0.5)
    for gap, visible in ((0.0, True), (0.9 * limit, True), (1.1 * limit, False)):
        backward = np.full_like(forward, (-2, gap))
        motion = Motion.consistent(forward, backward)
        assert motion.visible[:, :27].all() == visible
        assert not motion.visible[:, 28:].any()  # they leave the frame


def test_boundaries_of_motion_are_not_visible() -> None:
    forward = np.zeros((20, 30, 2), np.float32)
    forward[:, 15:] = (0, 0.4)
    motion = Motion.consistent(forward, -forward)
    assert not motion.visible[:-1, 14:16].any()
    assert motion.visible[:-1, :13].all()
    assert motion.visible[:-1, 17:].all()


def test_warping_looks_where_the_flow_leads() -> None:
    picture = np.arange(12, dtype=np.float32).reshape(3, 4)
    shifted = warp(picture, np.full((3, 4, 2), (1, 0), np.float32))
    np.testing.assert_array_equal(shifted[:, :3], picture[:, 1:])
    np.testing.assert_array_equal(shifted[:, 3], picture[:, 3])
    half = warp(picture, np.full((3, 4, 2), (0, 0.5), np.float32))
    np.testing.assert_allclose(half[0], (picture[0] + picture[1]) / 2)
