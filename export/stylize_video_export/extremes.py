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
_CORNERS = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.float32)
"""Black, white and the six saturated colours."""

_LETTERS = list("AEHKMORSWXabcegkmnqswz018#%&")


def extreme_pictures(seed: int) -> Mapping[str, Pixels]:
    """Named pictures ``[1, 3, 128, 192]``; every seed gives others of the same kinds."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    drawn: dict[str, np.ndarray] = {
        "black": np.zeros((_HEIGHT, _WIDTH, 3)),
        "white": np.ones((_HEIGHT, _WIDTH, 3)),
    }
    bars = rng.permutation(_CORNERS)[x * 8 // _WIDTH]
    drawn |= {"bars": bars, "bars of 75 %": 0.75 * bars}
    for side in (4, 8, 16, 32, 64):
        patch = rng.integers(len(_CORNERS), size=(_HEIGHT // side + 1, _WIDTH // side + 1))
        top, left = rng.integers(side, size=2)
        drawn[f"patches of {side}"] = _CORNERS[patch[(y + top) // side, (x + left) // side]]
    for side in (1, 2, 4, 8, 16):
        one, other = rng.permutation(_CORNERS)[:2]
        start = rng.integers(side)
        board = (((x + start) // side + y // side) % 2)[..., None]
        drawn |= {
            f"checkerboard of {side}": board.repeat(3, axis=2),
            f"checkerboard of {side} in colour": np.where(board, one, other),
            f"lines of {side}": (((y + start) // side) % 2)[..., None].repeat(3, axis=2),
            f"columns of {side} in colour": np.where((((x + start) // side) % 2)[..., None], one, other),
        }
    text = _text(rng)
    drawn |= {"black text": 1 - text, "white text": text}
    ramp = np.stack([x / (_WIDTH - 1), y / (_HEIGHT - 1), 1 - x / (_WIDTH - 1)], axis=-1)
    drawn |= {"ramps": ramp, "grey ramp": ramp[..., :1].repeat(3, axis=2)}
    noise = rng.random((_HEIGHT, _WIDTH, 3))
    drawn |= {"noise": noise, "black and white noise": noise < 0.5, "soft noise": 0.4 + 0.2 * noise}
    return {
        name: np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
        for name, picture in drawn.items()
    }


def _text(rng: np.random.Generator) -> np.ndarray:
    """Lines of white letters on black, larger from line to line."""
    page = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    for line in range(5):
        letters = "".join(rng.choice(_LETTERS, 18))
        place = (2, 18 + 26 * line)
        cv2.putText(page, letters, place, 0, 0.4 + 0.2 * line, (255, 255, 255), 1 + line // 2, cv2.LINE_AA)
    return page / 255
