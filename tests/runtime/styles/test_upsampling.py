"""Enlarged frames have the source's edges, and nothing else of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize_video.frame import Frame
from stylize_video.styles.upsampling import upsample_guided


def shrunk(frame: Frame, factor: int = 2) -> Frame:
    size = frame.shape[1] // factor, frame.shape[0] // factor
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def enlarged(frame: Frame, like: Frame) -> Frame:
    return np.asarray(cv2.resize(frame, like.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def edge(height: int = 64, width: int = 64, at: int = 31, low: int = 40, high: int = 200) -> Frame:
    frame = np.full((height, width, 3), low, np.uint8)
    frame[:, at:] = high
    return frame


@pytest.mark.parametrize("contrast", [0.8, 0.4, -0.6])
def test_edges_that_the_style_kept_are_sharp(contrast: float) -> None:
    """Also where the style has another contrast than the source, even a negative one."""
    source = edge()

    def style(frame: Frame) -> Frame:
        return np.clip(128 + contrast * (frame.astype(float) - 120), 0, 255).astype(np.uint8)

    right = style(source).astype(float)
    small = shrunk(source)
    guided = upsample_guided(style(small), small, source)
    plain = enlarged(style(small), source)
    error, plain_error = (np.abs(result - right).mean() for result in (guided, plain))
    assert error < 0.6 * plain_error


def test_no_halos() -> None:
    source = edge()
    small = shrunk(source)
    stylized = np.asarray(60 + 0.5 * small, np.uint8)
    guided = upsample_guided(stylized, small, source)
    overshoot = max(int(guided.max()) - int(stylized.max()), int(stylized.min()) - int(guided.min()))
    plain = enlarged(stylized, source)
    ringing = max(int(plain.max()) - int(stylized.max()), int(stylized.min()) - int(plain.min()))
    assert overshoot <= max(ringing, 0.12 * (int(stylized.max()) - int(stylized.min())))


def test_where_strokes_go_their_own_way_no_photo_shows() -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(90, 160, (96, 96, 1), np.uint8).repeat(3, axis=2)
    small = shrunk(source)
    strokes = cv2.GaussianBlur(rng.integers(0, 256, small.shape, np.uint8), (5, 5), 0)
    stylized = np.asarray(strokes, np.uint8)
    added = upsample_guided(stylized, small, source).astype(float) - enlarged(stylized, source)
    missing = source.astype(float) - enlarged(small, source)
    assert np.abs(added).mean() < 0.5 * np.abs(missing).mean()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(2, 5))
def test_flat_pictures_stay_flat(source_grey: int, grey: int, factor: int) -> None:
    source = np.full((60, 60, 3), source_grey, np.uint8)
    small = shrunk(source, factor)
    assert (upsample_guided(np.full_like(small, grey), small, source) == grey).all()


def test_colours_come_from_the_style() -> None:
    source = edge()
    source[..., 2] = 255 - source[..., 2]
    small = shrunk(source)
    stylized = np.empty_like(small)
    stylized[...] = (200, 120, 60)
    result = upsample_guided(stylized, small, source)
    np.testing.assert_array_equal(result, np.full_like(source, (200, 120, 60)))


def test_sensor_noise_is_not_amplified() -> None:
    """A still scene with noise: what the enlarged frame trembles is no more than the source does."""
    rng = np.random.default_rng(0)
    still = np.asarray(cv2.GaussianBlur(edge(), (9, 9), 0), np.float64)
    results, sources = [], []
    for _ in range(6):
        source = np.clip(still + rng.normal(0, 2, still.shape), 0, 255).astype(np.uint8)
        small = shrunk(source)
        results.append(upsample_guided(np.asarray(255 - small, np.uint8), small, source).astype(float))
        sources.append(source.astype(float))
    assert np.std(results, axis=0).mean() <= np.std(sources, axis=0).mean()
