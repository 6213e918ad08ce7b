"""Tiles cover a frame once, stay small, and leave no trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize_video.bench.baseline import transformer_net
from stylize_video.styles import session as session_module
from stylize_video.styles.receptive_field import ReceptiveField
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import find_style, find_variants
from stylize_video.styles.tiles import plan_tiles, stylize_tiles
from stylize_video.styles.variants import open_session
from support import draw_picture

sides = st.integers(16, 3000)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(0, 80), st.sampled_from([1, 4, 8]), st.integers(40_000, 2_000_000))
def test_tiles_cover_a_frame_once_and_are_small(
    height: int, width: int, radius: int, step: int, max_pixels: int
) -> None:
    field = ReceptiveField(radius, step)
    seen = np.zeros((height, width), np.uint8)
    tiles = plan_tiles(height, width, field, max_pixels=max_pixels)
    for tile in tiles:
        seen[tile.rows.kept, tile.columns.kept] += 1
        for span, side in ((tile.rows, height), (tile.columns, width)):
            assert span.first % step == 0
            assert span.first == 0 or span.start - span.first >= radius
            assert span.last == side or span.last - span.stop >= radius
            assert span.seen_pixels >= 16
        assert tile.rows.seen_pixels * tile.columns.seen_pixels <= max(max_pixels, 4 * (3 * radius + 40) ** 2)
    assert (seen == 1).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 120), st.integers(16, 120), st.integers(1, 9))
def test_a_box_blur_in_tiles_is_a_box_blur(height: int, width: int, radius: int) -> None:
    """Of a maximum over the neighbourhood nothing may be missing."""
    import cv2

    kernel = np.ones((2 * radius + 1,) * 2, np.uint8)
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)

    def largest(frame: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.dilate(frame, kernel), np.uint8)

    tiles = plan_tiles(height, width, ReceptiveField(radius, 1), max_pixels=1500)
    np.testing.assert_array_equal(stylize_tiles(largest, picture, tiles), largest(picture))


def recorded(session: StyleSession, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that ``session`` will give to ONNX Runtime, as they come."""
    shapes: list[tuple[int, ...]] = []
    run = session._run

    def recording(part: np.ndarray) -> np.ndarray:
        shapes.append(part.shape)
        return run(part)

    monkeypatch.setattr(session, "_run", recording)
    return shapes


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("size", [(301, 418), (530, 260)])
def test_a_style_in_tiles_has_no_seams(
    precision: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = find_variants(find_style("photo"))[precision]  # type: ignore[index]
    session = open_session(path, device="cpu")
    frame = draw_picture(3, size[1], size[0])
    frame += np.random.default_rng(0).integers(0, 20, frame.shape, np.uint8)
    whole = session.stylize(frame)
    calls = recorded(session, monkeypatch)
    monkeypatch.setattr(session, "_max_pixels", 80_000)
    tiled = session.stylize(frame)
    assert len(calls) >= 4
    assert max(shape[0] * shape[1] for shape in calls) <= 80_000
    assert np.abs(tiled.astype(int) - whole).max() <= 1  # another order of adding up


def test_networks_that_look_at_everything_work_smaller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = StyleSession(transformer_net(width=4), "cpu", input_range=1)
    monkeypatch.setattr(session, "_max_pixels", 5_000)
    monkeypatch.setattr(session_module, "MAX_WHOLE_PIXELS", 12_000)
    calls = recorded(session, monkeypatch)
    medium, large = draw_picture(0, 120, 80), draw_picture(0, 200, 160)
    assert session.stylize(medium).shape == medium.shape
    assert calls == [medium.shape]
    assert not caplog.records
    for _ in range(2):
        assert session.stylize(large).shape == large.shape
    assert calls[1][0] * calls[1][1] <= 12_000
    assert len(caplog.records) == 1  # told once, not with every frame
    assert "strokes come out larger" in caplog.text
