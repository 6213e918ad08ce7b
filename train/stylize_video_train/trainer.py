"""The training loop: one style picture, a folder of photos, one network."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from stylize_video.errors import first_line
from stylize_video_train.batches import batches
from stylize_video_train.calibration import (
    calibrated_style_weight,
    perceptual_loss,
    too_small_as_sentence,
    try_out,
)
from stylize_video_train.checkpoint import Checkpoint, load_checkpoint
from stylize_video_train.data import ContentFolder, DataError
from stylize_video_train.errors import TrainingError, TrainingInterrupted
from stylize_video_train.motion import MAX_SHIFT
from stylize_video_train.parallel import any_process, process_index
from stylize_video_train.precision import effective_precision
from stylize_video_train.preview import Preview
from stylize_video_train.progress import Progress
from stylize_video_train.recipe import NO_START, Recipe
from stylize_video_train.report import TrainingReport, tensorboard_writer
from stylize_video_train.schedule import preview_due
from stylize_video_train.state import TrainingState, read_start

CHECKPOINT_EVERY = 200
"""Steps."""

HELD_OUT = 4
"""Photos that are not trained on, but shown in previews."""


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
    with too_small_as_sentence(recipe):
        loss = perceptual_loss(
            recipe, style_picture, weights_file=weights_file, random_features=random_features, device=device
        )
        try_out(loss, recipe, device)
    if recipe.style_weight is None:
        recipe = replace(recipe, style_weight=calibrated_style_weight(recipe, loss, folder, device=device))
    training = TrainingState(recipe, loss, device, style=style, data=folder.fingerprint())
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
        closing(batches(folder, recipe, done=training.done, device=device)) as parts_of_steps,
    ):
        while training.done < recipe.steps:
            try:
                parts = next(parts_of_steps)
            except DataError as error:
                if writes and training.done > training.saved:
                    training.checkpoint(preview).save(output)
                error.__traceback__ = None  # its frames hold the workers
                # Behind the name of the class a worker's error is what it was.
                raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
            progress = training.step(parts)
            on_progress(progress)
            stopping, finished = any_process(stop.is_set(), device), training.done == recipe.steps
            if preview_due(training.done, recipe.steps):
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
    start = None if begun.start == NO_START else read_start(begun).weights_sha256()
    return (
        checkpoint.step >= begun.steps
        and checkpoint.style.get("start_sha256") == start
        and checkpoint.style.get("sha256") == _describe(style_picture)["sha256"]
        and not _other_values(recipe, begun)
    )


def _resumed_recipe(recipe: Recipe, checkpoint: Checkpoint, path: Path) -> Recipe:
    """The checkpoint's own recipe, if ``recipe`` says nothing else."""
    begun = Recipe.from_dict(checkpoint.recipe, source=str(path))
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
