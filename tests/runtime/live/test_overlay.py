"""Words on the picture: readable, and never beyond its edge."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stylize_video.live.overlay import ACCENT, WHITE, lay_over, plate, slider_plate, text_width


def test_a_plate_is_as_wide_as_its_words_and_shows_them() -> None:
    short = plate((("i", "Rates"),), 16, (ACCENT, WHITE))
    long = plate((("i", "Rates"), ("space", "Rates and delay of everything")), 16, (ACCENT, WHITE))
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] >= text_width("Rates and delay of everything", 16)
    ink = long[..., 3] > 240
    assert 0.01 < ink.mean() < 0.5
    assert np.abs(long[..., :3][ink].astype(int) - 24).max() > 150
    assert long[0, 0, 3] == 0  # round corners


@given(st.floats(0, 1))
def test_a_bar_is_as_long_as_its_value(value: float) -> None:
    patch = slider_plate("Strength", value, "x", 16)
    blue, green, red = (patch[..., c].astype(int) for c in range(3))
    filled = (red > 200) & (green > 150) & (blue < 140)  # the accent colour
    columns = np.flatnonzero(filled.any(axis=0))
    length = columns[-1] - columns[0] if len(columns) else 0
    assert abs(length - value * 16 * 8) <= 16


@given(st.integers(-300, 300), st.integers(-300, 300))
def test_what_lies_outside_is_cut_off(x: int, y: int) -> None:
    canvas = np.full((60, 80, 3), 100, np.uint8)
    patch = np.full((40, 50, 4), 255, np.uint8)
    lay_over(canvas, patch, x, y)
    rows, columns = (np.arange(n) for n in canvas.shape[:2])
    inside = ((rows >= y) & (rows < y + 40))[:, None] & ((columns >= x) & (columns < x + 50))
    np.testing.assert_array_equal(canvas[..., 0], np.where(inside, 255, 100))


def test_plates_are_blended_by_their_opacity() -> None:
    canvas = np.full((10, 10, 3), 100, np.uint8)
    patch = np.full((10, 10, 4), 200, np.uint8)
    patch[..., 3] = 51
    lay_over(canvas, patch, 0, 0)
    assert set(canvas.ravel().tolist()) == {120}
