"""The training loop: one style picture, a folder of photos, one network."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stylize_video.errors import StylizeError
from stylize_video_train.checkpoint import Checkpoint
from stylize_video_train.data import ContentFolder, read_picture, resize_short_side
from stylize_video_train.features import FeatureModel
from stylize_video_train.losses import PerceptualLoss, total_variation
from stylize_video_train.motion import MAX_SHIFT, ShiftedPair
from stylize_video_train.networks import StyleNetwork, build_network
from stylize_video_train.recipe import Recipe


class TrainingError(StylizeError):
    """A training cannot start or go on."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands; losses are those of the latest step, unweighted."""

    step: int
    steps: int
    content: float
    style: float
    steadiness: float
    total: float
    seconds: float


WARM_UP_STEPS = 50
GRADIENT_CLIP = 1.0
CHECKPOINT_EVERY = 200


def train(
    recipe: Recipe,
    *,
    style_picture: Path,
    content: Path,
    output: Path,
    weights_file: Path | None = None,
    random_features: bool = False,
    device: str = "cpu",
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Checkpoint:
    """Train a network on one style picture and write its checkpoint to ``output``.

    Args:
        recipe: every number of the training.
        style_picture: the painting or photo whose style is learnt.
        content: folder of pictures to learn it on.
        output: checkpoint, rewritten every few hundred steps and at the end.
        weights_file: state dict of the feature model; by default torchvision downloads it.
        random_features: use a feature model with random weights (tests only).
        device: where torch computes.
        on_progress: called after every step.

    Raises:
        StylizeError: pictures, weights or recipe cannot be used, or the loss is no
            longer finite (the last good checkpoint stays).
    """
    recipe = recipe.resolved()
    if not output.parent.is_dir():
        raise TrainingError(f"cannot write {output}: the folder {output.parent} does not exist")
    torch.manual_seed(recipe.seed)
    network = build_network(recipe.network).to(device).to(memory_format=torch.channels_last)
    loss = _perceptual_loss(recipe, style_picture, weights_file, random_features, device)
    folder = ContentFolder(content, size=recipe.image_size + MAX_SHIFT, seed=recipe.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _learning_rate(s, recipe.steps))
    style = {"name": style_picture.stem, "sha256": hashlib.sha256(style_picture.read_bytes()).hexdigest()}

    def checkpoint(step: int) -> Checkpoint:
        return Checkpoint(recipe.network, network.state_dict(), recipe.to_dict(), style, step)

    started = time.perf_counter()
    for step, pictures in enumerate(_batches(folder, recipe), start=1):
        _set_training(network, frozen_norm=step > recipe.freeze_norm_at * recipe.steps)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        pair = ShiftedPair.draw(pictures, generator)
        terms = _step_losses(
            recipe, network, None if step <= recipe.identity_share * recipe.steps else loss, pair, device
        )
        if not math.isfinite(terms["total"].item()):
            raise TrainingError(
                f"the loss is no longer a number at step {step}: lower --learning-rate"
                f" (now {recipe.learning_rate:g}); {output} keeps the last good checkpoint"
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms["total"])
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
        optimizer.step()
        scheduler.step()
        if step % CHECKPOINT_EVERY == 0 or step == recipe.steps:
            checkpoint(step).save(output)
        values = {name: value.item() for name, value in terms.items()}
        on_progress(Progress(step, recipe.steps, seconds=time.perf_counter() - started, **values))
    return checkpoint(recipe.steps)


def pick_device(name: str) -> str:
    """``auto`` becomes ``cuda`` where torch can use a GPU and ``cpu`` elsewhere.

    Raises:
        TrainingError: the device is unknown, or torch cannot use it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"torch cannot use the device {name!r}: {str(error).splitlines()[0]}") from error
    return name


def _perceptual_loss(
    recipe: Recipe, style_picture: Path, weights_file: Path | None, random_features: bool, device: str
) -> PerceptualLoss:
    model = FeatureModel(
        recipe.features,
        (*recipe.style_layers, recipe.content_layer),
        weights_file=weights_file,
        random_weights=random_features,
    )
    picture = resize_short_side(read_picture(style_picture), recipe.style_size)
    return PerceptualLoss(
        model.to(device).to(memory_format=torch.channels_last),
        picture.to(device),
        content_layer=recipe.content_layer,
        style_layers=recipe.style_layers,
        layer_weights=recipe.layer_weights or None,
        scales=recipe.style_scales,
        memory=recipe.style_memory,
    )


def _step_losses(
    recipe: Recipe, network: StyleNetwork, loss: PerceptualLoss | None, pair: ShiftedPair, device: str
) -> dict[str, Tensor]:
    """The terms of one step; without a perceptual loss the frames themselves are the target."""
    both = torch.cat([pair.first, pair.second]).to(device, memory_format=torch.channels_last)
    first, second = network(both).chunk(2)
    frames = both[: len(first)]
    if loss is None:
        difference = nn.functional.mse_loss(first, frames)
        zero = torch.zeros(())
        return {"content": difference, "style": zero, "steadiness": zero, "total": difference}
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        content, style = loss(first, frames)
    steadiness = pair.steadiness_loss(first, second)
    total = (
        recipe.content_weight * content
        + recipe.style_weight * style
        + recipe.tv_weight * total_variation(first)
        + recipe.steadiness_weight * steadiness
    )
    return {"content": content, "style": style, "steadiness": steadiness, "total": total}


def _batches(folder: ContentFolder, recipe: Recipe) -> Iterator[Tensor]:
    order = [list(range(s * recipe.batch, (s + 1) * recipe.batch)) for s in range(recipe.steps)]
    # One worker decodes ahead of the network; the order does not depend on how many there are.
    return iter(DataLoader(folder, batch_sampler=order, num_workers=1, prefetch_factor=4))


def _learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    warm_up = min(WARM_UP_STEPS, max(1, steps // 10))
    if step < warm_up:
        return (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _set_training(network: StyleNetwork, *, frozen_norm: bool) -> None:
    network.train()
    if frozen_norm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
