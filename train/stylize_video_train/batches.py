"""The photos of every step, decoded ahead of the network."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.process import BaseProcess

from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from stylize_video.machine import cores
from stylize_video_train.data import ContentFolder
from stylize_video_train.errors import TrainingError
from stylize_video_train.interruption import children_end_in_silence, ignore_signals
from stylize_video_train.parallel import process_count, process_index
from stylize_video_train.recipe import Recipe

_KILLED = -9
"""Exit code of a process that the system has ended, as it does where memory runs out."""


def batches(
    folder: ContentFolder, recipe: Recipe, *, done: int, device: str
) -> Generator[Sequence[Tensor], None, None]:
    """This process's share of every batch from the one after ``done`` steps, in parts.

    Raises:
        TrainingError: a batch cannot be shared equally.
        DataError: a photo cannot be read any more.
        MemoryError: the system has killed a worker.
    """
    pieces = recipe.accumulate * process_count()
    if recipe.batch % pieces:
        raise TrainingError(
            f"a batch of {recipe.batch} cannot be shared equally: {process_count()} processes,"
            f" {recipe.accumulate} parts"
        )
    # Workers decode ahead of the network; the order does not depend on how many there are.
    workers = 1 if device == "cpu" else min(8, cores())
    loader = DataLoader(
        folder,
        batch_sampler=_Order(recipe, done, recipe.batch // pieces),
        num_workers=workers,
        prefetch_factor=4,
        worker_init_fn=ignore_signals,
    )
    others = multiprocessing.active_children()
    iterator = iter(loader)
    started = [child for child in multiprocessing.active_children() if child not in others]
    with children_end_in_silence():
        try:
            for _ in range(done, recipe.steps):
                yield [next(iterator) for _ in range(recipe.accumulate)]
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # they hold the iterator, and it the workers
            # A dead worker's photos cannot be fetched, which is told in one of many ways.
            if isinstance(error, RuntimeError | OSError | EOFError) and any(map(_is_killed, started)):
                raise MemoryError from error
            raise
        finally:
            del iterator
            # Workers ignore the signal that DataLoader ends slow ones with: an exit would wait for ever.
            for worker in started:
                worker.kill()
                worker.join()


def _is_killed(worker: BaseProcess) -> bool:
    worker.join(timeout=1)  # it may be about to end
    return worker.exitcode == _KILLED


class _Order(Sampler[list[int]]):
    """This process's samples, ``size`` for each part of every step after ``done``, in their order."""

    def __init__(self, recipe: Recipe, done: int, size: int) -> None:
        self._recipe, self._done, self._size = recipe, done, size

    def __len__(self) -> int:
        return (self._recipe.steps - self._done) * self._recipe.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._done, self._recipe.steps):
            for part in range(self._recipe.accumulate):
                place = (part * process_count() + process_index()) * self._size
                start = step * self._recipe.batch + place
                yield list(range(start, start + self._size))
