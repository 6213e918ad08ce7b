"""What happens at which step: the learning rate, the first steps, previews."""

from __future__ import annotations

import math

from stylize_video_train.recipe import Recipe

WARM_UP_STEPS = 50
"""Steps in which the learning rate rises to its highest, or a tenth of all where these are fewer."""

PREVIEWS = 8
"""In a training, at equal distances; the last one is of its result."""

_LEAST_RATE = 0.05
"""What the cosine ends at, of the highest learning rate."""


def learning_rate_factor(done: int, recipe: Recipe) -> float:
    """What the learning rate is multiplied with after ``done`` steps: warm-up, then the schedule."""
    warm_up = min(WARM_UP_STEPS, max(1, recipe.steps // 10))
    if done < warm_up:
        return (done + 1) / warm_up
    if recipe.schedule == "constant":
        return 1.0
    progress = (done - warm_up) / max(1, recipe.steps - warm_up)
    return _LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def identity_steps(recipe: Recipe) -> int:
    """How many steps at the start teach the network to give its input back."""
    return math.floor((recipe.identity_share or 0) * recipe.steps)


def preview_due(done: int, steps: int) -> bool:
    """Whether a preview is to be made after ``done`` steps."""
    return done in {math.ceil(steps * k / PREVIEWS) for k in range(1, PREVIEWS + 1)}
