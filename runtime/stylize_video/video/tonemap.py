"""High dynamic range to standard: what a bright picture looks like on an ordinary screen.

A picture coded with PQ (SMPTE ST 2084) or HLG (ARIB STD-B67) and BT.2020 colours is taken
to light, its highlights are rolled off (the curve of ITU-R BT.2390, section 5.4.1), and
the rest is shown as an SDR screen would. Read as if it were SDR, it would be grey and flat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PQ, _HLG = 16, 18
TRANSFERS = {_PQ: "PQ", _HLG: "HLG"}
"""FFmpeg's numbers of the transfer characteristics that are high dynamic range."""

_PEAK = 1000.0
"""Brightest light that is told apart, in cd/m²: what most HDR is graded for."""
_WHITE = 203.0
"""HDR's reference white in cd/m² (ITU-R BT.2408), the brightest that an SDR picture shows."""
_SCREEN_GAMMA = 2.4
"""Of an SDR screen (ITU-R BT.1886)."""

_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
"""Of PQ's curve (SMPTE ST 2084)."""

_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593])


def tone_map(signal: Array, transfer: int) -> Array:
    """SDR of HDR colours.

    Args:
        signal: ``[..., 3]`` RGB in BT.2020 primaries, as coded, 0..1.
        transfer: 16 for PQ, 18 for HLG.

    Returns:
        ``[..., 3]`` RGB in BT.709 primaries for a screen of gamma 2.4, 0..1.
    """
    light = _pq_to_light(signal) if transfer == _PQ else _hlg_to_light(signal)
    light = light @ _BT2020_TO_BT709.T
    # The strongest channel of those that are shown decides, so that colours keep their hue and none clips.
    strongest = np.maximum(light.max(-1, keepdims=True), 1e-6)
    shown = np.clip(light * (_roll_off(strongest) / strongest) / _WHITE, 0, 1)
    return np.asarray(shown ** (1 / _SCREEN_GAMMA))


def cube_table(transfer: int, size: int = 33) -> str:
    """:func:`tone_map` as the text of a ``.cube`` table that FFmpeg's ``lut3d`` reads."""
    steps = np.linspace(0, 1, size)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")  # red runs fastest
    table = tone_map(np.stack([red, green, blue], -1), transfer).reshape(-1, 3)
    lines = [f"LUT_3D_SIZE {size}", *(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in table)]
    return "\n".join(lines) + "\n"


def _pq_to_light(signal: Array) -> Array:
    """cd/m² of a PQ signal of 0..1 (SMPTE ST 2084)."""
    root = np.clip(signal, 0, 1) ** (1 / _M2)
    return np.asarray(10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1))


def _light_to_pq(light: Array | float) -> Array:
    power = np.clip(np.asarray(light) / 10_000, 0, 1) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def _hlg_to_light(signal: Array) -> Array:
    """cd/m² on a screen of 1,000 cd/m², whose system gamma is 1.2 (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luma = scene @ _BT2020_LUMA
    return np.asarray(_PEAK * scene * np.maximum(luma, 1e-9)[..., None] ** 0.2)


def _roll_off(light: Array) -> Array:
    """Leave dark and middle light alone and bring :data:`_PEAK` down to :data:`_WHITE`."""
    peak = _light_to_pq(_PEAK)
    signal = np.minimum(_light_to_pq(light) / peak, 1)
    top = _light_to_pq(_WHITE) / peak
    knee = 1.5 * top - 0.5
    t = (np.maximum(signal, knee) - knee) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    )
    return _pq_to_light(np.where(signal < knee, signal, spline) * peak)
