"""The loss of a training, and how much of it is style."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from stylize_video_train.data import ContentFolder, read_rgb, resized
from stylize_video_train.errors import TrainingError
from stylize_video_train.features import FeatureError, FeatureModel
from stylize_video_train.losses import PerceptualLoss, seen_side
from stylize_video_train.precision import feature_precision
from stylize_video_train.recipe import Recipe

_CALIBRATION_PICTURES = 8
"""Crops whose style is compared with the picture's."""

_LEAST_DISTANCE = 0.05
"""A picture whose style is that of photos already must not get a boundless weight."""


_MOST_ENLARGED = 2
"""A style picture that is enlarged more often shows interpolation in place of strokes."""

_log = logging.getLogger(__name__)


def calibrated_style_weight(
    recipe: Recipe, loss: PerceptualLoss, folder: ContentFolder, *, device: str = "cpu"
) -> float:
    """The style weight at which an untouched photo costs ``recipe.style_balance`` in style.

    Losses are fractions of the target's energy already, so most paintings end within a
    factor of three of each other; one that is much darker or plainer than photos does
    not, and with a fixed weight its style would blank the picture.
    """
    photos = folder.untouched()
    crops = torch.stack([photos[k] for k in range(_CALIBRATION_PICTURES)])
    crops = crops[..., : recipe.image_size, : recipe.image_size].to(device, memory_format=torch.channels_last)
    with torch.no_grad(), feature_precision(recipe.precision, device):
        distance = loss(crops, crops, torch.Generator().manual_seed(recipe.seed))[1].item()
    loss.forget()
    return float(f"{recipe.style_balance / max(distance, _LEAST_DISTANCE):.4g}")


def perceptual_loss(
    recipe: Recipe,
    style_picture: Path,
    *,
    weights_file: Path | None = None,
    random_features: bool = False,
    device: str = "cpu",
    side: int | None = None,
) -> PerceptualLoss:
    """The loss that a resolved ``recipe`` describes, against one style picture.

    ``side`` is that of the frames, in pixels, as for :class:`PerceptualLoss`.

    Raises:
        TrainingError: the picture or the crops are too small for the layers.
        StylizeError: the picture or the feature model cannot be used.
    """
    pixels = read_rgb(style_picture)
    enlarged = recipe.style_size / min(pixels.shape[:2])
    if enlarged > _MOST_ENLARGED:
        _log.warning(
            "%s is small: enlarged %.1f times to --style-size %d, it has no fine strokes",
            *(style_picture, enlarged, recipe.style_size),
        )
    picture = resized(pixels, recipe.style_size)
    torch.manual_seed(recipe.seed)
    model = FeatureModel(
        recipe.features,
        (*recipe.style_layers, recipe.content_layer),
        weights_file=weights_file,
        random_weights=random_features,
    )
    _check_sizes(model, recipe, picture)
    return PerceptualLoss(
        model.to(device).to(memory_format=torch.channels_last),
        picture.to(device),
        content_layer=recipe.content_layer,
        style_layers=recipe.style_layers,
        layer_weights=recipe.layer_weights or None,
        scales=recipe.style_scales,
        content_scale=recipe.content_scale,
        window=recipe.window,
        memory=recipe.style_memory,
        statistics=recipe.style_statistics,
        side=side,
    ).to(device)


def _check_sizes(model: FeatureModel, recipe: Recipe, picture: Tensor) -> None:
    """Raise TrainingError where style cannot be compared at a layer, for want of pixels or of places."""
    for index, scale in enumerate(recipe.style_scales):
        crop = seen_side(recipe.image_size, window=recipe.window, is_first=index == 0)
        for sides in ((crop, crop), picture.shape[-2:]):
            height, width = (int(side * scale) for side in sides)
            try:
                shapes = model.shapes(height, width)
                for layer in recipe.style_layers:
                    if len(shapes[layer]) != 4 or not all(shapes[layer]):
                        raise FeatureError(f"of {width}x{height} pixels {layer} is no map of features")
            except FeatureError as error:
                raise TrainingError(
                    f"{recipe.features} cannot compare pictures at {', '.join(recipe.style_layers)}"
                    f" ({error}): raise --image-size, --style-size, --style-scales or --window,"
                    " or choose other layers"
                ) from error
