"""Pictures are turned and mirrored as EXIF data and display matrices ask for."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from media import DISPLAY_MATRICES
from stylize_video.video.orientation import is_mirrored, of_display_matrix, turned


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_go_where_the_matrix_says(orientation: int) -> None:
    a, b, c, d = DISPLAY_MATRICES[orientation]
    matrix = struct.pack("=9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    assert of_display_matrix(matrix) == orientation
    assert is_mirrored(orientation) == (a * d - b * c < 0)
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    places = {(b * x + d * y, a * x + c * y): pixels[y, x] for y in range(2) for x in range(3)}
    in_order = [places[place] for place in sorted(places)]  # row by row
    np.testing.assert_array_equal(turned(pixels, orientation).ravel(), in_order)


def test_a_matrix_of_nothing_turns_nothing() -> None:
    assert of_display_matrix(bytes(36)) == 1
