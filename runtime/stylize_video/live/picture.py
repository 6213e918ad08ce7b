"""What the loop gives to every output: a picture, what it was made of, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from stylize_video.frame import Frame
from stylize_video.live.capture import State
from stylize_video.live.controls import Settings
from stylize_video.live.statistics import Statistics

AWAY = "the source is away; it is tried again"
"""What is shown while the state is ``lost``."""


@dataclass(frozen=True)
class LivePicture:
    """One picture on its way to the outputs.

    Attributes:
        number: counts pictures; the same number is the same picture.
        source: what was captured, mirrored where that is wanted.
        stylized: the same in the style and the look; of the same shape.
        at: when it was captured, in seconds of the loop's clock; as much before now where it stays.
        settings: those it was made with.
        style: the style it was made in; not yet the wanted one while that is loading.
        state: whether the source is there.
        statistics: up to now.
    """

    number: int
    source: Frame
    stylized: Frame
    at: float
    settings: Settings
    style: str
    state: State
    statistics: Statistics

    @cached_property
    def image(self) -> Frame:
        """What is seen, recorded and saved: the stylized frame, or the split view."""
        if not self.settings.split:
            return self.stylized
        edge = divider_column(self.source.shape[1], self.settings.divider)
        split = self.stylized.copy()
        split[:, :edge] = self.source[:, :edge]
        return split


class Output(Protocol):
    """Somewhere pictures go. The loop calls from one thread, and closes it in the end."""

    def show(self, picture: LivePicture) -> None:
        """Take a picture; one with the number of the last is the same, in a moment with nothing new.

        Raises:
            StylizeError: it cannot go on.
        """

    def close(self) -> None:
        """End; nothing that was given is lost."""


def divider_column(width: int, divider: float) -> int:
    """The first column right of the divider."""
    return int(np.clip(round(divider * width), 0, width))
