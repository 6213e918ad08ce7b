"""Perceptual losses of Johnson et al. (arXiv 1603.08155), normalised per layer.

Every term is divided by the energy of its own target, so it reads as a fraction:
1 means "as far from the target as a blank picture". One style weight then works
across layers, feature models and paintings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylize_video_train.features import FeatureModel
from stylize_video_train.parallel import mean_over_processes
from stylize_video_train.recipe import StyleStatistics

_TINY = 1e-8


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrices ``[N, C, C]`` of activations ``[N, C, H, W]``, divided by C·H·W."""
    n, channels, height, width = features.shape
    flat = _full_precision(features).reshape(n, channels, height * width)
    # Autocast would compute the product in half precision again.
    with torch.autocast(features.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / (channels * height * width)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Covariances ``[N, C, C]``, divided by C, and means ``[N, 1, C]`` of activations ``[N, C, H, W]``.

    A Gram matrix is their sum, the covariance and the square of the mean, and the mean is most of
    it: matching the sum, a network may trade texture for colour and still be paid (Risser et al.,
    arXiv 1701.08893, call it the instability of Gram matrices). Matched apart, colours become
    those of the painting, and strokes count as much as they do.
    """
    mean = _full_precision(features).mean((2, 3), keepdim=True)
    return gram_matrix(_full_precision(features) - mean), mean.flatten(1)[:, None]


def style_statistics(features: Tensor, kind: StyleStatistics) -> tuple[Tensor, ...]:
    """What is compared of a layer: its :func:`gram_matrix`, or its :func:`moments`."""
    return (gram_matrix(features),) if kind == "gram" else moments(features)


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Squared distance of activations, as a fraction of the target's energy."""
    target = _full_precision(target)
    energy = mean_over_processes(target.square().mean())
    return F.mse_loss(_full_precision(features), target) / (energy + _TINY)


def style_loss(statistic: Tensor, target: Tensor) -> Tensor:
    """Squared distance of Gram matrices ``[N, C, C]`` to ``[C, C]``, as a fraction of the target's energy.

    Or of any other statistic of two dimensions.
    """
    return (statistic - target).square().sum((1, 2)).mean() / (target.square().sum() + _TINY)


class PooledStatistic(nn.Module):
    """A style statistic of many pictures, of which the current batch is the latest part.

    Johnson et al. ask each picture for the style's whole statistics, which only a network
    that sees the whole picture (instance normalisation) can give: one that does not
    turns bright pictures dark and dark ones bright. Asked of all pictures together, light
    may stay light. Pooled is the mean of the pictures' own statistics: of a covariance, that about
    each picture's mean, so that pictures of different light count as no contrast. An exponential
    mean remembers earlier batches; only the current one carries a gradient, scaled to be as large
    as without memory. A long memory answers late and makes the training swing: 0.9 diverged within
    300 steps where 0 did not.

    Args:
        shape: of the statistic: (C, C) for Gram matrices of C channels.
        memory: share of the past in the mean, 0 for the current batch alone.
    """

    def __init__(self, shape: Sequence[int], memory: float) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("mean", torch.zeros(1, *shape))
        self.register_buffer("weight", torch.zeros(()))
        self.mean: Tensor
        self.weight: Tensor

    def forward(self, statistic: Tensor) -> Tensor:
        """Return ``[1, ...]``, the mean, for the statistics ``[N, ...]`` of a batch."""
        batch = mean_over_processes(statistic.mean(0, keepdim=True))
        new = batch.detach()
        if self.training:
            self.weight += (1 - self.memory) * (1 - self.weight)
            # Dividing by the weight so far makes the first means unbiased, as in Adam.
            self.mean += (1 - self.memory) / self.weight * (new - self.mean)
        return self.mean + (batch - new)

    def forget(self) -> None:
        """Begin anew: the next batch is the first."""
        self.mean.zero_()
        self.weight.zero_()


def total_variation(pictures: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels (anisotropic, as in the paper)."""
    vertical = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().mean()
    horizontal = (pictures[..., :, 1:] - pictures[..., :, :-1]).square().mean()
    return vertical + horizontal


def out_of_range(pictures: Tensor) -> Tensor:
    """Mean square of how far pixels lie outside of 0..1, which a picture loses: plain white and black."""
    return (pictures - pictures.clamp(0, 1)).square().mean()


class StyleTerm(nn.Module):
    """Style loss at one layer: the mean of its statistics' distances from those of the style picture.

    Args:
        targets: the style picture's statistics, without the dimension of the batch.
        statistics: which ones, see :func:`style_statistics`.
        memory: see :class:`PooledStatistic`; None compares each picture's.
    """

    def __init__(self, targets: Sequence[Tensor], statistics: StyleStatistics, memory: float | None) -> None:
        super().__init__()
        self.statistics = statistics
        self.pools = nn.ModuleList()
        for index, wanted in enumerate(targets):
            self.register_buffer(f"target{index}", wanted, persistent=False)
            self.pools.append(nn.Identity() if memory is None else PooledStatistic(wanted.shape, memory))

    def forward(self, features: Tensor) -> Tensor:
        """The loss of activations ``[N, C, H, W]``."""
        found = style_statistics(features, self.statistics)
        targets = (self.get_buffer(f"target{index}") for index in range(len(found)))
        each = zip(self.pools, found, targets, strict=True)
        return torch.stack([style_loss(pool(value), target) for pool, value, target in each]).mean()


class StyleTerms(nn.Module):
    """The style losses of one scale, a :class:`StyleTerm` a layer.

    Args:
        targets: the style picture's statistics, by layer.
        layers: where style is compared.
        statistics, memory: as for :class:`StyleTerm`.
    """

    def __init__(
        self,
        targets: Mapping[str, Sequence[Tensor]],
        layers: Sequence[str],
        statistics: StyleStatistics,
        memory: float | None,
    ) -> None:
        super().__init__()
        self._layers = tuple(layers)
        self._terms = nn.ModuleList(StyleTerm(targets[layer], statistics, memory) for layer in layers)

    @property
    def pools(self) -> nn.ModuleList:
        return nn.ModuleList(cast(StyleTerm, term).pools for term in self._terms)

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """The loss of activations at every layer, in order."""
        return [term(features[layer]) for layer, term in zip(self._layers, self._terms, strict=True)]


class PerceptualLoss(nn.Module):
    """Content and style of a batch against its source frames and one style picture.

    Args:
        model: returns at least ``content_layer`` and every style layer.
        style_picture: RGB ``[1, 3, H, W]`` in 0..1.
        content_layer: where content is compared.
        style_layers: the set J where style is compared.
        layer_weights: one weight a style layer; equal ones by default.
        scales: sizes at which style is compared, as fractions of the frame's side; a
            second, half-size look sees strokes twice as large.
        content_scale: the one of ``scales`` at which content is compared, by default the first;
            a half-size look leaves the strokes free and holds what they depict.
        window: at the first scale, look only at a part of the frames with this fraction of
            their sides. Fine strokes are known by a quarter of the picture, at a quarter of the cost.
        memory: compare the style of all pictures together, see :class:`PooledStatistic`;
            None compares each picture's, as the paper does.
        statistics: what style is, see :func:`style_statistics`.
        side: of the frames, in pixels. The style picture's statistics are then the mean of those of its parts
            that are as large as what is compared with them: a part holds less contrast than the whole,
            and its edges, where the model sees zeros. None: those of the whole.
    """

    def __init__(
        self,
        model: FeatureModel,
        style_picture: Tensor,
        *,
        content_layer: str,
        style_layers: Sequence[str],
        layer_weights: Sequence[float] | None = None,
        scales: Sequence[float] = (1.0, 0.5),
        content_scale: float | None = None,
        window: float = 1.0,
        memory: float | None = None,
        statistics: StyleStatistics = "gram",
        side: int | None = None,
    ) -> None:
        super().__init__()
        weights = tuple(layer_weights or (1.0,) * len(style_layers))
        if len(weights) != len(style_layers):
            raise ValueError(f"{len(style_layers)} style layers need as many weights, got {len(weights)}")
        self.model = model
        self._content_model = model.up_to(content_layer)
        self.content_layer = content_layer
        self.layer_weights = dict(zip(style_layers, weights, strict=True))
        self.scales = tuple(scales)
        self.content_scale = self.scales[0] if content_scale is None else content_scale
        if self.content_scale not in self.scales:
            raise ValueError(f"content_scale must be one of {self.scales}, got {content_scale}")
        self.window = window
        self._terms = nn.ModuleList()
        for scale in self.scales:
            seen = side and seen_side(side, window=window, is_first=scale == self.scales[0])
            targets = _style_targets(model, style_picture, style_layers, statistics, scale=scale, side=seen)
            self._terms.append(StyleTerms(targets, style_layers, statistics, memory))

    @property
    def pools(self) -> nn.ModuleList:
        """What is remembered of earlier batches: by scale, layer and statistic."""
        return nn.ModuleList(cast(StyleTerms, terms).pools for terms in self._terms)

    def forget(self) -> None:
        """Let the next batch be the first."""
        for module in self.modules():
            if isinstance(module, PooledStatistic):
                module.forget()

    def forward(
        self, stylized: Tensor, frames: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (content loss, style loss) of pictures ``[N, 3, H, W]``.

        Content is that of ``content_layer`` at ``content_scale``; style is the weighted mean over all layers
        and scales. ``generator`` places the window.
        """
        content = stylized.new_zeros(())
        style = stylized.new_zeros(())
        for scale, terms in zip(self.scales, self._terms, strict=True):
            seen, source = stylized, frames
            if scale == self.scales[0] and self.window < 1:
                rows, columns = _draw_window(stylized, self.window, generator)
                seen, source = seen[..., rows, columns], source[..., rows, columns]
            features = self.model(_rescale(seen, scale))
            if scale == self.content_scale:
                with torch.no_grad():
                    target = self._content_model(_rescale(source, scale))
                content = content_loss(features[self.content_layer], target[self.content_layer])
            for weight, loss in zip(self.layer_weights.values(), terms(features), strict=True):
                style = style + weight * loss
        return content, style / (sum(self.layer_weights.values()) * len(self.scales))


@torch.no_grad()
def _style_targets(
    model: FeatureModel,
    picture: Tensor,
    layers: Sequence[str],
    statistics: StyleStatistics,
    *,
    scale: float,
    side: int | None,
) -> dict[str, list[Tensor]]:
    """By layer, the statistics of ``picture``, or the mean of those of its parts of ``side``."""
    targets: dict[str, list[Tensor]] = {}
    parts = list(_parts(picture, side or max(picture.shape[-2:])))
    for part in parts:  # one after the other, as there may be thousands
        features = model(_rescale(part, scale))
        for layer in layers:
            found = [statistic[0] / len(parts) for statistic in style_statistics(features[layer], statistics)]
            before = targets.get(layer)
            targets[layer] = [a + b for a, b in zip(before, found, strict=True)] if before else found
    return targets


def _parts(picture: Tensor, side: int) -> Iterator[Tensor]:
    """As few squares of ``side`` as cover the picture, evenly; they are cut where the picture is smaller."""
    height, width = picture.shape[-2:]
    tops, lefts = (
        torch.linspace(0, max(0, length - side), math.ceil(length / side)).round().int().tolist()
        for length in (height, width)
    )
    for top in tops:
        for left in lefts:
            yield picture[..., top : top + side, left : left + side]


def seen_side(side: int, *, window: float, is_first: bool) -> int:
    """The side of what is compared of frames of ``side``: at the first scale a window, if that is smaller."""
    return window_side(side, window) if is_first and window < 1 else side


def window_side(side: int, fraction: float) -> int:
    """The side of a window with this fraction of a picture's side, in whole cells of 8 pixels."""
    return min(side, max(8, round(side * fraction / 8) * 8))


def _draw_window(pictures: Tensor, fraction: float, generator: torch.Generator | None) -> tuple[slice, slice]:
    """A random part of ``pictures`` with this fraction of their sides."""
    sides = [window_side(side, fraction) for side in pictures.shape[-2:]]
    starts = [
        int(torch.randint(whole - side + 1, (), generator=generator))
        for whole, side in zip(pictures.shape[-2:], sides, strict=True)
    ]
    top, left = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return top, left


def _full_precision(values: Tensor) -> Tensor:
    """At least float32: sums over a picture overflow or stall in half precision."""
    return values if values.dtype == torch.float64 else values.float()


def _rescale(pictures: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return pictures
    return F.interpolate(pictures, scale_factor=scale, mode="bilinear", antialias=True)
