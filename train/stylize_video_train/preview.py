"""What a network makes of a few photos as it learns: photos down, steps across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylize_video_train.data import read_picture, resize_short_side
from stylize_video_train.networks import StyleNetwork

TILE = 160
"""Side of a tile in pixels."""

_GAP = 4
_CAPTION = 18


class Preview:
    """A strip that grows by a column each time :meth:`add` is called.

    Args:
        photos: pictures, best ones that are not trained on; their middle square is shown.
        unseen: they are not trained on.
    """

    def __init__(self, photos: Sequence[Path], *, unseen: bool = True) -> None:
        self.unseen = unseen
        self._photos = torch.cat([_middle_square(read_picture(path)) for path in photos])
        self.steps: list[int] = []
        self._columns: list[Tensor] = []

    def add(self, step: int, network: StyleNetwork, device: str = "cpu") -> None:
        """Stylize the photos with ``network``, which is left in evaluation mode."""
        network.eval()
        with torch.no_grad():
            stylized = network(self._photos.to(device)).clamp(0, 1).cpu()
        self.steps.append(step)
        self._columns.append((stylized * 255).round().to(torch.uint8))

    def strip(self) -> NDArray[np.uint8]:
        """BGR ``[H, W, 3]``: the photos, then a column for each step, each with its caption."""
        photos = (self._photos * 255).round().to(torch.uint8)
        columns = [_column(photos, "photo")]
        columns += [
            _column(tiles, f"step {step}") for step, tiles in zip(self.steps, self._columns, strict=True)
        ]
        return np.concatenate(columns, axis=1)

    def state(self) -> dict[str, Any]:
        """Everything :meth:`restore` needs, as tensors."""
        return {"steps": list(self.steps), "columns": [column.clone() for column in self._columns]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps, self._columns = list(state["steps"]), list(state["columns"])


def _middle_square(picture: Tensor) -> Tensor:
    picture = resize_short_side(picture, TILE)
    top, left = ((side - TILE) // 2 for side in picture.shape[-2:])
    return picture[..., top : top + TILE, left : left + TILE]


def _column(tiles: Tensor, caption: str) -> NDArray[np.uint8]:
    """Tiles RGB uint8 ``[N, 3, TILE, TILE]`` under each other."""
    height = _CAPTION + len(tiles) * (TILE + _GAP)
    column = np.full((height, TILE + _GAP, 3), 255, np.uint8)
    cv2.putText(column, caption, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    for row, tile in enumerate(tiles):
        top = _CAPTION + row * (TILE + _GAP)
        column[top : top + TILE, :TILE] = tile.permute(1, 2, 0).numpy()[..., ::-1]
    return column
