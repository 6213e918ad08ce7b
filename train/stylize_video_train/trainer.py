"""The training loop: one style picture, a folder of photos, one network."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylize_video.errors import first_line
from stylize_video.text import printable
from stylize_video_train.batches import batches
from stylize_video_train.calibration import calibrated_style_weight, perceptual_loss
from stylize_video_train.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from stylize_video_train.data import ContentFolder, DataError
from stylize_video_train.errors import (
    TrainingDivergedError,
    TrainingError,
    TrainingInterrupted,
    memory_as_sentence,
)
from stylize_video_train.interruption import stop_on_signals
from stylize_video_train.motion import MARGIN
from stylize_video_train.outputs import check_training
from stylize_video_train.parallel import first_of, largest, process_index
from stylize_video_train.precision import effective_precision
from stylize_video_train.preview import Preview
from stylize_video_train.progress import Progress
from stylize_video_train.recipe import NO_START, Recipe
from stylize_video_train.report import Board, TrainingReport, tensorboard_writer
from stylize_video_train.schedule import preview_due
from stylize_video_train.state import TrainingState, read_start

CHECKPOINT_EVERY = 200
"""Steps."""

HELD_OUT = 4
"""Photos that are not trained on, but shown in previews."""

_log = logging.getLogger(__name__)


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
        report: write ``.preview.png`` during, and ``.report.html`` after the training, both named
            like ``output``; where that fails there is a warning.
        tensorboard: folder for TensorBoard's curves and previews.
        on_progress: called after every step.

    Raises:
        TrainingDivergedError: the loss is no longer finite; the last good checkpoint stays.
        StylizeError: pictures, weights or recipe cannot be used.
        TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP; the checkpoint is up to date.
    """
    check_training(output, [style_picture, weights_file], report=report)
    with memory_as_sentence():
        earlier = load_checkpoint(output) if resume else None
        style = _describe(style_picture)
        if earlier is not None and earlier.style.get("sha256") != style["sha256"]:
            raise TrainingError(f"{output} was begun on another style picture")
        recipe = recipe.resolved() if earlier is None else _resumed_recipe(recipe, earlier, output)
        recipe = replace(recipe, precision=effective_precision(recipe.precision, device))
        if earlier is not None and earlier.step >= recipe.steps:
            return earlier
        folder = _photos(content, recipe)
        loss = perceptual_loss(
            recipe,
            style_picture,
            weights_file=weights_file,
            random_features=random_features,
            device=device,
            side=recipe.image_size,
        )
        if recipe.style_weight is None:
            weight = calibrated_style_weight(recipe, loss, folder, device=device)
            recipe = replace(recipe, style_weight=weight)
        state = TrainingState(recipe, loss, folder, device, style=style)
        preview = Preview(folder.held_out or folder.paths[:HELD_OUT], unseen=bool(folder.held_out))
        if earlier is None:
            state.begin()
        else:
            state.restore(earlier, preview, output)
        leads = process_index() == 0
        reporter = TrainingReport(output, style_picture) if report and leads else None
        with tensorboard_writer(tensorboard if leads else None) as board:
            _take_steps(
                state, folder, preview, output, reporter=reporter, board=board, on_progress=on_progress
            )
    return state.result_checkpoint()


def _photos(content: Path, recipe: Recipe) -> ContentFolder:
    folder = ContentFolder(
        content,
        size=recipe.image_size + MARGIN,
        seed=recipe.seed,
        zoom=recipe.zoom,
        contrast=recipe.contrast,
        brightness=recipe.brightness,
        hold_out=HELD_OUT,
    )
    if not folder.held_out:
        few = "only %s to learn on: a few hundred make a style that suits others"
        _log.warning(few, f"{len(folder)} photos" if len(folder) > 1 else "1 photo")
    if folder.small() > len(folder) / 10:
        small = "%d of %d photos are smaller than a crop of %d pixels: enlarged, they are soft"
        _log.warning(small, folder.small(), len(folder), folder.size)
    if transparent := folder.transparent():
        _log.warning(
            "%d of %d photos are transparent in places: they are taken as white", transparent, len(folder)
        )
    return folder


