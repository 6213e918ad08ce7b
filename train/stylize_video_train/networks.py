"""The transformer networks: a frame in, the same frame in the style out.

Every network here maps float ``[N, 3, H, W]`` RGB in 0..1 to the same shape and
range, for any H and W of at least :data:`~stylize_video.styles.contract.MIN_SIDE`; what a size needs of
padding and cropping happens inside. Outputs are *not* clamped, so that training has a
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

    def for_bytes(self) -> StyleNetwork | None:
        """A folded copy in the form that 8-bit arithmetic runs fastest; None where there is none."""
        return None


# --- The reference network -------------------------------------------------------------


class TransformerNet(StyleNetwork):
    """The network of Johnson et al. (arXiv 1603.08155) with instance normalisation.

    9x9 and 3x3 reflect-padded convolutions, two of stride 2, five residual blocks,
    and nearest upsampling before the convolutions on the way out. Parameter names are
    those of the public ``fast_neural_style`` checkpoints, so their state dicts load
    as they are.
    """

    STRIDE = 4

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
        """Stylize ``[N, 3, H, W]`` RGB in 0..1; the result may go a little beyond that range."""
        height, width = frames.shape[-2:]
        scale = float(self.config.pixel_range)
        y = F.pad(frames, (0, (-width) % self.STRIDE, 0, (-height) % self.STRIDE), mode="reflect")
        y = y * scale if scale != 1 else y
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
    """A residual network at an eighth of the frame's size, made to fold to plain convolutions.

    Two strided convolutions take the frame to an eighth of its size, where all residual blocks
    work, and see far for little; three resize-convolutions bring it back. What the first
    convolution saw is added again at a quarter of the size, so that contours stay where they
    are. Normalisation is batch normalisation, which folds into the convolutions: a frame's
    look never depends on the rest of the frame (as it does with instance normalisation:
    flicker, tiles that do not match), and the exported graph is convolutions, ReLU, pixel
    shuffles and padding.

    Every convolution repeats the outermost pixels of its input. Zeros in their place cost less
    for each, but drew a frame of up to 43 of 255 levels around plain pictures, which took a
    margin of 24 pixels to hide: a fifth of all pixels at 640x360.
    """

    STRIDE = 8
    _STEM = 4

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width, head = config.width, config.head
        # 12x12 with stride 4 is a 3x3 convolution over 4x4 pixel-unshuffled input.
        self.stem = NormConv(3, head, kernel=12, stride=self._STEM)
        self.down = NormConv(head, width, kernel=4, stride=2)
        self.body = nn.ModuleList(BatchNormResidual(width) for _ in range(config.blocks))
        self.up0 = ResizeConv(width, head, hidden=True)
        self.up1 = ResizeConv(head, head, hidden=True)
        self.up2 = ResizeConv(head, 3, hidden=False)

    def forward(self, frames: Tensor) -> Tensor:
        y = self.up2(self.up1(self.middle(self.stem(_to_whole_strides(frames, self.STRIDE)))))
        return cast(Tensor, y[..., : frames.shape[-2], : frames.shape[-1]])

    def middle(self, stem: Tensor) -> Tensor:
        """From a quarter of the size to an eighth and back."""
        seen = F.relu(stem)
        y = F.relu(self.down(seen))
        for block in self.body:
            y = block(y)
        return cast(Tensor, self.up0(y) + seen)

    def folded(self) -> RealtimeNet:
        """A copy without normalisation, and with resize-convolutions as sub-pixel ones."""
        network = copy.deepcopy(self).eval()
        for module in network.modules():
            if isinstance(module, NormConv | ResizeConv):
                module.fold()
        return network

    def for_bytes(self) -> StyleNetwork:
        return ChannelsLastNet(self)


class ChannelsLastNet(StyleNetwork):
    """A folded :class:`RealtimeNet` in the form that 8-bit convolutions on a CPU run fastest.

    They keep the channels of a pixel together, and want the channels of their input in fours
    and of their output in sixteens: the same weights are ordered for that. Four pixels of a
    row are one of twelve channels, as they lie in memory already; a pixel shuffle moves whole
    runs of channels; and the picture comes out with a fourth channel, dropped at the end.
    """

    def __init__(self, network: RealtimeNet) -> None:
        super().__init__(network.config)
        self.network = network.folded()
        stem = self.network.stem
        self._margin = stem.padding
        outputs = len(stem.conv.weight)
        weight = stem.conv.weight.reshape(outputs, 3, 12, 3, 4).permute(0, 4, 1, 2, 3).flatten(1, 2)
        self.stem = _convolution(weight, stem.conv.bias, stride=(4, 1))
        for part, channels in ((self.network.up0, 0), (self.network.up1, 0), (self.network.up2, 4)):
            part.shuffle_last(channels=channels)

    def forward(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        rows = _to_whole_strides(frames, RealtimeNet.STRIDE, margin=self._margin).permute(0, 2, 3, 1)
        rows = rows.reshape(rows.shape[0], rows.shape[1], rows.shape[2] // 4, 12)
        y = self.network.middle(self.stem(rows.permute(0, 3, 1, 2)))
        y = self.network.up2(self.network.up1(y)).permute(0, 2, 3, 1)
        return cast(Tensor, y[:, :height, :width].permute(0, 3, 1, 2)[:, :3])


def _to_whole_strides(frames: Tensor, stride: int, *, margin: int = 0) -> Tensor:
    """Repeat the outermost pixels: right and below to whole strides, then ``margin`` all around."""
    height, width = frames.shape[-2:]
    sides = (margin, margin + (-width) % stride, margin, margin + (-height) % stride)
    return F.pad(frames, sides, mode="replicate")


class NormConv(nn.Module):
    """Edge-padded convolution and batch normalisation; :meth:`fold` merges the two."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.padding = (kernel - stride + 1) // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, bias=False)
        self.norm: nn.Module = BatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.conv(F.pad(x, (self.padding,) * 4, mode="replicate"))))

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
    """Linear x2 upsampling and a 4x4 convolution, computed before the upsampling.

    A pixel shuffle whose four phases have kernels of their own leaves a checkerboard
    (Odena et al. 2016); one kernel over the upsampled picture cannot. Where upsampling only
    repeats pixels, that kernel learns to sharpen their steps: a weave of lines two to eight
    pixels apart, which stands still while the picture moves. Between linearly interpolated ones
    there are none. Either costs four times the memory traffic, but is, to the last border pixel,
    a 3x3 convolution with four times the channels followed by a pixel shuffle, so the shared
    kernel is what is trained and the fast form is what runs. Both repeat the outermost pixels.

    A ``hidden`` one is followed by batch normalisation and ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, *, hidden: bool) -> None:
        super().__init__()
        self.hidden = hidden
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 4, 4))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.norm = BatchNorm(out_channels) if hidden else None
        self.fast: nn.Conv2d | None = None
        self.channels_last = False
        self.register_buffer("taps", _linear_taps(), persistent=False)
        self.taps: Tensor
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        if self.fast is not None:
            y = self.fast(x)
            # Before the shuffle, the ReLU fuses with the convolution.
            y = F.relu(y) if self.hidden else y
            return _shuffle_last(y) if self.channels_last else F.pixel_shuffle(y, 2)
        y = F.conv2d(x, self._sub_pixel_weight(), self.bias.repeat_interleave(4))
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
        bias = self.bias.detach().repeat_interleave(4)
        self.fast = _convolution(self._sub_pixel_weight(), bias)

    def shuffle_last(self, *, channels: int = 0) -> None:
        """After :meth:`fold`: order the channels by phase, so that the shuffle moves runs of them.

        More ``channels`` than there are come out as zeros.
        """
        if self.fast is None:
            raise ValueError("fold a resize-convolution before its channels are ordered")
        more = max(0, channels - len(self.bias))
        weight, bias = (
            F.pad(value.reshape(-1, 4, *value.shape[1:]), (0, 0) * value.dim() + (0, more))
            .transpose(0, 1)
            .flatten(0, 1)
            for value in (self.fast.weight, cast(Tensor, self.fast.bias))
        )
        self.fast = _convolution(weight, bias)
        self.channels_last = True


def _convolution(weight: Tensor, bias: Tensor | None, *, stride: int | tuple[int, int] = 1) -> nn.Conv2d:
    """A convolution without padding with these weights ``[out, in, height, width]``."""
    outputs, inputs, *kernel = weight.shape
    conv = nn.Conv2d(inputs, outputs, (kernel[0], kernel[1]), stride, bias=bias is not None)
    conv.weight = nn.Parameter(weight.detach().contiguous())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().contiguous())
    return conv


def _shuffle_last(x: Tensor) -> Tensor:
    """A pixel shuffle of ``[N, 4 * C, H, W]`` whose channels are ordered by phase, done channels-last."""
    n, channels, height, width = x.shape
    y = x.permute(0, 2, 3, 1).reshape(n, height, width, 2, channels // 2).transpose(2, 3)
    return y.reshape(n, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


def _linear_taps() -> Tensor:
    """``[phase, low-resolution offset, tap]``: how much of which source pixel each of the 4 taps reads."""
    taps = torch.zeros(2, 3, 4)
    for phase in range(2):
        for tap in range(4):
            # The mean of two neighbours, where every source pixel stands twice.
            for neighbour in (tap - 2, tap - 1):
                taps[phase, (phase + neighbour) // 2 + 1, tap] += 0.5
    return taps


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation with running statistics as ``x * scale + shift``."""
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise ValueError("cannot fold a batch normalisation that keeps no running statistics")
    scale = (norm.weight / torch.sqrt(var + norm.eps)).detach()
    return scale, (norm.bias - mean * scale).detach()
