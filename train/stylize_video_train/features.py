"""Feature models: the pretrained classifiers whose activations the losses compare.

One interface over all of torchvision: a model name and the names of the layers
wanted. VGG layers have their usual names (``relu3_4``); any other name is a node of
the model as ``torchvision.models.feature_extraction`` lists them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torchvision.models import get_model, get_model_weights
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from stylize_video.errors import StylizeError, first_line
from stylize_video_train.checkpoint import CheckpointError, read_torch_file
from stylize_video_train.recipe import PRESETS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FeatureError(StylizeError):
    """A feature model, one of its layers, or its weights cannot be had."""


# Convolutions per block; ReLUs follow each and a pooling layer each block.
_VGG_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


class FeatureModel(nn.Module):
    """Frozen activations of a pretrained classifier.

    Called with RGB pictures ``[N, 3, H, W]`` in 0..1 it returns a dict from layer name
    to activations ``[N, C, h, w]``. Only the part of the model below the deepest
    layer is kept.

    Args:
        name: a torchvision classification model, such as ``vgg19``.
        layers: names of the activations to return.
        weights_file: a state dict with torchvision's keys, which may stop after the
            deepest layer asked for; by default torchvision downloads its own.
        random_weights: keep random weights (for tests; the losses then mean little).

    Raises:
        FeatureError: the model or a layer is unknown, or weights are missing or of
            the wrong shape.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[str],
        *,
        weights_file: Path | None = None,
        random_weights: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.layers = tuple(dict.fromkeys(layers))
        if not self.layers:
            raise FeatureError(f"no layers of {name} were asked for")
        nodes = {node_name(name, layer): layer for layer in self.layers}
        with torch.device("meta"):
            try:
                model = get_model(name, weights=None)
            except ValueError as error:
                raise FeatureError(f"unknown feature model {name!r}; known: {', '.join(PRESETS)}") from error
        known = get_graph_node_names(model)[1]
        for node, layer in nodes.items():
            # A prefix of a node's name stands for the last node below it.
            if not any(k == node or k.startswith(node + ".") for k in known):
                raise FeatureError(f"{name} has no layer {layer!r}; some it has: {', '.join(known[:12])} …")
        model.eval()
        self.trunk = create_feature_extractor(model, return_nodes=nodes)
        if random_weights:
            _randomise(self.trunk)
        else:
            self._load(_read_state(name, weights_file), weights_file)
        for module in self.trunk.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # an in-place ReLU would overwrite a convolution asked for
        self.trunk.requires_grad_(False)
        self.trunk.eval()
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.trunk((pictures - self.mean) / self.std)
        return features

    def shapes(self, height: int, width: int) -> dict[str, torch.Size]:
        """The shapes of all activations for one picture of this size in pixels, without computing them.

        Raises:
            FeatureError: the model cannot look at pictures of this size.
        """
        outlines = {name: value.to("meta") for name, value in self.trunk.state_dict().items()}
        picture = torch.empty(1, 3, height, width, device="meta")
        try:
            found = functional_call(self.trunk, outlines, (picture,))
        except (RuntimeError, AssertionError) as error:
            raise FeatureError(
                f"{self.name} cannot look at pictures of {width}x{height} pixels: {first_line(error)}"
            ) from error
        # A node of the model may be a number, too.
        return {layer: getattr(value, "shape", torch.Size()) for layer, value in found.items()}

    def up_to(self, layer: str) -> FeatureModel:
        """A model with the same weights, not copies of them, that ends at ``layer`` and returns it alone."""
        trunk = GraphModule(self.trunk, copy.deepcopy(self.trunk.graph))
        output = next(node for node in trunk.graph.nodes if node.op == "output")
        output.args = ({layer: output.args[0][layer]},)
        trunk.graph.eliminate_dead_code()
        trunk.delete_all_unused_submodules()
        trunk.recompile()
        part = copy.copy(self)
        part.layers = (layer,)
        part._modules = {**self._modules, "trunk": trunk}
        return part

    def train(self, mode: bool = True) -> FeatureModel:
        """Feature models are never trained: batch statistics of a ResNet stay frozen."""
        super().train(mode)
        self.trunk.eval()
        return self

    def _load(self, state: Mapping[str, Tensor], source: Path | None) -> None:
        wanted = self.trunk.state_dict()
        where = str(source) if source else f"torchvision's weights of {self.name}"
        missing = [key for key in wanted if key not in state and "num_batches_tracked" not in key]
        if missing:
            raise FeatureError(
                f"{where} lacks {missing[0]}, which {', '.join(self.layers)} of {self.name} need"
                f" ({len(missing)} tensors missing); choose shallower layers or a fuller file"
            )
        wrong = [key for key, value in wanted.items() if key in state and state[key].shape != value.shape]
        if wrong:
            raise FeatureError(
                f"{where}: {wrong[0]} has shape {tuple(state[wrong[0]].shape)},"
                f" {self.name} needs {tuple(wanted[wrong[0]].shape)}"
            )
        weights = {
            key: state[key].float() if key in state else torch.zeros((), dtype=torch.long) for key in wanted
        }
        self.trunk.load_state_dict(weights, assign=True)


def _randomise(trunk: nn.Module) -> None:
    """Give a model on the meta device weights that keep activations as large as they come in."""
    trunk.to_empty(device="cpu")
    for name, value in trunk.state_dict().items():
        if value.ndim >= 2:
            nn.init.kaiming_normal_(value, nonlinearity="relu")
        else:
            value.fill_(1 if name.endswith(("weight", "running_var")) else 0)


def node_name(model: str, layer: str) -> str:
    """Torchvision's name of ``layer``: ``relu3_4`` of a VGG is ``features.17``; others are kept."""
    blocks = _VGG_BLOCKS.get(model)
    if blocks is None or not layer.startswith(("relu", "conv")):
        return layer
    try:
        block, index = (int(part) for part in layer[4:].split("_"))
        if not (1 <= block <= len(blocks) and 1 <= index <= blocks[block - 1]):
            raise ValueError
    except ValueError as error:
        raise FeatureError(f"{model} has no layer {layer!r}; VGG layers look like relu3_2") from error
    # Each convolution is two modules with its ReLU, each pooling one.
    position = 2 * (sum(blocks[: block - 1]) + index - 1) + (block - 1)
    return f"features.{position + (1 if layer.startswith('relu') else 0)}"


def _read_state(name: str, weights_file: Path | None) -> Mapping[str, Tensor]:
    if weights_file is None:
        try:
            # The first ImageNet weights are the ones the style-transfer literature used.
            weights = get_model_weights(name)["IMAGENET1K_V1"]
            state: Mapping[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise FeatureError(
                f"the weights of {name} could not be downloaded ({error});"
                " pass a state dict you have with --feature-weights FILE"
            ) from error
        return state
    try:
        loaded = read_torch_file(weights_file, kind="weights file")
    except CheckpointError as error:
        raise FeatureError(str(error)) from error
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise FeatureError(f"{weights_file} holds no state dict of tensors")
    return loaded
