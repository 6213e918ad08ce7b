"""Content and style loss between any two of a few pictures, as seen by one feature model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from stylize_video_train.data import centre_square, read_resized
from stylize_video_train.experiments.markdown import cell
from stylize_video_train.features import FeatureError, FeatureModel
from stylize_video_train.losses import content_loss, gram_matrix, style_loss

Definition = Literal["plain", "normalised"]
"""``plain``: mean squared differences of activations, and of Gram matrices summed over the
layers. ``normalised``: the losses of this project, fractions of the column picture's energy."""

FOUR_LAYERS = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "vgg19": ("relu1_2", "relu2_2", "relu3_4", "relu4_4"),
    "resnet50": ("layer1", "layer2", "layer3", "layer4"),
    "resnet101": ("layer1", "layer2", "layer3", "layer4"),
    "squeezenet1_1": ("features.1", "features.4", "features.7", "features.12"),
}
"""Four layers of each model; content is compared at the second."""

_RESIZE, _CROP = 256, 224


@dataclass(frozen=True)
class LossMatrix:
    """Losses between pictures: ``content[i][j]`` and ``style[i][j]`` of picture i towards picture j.

    ``missing`` says why there are none; both are empty then.
    """

    features: str
    layers: tuple[str, ...]
    definition: Definition
    content: tuple[tuple[float, ...], ...] = ()
    style: tuple[tuple[float, ...], ...] = ()
    missing: str = ""


def read_for_matrix(paths: Sequence[Path]) -> Tensor:
    """Pictures as ``[N, 3, 224, 224]``: short side 256, the middle square of 224.

    Raises:
        DataError: a picture is missing or cannot be read.
    """
    return torch.cat([centre_square(read_resized(path, _RESIZE), _CROP) for path in paths])


def labels(paths: Sequence[Path]) -> list[str]:
    """What to call the pictures: their names without folder and ending, where these are different."""
    stems = [path.stem for path in paths]
    return [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]


def loss_matrix(
    pictures: Tensor,
    features: str,
    *,
    layers: Sequence[str] = (),
    definition: Definition = "plain",
    weights_file: Path | None = None,
) -> LossMatrix:
    """All losses between ``pictures``; weights that cannot be had leave a matrix that says so.

    Args:
        pictures: as :func:`read_for_matrix` gives them.
        features: name of the feature model.
        layers: style is compared at all of them, content at the second (or the only) one;
            by default four of the model.
        definition: how differences are measured.
        weights_file: state dict of the feature model.
    """
    chosen = tuple(layers or FOUR_LAYERS.get(features, ()))
    try:
        model = FeatureModel(features, chosen, weights_file=weights_file)
    except FeatureError as error:
        return LossMatrix(features, chosen, definition, missing=str(error))
    with torch.no_grad():
        activations = model(pictures)
    content_at = activations[chosen[min(1, len(chosen) - 1)]]
    grams = [gram_matrix(activations[layer]) for layer in chosen]
    count = range(len(pictures))
    content = tuple(tuple(_content(content_at[i], content_at[j], definition) for j in count) for i in count)
    style = tuple(
        tuple(sum(_style(gram[i], gram[j], definition) for gram in grams) for j in count) for i in count
    )
    if definition == "normalised":
        style = tuple(tuple(value / len(grams) for value in row) for row in style)
    return LossMatrix(features, chosen, definition, content, style)


def _content(a: Tensor, b: Tensor, definition: Definition) -> float:
    return ((a - b).square().mean() if definition == "plain" else content_loss(a, b)).item()


def _style(a: Tensor, b: Tensor, definition: Definition) -> float:
    return ((a - b).square().mean() if definition == "plain" else style_loss(a[None], b)).item()


def as_markdown(matrix: LossMatrix, names: Sequence[str]) -> str:
    """The matrix as a table with cells ``content, style``."""
    title = (
        f"**{cell(matrix.features)}**, {matrix.definition} losses, layers {cell(', '.join(matrix.layers))}"
    )
    if matrix.missing:
        return f"{title}: not measured, {cell(matrix.missing)}\n"
    shown = [cell(name) for name in names]
    lines = [title, "", "| | " + " | ".join(shown) + " |", "|---" * (len(names) + 1) + "|"]
    for name, content, style in zip(shown, matrix.content, matrix.style, strict=True):
        cells = (f"{c:.4g}, {s:.3g}" for c, s in zip(content, style, strict=True))
        lines.append(f"| **{name}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
