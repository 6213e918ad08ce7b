"""A training between two steps: what a step changes, and what is kept of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stylize_video.errors import first_line
from stylize_video_train.checkpoint import Checkpoint, load_checkpoint
from stylize_video_train.data import ContentFolder
from stylize_video_train.errors import TrainingDivergedError, TrainingError
from stylize_video_train.losses import PerceptualLoss, out_of_range, total_variation
from stylize_video_train.motion import MovingPair
from stylize_video_train.networks import StyleNetwork, build_network
from stylize_video_train.optimizer import NetworkOptimizer
from stylize_video_train.parallel import average_gradients, averaged, process_count, process_index
from stylize_video_train.precision import feature_precision
from stylize_video_train.preview import Preview
from stylize_video_train.progress import LOSS_NAMES, Progress
from stylize_video_train.recipe import BUNDLED_START, NO_START, Recipe
from stylize_video_train.schedule import identity_steps, learning_rate_factor
from stylize_video_train.teacher import Teacher

GRADIENT_CLIP = 1.0
"""Longest gradient of a step."""

_DIVERGED = 100.0
"""A content loss beyond, in photos lost, comes to nothing any more."""

_SEEDS_APART = 1_000_003
"""A prime: trainings whose seeds are neighbours share no step's randomness."""


class TrainingState:
    """Network, optimizer and losses between two steps."""

    def __init__(
        self,
        recipe: Recipe,
        loss: PerceptualLoss,
        folder: ContentFolder,
        device: str,
        *,
        style: dict[str, str],
    ) -> None:
        self.recipe, self.loss, self.device = recipe, loss, device
        self.style, self.photos, self.data = style, len(folder), folder.fingerprint()
        torch.manual_seed(recipe.seed)
        self.network = build_network(recipe.network).to(device).to(memory_format=torch.channels_last)
        self._teacher: Teacher | None = None
        self.optimizer = NetworkOptimizer(self.network, recipe.optimizer)
        # With running statistics as they are: their average lags so far behind that it fits worse.
        self._averaged = AveragedModel(self.network, multi_avg_fn=self._move_average)
        self.done = 0
        self.is_whole = True
        """Whether weights and optimizer are those after ``done`` steps: not while a step moves them."""
        self.saved = 0
        """The steps that a checkpoint was written after; kept by whoever writes it."""
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
        """Take the weights to start from, and the teacher of the first steps."""
        if self.recipe.start != NO_START:
            start = read_start(self.recipe)
            self.network.load_state_dict(dict(start.weights))
            self.style = {**self.style, "start_sha256": start.weights_sha256()}
        self._call_teacher()
        if self._teacher:
            self.style = {**self.style, "teacher_sha256": self._teacher.sha256}
        self._averaged.update_parameters(self.network)  # the first time copies

    def step(self, parts: Sequence[Tensor]) -> Progress:
        """Take one optimizer step on a batch, given in equal parts; one that fails before it moves weights
        leaves everything as it was."""
        step = self.done + 1
        with _restored_where_it_fails([*self.network.buffers(), *self.loss.pools.buffers()]):
            values = self._learn(step, parts)
        self.is_whole = False
        self._move()
        self.done = step
        self.history.append(tuple(values[: len(LOSS_NAMES)]))
        self.is_whole = True
        return Progress(
            step,
            self.recipe.steps,
            self.photos,
            **dict(zip(LOSS_NAMES, values, strict=False)),
            seconds=self.seconds,
        )

    def _learn(self, step: int, parts: Sequence[Tensor]) -> list[float]:
        """Compute the gradients of a step; returns its losses and the gradient's length."""
        recipe = self.recipe
        _set_training(self.network, frozen_norm=step > recipe.freeze_norm_at * recipe.steps)
        self.network.zero_grad(set_to_none=True)
        sums = torch.zeros(len(LOSS_NAMES), device=self.device)
        for index, pictures in enumerate(parts):
            generator = torch.Generator().manual_seed(recipe.seed * _SEEDS_APART + step)
            pair = self._pair(generator, index, pictures)
            terms = self._losses(pair, generator, learn_style=step > identity_steps(recipe))
            torch.autograd.backward(terms["total"] / len(parts))
            sums += torch.stack([terms[name].detach().to(self.device) for name in LOSS_NAMES]) / len(parts)
        average_gradients(self.network.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_CLIP)
        values: list[float] = averaged(torch.cat([sums, norm.detach().reshape(1)])).tolist()
        self._check(step, values)
        return values

    def _move(self) -> None:
        """Move the weights by their gradients."""
        factor = learning_rate_factor(self.done, self.recipe)
        self.optimizer.step(factor * self.recipe.learning_rate, factor * self.recipe.muon_learning_rate)
        self._averaged.update_parameters(self.network)

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
            return {
                "content": difference,
                "style": zero,
                "steadiness": zero,
                "total": difference,
                "range": zero,
            }
        # A second look that counts nothing would cost as much of the network as the first.
        looks = [pair.first, pair.second] if recipe.steadiness_weight else [pair.first]
        frames = torch.cat(looks).to(self.device, memory_format=torch.channels_last)
        first, *moved = self.network(frames).split(len(pair.first))
        with feature_precision(recipe.precision, self.device):
            content, style = self.loss(first, frames[: len(first)], generator)
        steadiness = pair.steadiness_loss(first, moved[0]) if moved else first.new_zeros(())
        beyond = out_of_range(first)
        total = (
            recipe.content_weight * content
            + (recipe.style_weight or 0) * style
            + recipe.tv_weight * total_variation(first)
            + recipe.range_weight * beyond
            + recipe.steadiness_weight * steadiness
        )
        return {
            "content": content,
            "style": style,
            "steadiness": steadiness,
            "total": total,
            "range": beyond,
        }

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

    def result_checkpoint(self) -> Checkpoint:
        """The network that comes out, and nothing to go on with."""
        return self._checkpoint({})

    def resumable_checkpoint(self, preview: Preview) -> Checkpoint:
        """The training so far, with all that is needed to go on from here."""
        return self._checkpoint(
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "pools": self.loss.pools.state_dict(),
                "history": torch.tensor(self.history, dtype=torch.float64),
                "preview": preview.state(),
                "seconds": self.seconds,
                "data": self.data,
            }
        )

    def _checkpoint(self, state: Mapping[str, Any]) -> Checkpoint:
        weights = self.result.state_dict()
        return Checkpoint(self.recipe.network, weights, self.recipe.to_dict(), self.style, self.done, state)

    def restore(self, checkpoint: Checkpoint, preview: Preview, path: Path) -> None:
        """Go back, with ``preview``, to where ``checkpoint`` was written.

        Raises:
            TrainingError: it belongs to other pictures or another teacher, or holds no unfinished training.
        """
        state = checkpoint.state
        if not state:
            raise TrainingError(f"{path} holds weights but no unfinished training")
        if state.get("data") != self.data:
            raise TrainingError(f"{path} was begun on other photos: the folder has changed since")
        try:
            self._take(state, checkpoint)
            preview.restore(state["preview"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(f"{path} holds no training that can go on ({first_line(error)})") from error
        self._call_teacher()
        taught_by = self.style.get("teacher_sha256")
        if self._teacher and taught_by not in (None, self._teacher.sha256):
            raise TrainingError(
                f"{path} was begun with another teacher: {self.recipe.teacher} has changed since"
            )

    def _take(self, state: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        # Before there was an average, the weights were the network's own.
        self.network.load_state_dict(state.get("network", dict(checkpoint.weights)))
        self._averaged.update_parameters(self.network)  # counts as the first time
        self.result.load_state_dict(dict(checkpoint.weights))
        self.style = dict(checkpoint.style)
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss.pools.load_state_dict(state["pools"])
        history = state["history"]
        # Rows from before there was a loss of ranges lack it.
        history = nn.functional.pad(history, (0, len(LOSS_NAMES) - history.shape[-1]))
        self.history = [tuple(row) for row in history.tolist()]
        self._seconds_before = state["seconds"]
        self.done = self.saved = checkpoint.step

    def _call_teacher(self) -> None:
        """Load the teacher where steps are left that imitate it."""
        if self.recipe.teacher and self.done < identity_steps(self.recipe):
            self._teacher = Teacher(self.recipe.teacher)


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


@contextmanager
def _restored_where_it_fails(values: Sequence[Tensor]) -> Iterator[None]:
    """Undo what a block that fails did to ``values``."""
    before = [value.clone() for value in values]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for value, old in zip(values, before, strict=True):
                value.copy_(old)
        raise


def _set_training(network: StyleNetwork, *, frozen_norm: bool) -> None:
    network.train()
    if frozen_norm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
