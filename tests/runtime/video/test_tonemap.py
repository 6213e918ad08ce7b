"""HDR to SDR: known light, known grey."""

from __future__ import annotations

import numpy as np
import pytest

from stylize_video.video.tonemap import _BT2020_TO_BT709, cube_table, tone_map


def pq(light: float) -> float:
    """The PQ signal of cd/m², written down anew from SMPTE ST 2084."""
    power = (light / 10_000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def grey(signal: float, transfer: int) -> float:
    red, green, blue = tone_map(np.full((1, 3), signal), transfer)[0]
    assert red == pytest.approx(green, abs=2e-3)
    assert red == pytest.approx(blue, abs=2e-3)
    return float(red)


@pytest.mark.parametrize(("transfer", "white"), [(16, pq(203)), (18, 0.75)])
def test_reference_white_is_light_and_not_grey(transfer: int, white: float) -> None:
    """BT.2408: 203 cd/m², 58 % of PQ and 75 % of HLG, is white paper."""
    assert 0.88 < grey(white, transfer) < 0.95


def test_both_curves_mean_the_same_light() -> None:
    assert grey(pq(203), 16) == pytest.approx(grey(0.75, 18), abs=0.01)


def test_middle_light_is_left_alone() -> None:
    for light in (1, 5, 20, 80):
        assert grey(pq(light), 16) == pytest.approx((light / 203) ** (1 / 2.4), abs=0.005)


@pytest.mark.parametrize("transfer", [16, 18])
def test_greys_rise_from_black_to_white(transfer: int) -> None:
    greys = [grey(signal, transfer) for signal in np.linspace(0, 1, 101)]
    assert greys[0] == 0
    assert greys[-1] > 0.99
    assert np.diff(greys).min() >= -1e-9
    peak = {16: pq(1000), 18: 1.0}[transfer]
    assert grey(0.97 * peak, transfer) < grey(peak, transfer)  # highlights are told apart


def test_colours_keep_their_hue() -> None:
    """BT.709's red in BT.2020 coordinates comes out as red, however bright."""
    red = np.array([0.6274, 0.0691, 0.0164])
    for light in (20, 200, 900):
        signal = np.array([[pq(light * part) for part in red]])
        shown = tone_map(signal, 16)[0]
        assert shown[0] > 0.3
        assert shown[1:].max() < 0.12 * shown[0] + 0.05


@pytest.mark.parametrize("ratio", [(1, 0.9, 0.8), (0.8, 0.9, 1), (0.9, 1, 0.85), (1, 0.4, 0.1)])
def test_the_brightest_skin_sky_and_fire_keep_their_hue(ratio: tuple[float, ...]) -> None:
    """The strongest channel, which would clip first, decides for all."""
    colour = np.linalg.inv(_BT2020_TO_BT709) @ np.array(ratio)
    for peak in (50, 300, 1000):
        light = peak * colour / colour.max()
        shown = tone_map(np.array([[pq(part) for part in light]]), 16)[0] ** 2.4
        assert shown / shown.max() == pytest.approx(np.array(ratio) / max(ratio), abs=0.06)


def test_the_table_is_the_function() -> None:
    lines = cube_table(16, size=5).splitlines()
    assert lines[0] == "LUT_3D_SIZE 5"
    table = np.array([line.split() for line in lines[1:]], float).reshape(5, 5, 5, 3)  # blue, green, red
    signal = np.array([1.0, 0.5, 0.25])
    assert table[1, 2, 4] == pytest.approx(tone_map(signal[None], 16)[0], abs=1e-5)
