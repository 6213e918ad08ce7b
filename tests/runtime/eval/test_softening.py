"""Blur to one sharpness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenes import Texture, noisy
from stylize_video.eval.metrics import sharpness
from stylize_video.eval.softening import MAX_SIGMA, Samples, sigma_for, soften


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3])
def test_frames_get_the_sharpness_that_is_wanted(share: float) -> None:
    frames = [noisy(Texture(seed).at(0, 0), 20, seed=seed) for seed in range(3)]
    wanted = share * float(np.mean([sharpness(frame) for frame in frames]))
    sigma = sigma_for(frames, wanted)
    assert 0 < sigma < MAX_SIGMA
    reached = np.mean([sharpness(soften(frame, sigma)) for frame in frames])
    assert reached == pytest.approx(wanted, rel=0.02)


def test_what_is_not_too_sharp_stays_as_it_is() -> None:
    frame = Texture(1).at(0, 0)
    assert sigma_for([frame], sharpness(frame)) == 0
    assert sigma_for([], 0) == 0
    assert soften(frame, 0) is frame
    flat = np.full_like(frame, 90)
    assert sigma_for([flat], 0) == 0


@given(count=st.integers(0, 300))
def test_samples_are_few_and_evenly_spread(count: int) -> None:
    samples = Samples()
    for index in range(count):
        samples.add(np.full((1, 1, 3), index % 256, np.uint8))
    kept = [int(frame[0, 0, 0]) for frame in samples.frames]
    assert min(count, 4) <= len(kept) <= 8
    if count <= 256 and len(kept) > 1:
        assert kept[0] == 0
        assert len(set(np.diff(kept))) == 1
        assert kept[-1] + kept[1] >= count  # up to the end
