"""The loss of a training, and how much of it is style."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from stylize_video.errors import first_line
from stylize_video_train.data import ContentFolder, read_picture, resize_short_side
from stylize_video_train.errors import TrainingError
from stylize_video_train.features import FeatureModel
from stylize_video_train.losses import PerceptualLoss
from stylize_video_train.precision import feature_precision
from stylize_video_train.recipe import Recipe

_CALIBRATION_PICTURES = 8
_LEAST_DISTANCE = 0.05


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
    distance = _without_trace(loss, crops, recipe, device)[1].item()
    # A picture whose style is that of a photo already must not get a boundless weight.
    return float(f"{recipe.style_balance / max(distance, _LEAST_DISTANCE):.4g}")


def perceptual_loss(
    recipe: Recipe,
    style_picture: Path,
    *,
    weights_file: Path | None = None,
    random_features: bool = False,
    device: str = "cpu",
) -> PerceptualLoss:
    """The loss that a resolved ``recipe`` describes, against one style picture.

    Raises:
        StylizeError: the picture or the feature model cannot be used.
    """
    picture = resize_short_side(read_picture(style_picture), recipe.style_size)
    torch.manual_seed(recipe.seed)
    model = FeatureModel(
        recipe.features,
        (*recipe.style_layers, recipe.content_layer),
        weights_file=weights_file,
        random_weights=random_features,
    )
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
    ).to(device)


@contextmanager
def too_small_as_sentence(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainingError(
            f"{recipe.features} cannot compare pictures at {', '.join(recipe.style_layers)}"
            f" ({first_line(error)}): raise --image-size, --style-size, --style-scales or --window,"
            " or choose other layers"
        ) from error


def try_out(loss: PerceptualLoss, recipe: Recipe, device: str) -> None:
    """Run a loss once, as it will be run, and leave it as it was."""
    grey = torch.full((1, 3, recipe.image_size, recipe.image_size), 0.5, device=device)
    _without_trace(loss, grey, recipe, device)


def _without_trace(
    loss: PerceptualLoss, pictures: Tensor, recipe: Recipe, device: str
) -> tuple[Tensor, Tensor]:
    """What ``pictures`` cost against themselves, (content, style), without a memory of it in the pools."""
    pools = {name: value.clone() for name, value in loss.pools.state_dict().items()}
    with torch.no_grad(), feature_precision(recipe.precision, device):
        place = torch.Generator().manual_seed(recipe.seed)
        content, style = loss(pictures, pictures, place)
    loss.pools.load_state_dict(pools)
    return content, style
