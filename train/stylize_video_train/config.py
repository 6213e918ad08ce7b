"""Recipes in TOML: any field of :class:`Recipe`, and a table ``[network]``.

::

    features = "vgg19"
    style_layers = ["relu1_2", "relu2_2", "relu3_2"]
    style_weight = "auto"       # calibrated
    steps = 6000

    [network]
    width = 32
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from stylize_video_train.recipe import NetworkConfig, Recipe, RecipeError, errors_named, typed

_TRANSFORMER_BLOCKS = 5
_OF_ONE_KIND = {"head": "realtime", "pixel_range": "transformer"}
_OPTIONS_ALONE = frozenset({"content", "output", "feature_weights", "device", "report", "tensorboard"})
"""What train-style is told about a training that is no part of its recipe."""


def read_config(path: Path) -> dict[str, Any]:
    """The values in a TOML file, for :func:`with_values`.

    Raises:
        RecipeError: the file is missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error


def with_values(recipe: Recipe, values: Mapping[str, Any], *, source: str) -> Recipe:
    """``recipe`` with ``values`` in place of its own; ``source`` names them in errors.

    Raises:
        RecipeError: a name is unknown, or a value is of the wrong kind.
    """
    defaults = Recipe()
    changes: dict[str, Any] = {}
    for name, value in values.items():
        _known(name, [field.name for field in fields(Recipe)], source)
        if name == "network":
            changes[name] = _network(recipe.network, value, source)
        else:
            with errors_named(source):
                changes[name] = typed(name, value, getattr(defaults, name))
    return replace(recipe, **changes)


def _network(network: NetworkConfig, values: object, source: str) -> NetworkConfig:
    if not isinstance(values, Mapping):
        raise RecipeError(f"{source}: network must be a table such as [network], got {values!r}")
    defaults = NetworkConfig()
    changes: dict[str, Any] = {}
    for name, value in values.items():
        _known(name, [field.name for field in fields(NetworkConfig)], source)
        with errors_named(source):
            changes[name] = typed(name, value, getattr(defaults, name))
    if changes.get("kind", network.kind) == "transformer" != network.kind:
        changes.setdefault("blocks", _TRANSFORMER_BLOCKS)
    kind = changes.get("kind", network.kind)
    for name, only in _OF_ONE_KIND.items():
        if name in changes and changes[name] != getattr(defaults, name) and kind != only:
            raise RecipeError(f"{source}: {name} is a setting of the network {only} alone")
    with errors_named(source):
        return replace(network, **changes)


def _known(name: str, names: list[str], source: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"
        if name in _OPTIONS_ALONE:
            hint = " in a recipe; it is an option of the command"
        elif name in {field.name for field in fields(NetworkConfig)}:
            hint = " outside of the table [network]"
        raise RecipeError(f"{source}: there is no {name}{hint}")
