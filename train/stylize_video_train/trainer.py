"""The training loop: one style picture, a folder of photos, one network."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from stylize_video.errors import StylizeError, first_line
from stylize_video_train.checkpoint import Checkpoint, load_checkpoint
from stylize_video_train.data import ContentFolder, DataError, read_picture, resize_short_side
from stylize_video_train.features import FeatureModel
from stylize_video_train.losses import PerceptualLoss, total_variation
from stylize_video_train.motion import MAX_SHIFT, MovingPair
from stylize_video_train.networks import StyleNetwork, build_network
from stylize_video_train.optimizer import NetworkOptimizer
from stylize_video_train.parallel import average_gradients, process_count, process_index
from stylize_video_train.precision import effective_precision, feature_precision
from stylize_video_train.preview import Preview
from stylize_video_train.recipe import BUNDLED_START, NO_START, Recipe
from stylize_video_train.report import TrainingReport, tensorboard_writer
from stylize_video_train.teacher import Teacher


class TrainingError(StylizeError):
    """A training cannot start or go on."""


class TrainingDivergedError(TrainingError):
    """The loss is no longer finite, or has grown beyond all sense."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C; the checkpoint holds everything up to ``step``."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step


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


LOSS_NAMES = ("content", "style", "steadiness", "total")
WARM_UP_STEPS = 50
GRADIENT_CLIP = 1.0
CHECKPOINT_EVERY = 200
PREVIEWS = 8
HELD_OUT = 4

_CALIBRATION_PICTURES = 8
_LEAST_DISTANCE = 0.05
_DIVERGED = 100.0


