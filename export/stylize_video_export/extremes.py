"""Pictures unlike photos, drawn here: test bars, patches, stripes, checkerboards, text, ramps, noise.

A network's largest values come from pictures like these. Ranges taken from photos alone cut them
off, and whole areas come out in another colour.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from stylize_video_export.parity import Pixels

_HEIGHT, _WIDTH = 128, 192
_PATTERN_SIDE = 64
_CORNERS = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.float32)
"""Black, white and the six saturated colours."""

_LETTERS = list("AEHKMORSWXabcegkmnqswz018#%&")


def extreme_pictures(seed: int) -> Mapping[str, Pixels]:
    """Named pictures ``[N, 3, H, W]``; every seed gives others of the same kinds.

    Patterns come at every place that they can have on the network's grid, ``N`` of them: some values
    are largest at one of them alone.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    bars = rng.permutation(_CORNERS)[x * 8 // _WIDTH]
    ramp = np.stack([x / (_WIDTH - 1), y / (_HEIGHT - 1), 1 - x / (_WIDTH - 1)], axis=-1)
    noise = rng.random((_HEIGHT, _WIDTH, 3))
    text = _text(rng)
    drawn: dict[str, np.ndarray] = {
        "black": np.zeros_like(noise),
        "white": np.ones_like(noise),
        "bars": bars,
        "bars of 75 %": 0.75 * bars,
        "black text": 1 - text,
        "white text": text,
        "ramps": ramp,
        "grey ramp": ramp[..., :1].repeat(3, axis=2),
        "noise": noise,
        "black and white noise": noise < 0.5,
        "soft noise": 0.4 + 0.2 * noise,
    }
    for side in (4, 8, 16, 32, 64):
        patch = rng.integers(len(_CORNERS), size=(_HEIGHT // side + 1, _WIDTH // side + 1))
        top, left = rng.integers(side, size=2)
        drawn[f"patches of {side}"] = _CORNERS[patch[(y + top) // side, (x + left) // side]]
    pictures = {name: picture[None] for name, picture in drawn.items()} | _patterns(rng)
    return {
        name: np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)
        for name, batch in pictures.items()
    }


def _patterns(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Checkerboards, lines and columns ``[N, H, W, 3]``, in black and white and in two colours."""
    y, x = np.mgrid[0:_PATTERN_SIDE, 0:_PATTERN_SIDE]
    patterns = {}
    for side in (1, 2, 4, 8, 16):
        starts = np.arange(2 * side)[:: max(1, side // 8), None, None]
        down, across = (y + starts) // side % 2, (x + starts) // side % 2
        kinds = {"checkerboard": (down + across) % 2, "lines": down, "columns": across}
        for kind, levels in kinds.items():
            patterns[f"{kind} of {side}"] = levels[..., None].repeat(3, axis=-1)
            one, other = rng.permutation(_CORNERS)[:2]
            patterns[f"{kind} of {side} in colour"] = np.where(levels[::2, ..., None], one, other)
    return patterns


def _text(rng: np.random.Generator) -> np.ndarray:
    """Lines of white letters on black, larger from line to line."""
    page = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    for line in range(5):
        letters = "".join(rng.choice(_LETTERS, 18))
        place = (2, 18 + 26 * line)
        cv2.putText(page, letters, place, 0, 0.4 + 0.2 * line, (255, 255, 255), 1 + line // 2, cv2.LINE_AA)
    return page / 255
