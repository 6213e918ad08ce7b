"""Known motion: two looks at one picture whose true correspondence is exact.

Training on them teaches steadiness without a flow network: where both looks show the
same point, the style must look the same. Half of the looks are moved by whole pixels,
where nothing has to be interpolated: shifts that are no multiple of the network's stride
punish patterns locked to the pixel grid (checkerboards). The other half turn, zoom and
tilt (a homography), drift in brightness, and are partly hidden, as footage is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 8
"""What pictures are larger than looks, in pixels. Shifts are below it: it is the real-time network's stride,
so that every phase of its grid comes up as often as the next."""

WARPED_SHARE = 0.5
"""The part of the looks that do more than shift."""

BORDER = 16
"""Pixels at each side of a look that steadiness leaves out."""

MAX_TURN = math.radians(2)
MAX_ZOOM = 0.03
MAX_TILT = 0.03
"""Largest change of scale from the picture's middle to its border."""

MAX_DRIFT = 0.08
"""Largest change of brightness, as a factor and as an offset on 0..1."""

GRAINS = (1, 2, 4, 8, 16, 32)
"""Sizes of the noise's grains, in pixels: a sensor's, those that compression leaves, and flickering light."""

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class MovingPair:
    """Two looks ``[N, 3, H, W]`` at the same pictures; motion is the same for all of a batch.

    ``places`` ``[H, W, 2]`` says where in the first look, as (x, y) in pixels, each pixel
    of the second lies; ``visible`` ``[H, W]`` is False where the first look does not show
    it; ``drift`` ``[N, 1, H, W]`` is how much brighter the second look is there.
    """

    first: Tensor
    second: Tensor
    places: Tensor
    visible: Tensor
    drift: Tensor

    @classmethod
    def draw(
        cls,
        pictures: Tensor,
        generator: torch.Generator,
        *,
        noise: float,
        grain: int = 1,
        share: tuple[int, int] | None = None,
    ) -> MovingPair:
        """Take both looks from ``[N, 3, H + MARGIN, W + MARGIN]`` pictures.

        ``noise`` is the largest standard deviation of the second look's noise, ``grain`` the size of
        its largest grains in pixels. ``share`` is (first picture, batch) where the pictures are part of a
        larger batch: they then get the very motion and noise they get there. Pictures on a GPU are moved
        there, by what is drawn on the CPU: the same looks come out.
        """
        height, width = (side - MARGIN for side in pictures.shape[-2:])
        sigma = noise * _uniform(generator)
        grain_generator = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
        dy, dx = (int(torch.randint(MARGIN, (), generator=generator)) for _ in range(2))
        places = _pixel_places(height, width) + torch.tensor([dx, dy], dtype=torch.float32)
        drift = pictures.new_zeros(len(pictures), 1, height, width)
        visible = torch.ones(height, width, dtype=torch.bool)
        if _uniform(generator) < WARPED_SHARE:
            places = _warped(places, generator)
            second = _sample(pictures, places.to(pictures))
            lit = second * (1 + MAX_DRIFT * _signed(generator)) + MAX_DRIFT * _signed(generator)
            lit = lit.clamp(0, 1)
            drift = _luma(lit) - _luma(second)
            second, visible = _hidden(lit, generator)
        else:
            second = pictures[..., dy : dy + height, dx : dx + width]
        start, batch = share or (0, len(second))
        noisy = _grains((batch, *second.shape[1:]), _grain_size(grain, generator), grain_generator)
        second = (second + sigma * noisy[start : start + len(second)].to(second)).clamp(0, 1)
        return cls(pictures[..., :height, :width], second, places, visible, drift)

    def steadiness_loss(self, first: Tensor, second: Tensor) -> Tensor:
        """Mean squared difference of two stylized looks where they show the same point.

        The style may get as much brighter as its source did (the relaxed luminance
        constraint of ReCoNet, Gao et al. 2018). :data:`BORDER` is left out: there the two
        looks see different surroundings.
        """
        height, width = first.shape[-2:]
        own, there = _pixel_places(height, width), self.places
        counts = self.visible
        for places in (own, there):
            counts = counts & ((places >= BORDER) & (places <= _last(height, width) - BORDER)).all(-1)
        counts = counts.to(first.device)
        difference = second - self.drift.to(second) - _sample(first, there.to(first))
        return (difference.square() * counts).sum() / (counts.sum() * difference[:, :, 0, 0].numel()).clamp(1)


