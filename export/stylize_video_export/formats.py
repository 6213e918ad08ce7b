"""Checkpoints of every kind that can be exported.

Ours say what they are. The public ``fast_neural_style`` state dicts (PyTorch's examples
and the projects grown from them) do not: they are known by their parameter names, hold
one TransformerNet of any width, and were trained on pixels in 0..255.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stylize_video_train.checkpoint import (
    FORMAT,
    Checkpoint,
    CheckpointError,
    checkpoint_of,
    is_plain,
    read_torch_file,
)
from stylize_video_train.networks import build_network
from stylize_video_train.recipe import NetworkConfig, RecipeError

_FIRST_LAYER = "conv1.conv2d.weight"
# Instance normalisation kept running statistics until PyTorch 0.4; they were never used.
_UNUSED = re.compile(r"in\d+\.(running_mean|running_var|num_batches_tracked)$")


def load_any_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours or a public ``fast_neural_style`` state dict.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe to load, or holds another
            network; the sentence says which was expected and what differs.
    """
    content = read_torch_file(path)
    if isinstance(content, Mapping) and content.get("format") == FORMAT:
        return checkpoint_of(content, path)
    if isinstance(content, Mapping):
        # Some save the state dict under a key of its own, beside the optimizer's.
        nested = {key: value for key, value in content.items() if isinstance(value, Mapping)}
        fitting = [key for key, value in nested.items() if _names_layers(value)]
        usual = [key for key in ("state_dict", "model_state_dict", "model") if key in nested]
        if usual or len(fitting) == 1:
            content = nested[[*usual, *fitting][0]]
    if not isinstance(content, Mapping) or not all(is_plain(v) for v in content.values()):
        raise CheckpointError(f"{path} holds no network weights (expected a state dict of plain tensors)")
    weights = {_name(key): value for key, value in content.items()}
    weights = {k: v for k, v in weights.items() if not _UNUSED.search(k)}
    if _FIRST_LAYER not in weights:
        some = ", ".join(sorted(weights)[:3]) or "nothing"
        raise CheckpointError(
            f"{path} is not a network that can be exported: expected a stylize-video checkpoint or a"
            f" fast_neural_style TransformerNet (with {_FIRST_LAYER}), found {some}"
        )
    return _transformer_checkpoint(path, weights)


def _names_layers(content: Mapping[object, object]) -> bool:
    return any(_name(key) == _FIRST_LAYER for key in content)


def _name(key: object) -> str:
    """A parameter's name, without what a network in :class:`torch.nn.DataParallel` puts before it."""
    return str(key).removeprefix("module.")


def _transformer_checkpoint(path: Path, weights: Mapping[str, Tensor]) -> Checkpoint:
    blocks = {int(match[1]) for key in weights if (match := re.match(r"res(\d+)\.", key))}
    first = weights[_FIRST_LAYER]
    if first.dim() != 4:
        raise CheckpointError(
            f"{path} is no TransformerNet: {_FIRST_LAYER} has shape {list(first.shape)}"
            " instead of [width, 3, 9, 9]"
        )
    try:
        config = NetworkConfig(kind="transformer", width=len(first), blocks=len(blocks), pixel_range=255)
    except RecipeError as error:
        raise CheckpointError(f"{path} is no TransformerNet: {error}") from error
    with torch.device("meta"):  # a file of a few bytes may claim to be as wide as it likes
        expected = build_network(config).state_dict()
    differences = [
        *(f"{key} is missing" for key in expected if key not in weights),
        *(f"{key} is not part of it" for key in weights if key not in expected),
        *(
            f"{key} has shape {list(weights[key].shape)} instead of {list(value.shape)}"
            for key, value in expected.items()
            if key in weights and weights[key].shape != value.shape
        ),
    ]
    if differences:
        more = f" and {len(differences) - 2} more" if len(differences) > 2 else ""
        raise CheckpointError(
            f"{path} is not the TransformerNet of width {config.width} with {config.blocks} residual"
            f" blocks that it looks like: {'; '.join(differences[:2])}{more}"
        )
    floats = {name: weight.float() for name, weight in weights.items()}
    return Checkpoint(config, floats, recipe={}, style={"name": path.stem}, step=0)
