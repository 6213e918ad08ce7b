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

from stylize_video_train.data import centre_square, read_resized
from stylize_video_train.networks import StyleNetwork

TILE = 160
"""Side of a tile in pixels."""

# In pixels.
_GAP = 4
_CAPTION = 20


class Preview:
    """A strip that grows by a column each time :meth:`add` is called.

    Args:
        photos: pictures, best ones that are not trained on; their middle square is shown.
        unseen: they are not trained on.
    """

    def __init__(self, photos: Sequence[Path], *, unseen: bool = True) -> None:
        self.unseen = unseen
        self._photos = torch.cat([centre_square(read_resized(path, TILE), TILE) for path in photos])
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
        """Take the columns back that :meth:`state` gave, in place of those so far.

        Raises:
            KeyError: they are not in ``state``.
        """
        self.steps, self._columns = list(state["steps"]), list(state["columns"])


def captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """BGR ``[H, W, 3]`` with ``text`` in a strip above it and a gap at its right, for rows of pictures."""
    height, width = picture.shape[:2]
    tile = np.full((_CAPTION + height, width + _GAP, 3), 255, np.uint8)
    tile[_CAPTION:, :width] = picture
    cv2.putText(tile, text, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return tile


def _column(tiles: Tensor, caption: str) -> NDArray[np.uint8]:
    """Tiles RGB uint8 ``[N, 3, TILE, TILE]`` under each other."""
    spaced = torch.nn.functional.pad(tiles, (0, 0, 0, _GAP), value=255)
    column = spaced.permute(0, 2, 3, 1).flatten(0, 1).flip(-1)
    return captioned(column.numpy(), caption)
