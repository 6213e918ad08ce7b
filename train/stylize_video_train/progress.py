"""Where a training stands."""

from __future__ import annotations

from dataclasses import dataclass

LOSS_NAMES = ("content", "style", "steadiness", "total")


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