def _take_steps(
    state: TrainingState,
    folder: ContentFolder,
    preview: Preview,
    output: Path,
    *,
    reporter: TrainingReport | None,
    board: Board,
    on_progress: Callable[[Progress], None],
) -> None:
    """All steps that are left, with previews, checkpoints and the report on the way."""
    steps = state.recipe.steps
    with (
        stop_on_signals() as stop,
        _kept_where_it_fails(state, preview, output),
        closing(batches(folder, state.recipe, done=state.done, device=state.device)) as parts_of_steps,
    ):
        while state.done < steps:
            parts, failure = _next_parts(parts_of_steps)
            told = None if failure is None else str(failure) or repr(failure)
            # A process that went on alone would wait for the others without end.
            if reason := first_of(told, state.device):
                raise failure or DataError(reason)
            progress = state.step(parts)
            on_progress(progress)
            finished, stopped_by = state.done == steps, largest(stop.signal_number, state.device)
            if has_preview := preview_due(state.done, steps):
                preview.add(state.done, state.result, state.device)
            # First of all: pages and pictures are worth less, and may fill the disk. No preview is left of a
            # training that cannot go on.
            is_first = has_preview and not state.saved
            if finished or stopped_by or is_first or state.done % CHECKPOINT_EVERY == 0:
                _save(state, preview, output, is_last=finished or stopped_by > 0)
            board.losses(progress)
            if has_preview:
                board.preview(state.done, preview)
            if has_preview and reporter and state.saved:
                reporter.write_preview(preview)
            if finished and reporter:
                reporter.write(state, preview, skipped=folder.skipped)
            if stopped_by and not finished:
                raise TrainingInterrupted(state.done, stopped_by)


@contextmanager
def _kept_where_it_fails(state: TrainingState, preview: Preview, output: Path) -> Iterator[None]:
    """Write a checkpoint of the steps so far where an error ends the training, and say what is kept."""
    try:
        yield
    except (TrainingDivergedError, TrainingInterrupted, CheckpointError):
        raise  # the last steps led to it; or all is written; or nothing can be
    except (Exception, KeyboardInterrupt):
        if process_index() == 0:  # without the others, which may have failed or wait for this one
            _keep(state, preview, output)
        raise


def _keep(state: TrainingState, preview: Preview, output: Path) -> None:
    if state.done > state.saved and state.is_whole:
        try:
            _checkpoint(state, preview).save(output)
            state.saved = state.done
        except Exception as error:  # of a device that is lost, too; what ended the training is told
            _log.warning("the last steps are lost: %s", first_line(error))
    if state.saved:
        _log.warning("%s keeps the %d steps before", output, state.saved)


def _checkpoint(state: TrainingState, preview: Preview) -> Checkpoint:
    is_finished = state.done == state.recipe.steps
    return state.result_checkpoint() if is_finished else state.resumable_checkpoint(preview)


def _save(state: TrainingState, preview: Preview, output: Path, *, is_last: bool) -> None:
    """Write the checkpoint; where that fails, a training that has steps left goes on.

    Raises:
        CheckpointError: it cannot be written, and there is no later one.
    """
    problem = None
    if process_index() == 0:
        try:
            _checkpoint(state, preview).save(output)
        except CheckpointError as error:
            problem = str(error)
    problem = first_of(problem, state.device)
    if problem is None:
        state.saved = state.done
    elif is_last:
        raise CheckpointError(problem)
    elif process_index() == 0:
        _log.warning("%s; the training goes on without", problem)


def _next_parts(parts_of_steps: Iterator[Sequence[Tensor]]) -> tuple[Sequence[Tensor], Exception | None]:
    """The photos of a step, or why there are none."""
    try:
        with memory_as_sentence():
            return next(parts_of_steps), None
    except Exception as error:
        return (), error


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


def is_result_of(checkpoint: Checkpoint, recipe: Recipe, style_picture: Path) -> bool:
    """Whether a finished ``checkpoint`` is what ``recipe`` makes of ``style_picture``, on whatever photos."""
    begun = Recipe.from_dict(checkpoint.recipe)
    return (
        checkpoint.step >= begun.steps
        and checkpoint.style.get("sha256") == _describe(style_picture)["sha256"]
        and all(name == "start" for name, _ in _other_values(recipe, begun))
        and checkpoint.style.get("start_sha256") == _start_sha256(recipe.resolved())
    )


def _resumed_recipe(recipe: Recipe, checkpoint: Checkpoint, path: Path) -> Recipe:
    """The checkpoint's own recipe, if ``recipe`` says nothing else."""
    begun = Recipe.from_dict(checkpoint.recipe, source=str(path))
    for name, value in _other_values(recipe, begun):
        # The file it started from may be named from another folder.
        if name == "start" and checkpoint.style.get("start_sha256") == _start_sha256(recipe.resolved()):
            continue
        raise TrainingError(
            f"{path} was begun with {name} {getattr(begun, name)}, not {value};"
            " a resumed training keeps its recipe"
        )
    return begun


def _start_sha256(recipe: Recipe) -> str | None:
    """The hash of the weights that a resolved ``recipe`` starts from; None for fresh ones.

    Raises:
        StylizeError: as :func:`stylize_video_train.state.read_start`.
    """
    return None if recipe.start == NO_START else read_start(recipe).weights_sha256()


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
    try:
        content = style_picture.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {style_picture}: {error.strerror}") from error
    # Names of files need not be text; styles are called so.
    return {"name": printable(style_picture.stem), "sha256": hashlib.sha256(content).hexdigest()}
