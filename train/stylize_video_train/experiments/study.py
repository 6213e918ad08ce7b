"""The trainings behind the answers: what each varies, and how their results are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from stylize_video_train.calibration import perceptual_loss
from stylize_video_train.checkpoint import load_checkpoint
from stylize_video_train.data import ContentFolder
from stylize_video_train.errors import TrainingDivergedError
from stylize_video_train.features import FeatureError
from stylize_video_train.losses import PerceptualLoss
from stylize_video_train.networks import StyleNetwork
from stylize_video_train.progress import Progress
from stylize_video_train.recipe import BEFORE_CHOICES, NO_START, NetworkConfig, Recipe
from stylize_video_train.trainer import train

Weights = Mapping[str, Path]
"""Files with the state dicts of feature models, by name; others are downloaded."""


@dataclass(frozen=True)
class Run:
    """One training and the questions it helps to answer."""

    name: str
    recipe: Recipe
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What came of a run; without a network, ``missing`` says why.

    ``content`` and ``style`` are the losses on photos never trained on, for every yardstick.
    """

    run: Run
    network: StyleNetwork | None = None
    style_weight: float = 0.0
    seconds: float = 0.0
    content: Mapping[str, float] = field(default_factory=dict)
    style: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Size:
    """How large the trainings are: N steps, those of the results table N and 2N."""

    steps: int
    image_size: int
    style_size: int
    batch: int
    network: NetworkConfig


SIZES: dict[str, Size] = {
    "small": Size(200, 96, 160, 4, NetworkConfig(width=32, blocks=4)),
    "full": Size(5000, 256, 384, 8, NetworkConfig()),
}

LAYER_SETS = {
    "J": ("relu1_2", "relu2_2", "relu3_2"),
    "relu1_2": ("relu1_2",),
    "relu2_2": ("relu2_2",),
    "relu3_2": ("relu3_2",),
    "relu1_2 + relu2_2": ("relu1_2", "relu2_2"),
    "relu2_2 + relu3_2": ("relu2_2", "relu3_2"),
}
LAYER_WEIGHTS = {"4 : 2 : 1": (4.0, 2.0, 1.0), "1 : 2 : 4": (1.0, 2.0, 4.0)}
OTHER_MODELS = ("squeezenet1_1", "vgg16", "resnet101")
TRANSFORMER_WIDTHS = (8, 16, 32)
YARDSTICKS = ("vgg19", "squeezenet1_1")
MEASURED_PHOTOS = 12
# As in BEFORE_CHOICES, what the committed results were made with; their network was another one.
STYLE_BALANCE = 2.3
STEADINESS_WEIGHT = 20.0


def plan(size: Size, *, seed: int = 0) -> list[Run]:
    """All trainings; each differs from an earlier one in one thing."""
    base = replace(
        Recipe(**BEFORE_CHOICES),
        network=size.network,
        features="vgg19",
        steps=size.steps,
        batch=size.batch,
        image_size=size.image_size,
        style_size=size.style_size,
        style_balance=STYLE_BALANCE,
        steadiness_weight=STEADINESS_WEIGHT,
        content_scale=1.0,
        window=1.0,
        start=NO_START,  # a network that had seen one model's style would answer for that model
        seed=seed,
    )
    runs = [
        Run("vgg19 J, N steps", base, ("steps", "features", "layers", "weights", "network")),
        Run("vgg19 J, 2N steps", replace(base, steps=2 * size.steps), ("steps",)),
    ]
    for model in OTHER_MODELS:
        runs.append(Run(f"{model} J, N steps", replace(base, features=model), ("features",)))
    for name, layers in LAYER_SETS.items():
        if layers != LAYER_SETS["J"]:
            questions = ("layers", "features") if name == "relu1_2 + relu2_2" else ("layers",)
            runs.append(Run(f"only {name}", replace(base, style_layers=layers), questions))
    # Two models at the very same layers: the purest comparison there is.
    shallow = replace(base, features="vgg16", style_layers=LAYER_SETS["relu1_2 + relu2_2"])
    runs.append(Run("vgg16 relu1_2 + relu2_2", shallow, ("features",)))
    for name, weights in LAYER_WEIGHTS.items():
        runs.append(Run(f"weights {name}", replace(base, layer_weights=weights), ("weights",)))
    for width in TRANSFORMER_WIDTHS:
        config = NetworkConfig(kind="transformer", width=width, blocks=size.network.blocks)
        runs.append(Run(f"transformer {width}", replace(base, network=config), ("network",)))
    return runs


def train_run(
    run: Run,
    *,
    style_picture: Path,
    content: Path,
    folder: Path,
    weights: Weights,
    device: str = "cpu",
    random_features: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Train a run, or take up its checkpoint in ``folder`` where that was left; not measured yet.

    Feature models without weights, and trainings that diverge, give a result that says so: they are
    answers too, and no reason to lose those of the other runs.
    """
    output = folder / f"{slug(run.name)}.pth"
    started = time.perf_counter()
    try:
        checkpoint = train(
            run.recipe,
            style_picture=style_picture,
            content=content,
            output=output,
            weights_file=weights.get(run.recipe.features),
            device=device,
            resume=output.exists(),
            random_features=random_features,
            on_progress=on_progress,
        )
    except (FeatureError, TrainingDivergedError) as error:
        return Result(run, missing=str(error))
    network = load_checkpoint(output).build() if output.exists() else checkpoint.build()
    style_weight = float(checkpoint.recipe["style_weight"])
    return Result(run, network, style_weight, time.perf_counter() - started)


def yardsticks(
    style_picture: Path, size: Size, *, weights: Weights, random_features: bool = False
) -> dict[str, PerceptualLoss]:
    """Losses to measure every run with, whatever it was trained on; models without weights are left out."""
    found = {}
    for name in YARDSTICKS:
        recipe = Recipe(
            features=name,
            style_size=size.style_size,
            style_statistics="gram",
            style_memory=0.0,
            content_scale=1.0,
            window=1.0,
        ).resolved()
        try:
            found[name] = perceptual_loss(
                recipe, style_picture, weights_file=weights.get(name), random_features=random_features
            )
        except FeatureError:
            continue
    return found


def measure(result: Result, yardsticks: Mapping[str, PerceptualLoss], photos: Tensor) -> Result:
    """``result`` with its losses on ``photos`` by every yardstick."""
    if result.network is None:
        return result
    with torch.no_grad():
        stylized = result.network.eval()(photos).clamp(0, 1)
        pairs = {}
        for name, loss in yardsticks.items():
            loss.forget()  # the network measured before
            pairs[name] = loss(stylized, photos)
    return replace(
        result,
        content={name: content.item() for name, (content, _) in pairs.items()},
        style={name: style.item() for name, (_, style) in pairs.items()},
    )


def measured_photos(folder: Path, size: Size) -> Tensor:
    """``[N, 3, S, S]`` crops of photos that no run has seen."""
    photos = ContentFolder(folder, size=2 * size.image_size, seed=1)
    return torch.stack([photos[k] for k in range(MEASURED_PHOTOS)])


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's correlation of values without ties: 1 where both put things in the same order."""
    ranks = [torch.tensor(values).argsort().argsort().double() for values in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def slug(name: str) -> str:
    """A file name for a run."""
    return "-".join("".join(c if c.isalnum() or c in "._" else " " for c in name).split())
