"""Known motion: two looks at one picture whose true correspondence is exact.

Training on them teaches steadiness without a flow network: where both looks show
the same point, the style must look the same. Shifts that are not multiples of the
network's stride also punish patterns locked to the pixel grid (checkerboards).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_SHIFT = 8
"""Largest shift in pixels; twice the stride, so that every phase is met."""


@dataclass(frozen=True)
class ShiftedPair:
    """Two crops of the same pictures, the second ``(dy, dx)`` pixels further on and noisy."""

    first: Tensor
    second: Tensor
    dy: int
    dx: int

    @classmethod
    def draw(
        cls,
        pictures: Tensor,
        generator: torch.Generator,
        *,
        noise: float = 4 / 255,
        share: tuple[int, int] | None = None,
    ) -> ShiftedPair:
        """Cut both looks from ``[N, 3, H + MAX_SHIFT, W + MAX_SHIFT]`` pictures.

        ``noise`` is the largest standard deviation of the second look's sensor noise.
        ``share`` is (first picture, batch) where the pictures are part of a larger
        batch: they then get the very shift and noise they get there.
        """
        dy, dx = (int(torch.randint(0, MAX_SHIFT + 1, (), generator=generator)) for _ in range(2))
        height, width = (side - MAX_SHIFT for side in pictures.shape[-2:])
        second = pictures[..., dy : dy + height, dx : dx + width]
        sigma = noise * torch.rand((), generator=generator)
        start, batch = share or (0, len(second))
        grain = torch.randn((batch, *second.shape[1:]), generator=generator)[start : start + len(second)]
        second = second + sigma * grain
        return cls(pictures[..., :height, :width], second.clamp(0, 1), dy, dx)

    def steadiness_loss(self, first: Tensor, second: Tensor, *, border: int = 16) -> Tensor:
        """Mean squared difference of two stylized looks where they show the same point.

        ``border`` pixels are left out: there the two looks see different surroundings.
        """
        height, width = first.shape[-2] - self.dy, first.shape[-1] - self.dx
        a = first[..., self.dy :, self.dx :]
        b = second[..., :height, :width]
        inner = (..., slice(border, height - border), slice(border, width - border))
        return (a[inner] - b[inner]).square().mean()
