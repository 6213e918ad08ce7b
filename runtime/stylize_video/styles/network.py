"""What stylizes single frames."""

from __future__ import annotations

from typing import Protocol

from stylize_video.errors import StylizeError
from stylize_video.frame import Frame


class Network(Protocol):
    """A :class:`~stylize_video.styles.session.StyleSession`, or whatever else stylizes a frame.

    The result is the caller's own. Where the network has an attribute ``at_once`` above 1, so many threads
    may call it at a time.
    """

    def stylize(self, frame: Frame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out."""


def check_network(session: object) -> None:
    """Refuse what stylizes nothing, such as the name of a style.

    Raises:
        StylizeError: ``session`` is no network.
    """
    if not callable(getattr(session, "stylize", None)):
        raise StylizeError(f"a session is what open_session returns, got {type(session).__name__}")
