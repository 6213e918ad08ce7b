"""Where a training stands."""

from __future__ import annotations

from dataclasses import dataclass

LOSS_NAMES = ("content", "style", "steadiness", "total", "range")


@dataclass(frozen=True)
class Progress:
    """Where a training stands; losses are those of the latest step, unweighted.

    ``photos`` are learnt on; ``seconds`` is the time spent training, earlier runs included.
    """

    step: int
    steps: int
    photos: int
    content: float
    style: float
    steadiness: float
    total: float
    range: float
    seconds: float
