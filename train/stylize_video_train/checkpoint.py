"""Checkpoints: weights, the network they belong to, and the recipe that made them."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylize_video.errors import StylizeError
from stylize_video.files import replacing
from stylize_video_train.networks import StyleNetwork, build_network
from stylize_video_train.recipe import NetworkConfig, RecipeError, typed_settings

_PICKLE_STARTS = (b"PK", b"\x80")
"""First bytes of what torch.save writes (a zip archive, before torch 1.6 a pickle) and of any pickle."""

FORMAT = "stylize-video checkpoint"
VERSION = 1


class CheckpointError(StylizeError):
    """A checkpoint cannot be read, or is none of ours."""


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights with all that is known about them.

    ``recipe`` is the training's :meth:`Recipe.to_dict`, empty where it is unknown;
    ``style`` describes the style picture (``name``, ``sha256``); ``step`` counts the
    optimizer steps taken. ``state`` is what an unfinished training needs to go on, besides
    the weights; a finished one has none.
    """

    network: NetworkConfig
    weights: Mapping[str, Tensor]
    recipe: Mapping[str, Any]
    style: Mapping[str, str]
    step: int
    state: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> StyleNetwork:
        """The network with these weights, in evaluation mode."""
        network = build_network(self.network)
        network.load_state_dict(dict(self.weights))
        return network.eval()

    def weights_sha256(self) -> str:
        """A hash of names, shapes and values: the same weights, the same hash."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            tensor = self.weights[name].detach().cpu().contiguous()
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            # As bytes: NumPy knows no bfloat16.
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the checkpoint; a file already at ``path`` is replaced only once this one is whole.

        Raises:
            CheckpointError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "network": self.network.to_dict(),
            "weights": {name: tensor.detach().cpu() for name, tensor in self.weights.items()},
            "recipe": dict(self.recipe),
            "style": dict(self.style),
            "step": self.step,
            "state": dict(self.state),
        }
        whole = io.BytesIO()  # of a full disk torch would tell its own internals
        torch.save(content, whole)
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(whole.getbuffer())
        except OSError as error:
            raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint that ``train-style`` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe to load, or of another kind.
    """
    return checkpoint_of(read_torch_file(path), path)


def checkpoint_of(content: object, path: Path) -> Checkpoint:
    """The checkpoint that ``content`` is, which :func:`read_torch_file` gave of ``path``.

    Raises:
        CheckpointError: it is none, or is damaged.
    """
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no stylize-video checkpoint; train-style writes one")
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {content.get('version')}, this release reads {VERSION}"
        )
    try:
        checkpoint = Checkpoint(
            network=NetworkConfig(**content["network"]),
            weights=content["weights"],
            recipe=content["recipe"],
            style=content["style"],
            step=int(content["step"]),
            state=content.get("state", {}),
        )
        _check_kinds(checkpoint)
        shapes = {name: tuple(value.shape) for name, value in checkpoint.weights.items()}
    except (
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
        RecipeError,
    ) as error:
        raise CheckpointError(f"{path} is a damaged stylize-video checkpoint ({error})") from error
    with torch.device("meta"):
        expected = build_network(checkpoint.network).state_dict()
    if shapes != {name: tuple(value.shape) for name, value in expected.items()}:
        raise CheckpointError(
            f"{path} holds the weights of another {checkpoint.network.kind} network than this release has:"
            " train it again, or export it with the release that trained it"
        )
    return checkpoint


def _check_kinds(checkpoint: Checkpoint) -> None:
    """Raise TypeError, ValueError or RecipeError where a part of a checkpoint is not what it should be.

    Settings that this release does not know are no error: the style can be exported all the same.
    """
    for name in ("weights", "recipe", "style", "state"):
        if not isinstance(getattr(checkpoint, name), Mapping):
            raise TypeError(f"its {name} is no table")
    json.dumps(checkpoint.recipe, allow_nan=False)
    typed_settings(checkpoint.recipe)
    if not all(isinstance(value, str) for value in checkpoint.style.values()):
        raise TypeError("what it says of the style is no text")
    for name, value in checkpoint.weights.items():
        if not is_plain(value):
            raise TypeError(f"its {name} is no plain tensor")


def is_plain(value: object) -> bool:
    """Whether ``value`` is a tensor that holds all of its numbers, which are real ones."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_meta or value.is_quantized or value.is_nested or value.is_complex())
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()  # not one, repeated
    )


def read_torch_file(path: Path, *, kind: str = "checkpoint") -> Any:
    """Load a torch file without running any code that it may hold; ``kind`` names it in errors.

    Raises:
        CheckpointError: the file is missing, damaged, or needs arbitrary pickle code.
    """
    if not path.is_file():
        raise CheckpointError(f"the {kind} {path} does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are refused anyway
            if zipfile.is_zipfile(path):
                _check_sums(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, down to UnpicklingError and EOFError
        with path.open("rb") as file:
            known = file.read(2).startswith(_PICKLE_STARTS)
        if known and isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f"{path} needs pickle code to load, which could run anything on this machine;"
                " save its state_dict() instead"
            ) from error
        raise CheckpointError(f"{path} is damaged or no torch {kind}") from error


def _check_sums(path: Path) -> None:
    """Raise ValueError where a part of an archive is not what was written, which torch does not look at."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} has another checksum")
