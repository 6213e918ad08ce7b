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
    for side in (source == 40, source == 200):
        error, plain_error = (np.abs(result - right)[side].mean() for result in (guided, plain))
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


def test_tall_pictures_come_out_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are worked on a band of rows at a time, so that none of them leaves the cache."""
    source = np.random.default_rng(0).integers(0, 256, (300, 40, 3), np.uint8)
    small = shrunk(source)
    stylized = np.asarray(255 - small // 2, np.uint8)
    in_bands = upsample_guided(stylized, small, source)
    monkeypatch.setattr("stylize_video.styles.upsampling._BAND", len(source))
    np.testing.assert_array_equal(in_bands, upsample_guided(stylized, small, source))


def test_detail_is_not_exaggerated() -> None:
    """By a style that makes six levels of each one: grain would become dirt."""
    grain = np.random.default_rng(0).normal(0, 6, (64, 64, 1))
    source = np.asarray(np.clip(edge(low=115, high=140) + grain, 0, 255), np.uint8)
    small = shrunk(source)
    stylized = np.clip(128 + 6.0 * (small.astype(float) - 128), 0, 255).astype(np.uint8)
    added = upsample_guided(stylized, small, source).astype(float) - enlarged(stylized, source)
    missing = cv2.resize(small, source.shape[1::-1], interpolation=cv2.INTER_LINEAR) - source.astype(float)
    assert np.abs(added).max() <= 1.5 * np.abs(missing).max() + 1


def test_colours_come_from_the_style() -> None:
    source = edge()
    source[..., 2] = 255 - source[..., 2]
    small = shrunk(source)
    stylized = np.empty_like(small)
    stylized[...] = (200, 120, 60)
    result = upsample_guided(stylized, small, source)
    np.testing.assert_array_equal(result, np.full_like(source, (200, 120, 60)))


def test_sensor_noise_on_a_wall_is_no_detail() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (64, 64, 3))
    source = np.asarray(np.clip(100 + noise, 0, 255), np.uint8)
    small = shrunk(source)
    stylized = np.asarray(255 - small, np.uint8)
    result, plain = upsample_guided(stylized, small, source), enlarged(stylized, source)
    assert result.std() < 1.1 * plain.std()


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
