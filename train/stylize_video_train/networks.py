"""The transformer networks: a frame in, the same frame in the style out.

Every network here maps float ``[N, 3, H, W]`` RGB in 0..1 to the same shape and
range, for any H and W of at least :data:`MIN_SIDE`; what a size needs of padding
and cropping happens inside. Outputs are *not* clamped, so that training has a
gradient everywhere; the export wrapper clamps.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylize_video_train.parallel import BatchNorm
from stylize_video_train.recipe import NetworkConfig

MIN_SIDE = 16
"""Smallest height and width, in pixels, that every network accepts."""

STRIDE = 4
"""Both families work at a quarter of the frame's size; sides are padded to a multiple of it."""


def build_network(config: NetworkConfig) -> StyleNetwork:
    """Return the network that ``config`` describes, with fresh weights."""
    if config.kind == "transformer":
        return TransformerNet(config)
    return RealtimeNet(config)


class StyleNetwork(nn.Module):
    """Base of the networks: keeps the configuration that built it."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    def folded(self) -> StyleNetwork:
        """A copy in evaluation mode that computes the same with the fewest operations."""
        return copy.deepcopy(self).eval()


def pad_to_stride(frames: Tensor, margin: int = 0) -> Tensor:
    """Pad by ``margin`` on every side, and right and below to a multiple of the stride.

    A margin repeats the outermost pixels: reflecting them needs a frame larger than the margin.
    """
    height, width = frames.shape[-2:]
    return F.pad(
        frames,
        (margin, margin + (-width) % STRIDE, margin, margin + (-height) % STRIDE),
        mode="replicate" if margin else "reflect",
    )


# --- The reference network -------------------------------------------------------------


class TransformerNet(StyleNetwork):
    """The network of Johnson et al. (arXiv 1603.08155) with instance normalisation.

    9x9 and 3x3 reflect-padded convolutions, two of stride 2, five residual blocks,
    and nearest upsampling before the convolutions on the way out. Parameter names are
    those of the public ``fast_neural_style`` checkpoints, so their state dicts load
    as they are.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width = config.width
        self.conv1 = ReflectConv(3, width, kernel=9)
        self.in1 = nn.InstanceNorm2d(width, affine=True)
        self.conv2 = ReflectConv(width, 2 * width, kernel=3, stride=2)
        self.in2 = nn.InstanceNorm2d(2 * width, affine=True)
        self.conv3 = ReflectConv(2 * width, 4 * width, kernel=3, stride=2)
        self.in3 = nn.InstanceNorm2d(4 * width, affine=True)
        for index in range(1, config.blocks + 1):
            self.add_module(f"res{index}", InstanceNormResidual(4 * width))
        self.deconv1 = ReflectConv(4 * width, 2 * width, kernel=3, upsample=2)
        self.in4 = nn.InstanceNorm2d(2 * width, affine=True)
        self.deconv2 = ReflectConv(2 * width, width, kernel=3, upsample=2)
        self.in5 = nn.InstanceNorm2d(width, affine=True)
        self.deconv3 = ReflectConv(width, 3, kernel=9)

    def forward(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        scale = float(self.config.pixel_range)
        y = pad_to_stride(frames) * scale if scale != 1 else pad_to_stride(frames)
        y = F.relu(self.in1(self.conv1(y)))
        y = F.relu(self.in2(self.conv2(y)))
        y = F.relu(self.in3(self.conv3(y)))
        for index in range(1, self.config.blocks + 1):
            y = self.get_submodule(f"res{index}")(y)
        y = F.relu(self.in4(self.deconv1(y)))
        y = F.relu(self.in5(self.deconv2(y)))
        y = self.deconv3(y)
        y = y / scale if scale != 1 else y
        return cast(Tensor, y[..., :height, :width])


class ReflectConv(nn.Module):
    """Optional nearest upsampling, reflection padding, convolution."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, upsample: int = 1
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.padding = kernel // 2
        self.conv2d = nn.Conv2d(in_channels, out_channels, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample > 1:
            x = F.interpolate(x, scale_factor=float(self.upsample), mode="nearest")
        x = F.pad(x, (self.padding,) * 4, mode="reflect")
        return cast(Tensor, self.conv2d(x))


class InstanceNormResidual(nn.Module):
    """Two convolutions with instance normalisation around an identity path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ReflectConv(channels, channels, kernel=3)
        self.in1 = nn.InstanceNorm2d(channels, affine=True)
        self.conv2 = ReflectConv(channels, channels, kernel=3)
        self.in2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.in1(self.conv1(x)))
        return cast(Tensor, x + self.in2(self.conv2(y)))


# --- The real-time network -------------------------------------------------------------


