"""The photos of every step, decoded ahead of the network."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence

from torch import Tensor
from torch.utils.data import DataLoader

from stylize_video_train.data import ContentFolder
from stylize_video_train.errors import TrainingError
from stylize_video_train.interruption import ignore_signals
from stylize_video_train.parallel import process_count, process_index
from stylize_video_train.recipe import Recipe


def batches(
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
        worker_init_fn=ignore_signals,
    )
    iterator = iter(loader)
    for _ in range(done, recipe.steps):
        yield [next(iterator) for _ in range(recipe.accumulate)]
