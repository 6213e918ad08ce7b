"""What stylizes single frames."""

from __future__ import annotations

from typing import Protocol

from stylize_video.frame import Frame


class Network(Protocol):
    """A :class:`~stylize_video.session.StyleSession`, or a mix of two."""

    def stylize(self, frame: Frame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out."""
