"""The styles of a live picture: opened beside the running one, then faded to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

import cv2
import numpy as np

from stylize_video.effects.look import Look
from stylize_video.errors import StyleError, StylizeError, first_line
from stylize_video.frame import Frame
from stylize_video.live.controls import Settings
from stylize_video.live.statistics import Clock
from stylize_video.styles.network import Network
from stylize_video.styles.working_size import WorkingSize
from stylize_video.stylizer import Stylizer

_FADE_SECONDS = 0.3
_KEPT_OPEN = 4
"""Styles that stay open; the one not used for the longest is closed."""


class Stylist:
    """Stylizes frames in the style that is wanted, as soon as it is there.

    Another style is opened in a thread while the old one goes on; the picture then fades
    from the last one in the old style. Who asks for several in a row gets the last one.

    Args:
        style: the name of the first.
        network: the first, open.
        open_style: opens a style by name.
        clock: seconds.
    """

    def __init__(
        self,
        style: str,
        network: Network,
        open_style: Callable[[str], Network],
        *,
        clock: Clock,
        fade_seconds: float = _FADE_SECONDS,
    ) -> None:
        self.style = style
        """The style of the pictures, by name."""
        self._open_style, self._clock, self._fade_seconds = open_style, clock, fade_seconds
        self._open: OrderedDict[str, Network] = OrderedDict({style: network})
        self._stylizer = Stylizer(network)
        self._last: Frame | None = None
        self._fade_from: tuple[Frame, float] | None = None
        self._changed = threading.Condition()
        self._wanted: str | None = None
        self._opening: str | None = None
        self._failure: tuple[str, StylizeError] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._open_wanted, name="styles", daemon=True)

    def __enter__(self) -> Stylist:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def fading(self) -> bool:
        """Whether the next picture of the same frame will look different."""
        return self._fade_from is not None

    @property
    def working_size(self) -> WorkingSize:
        """At which the last frame was stylized."""
        return self._stylizer.working_size

    def turn_to(self, style: str) -> bool:
        """Ask for a style; True when it takes over now.

        Raises:
            StylizeError: it could not be opened; the old one goes on.
        """
        if style == self.style:
            return False
        with self._changed:
            failure, self._failure = self._failure, None
            if failure and failure[0] == style:
                raise failure[1]
            network = self._open.get(style)
            if network is None:
                self._wanted = style if style != self._opening else None
                self._changed.notify_all()
                return False
            self._open.move_to_end(style)
        self.style = style
        self._stylizer.session = network
        if self._last is not None and self._fade_seconds > 0:
            self._fade_from = (self._last, self._clock())
        return True

    def stylize(self, frame: Frame, settings: Settings, *, scale: float = 1.0) -> Frame:
        """Return the next frame in the style and the look; ``scale`` below 1 works that much smaller.

        Raises:
            StyleError: the style fails on it.
        """
        self._stylizer.working_size = WorkingSize(settings.strokes).shrunk(scale)
        self._stylizer.look = Look(settings.strength, settings.keep_colors)
        self._stylizer.smooth = settings.smooth
        self._last = self._faded(self._stylizer.stylize(frame))
        return self._last

    def _faded(self, picture: Frame) -> Frame:
        if self._fade_from is None:
            return picture
        old, since = self._fade_from
        part = (self._clock() - since) / self._fade_seconds
        if part >= 1 or old.shape != picture.shape:
            self._fade_from = None
            return picture
        return np.asarray(cv2.addWeighted(picture, part, old, 1 - part, 0), np.uint8)

    def _open_wanted(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None or self._stopped)
                if self._stopped:
                    return
                style, self._wanted = self._wanted or "", None
                if style in self._open:
                    continue
                self._opening = style
            try:
                network = self._open_style(style)
            except Exception as error:  # raised again in turn_to; the thread has other styles to open
                failure = error if isinstance(error, StylizeError) else _cannot_open(style, error)
                with self._changed:
                    self._opening, self._failure = None, (style, failure)
                continue
            with self._changed:
                self._opening, self._open[style] = None, network
                while len(self._open) > _KEPT_OPEN:
                    oldest = next(name for name in self._open if name not in (self.style, style))
                    del self._open[oldest]


def _cannot_open(style: str, error: Exception) -> StyleError:
    failure = StyleError(f"{style} cannot be opened: {first_line(error)}")
    failure.__cause__ = error
    return failure
