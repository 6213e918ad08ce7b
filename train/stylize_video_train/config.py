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

from stylize_video_train.recipe import NetworkConfig, Recipe, RecipeError

_NONE = ("auto", "none")
_NUMBERS_OR_NONE = frozenset({"style_weight", "style_memory", "identity_share", "content_scale"})
_LISTS_OF_TEXT = frozenset({"style_layers"})
_LISTS_OF_NUMBERS = frozenset({"layer_weights", "style_scales", "zoom", "contrast"})
_TRANSFORMER_BLOCKS = 5


def read_config(path: Path) -> dict[str, Any]:
    """The values in a TOML file, for :func:`with_values`.

    Raises:
        RecipeError: the file is missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
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
            changes[name] = _converted(name, value, getattr(defaults, name), source)
    return replace(recipe, **changes)


def _network(network: NetworkConfig, values: object, source: str) -> NetworkConfig:
    if not isinstance(values, Mapping):
        raise RecipeError(f"{source}: network must be a table such as [network], got {values!r}")
    defaults = NetworkConfig()
    changes: dict[str, Any] = {}
    for name, value in values.items():
        _known(name, [field.name for field in fields(NetworkConfig)], source)
        changes[name] = _converted(name, value, getattr(defaults, name), source)
    if changes.get("kind", network.kind) == "transformer" != network.kind:
        changes.setdefault("blocks", _TRANSFORMER_BLOCKS)
    try:
        return replace(network, **changes)
    except ValueError as error:
        raise RecipeError(f"{source}: {error}") from error


def _known(name: str, names: list[str], source: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"
        raise RecipeError(f"{source}: there is no {name}{hint}")


def _converted(name: str, value: object, default: object, source: str) -> Any:
    """``value`` as the type of the field ``name``; numbers may lack their decimal point."""
    if name in _LISTS_OF_TEXT or name in _LISTS_OF_NUMBERS:
        text = name in _LISTS_OF_TEXT
        if isinstance(value, list | tuple) and all(
            isinstance(v, str) if text else _is_number(v) for v in value
        ):
            return tuple(value) if text else tuple(float(v) for v in value)
        wanted = "a list of " + ("names" if text else "numbers")
    elif name in _NUMBERS_OR_NONE:
        if value is None or value in _NONE:
            return None
        if _is_number(value):
            return float(value)  # type: ignore[arg-type]
        wanted = f"a number or {_NONE[0]!r}"
    elif isinstance(default, float):
        if _is_number(value):
            return float(value)  # type: ignore[arg-type]
        wanted = "a number"
    elif isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        wanted = "a whole number"
    else:
        if isinstance(value, str):
            return value
        wanted = "text in quotes"
    raise RecipeError(f"{source}: {name} must be {wanted}, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
