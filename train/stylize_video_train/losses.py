"""Perceptual losses of Johnson et al. (arXiv 1603.08155), normalised per layer.

Every term is divided by the energy of its own target, so it reads as a fraction:
1 means "as far from the target as a blank picture". One style weight then works
across layers, feature models and paintings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylize_video_train.features import FeatureModel

_TINY = 1e-8


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrices ``[N, C, C]`` of activations ``[N, C, H, W]``, divided by C·H·W."""
    n, channels, height, width = features.shape
    flat = features.float().reshape(n, channels, height * width)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Squared distance of activations, as a fraction of the target's energy."""
    target = target.float()
    return F.mse_loss(features.float(), target) / (target.square().mean() + _TINY)


def style_loss(features: Tensor, target_gram: Tensor, *, pooled: bool = False) -> Tensor:
    """Squared distance of Gram matrices to ``target_gram`` ``[C, C]``, as a fraction of its energy.

    ``pooled`` compares the batch's mean Gram matrix instead of each picture's. The
    paper asks every picture for the style's whole statistics, which only a network that
    sees the whole picture (instance normalisation) can give: one that does not turns
    bright pictures dark and dark ones bright. Pooled, light may stay light.
    """
    gram = gram_matrix(features)
    if pooled:
        gram = gram.mean(0, keepdim=True)
    difference = gram - target_gram
    return difference.square().sum((1, 2)).mean() / (target_gram.square().sum() + _TINY)


def total_variation(pictures: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels (anisotropic, as in the paper)."""
    vertical = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().mean()
    horizontal = (pictures[..., :, 1:] - pictures[..., :, :-1]).square().mean()
    return vertical + horizontal


class PerceptualLoss(nn.Module):
    """Content and style of a batch against its source frames and one style picture.

    Args:
        model: returns at least ``content_layer`` and every style layer.
        style_picture: RGB ``[1, 3, H, W]`` in 0..1.
        content_layer: where content is compared.
        style_layers: the set J where Gram matrices are compared.
        layer_weights: one weight a style layer; equal ones by default.
        scales: sizes at which style is compared, as fractions of the frame's side; a
            second, half-size look sees strokes twice as large.
        pooled: compare the style of the batch as a whole, see :func:`style_loss`.
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
        pooled: bool = False,
    ) -> None:
        super().__init__()
        weights = tuple(layer_weights or (1.0,) * len(style_layers))
        if len(weights) != len(style_layers):
            raise ValueError(f"{len(style_layers)} style layers need as many weights, got {len(weights)}")
        self.model = model
        self.content_layer = content_layer
        self.layer_weights = dict(zip(style_layers, weights, strict=True))
        self.scales = tuple(scales)
        self.pooled = pooled
        with torch.no_grad():
            self._targets: list[Mapping[str, Tensor]] = []
            for scale in self.scales:
                features = model(_rescale(style_picture, scale))
                self._targets.append({layer: gram_matrix(features[layer])[0] for layer in style_layers})

    def forward(self, stylized: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return (content loss, style loss), each averaged over layers and scales."""
        with torch.no_grad():
            content_target = self.model(frames)[self.content_layer]
        content = stylized.new_zeros(())
        style = stylized.new_zeros(())
        for scale, targets in zip(self.scales, self._targets, strict=True):
            features = self.model(_rescale(stylized, scale))
            if scale == self.scales[0]:
                content = content_loss(features[self.content_layer], content_target)
            for layer, weight in self.layer_weights.items():
                style = style + weight * style_loss(features[layer], targets[layer], pooled=self.pooled)
        return content, style / (sum(self.layer_weights.values()) * len(self.scales))


def _rescale(pictures: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return pictures
    return F.interpolate(pictures, scale_factor=scale, mode="bilinear", antialias=True)
