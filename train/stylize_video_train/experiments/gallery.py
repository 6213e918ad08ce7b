"""The written side of the study: tables in Markdown and grids of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stylize_video.files import replacing
from stylize_video_train.data import read_picture, resize_short_side
from stylize_video_train.experiments.study import YARDSTICKS, Result, rank_correlation

TITLES = {
    "steps": "Twice the steps",
    "features": "Which feature model",
    "layers": "One layer, or which set J",
    "weights": "Equal or weighted layers",
    "network": "How much the network matters",
}
_SIDE = 240
_CAPTION = 20


def results_table(results: Sequence[Result]) -> str:
    """Every run with its losses on unseen photos, as Markdown."""
    lines = [
        "| run | style weight | " + " | ".join(f"content, style by {y}" for y in YARDSTICKS) + " |",
        "|---" * (2 + len(YARDSTICKS)) + "|",
    ]
    for result in results:
        if result.network is None:
            lines.append(f"| {result.run.name} | not trained: {result.missing} |" + " |" * len(YARDSTICKS))
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


def write_grid(path: Path, results: Sequence[Result], photo: Path, *, extra: Sequence[Path] = ()) -> None:
    """A JPEG row: the photo, pictures from elsewhere, and the photo in the style of every result."""
    picture = resize_short_side(read_picture(photo), _SIDE)
    tiles = [_tile(picture, "photo")]
    tiles += [_tile(resize_short_side(read_picture(p), _SIDE), p.stem) for p in extra]
    for result in results:
        if result.network is None:
            tiles.append(_tile(torch.ones_like(picture), f"{result.run.name}: no weights"))
            continue
        with torch.no_grad():
            tiles.append(_tile(result.network.eval()(picture).clamp(0, 1), result.run.name))
    with replacing(path) as temporary:
        encoded = cv2.imencode(".jpg", np.concatenate(tiles, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
        temporary.write_bytes(encoded.tobytes())


def _tile(picture: torch.Tensor, caption: str) -> NDArray[np.uint8]:
    pixels = (picture[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    tile = np.full((pixels.shape[0] + _CAPTION, pixels.shape[1] + 4, 3), 255, np.uint8)
    tile[_CAPTION:, : pixels.shape[1]] = pixels
    cv2.putText(tile, caption, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return tile
