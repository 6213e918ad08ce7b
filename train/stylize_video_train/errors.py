"""What can end a training."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from stylize_video.errors import StylizeError
from stylize_video.interrupts import Terminated


class TrainingError(StylizeError):
    """A training cannot start or go on."""


class TrainingDivergedError(TrainingError):
    """The loss is no longer finite, or has grown beyond all sense."""


class TrainingInterrupted(Terminated):
    """Ctrl-C, SIGTERM or SIGHUP; the checkpoint holds everything up to ``step``."""

    def __init__(self, step: int, signal_number: int = signal.SIGINT) -> None:
        super().__init__(signal_number)
        self.step = step


_OUT_OF_MEMORY = ("can't allocate memory", "Insufficient memory")
"""What torch on a CPU and OpenCV say."""


@contextmanager
def memory_as_sentence() -> Iterator[None]:
    """Say what to lower where there is not enough memory for a training.

    Raises:
        TrainingError: there is not.
    """
    try:
        yield
    except (RuntimeError, MemoryError, cv2.error) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in _OUT_OF_MEMORY):
            raise
        raise TrainingError(
            "there is not enough memory for this training: lower --image-size, --batch or --style-size, or"
            " compute a step in more parts with --accumulate"
        ) from error
