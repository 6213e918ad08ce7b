"""The written side of the study: tables in Markdown and grids of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylize_video.video.pictures import write_picture
from stylize_video_train.data import DataError, read_picture, resize_short_side
from stylize_video_train.experiments.markdown import cell
from stylize_video_train.experiments.study import YARDSTICKS, Result, rank_correlation
from stylize_video_train.preview import captioned

TITLES = {
    "steps": "Twice the steps",
    "features": "Which feature model",
    "layers": "One layer, or which set J",
    "weights": "Equal or weighted layers",
    "network": "How much the network matters",
}
_SIDE = 240
_LONGEST = 4
"""Sides of a picture in a grid, one as a multiple of the other: JPEGs end at 65,535 pixels."""


def results_table(results: Sequence[Result]) -> str:
    """Every run with its losses on unseen photos, as Markdown."""
    lines = [
        "| run | style weight | " + " | ".join(f"content, style by {y}" for y in YARDSTICKS) + " |",
        "|---" * (2 + len(YARDSTICKS)) + "|",
    ]
    for result in results:
        if result.network is None:
            lines.append(
                f"| {result.run.name} | not trained: {cell(result.missing)} |" + " |" * len(YARDSTICKS)
            )
            continue
        cells = [
            f"{result.content[y]:.3f}, {result.style[y]:.3f}" if y in result.content else "weights missing"
            for y in YARDSTICKS
        ]
        lines.append(f"| {result.run.name} | {result.style_weight:.3g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def agreement(results: Sequence[Result]) -> str:
    """A sentence on whether the yardsticks put the runs in the same order."""
    measured = [r for r in results if all(y in r.content for y in YARDSTICKS)]
    if len(measured) < 3:
        return "Too few runs to compare yardsticks."
    first, second = YARDSTICKS
    sentences = []
    for kind in ("content", "style"):
        a, b = ([getattr(r, kind)[y] for r in measured] for y in (first, second))
        ratio = sorted(y / x for x, y in zip(a, b, strict=True))
        sentences.append(
            f"{kind}: rank correlation {rank_correlation(a, b):.2f} over {len(measured)} runs,"
            f" {second} reads {ratio[0]:.2f} to {ratio[-1]:.2f} times what {first} reads"
        )
    return "; ".join(sentences) + "."


def read_shown(photo: Path) -> Tensor:
    """The photo of the grids, ``[1, 3, H, W]`` with a short side of 240 pixels.

    Raises:
        DataError: it cannot be read, or is a strip.
    """
    picture = read_picture(photo)
    short, long = sorted(picture.shape[-2:])
    if long > _LONGEST * short:
        raise DataError(f"{photo} is too long for the grids; show a photo of at most {_LONGEST} to 1")
    return resize_short_side(picture, _SIDE)


def write_grid(path: Path, results: Sequence[Result], photo: Path, *, extra: Sequence[Path] = ()) -> None:
    """A JPEG row: the photo, pictures from elsewhere, and the photo in the style of every result.

    Pictures from elsewhere may have any shape; they are shown at the photo's height where they fit.

    Raises:
        DataError: a picture cannot be read.
        SinkError: the row cannot be written.
    """
    picture = read_shown(photo)
    height = picture.shape[-2]
    tiles = [_tile(picture, "photo")]
    tiles += [_tile(_at_most(read_picture(p), height, _LONGEST * height), p.stem) for p in extra]
    for result in results:
        if result.network is None:
            tiles.append(_tile(torch.ones_like(picture), f"{result.run.name}: not trained"))
            continue
        with torch.no_grad():
            tiles.append(_tile(result.network.eval()(picture).clamp(0, 1), result.run.name))
    rows = max(tile.shape[0] for tile in tiles)
    padded = [np.pad(t, ((0, rows - len(t)), (0, 0), (0, 0)), constant_values=255) for t in tiles]
    write_picture(path, np.concatenate(padded, axis=1), parameters=[cv2.IMWRITE_JPEG_QUALITY, 88])


def _at_most(picture: Tensor, height: int, width: int) -> Tensor:
    """``picture`` ``[1, 3, H, W]`` scaled so that it is as high, or as wide, as that and no more."""
    factor = min(height / picture.shape[-2], width / picture.shape[-1])
    short = max(1, round(factor * min(picture.shape[-2:])))
    return resize_short_side(picture, short)[..., :height, :width]


def _tile(picture: Tensor, caption: str) -> NDArray[np.uint8]:
    pixels = (picture[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    return captioned(pixels, caption)
