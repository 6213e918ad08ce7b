from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize_video.effects.luma import MOTION_SIDE, shrunk, small_luma


@settings(max_examples=40, deadline=None)
@given(st.integers(17, 900), st.integers(17, 900))
def test_a_ramp_stays_a_ramp_at_any_size(height: int, width: int) -> None:
    ramp = np.add.outer(np.linspace(20, 120, height), np.linspace(0, 100, width))
    small = shrunk(np.rint(ramp).astype(np.uint8), side=MOTION_SIDE)
    rows, columns = small.shape
    assert max(rows, columns) <= MOTION_SIDE
    assert min(rows, columns) >= 16
    # Where each pixel's middle lies in the large picture, from 0 to 1.
    down, across = (
        np.clip(((np.arange(n) + 0.5) / n * side - 0.5) / (side - 1), 0, 1)
        for n, side in ((rows, height), (columns, width))
    )
    expected = np.add.outer(20 + 100 * down, 100 * across)
    assert np.abs(small - expected).max() < 3
    assert abs(float((small - expected).mean())) < 1


def test_noise_averages_out() -> None:
    generator = np.random.default_rng(0)
    frame = generator.normal(128, 20, (360, 640, 3)).clip(0, 255).astype(np.uint8)
    large = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    # Sixteen pixels for one.
    assert small_luma(frame).std() < 1.15 * large.std() / 4
