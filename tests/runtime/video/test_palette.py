"""A frame in 256 colours of its own."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from stylize_video.video.palette import Palette
from support import draw_picture


def reduced(palette: Palette, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    done = palette.apply(av.VideoFrame.from_ndarray(picture, format="bgr24"))
    assert done.format.name == "pal8"
    return np.asarray(done.reformat(format="bgr24").to_ndarray(), np.uint8)


def colours_of(picture: NDArray[np.uint8]) -> int:
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def test_many_colours_become_256_that_are_near() -> None:
    picture = draw_picture(0, 96, 64)
    shown = reduced(Palette(96, 64), picture)
    assert colours_of(picture) > 1000
    assert 200 <= colours_of(shown) <= 256
    assert np.abs(shown.astype(int) - picture).mean() < 12
    # The error is spread: tiles of 8x8 pixels have their mean.
    error = (shown.astype(int) - picture).reshape(8, 8, 12, 8, 3).mean((1, 3))
    assert np.abs(error).mean() < 3


def test_each_frame_has_a_palette_of_its_own() -> None:
    palette = Palette(96, 64)
    for channel in range(3):
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[..., channel] = np.arange(96)
        assert np.abs(reduced(palette, picture).astype(int) - picture).max() <= 4