def train(
    recipe: Recipe,
    *,
    style_picture: Path,
    content: Path,
    output: Path,
    weights_file: Path | None = None,
    random_features: bool = False,
    device: str = "cpu",
    resume: bool = False,
    report: bool = False,
    tensorboard: Path | None = None,
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
        resume: go on from the unfinished checkpoint at ``output``; on a CPU the result is,
            bit for bit, that of a training never interrupted.
        report: write ``.preview.png`` during, and ``.report.html`` after the training,
            both named like ``output``.
        tensorboard: folder for TensorBoard's curves and previews.
        on_progress: called after every step.

    Raises:
        TrainingDivergedError: the loss is no longer finite; the last good checkpoint stays.
        StylizeError: pictures, weights or recipe cannot be used.
        TrainingInterrupted: Ctrl-C; the checkpoint is up to date.
    """
    if not output.parent.is_dir():
        raise TrainingError(f"cannot write {output}: the folder {output.parent} does not exist")
    earlier = load_checkpoint(output) if resume else None
    style = _describe(style_picture)
    if earlier is not None and earlier.style.get("sha256") != style["sha256"]:
        raise TrainingError(f"{output} was begun on another style picture")
    recipe = recipe.resolved() if earlier is None else _resumed_recipe(recipe, earlier, output)
    recipe = replace(recipe, precision=effective_precision(recipe.precision, device))
    if earlier is not None and earlier.step >= recipe.steps:
        return earlier
    folder = ContentFolder(
        content,
        size=recipe.image_size + MAX_SHIFT,
        seed=recipe.seed,
        zoom=recipe.zoom,
        contrast=recipe.contrast,
        brightness=recipe.brightness,
        hold_out=HELD_OUT,
    )
    with _too_small_as_sentence(recipe):
        loss = perceptual_loss(
            recipe, style_picture, weights_file=weights_file, random_features=random_features, device=device
        )
        _try_out(loss, recipe, device)
    if recipe.style_weight is None:
        recipe = replace(recipe, style_weight=calibrated_style_weight(recipe, loss, folder, device=device))
    training = _Training(recipe, loss, device, style=style, data=folder.fingerprint())
    preview = Preview(folder.held_out or folder.paths[:HELD_OUT], unseen=bool(folder.held_out))
    if earlier is None:
        training.begin()
    else:
        training.restore(earlier, output)
        preview.restore(earlier.state["preview"])
    writes = process_index() == 0
    reporter = TrainingReport(output, style_picture) if report and writes else None
    with (
        _stop_on_interrupt() as stop,
        tensorboard_writer(tensorboard if writes else None) as board,
        # Closed here: workers that are left to the garbage collector keep it waiting for five seconds each.
        closing(_batches(folder, recipe, done=training.done, device=device)) as batches,
    ):
        while training.done < recipe.steps:
            try:
                parts = next(batches)
            except DataError as error:
                if writes and training.done > training.saved:
                    training.checkpoint(preview).save(output)
                error.__traceback__ = None  # its frames hold the workers
                # Behind the name of the class a worker's error is what it was.
                raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
            progress = training.step(parts)
            on_progress(progress)
            stopping, finished = _any_process(stop.is_set(), device), training.done == recipe.steps
            if _preview_due(training.done, recipe.steps):
                preview.add(training.done, training.result, device)
                if reporter:
                    reporter.write_preview(preview)
                board.preview(training.done, preview)
            board.losses(progress)
            if reporter and finished:  # before the checkpoint, which keeps nothing to write it by
                reporter.write(
                    recipe, training.history, preview, seconds=training.seconds, skipped=folder.skipped
                )
            if writes and (stopping or finished or training.done % CHECKPOINT_EVERY == 0):
                training.checkpoint(None if finished else preview).save(output)
            if stopping and not finished:
                raise TrainingInterrupted(training.done)
    return training.checkpoint(None)


class _Training:
    """Network, optimizer and losses between two steps."""

    def __init__(
        self, recipe: Recipe, loss: PerceptualLoss, device: str, *, style: dict[str, str], data: str
    ) -> None:
        self.recipe, self.loss, self.device = recipe, loss, device
        self.style, self.data = style, data
        torch.manual_seed(recipe.seed)
        self.network = build_network(recipe.network).to(device).to(memory_format=torch.channels_last)
        self._teacher = Teacher(recipe.teacher) if recipe.teacher else None
        self.optimizer = NetworkOptimizer(self.network, recipe.optimizer)
        self._averaged = AveragedModel(self.network, multi_avg_fn=self._move_average)
        self.done = 0
        self.saved = 0
        self.history: list[tuple[float, ...]] = []
        """A row of :data:`LOSS_NAMES` for every step."""
        self._seconds_before = 0.0
        self._started = time.perf_counter()

    @property
    def result(self) -> StyleNetwork:
        """The network that comes out: with the moving average of the weights."""
        return cast(StyleNetwork, self._averaged.module)

    @property
    def seconds(self) -> float:
        """Time spent training, earlier runs included."""
        return self._seconds_before + time.perf_counter() - self._started

    def begin(self) -> None:
        """Take the weights to start from."""
        if self.recipe.start != NO_START:
            start = read_start(self.recipe)
            self.network.load_state_dict(dict(start.weights))
            self.style = {**self.style, "start_sha256": start.weights_sha256()}
        self._averaged.update_parameters(self.network)  # the first time copies

    def step(self, parts: Sequence[Tensor]) -> Progress:
        """Take one optimizer step on a batch, given in equal parts."""
        recipe, step = self.recipe, self.done + 1
        _set_training(self.network, frozen_norm=step > recipe.freeze_norm_at * recipe.steps)
        self.network.zero_grad(set_to_none=True)
        sums = torch.zeros(len(LOSS_NAMES), device=self.device)
        for index, pictures in enumerate(parts):
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
            pair = self._pair(generator, index, pictures)
            terms = self._losses(pair, generator, learn_style=step > identity_steps(recipe))
            torch.autograd.backward(terms["total"] / len(parts))
            sums += torch.stack([terms[name].detach().to(self.device) for name in LOSS_NAMES]) / len(parts)
        average_gradients(self.network.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_CLIP)
        values = _mean_of_processes(torch.cat([sums, norm.detach().reshape(1)])).tolist()
        self._check(step, values)
        factor = learning_rate_factor(self.done, recipe)
        self.optimizer.step(factor * recipe.learning_rate, factor * recipe.muon_learning_rate)
        self._averaged.update_parameters(self.network)
        self.done = step
        self.history.append(tuple(values[: len(LOSS_NAMES)]))
        return Progress(
            step, recipe.steps, **dict(zip(LOSS_NAMES, values, strict=False)), seconds=self.seconds
        )

    def _move_average(self, averages: Any, weights: Any, count: Any) -> None:
        young = (1 + self.done) / (10 + self.done)
        kept = min(self.recipe.ema_decay, young)
        get_ema_multi_avg_fn(kept)(averages, weights, count)  # type: ignore[no-untyped-call]

    def _pair(self, generator: torch.Generator, part: int, pictures: Tensor) -> MovingPair:
        first = (part * process_count() + process_index()) * len(pictures)
        recipe = self.recipe
        return MovingPair.draw(
            pictures.to(self.device),
            generator,
            noise=recipe.noise,
            grain=recipe.grain,
            share=(first, recipe.batch),
        )

    def _losses(
        self, pair: MovingPair, generator: torch.Generator, *, learn_style: bool
    ) -> dict[str, Tensor]:
        """The terms of one step; without style the frames themselves are the target."""
        recipe = self.recipe
        if not learn_style:
            frames = pair.first.to(self.device, memory_format=torch.channels_last)
            target = frames if self._teacher is None else self._teacher(frames)
            difference = nn.functional.mse_loss(self.network(frames), target)
            zero = torch.zeros(())
            return {"content": difference, "style": zero, "steadiness": zero, "total": difference}
        # A second look that counts nothing would cost as much of the network as the first.
        looks = [pair.first, pair.second] if recipe.steadiness_weight else [pair.first]
        frames = torch.cat(looks).to(self.device, memory_format=torch.channels_last)
        first, *moved = self.network(frames).split(len(pair.first))
        with feature_precision(recipe.precision, self.device):
            content, style = self.loss(first, frames[: len(first)], generator)
        steadiness = pair.steadiness_loss(first, moved[0]) if moved else first.new_zeros(())
        total = (
            recipe.content_weight * content
            + (recipe.style_weight or 0) * style
            + recipe.tv_weight * total_variation(first)
            + recipe.steadiness_weight * steadiness
        )
        return {"content": content, "style": style, "steadiness": steadiness, "total": total}

    def _check(self, step: int, values: Sequence[float]) -> None:
        if all(math.isfinite(value) for value in values) and values[0] < _DIVERGED:
            return
        kept = (
            f"the checkpoint keeps the {self.saved} steps before" if self.saved else "nothing was saved yet"
        )
        rates = f"--learning-rate (now {self.recipe.learning_rate:g})"
        if self.recipe.optimizer == "muon":
            rates += f" and --muon-learning-rate (now {self.recipe.muon_learning_rate:g})"
        raise TrainingDivergedError(f"the training diverged at step {step}: lower {rates}; {kept}")

    def checkpoint(self, preview: Preview | None) -> Checkpoint:
        """The training so far; with a preview, all that is needed to go on from here."""
        self.saved = self.done
        state: dict[str, Any] = {}
        if preview is not None:
            state = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "pools": self.loss.pools.state_dict(),
                "history": torch.tensor(self.history, dtype=torch.float64),
                "preview": preview.state(),
                "seconds": self.seconds,
                "data": self.data,
            }
        weights = self.result.state_dict()
        return Checkpoint(self.recipe.network, weights, self.recipe.to_dict(), self.style, self.done, state)

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Go back to where ``checkpoint`` was written.

        Raises:
            TrainingError: it belongs to other pictures, or holds no unfinished training.
        """
        state = checkpoint.state
        if not state:
            raise TrainingError(f"{path} holds weights but no unfinished training")
        if state["data"] != self.data:
            raise TrainingError(f"{path} was begun on other photos: the folder has changed since")
        # Before there was an average, the weights were the network's own.
        self.network.load_state_dict(state.get("network", dict(checkpoint.weights)))
        self._averaged.update_parameters(self.network)  # counts as the first time
        self.result.load_state_dict(dict(checkpoint.weights))
        self.style = dict(checkpoint.style)
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss.pools.load_state_dict(state["pools"])
        self.history = [tuple(row) for row in state["history"].tolist()]
        self._seconds_before = state["seconds"]
        self.done = self.saved = checkpoint.step


def read_start(recipe: Recipe) -> Checkpoint:
    """The checkpoint that a resolved ``recipe`` starts from.

    Raises:
        TrainingError: it holds another network.
        CheckpointError: it cannot be read.
    """
    bundled = Path(str(files("stylize_video_train") / "start.pth"))
    path = bundled if recipe.start == BUNDLED_START else Path(recipe.start)
    start = load_checkpoint(path)
    if start.network != recipe.network:
        raise TrainingError(
            f"{path} holds another network ({start.network}), not {recipe.network}: pass --start none"
        )
    return start


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
def _too_small_as_sentence(recipe: Recipe) -> Iterator[None]:
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


def _try_out(loss: PerceptualLoss, recipe: Recipe, device: str) -> None:
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


def learning_rate_factor(done: int, recipe: Recipe) -> float:
    """What the learning rate is multiplied with after ``done`` steps: warm-up, then the schedule."""
    warm_up = min(WARM_UP_STEPS, max(1, recipe.steps // 10))
    if done < warm_up:
        return (done + 1) / warm_up
    if recipe.schedule == "constant":
        return 1.0
    progress = (done - warm_up) / max(1, recipe.steps - warm_up)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def pick_device(name: str) -> str:
    """``auto`` becomes ``cuda`` where torch can use a GPU and ``cpu`` elsewhere.

    Raises:
        TrainingError: the device is unknown, or torch cannot use it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.empty(0, device=name).device.type
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"torch cannot use the device {name!r}: {first_line(error)}") from error
    if kind == "meta":
        raise TrainingError("the device 'meta' computes nothing: take cpu or cuda")
    return name


def identity_steps(recipe: Recipe) -> int:
    """How many steps at the start teach the network to give its input back."""
    return math.floor((recipe.identity_share or 0) * recipe.steps)


def is_result_of(checkpoint: Checkpoint, recipe: Recipe, style_picture: Path) -> bool:
    """Whether a finished ``checkpoint`` is what ``recipe`` makes of ``style_picture``, on whatever photos."""
    begun = Recipe.from_dict(checkpoint.recipe)
    start = None if begun.start == NO_START else read_start(begun).weights_sha256()
    return (
        checkpoint.step >= begun.steps
        and checkpoint.style.get("start_sha256") == start
        and checkpoint.style.get("sha256") == _describe(style_picture)["sha256"]
        and not _other_values(recipe, begun)
    )


def _resumed_recipe(recipe: Recipe, checkpoint: Checkpoint, path: Path) -> Recipe:
    """The checkpoint's own recipe, if ``recipe`` says nothing else."""
    begun = Recipe.from_dict(checkpoint.recipe)
    for name, value in _other_values(recipe, begun):
        raise TrainingError(
            f"{path} was begun with {name} {getattr(begun, name)}, not {value};"
            " a resumed training keeps its recipe"
        )
    return begun


def _other_values(recipe: Recipe, begun: Recipe) -> list[tuple[str, Any]]:
    """What ``recipe`` says otherwise than ``begun``, whose own choices it may leave open."""
    given = recipe.resolved()
    if given.style_weight is None:
        given = replace(given, style_weight=begun.style_weight)
    if given.precision == "auto":
        given = replace(given, precision=begun.precision)
    values = ((field.name, getattr(given, field.name)) for field in fields(Recipe))
    return [(name, value) for name, value in values if value != getattr(begun, name)]


def _describe(style_picture: Path) -> dict[str, str]:
    return {"name": style_picture.stem, "sha256": hashlib.sha256(style_picture.read_bytes()).hexdigest()}


def _batches(
    folder: ContentFolder, recipe: Recipe, *, done: int, device: str
) -> Generator[Sequence[Tensor], None, None]:
    """This process's share of every batch from the one after ``done`` steps, in parts."""
    pieces = recipe.accumulate * process_count()
    if recipe.batch % pieces:
        raise TrainingError(
            f"a batch of {recipe.batch} cannot be shared equally: {process_count()} processes,"
            f" {recipe.accumulate} parts"
        )
    size = recipe.batch // pieces
    order = [
        list(range(start, start + size))
        for step in range(done, recipe.steps)
        for part in range(recipe.accumulate)
        for start in [step * recipe.batch + (part * process_count() + process_index()) * size]
    ]
    # Workers decode ahead of the network; the order does not depend on how many there are.
    workers = 1 if device == "cpu" else min(8, os.cpu_count() or 1)
    loader = DataLoader(
        folder,
        batch_sampler=order,
        num_workers=workers,
        prefetch_factor=4,
        worker_init_fn=_ignore_interrupt,
    )
    iterator = iter(loader)
    for _ in range(done, recipe.steps):
        yield [next(iterator) for _ in range(recipe.accumulate)]


def _ignore_interrupt(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; the loop alone decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """The event is set by a first Ctrl-C, so that the step ends; a second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _mean_of_processes(values: Tensor) -> Tensor:
    if process_count() > 1:
        torch.distributed.all_reduce(values)
    return values / process_count()


def _any_process(flag: bool, device: str) -> bool:
    """Whether any process says so: all have to stop at the same step."""
    if process_count() == 1:
        return flag
    return bool(_mean_of_processes(torch.tensor(float(flag), device=device)).item() > 0)


def _preview_due(done: int, steps: int) -> bool:
    return done in {math.ceil(steps * k / PREVIEWS) for k in range(1, PREVIEWS + 1)}


def _set_training(network: StyleNetwork, *, frozen_norm: bool) -> None:
    network.train()
    if frozen_norm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
