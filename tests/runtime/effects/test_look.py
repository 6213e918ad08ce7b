"""Strength and colours do what their names say."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylize_video.effects.look import Look
from stylize_video.errors import StylizeError

RNG = np.random.default_rng(0)
SOURCE = RNG.integers(0, 256, (20, 30, 3), np.uint8)
STYLIZED = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def test_full_strength_is_the_style_and_none_the_source() -> None:
    np.testing.assert_array_equal(Look().apply(SOURCE, STYLIZED), STYLIZED)
    np.testing.assert_array_equal(Look(0).apply(SOURCE, STYLIZED), SOURCE)
    assert not np.shares_memory(Look(0).apply(SOURCE, STYLIZED), SOURCE)
    assert not Look(0).needs_style


@given(st.floats(0.01, 0.99) | st.fractions("1/100", "99/100"))
def test_strength_blends_in_proportion(strength: Any) -> None:
    expected = STYLIZED * float(strength) + SOURCE * (1 - float(strength))
    assert np.abs(Look(strength).apply(SOURCE, STYLIZED) - expected).max() <= 0.51


def test_kept_colours_have_the_sources_chroma_and_the_styles_lightness() -> None:
    # Muted colours: at the edge of the gamut no picture has this luma with that chroma.
    source = (SOURCE // 8 + 112).astype(np.uint8)
    stylized = (STYLIZED // 4 + 96).astype(np.uint8)
    kept, of_source, of_style = (
        cv2.cvtColor(p, cv2.COLOR_BGR2YCrCb).astype(int)
        for p in (Look(keep_colors=True).apply(source, stylized), source, stylized)
    )
    assert np.abs(kept[..., 0] - of_style[..., 0]).max() <= 1
    assert np.abs(kept[..., 1:] - of_source[..., 1:]).max() <= 2


def test_kept_colours_of_a_grey_source_are_grey() -> None:
    grey = np.full((8, 8, 3), 90, np.uint8)
    kept = Look(keep_colors=True).apply(grey, STYLIZED[:8, :8]).astype(int)
    assert np.ptp(kept, axis=2).max() <= 1


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), None, "1"])
def test_strengths_out_of_range(strength: Any) -> None:
    with pytest.raises(StylizeError, match="between 0 and 1"):
        Look(strength)


def test_inputs_are_left_alone() -> None:
    source, stylized = SOURCE.copy(), STYLIZED.copy()
    Look(0.4, keep_colors=True).apply(source, stylized)
    np.testing.assert_array_equal(source, SOURCE)
    np.testing.assert_array_equal(stylized, STYLIZED)
