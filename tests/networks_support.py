"""Networks with random weights and every part at work."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import torch
from torch import nn

from stylize_video_train.checkpoint import Checkpoint
from stylize_video_train.networks import StyleNetwork, build_network
from stylize_video_train.recipe import NetworkConfig

ToOnnx = Callable[..., onnx.ModelProto]
"""As :func:`stylize_video_export.to_onnx.to_onnx`."""

CONFIGS = {
    "realtime": NetworkConfig(width=16, blocks=2, head=16),
    "transformer": NetworkConfig(kind="transformer", width=8, blocks=2),
    "transformer of 0..255": NetworkConfig(kind="transformer", width=8, blocks=2, pixel_range=255),
}


def random_network(config: NetworkConfig) -> StyleNetwork:
    """A network whose normalisation is not the identity and whose output is a visible picture."""
    torch.manual_seed(0)
    network = build_network(config).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    scale, bias = list(network.parameters())[-2:]
    with torch.no_grad():
        scale.mul_(config.pixel_range)
        bias.add_(0.5 * config.pixel_range)
    return network


def checkpoint_of(network: StyleNetwork) -> Checkpoint:
    recipe = {"features": "vgg19", "steps": 3, "network": network.config.to_dict()}
    return Checkpoint(network.config, network.state_dict(), recipe, {"name": "toy"}, 3)
