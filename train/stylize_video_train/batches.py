"""The photos of every step, decoded ahead of the network."""

from __future__ import annotations

import logging
import multiprocessing
import traceback
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor

from stylize_video.machine import cores
from stylize_video_train.data import ContentFolder, DataError
from stylize_video_train.errors import TrainingError
from stylize_video_train.interruption import ignore_signals
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
    order = _Order(recipe, done, recipe.batch // pieces, process_index(), process_count())
    # Workers decode ahead of the network; the order does not depend on how many there are.
    count = 1 if device == "cpu" else min(8, cores())
    workers: list[_Worker] = []
    try:
        for first in range(count):
            workers.append(_Worker(folder, order, first, count))
        turns = cycle(workers)
        for _ in range(done, recipe.steps):
            yield [worker.receive() for worker in islice(turns, recipe.accumulate)]
    finally:
        for worker in workers:
            worker.end()


@dataclass(frozen=True)
class _Order:
    """A process's samples, ``size`` for each part of every step after ``done``, in their order."""

    recipe: Recipe
    done: int
    size: int
    process: int
    processes: int

    def __iter__(self) -> Iterator[range]:
        for step in range(self.done, self.recipe.steps):
            for part in range(self.recipe.accumulate):
                place = (part * self.processes + self.process) * self.size
                start = step * self.recipe.batch + place
                yield range(start, start + self.size)


class _Worker:
    """A process that decodes every ``count``-th batch from the one at ``first`` on, one ahead.

    They come through a pipe of its own, where torch's DataLoader shares tensors in ``/dev/shm``, of which
    containers have little, and may wait for ever for a worker that was killed.
    """

    def __init__(self, folder: ContentFolder, order: _Order, first: int, count: int) -> None:
        self._pipe, end = multiprocessing.Pipe(duplex=False)
        given = (folder, order, first, count, end, self._pipe)
        self._process = multiprocessing.Process(target=_decode_all, args=given, daemon=True)
        self._process.start()
        end.close()  # the worker alone has it, so that its death ends the pipe

    def receive(self) -> Tensor:
        """The next batch ``[N, 3, H, W]``."""
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            if self._process.exitcode == _KILLED:
                raise MemoryError from error
            raise RuntimeError(f"a worker ended with exit code {self._process.exitcode}") from error
        if isinstance(answer, Exception):
            raise answer
        return torch.from_numpy(answer)

    def end(self) -> None:
        self._process.kill()  # it ignores other signals
        self._process.join()
        self._pipe.close()


def _decode_all(
    folder: ContentFolder, order: _Order, first: int, count: int, pipe: Connection, unused: Connection
) -> None:
    """The work of a worker: one batch after another, or the error that ends it, into ``pipe``."""
    ignore_signals()
    logging.disable(logging.WARNING)  # told when the folder was looked at
    unused.close()  # so that nobody reads any more once the main process is gone
    torch.set_num_threads(1)
    answer: object
    for samples in islice(order, first, None, count):
        try:
            answer = np.stack([folder[sample].numpy() for sample in samples])
        except (DataError, MemoryError) as error:
            answer = error
        except Exception:
            answer = RuntimeError(traceback.format_exc())  # others cannot always be sent
        try:
            pipe.send(answer)
        except MemoryError as error:  # of the copy that goes through the pipe
            pipe.send(error)
        except OSError:
            return