def _pixel_places(height: int, width: int) -> Tensor:
    """``[H, W, 2]``: each pixel's own (x, y)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).float()


def _last(height: int, width: int) -> Tensor:
    return torch.tensor([width - 1, height - 1])


def _warped(places: Tensor, generator: torch.Generator) -> Tensor:
    """``places`` turned, zoomed and tilted about the middle, and moved by a part of a pixel."""
    height, width = places.shape[:2]
    middle = _last(height, width) / 2
    turn, zoom = MAX_TURN * _signed(generator), 1 + MAX_ZOOM * _signed(generator)
    tilt = torch.stack([_signed(generator), _signed(generator)]) * MAX_TILT / middle
    matrix = zoom * torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).reshape(2, 2)
    part = torch.stack([_signed(generator), _signed(generator)]) / 2
    centred = places - middle
    return middle + part + centred @ matrix.T / (1 + centred @ tilt)[..., None]


def _sample(pictures: Tensor, places: Tensor) -> Tensor:
    """``pictures`` at ``places``, bicubic: a linear look would blur, and teach the style to blur."""
    scale = 2 / _last(*pictures.shape[-2:]).to(places)
    grid = (places * scale - 1).expand(len(pictures), *places.shape)
    return F.grid_sample(pictures, grid, "bicubic", padding_mode="reflection", align_corners=True)


def _hidden(pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A plain rectangle of up to a third of each side before the pictures, and what is seen beside it."""
    height, width = pictures.shape[-2:]
    h, w = (1 + int(_uniform(generator) * side / 3) for side in (height, width))
    top, left = (int(_uniform(generator) * (side - s)) for side, s in ((height, h), (width, w)))
    color = torch.rand(3, 1, 1, generator=generator)
    hidden = pictures.clone()
    hidden[..., top : top + h, left : left + w] = color.to(pictures)
    visible = torch.ones(height, width, dtype=torch.bool)
    # Strokes near an edge change with what is beyond it.
    near = MARGIN
    visible[max(0, top - near) : top + h + near, max(0, left - near) : left + w + near] = False
    return hidden, visible


def _grain_size(largest: int, generator: torch.Generator) -> int:
    sizes = [size for size in GRAINS if size <= largest]
    # Nothing is drawn where there is no choice: trainings from before there was one come out the same.
    return sizes[int(torch.randint(len(sizes), (), generator=generator))] if len(sizes) > 1 else sizes[0]


def _grains(shape: tuple[int, ...], size: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise of deviation 1 for pictures ``[N, 3, H, W]``, in grains of ``size`` pixels."""
    if size == 1:
        return torch.randn(shape, generator=generator)
    height, width = shape[-2:]
    # It is strongest in the middle of each grain, and at the border, where there is nothing to interpolate:
    # neither may come to lie at the same pixels of the network's grid again and again.
    noise = torch.randn((*shape[:-2], -(-height // size) + 4, -(-width // size) + 4), generator=generator)
    top, left = (size + size // 2 + int(torch.randint(size, (), generator=generator)) for _ in range(2))
    noise = F.interpolate(noise, scale_factor=size, mode="bicubic")
    noise = noise[..., top : top + height, left : left + width]
    return noise / noise.std()


def _luma(pictures: Tensor) -> Tensor:
    return (pictures * torch.tensor(_LUMA).to(pictures)[:, None, None]).sum(1, keepdim=True)


def _uniform(generator: torch.Generator) -> Tensor:
    return torch.rand((), generator=generator)


def _signed(generator: torch.Generator) -> Tensor:
    return 2 * _uniform(generator) - 1
