"""What can end a training."""

from __future__ import annotations

from stylize_video.errors import StylizeError


class TrainingError(StylizeError):
    """A training cannot start or go on."""


class TrainingDivergedError(TrainingError):
    """The loss is no longer finite, or has grown beyond all sense."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C; the checkpoint holds everything up to ``step``."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step
