"""Trained networks against each other: what each one costs on photos that none has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylize_video_train.checkpoint import CheckpointError, load_checkpoint
from stylize_video_train.data import ContentFolder, read_picture, resize_short_side
from stylize_video_train.experiments.markdown import cell
from stylize_video_train.losses import PerceptualLoss, total_variation
from stylize_video_train.recipe import Recipe
from stylize_video_train.teacher import Teacher
from stylize_video_train.trainer import perceptual_loss


@dataclass(frozen=True)
class Score:
    """The losses of one network, and their weighted sum ``total``."""

    name: str
    content: float
    style: float
    variation: float
    total: float


def unseen_photos(folder: Path, *, size: int, most: int) -> Tensor:
    """The middles ``[N, 3, size, size]`` of the first photos in ``folder``.

    Raises:
        DataError: there are none.
    """
    paths = ContentFolder(folder, size=size).paths[:most]
    return torch.cat([_middle(resize_short_side(read_picture(path), size)) for path in paths])


def score(
    networks: Sequence[str | Path],
    style_picture: Path,
    photos: Tensor,
    *,
    weights_file: Path | None = None,
    random_features: bool = False,
) -> list[Score]:
    """Measure checkpoints, style files and bundled styles by the losses that the first was trained with.

    Style is pooled over all photos where it was in training; the whole of each photo counts.
    What a style file makes of them is rounded to 8 bits.

    Raises:
        StylizeError: a file, the picture or the feature model cannot be used.
    """
    rivals = [_rival(network) for network in networks]
    if not rivals[0].recipe:
        raise CheckpointError(f"{networks[0]} does not say how it was trained; name another one first")
    trained = Recipe.from_dict(rivals[0].recipe)
    # Nothing may be remembered of the network measured before.
    memory = None if trained.style_memory is None else 0.0
    recipe = replace(trained, window=1.0, style_memory=memory)
    loss = perceptual_loss(recipe, style_picture, weights_file=weights_file, random_features=random_features)
    return [_score(rival, recipe, loss, photos) for rival in rivals]


@dataclass(frozen=True)
class _Rival:
    """A network as a function of pictures ``[N, 3, H, W]`` in 0..1, and how it was trained."""

    name: str
    network: Callable[[Tensor], Tensor]
    recipe: Mapping[str, Any]


def _rival(network: str | Path) -> _Rival:
    path = Path(network)
    if path.suffix.lower() == ".onnx" or not (path.suffix or path.is_file()):  # the latter a bundled name
        style = Teacher(str(network))
        return _Rival(path.name, style, style.recipe)
    checkpoint = load_checkpoint(path)
    return _Rival(path.stem, checkpoint.build().eval(), checkpoint.recipe)


def _score(rival: _Rival, recipe: Recipe, loss: PerceptualLoss, photos: Tensor) -> Score:
    with torch.no_grad():
        stylized = torch.cat([rival.network(photo[None]).clamp(0, 1) for photo in photos])
        content, style = loss(stylized, photos)
        variation = total_variation(stylized)
    total = (
        recipe.content_weight * content + (recipe.style_weight or 0) * style + recipe.tv_weight * variation
    )
    return Score(rival.name, content.item(), style.item(), variation.item(), total.item())


def as_table(scores: Sequence[Score]) -> str:
    """Markdown, with each total as a multiple of the first one's."""
    lines = ["| | content | style | variation | total | x first |", "|---|---|---|---|---|---|"]
    for each in scores:
        numbers = (each.content, each.style, each.variation, each.total)
        cells = " | ".join(f"{number:.4g}" for number in numbers)
        lines.append(f"| {cell(each.name)} | {cells} | {each.total / scores[0].total:.2f} |")
    return "\n".join(lines)


def _middle(picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[..., top : top + side, left : left + side]
