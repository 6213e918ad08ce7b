"""One frame after the other: the network, the look, and what is remembered between frames."""

from __future__ import annotations

from typing import Protocol

from stylize_video.frame import Frame
from stylize_video.look import Look
from stylize_video.smoothing import TemporalSmoother, check_smooth


class Network(Protocol):
    """What stylizes single frames: a :class:`~stylize_video.session.StyleSession`, or a mix of two."""

    def stylize(self, frame: Frame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out."""


class Stylizer:
    """Stylizes a sequence of frames, for files and cameras alike.

    ``session``, ``look`` and ``smooth`` may be set between two frames and count from the
    next one on. A new session starts without a past.

    Args:
        session: the network.
        look: strength and colours; applied after smoothing, so that a change shows at once.
        smooth: temporal smoothing from 0 (off) to 1.

    Raises:
        StylizeError: ``smooth`` is out of range.
    """

    def __init__(self, session: Network, look: Look = Look(), *, smooth: float = 0.0) -> None:
        self._smoother = TemporalSmoother()
        self._session = session
        self.look = look
        self.smooth = smooth

    @property
    def session(self) -> Network:
        return self._session

    @session.setter
    def session(self, session: Network) -> None:
        if session is not self._session:
            self._session = session
            self.reset()

    @property
    def smooth(self) -> float:
        return self._smooth

    @smooth.setter
    def smooth(self, amount: float) -> None:
        self._smooth = check_smooth(amount)

    def stylize(self, frame: Frame) -> Frame:
        """Return the next frame, uint8 ``[H, W, 3]`` BGR, in the style and the look.

        Raises:
            StyleError: the network fails on it.
        """
        if not self.look.needs_style:
            self.reset()
            return self.look.apply(frame, frame)
        stylized = self._session.stylize(frame)
        if self._smooth:
            stylized = self._smoother.smooth(frame, stylized, self._smooth)
        else:
            self.reset()
        return self.look.apply(frame, stylized)

    def reset(self) -> None:
        """Forget the past: after a seek, or where another shot begins."""
        self._smoother.reset()
