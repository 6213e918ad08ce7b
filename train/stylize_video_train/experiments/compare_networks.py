"""Trained networks side by side: what each one costs on photos that none has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylize_video_train.calibration import perceptual_loss
from stylize_video_train.checkpoint import CheckpointError, load_checkpoint
from stylize_video_train.data import ContentFolder, centre_square, read_resized
from stylize_video_train.experiments.markdown import cell
from stylize_video_train.losses import PerceptualLoss, out_of_range, total_variation
from stylize_video_train.recipe import Recipe
from stylize_video_train.teacher import Teacher


@dataclass(frozen=True)
class Score:
    """The losses of one network, and their weighted sum ``total``, in which steadiness is left out.

    ``range`` is of what a network makes; a style file's pictures have lost what was out of range.
    """

    name: str
    content: float
    style: float
    variation: float
    total: float
    range: float | None = None


def unseen_photos(folder: Path, *, size: int, most: int) -> Tensor:
    """The middles ``[N, 3, size, size]`` of the first photos in ``folder``.

    Raises:
        DataError: there are none.
    """
    paths = ContentFolder(folder, size=size).paths[:most]
    return torch.cat([centre_square(read_resized(path, size), size) for path in paths])


def score(
    networks: Sequence[str | Path],
    style_picture: Path,
    photos: Tensor,
    *,
    weights_file: Path | None = None,
) -> list[Score]:
    """Measure checkpoints, style files and bundled styles by the losses that the first was trained with.

    Style is pooled over all photos where it was in training; the whole of each photo counts.
    What a style file makes of them is rounded to 8 bits.

    Raises:
        StylizeError: a file, the picture or the feature model cannot be used.
    """
    read = [_read(network) for network in networks]
    if not read[0].recipe:
        raise CheckpointError(f"{networks[0]} does not say how it was trained; name another one first")
    trained = Recipe.from_dict(read[0].recipe, source=str(networks[0]))
    memory = None if trained.style_memory is None else 0.0
    recipe = replace(trained, window=1.0, style_memory=memory)
    loss = perceptual_loss(recipe, style_picture, weights_file=weights_file, side=photos.shape[-1])
    return [_score(network, recipe, loss, photos) for network in read]


@dataclass(frozen=True)
class _Network:
    """A network as a function of pictures ``[N, 3, H, W]`` in 0..1, and how it was trained."""

    name: str
    stylize: Callable[[Tensor], Tensor]
    recipe: Mapping[str, Any]
    is_clamped: bool = False


def _read(network: str | Path) -> _Network:
    path = Path(network)
    if path.suffix.lower() == ".onnx" or not (path.suffix or path.is_file()):  # the latter a bundled name
        style = Teacher(str(network))
        return _Network(path.name, style, style.recipe, is_clamped=True)
    checkpoint = load_checkpoint(path)
    return _Network(path.stem, checkpoint.build().eval(), checkpoint.recipe)


def _score(network: _Network, recipe: Recipe, loss: PerceptualLoss, photos: Tensor) -> Score:
    loss.forget()  # the network measured before
    with torch.no_grad():
        unclamped = torch.cat([network.stylize(photo[None]) for photo in photos])
        beyond, stylized = out_of_range(unclamped), unclamped.clamp(0, 1)
        content, style = loss(stylized, photos)
        variation = total_variation(stylized)
    total = (
        recipe.content_weight * content
        + (recipe.style_weight or 0) * style
        + recipe.tv_weight * variation
        + recipe.range_weight * beyond
    )
    return Score(
        network.name,
        content=content.item(),
        style=style.item(),
        variation=variation.item(),
        total=total.item(),
        range=None if network.is_clamped else beyond.item(),
    )


def as_table(scores: Sequence[Score]) -> str:
    """Markdown, with each total as a multiple of the first one's where that is above 0."""
    lines = ["| | content | style | variation | range | total | x first |", "|---|---|---|---|---|---|---|"]
    for each in scores:
        numbers = (each.content, each.style, each.variation, each.range, each.total)
        cells = " | ".join("-" if number is None else f"{number:.4g}" for number in numbers)
        ratio = f"{each.total / scores[0].total:.2f}" if scores[0].total else ""
        lines.append(f"| {cell(each.name)} | {cells} | {ratio} |")
    return "\n".join(lines)
