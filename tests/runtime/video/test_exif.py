"""EXIF data is read as OpenCV reads it, and survives whatever a file holds."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import EXIF_CAMERA, EXIF_NEXT_DIRECTORY, exif_of
from stylize_video.video.exif import of_result, orientation_of
from stylize_video.video.orientation import turned
from support import draw_picture


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_by_opencv(orientation: int, order: str) -> None:
    exif, picture = exif_of(orientation, order), draw_picture(0, 40, 30)
    kinds, data = [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(exif, np.uint8)]
    encoded = cv2.imencodeWithMetadata(".png", picture, kinds, data)[1]
    assert orientation_of(exif) == orientation
    np.testing.assert_array_equal(turned(picture, orientation), cv2.imdecode(encoded, cv2.IMREAD_COLOR))


@pytest.mark.parametrize("order", "<>")
def test_a_result_is_upright_and_has_no_thumbnail(order: str) -> None:
    kept = of_result(exif_of(6, order))
    expected = exif_of(1, order).replace(struct.pack(f"{order}I", EXIF_NEXT_DIRECTORY), bytes(4))
    assert kept == expected
    assert EXIF_CAMERA in kept


@given(st.integers(0, 2**16 - 1), st.integers(0, 50), st.binary(max_size=60))
def test_any_bytes_are_data(orientation: int, length: int, noise: bytes) -> None:
    for exif in (exif_of(orientation)[:length], b"II*\0" + noise, b"MM\0*" + noise, noise):
        assert 1 <= orientation_of(exif) <= 8
        assert len(of_result(exif)) == len(exif)
