"""A trained style that shows a new network what to do, before the losses take over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylize_video.styles.guard import try_out
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, find_style


class Teacher:
    """A style file as a function of pictures.

    Imitating a style costs a tenth of learning it: no feature model is run. A small network
    learns most of a big one's style that way, and the rest by the losses.

    Args:
        style: a style file, int8 and fp16 variants too, or the name of a bundled style.

    Raises:
        StyleError: there is no such style, or it cannot run.
    """

    def __init__(self, style: str) -> None:
        path = find_style(style)
        try_out(path)
        # Always on the CPU, so that a training gives the same on every machine.
        self._session = StyleSession(Style.load(path), "cpu")

    @property
    def sha256(self) -> str:
        """The hash of its file."""
        return self._session.style.sha256

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How the style was trained, as far as its file says it."""
        metadata = self._session.style.metadata
        return metadata.recipe if metadata else {}

    def __call__(self, pictures: Tensor) -> Tensor:
        """Stylize RGB pictures ``[N, 3, H, W]`` in 0..1; the result is rounded to 8 bits, as frames are."""
        frames = (pictures.flip(1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        stylized = np.stack([self._session.stylize(frame) for frame in frames])
        result = torch.from_numpy(stylized).to(pictures.device).permute(0, 3, 1, 2).flip(1)
        return result.float() / 255