class RealtimeNet(StyleNetwork):
    """A residual network at a quarter of the frame's size, made to fold to plain convolutions.

    One strided convolution takes the frame to a quarter of its size, where all residual
    blocks work; two resize-convolutions bring it back. Normalisation is batch
    normalisation, which folds into the convolutions: a frame's look never depends on the
    rest of the frame (as it does with instance normalisation: flicker, tiles that do not
    match), and the exported graph is convolutions, ReLU and two pixel shuffles.

    Convolutions pad with zeros, which costs nothing at run time; the frame is padded once
    by :data:`MARGIN` pixels and the margin cropped at the end. What the zeros change reaches
    further in than that, but fades: trained networks drew a frame of up to 43 of 255 levels
    around a plain picture with a margin of 12, of 10 with 20, and of less than 1 with 24.
    """

    MARGIN = 24

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width = config.width
        # 12x12 with stride 4 is a 3x3 convolution over 4x4 pixel-unshuffled input.
        self.stem = NormConv(3, width, kernel=12, stride=STRIDE)
        self.body = nn.ModuleList(BatchNormResidual(width) for _ in range(config.blocks))
        self.up1 = ResizeConv(width, config.head, hidden=True)
        self.up2 = ResizeConv(config.head, 3, hidden=False)

    def forward(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        y = F.relu(self.stem(pad_to_stride(frames, self.MARGIN)))
        for block in self.body:
            y = block(y)
        y = self.up2(self.up1(y))
        crop = slice(self.MARGIN, self.MARGIN + height), slice(self.MARGIN, self.MARGIN + width)
        return cast(Tensor, y[..., crop[0], crop[1]])

    def folded(self) -> StyleNetwork:
        """A copy without normalisation, and with resize-convolutions as sub-pixel ones."""
        network = copy.deepcopy(self).eval()
        for module in network.modules():
            if isinstance(module, NormConv | ResizeConv):
                module.fold()
        return network


class NormConv(nn.Module):
    """Zero-padded convolution and batch normalisation; :meth:`fold` merges the two."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, (kernel - stride + 1) // 2, bias=False
        )
        self.norm: nn.Module = BatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.conv(x)))

    def fold(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            scale, shift = _scale_and_shift(self.norm)
            self.conv.weight = nn.Parameter(self.conv.weight * scale[:, None, None, None])
            self.conv.bias = nn.Parameter(shift)
            self.norm = nn.Identity()


class BatchNormResidual(nn.Module):
    """Two :class:`NormConv` around an identity path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = NormConv(channels, channels)
        self.conv2 = NormConv(channels, channels)
        # Starting each block as the identity keeps the first steps calm (Goyal et al. 2017).
        nn.init.zeros_(cast(nn.BatchNorm2d, self.conv2.norm).weight)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.conv2(F.relu(self.conv1(x))))


class ResizeConv(nn.Module):
    """Nearest x2 upsampling and a 5x5 convolution, computed before the upsampling.

    A pixel shuffle whose four phases have kernels of their own leaves a checkerboard
    (Odena et al. 2016); one kernel over the upsampled picture cannot, but costs four
    times the memory traffic. Nearest upsampling followed by a 5x5 convolution is, to
    the last border pixel, a 3x3 convolution with four times the channels followed by a
    pixel shuffle, so the shared kernel is what is trained and the fast form is what runs.

    A ``hidden`` one is followed by batch normalisation and ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, *, hidden: bool) -> None:
        super().__init__()
        self.hidden = hidden
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 5, 5))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.norm = BatchNorm(out_channels) if hidden else None
        self.fast: nn.Conv2d | None = None
        self.register_buffer("taps", _nearest_taps(), persistent=False)
        self.taps: Tensor
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.fast is not None:
            y = self.fast(x)
            # Before the shuffle, the ReLU fuses with the convolution.
            return F.pixel_shuffle(F.relu(y) if self.hidden else y, 2)
        y = F.conv2d(x, self._sub_pixel_weight(), self.bias.repeat_interleave(4), padding=1)
        y = F.pixel_shuffle(y, 2)
        return F.relu(self.norm(y)) if self.norm is not None else y

    def _sub_pixel_weight(self) -> Tensor:
        """The kernel as ``[4 * out, in, 3, 3]``, phases in pixel-shuffle order."""
        taps = self.taps.to(self.weight.dtype)
        weight = torch.einsum("pat,qbs,oits->opqiab", taps, taps, self.weight)
        return weight.flatten(0, 2)

    def fold(self) -> None:
        if self.norm is not None:
            scale, shift = _scale_and_shift(self.norm)
            self.bias = nn.Parameter(self.bias * scale + shift)
            self.weight = nn.Parameter(self.weight * scale[:, None, None, None])
            self.norm = None
        weight = self._sub_pixel_weight().detach()
        fast = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        fast.weight = nn.Parameter(weight)
        fast.bias = nn.Parameter(self.bias.detach().repeat_interleave(4))
        self.fast = fast


def _nearest_taps() -> Tensor:
    """``[phase, low-resolution offset, tap]``: which source pixel each of the 5 taps reads."""
    taps = torch.zeros(2, 3, 5)
    for phase in range(2):
        for tap in range(5):
            taps[phase, (phase + tap - 2) // 2 + 1, tap] = 1
    return taps


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation with running statistics as ``x * scale + shift``."""
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise ValueError("cannot fold a batch normalisation that keeps no running statistics")
    scale = (norm.weight / torch.sqrt(var + norm.eps)).detach()
    return scale, (norm.bias - mean * scale).detach()
