"""The styles that ship with the package."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

CATALOG_FILE = "catalog.json"
"""Beside this module; ``train-gallery`` writes it."""

_TEXTS = ("title", "author", "year", "licence")
_FIGURES = ("warping_error", "noise_gain")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundledStyle:
    """A style file of the package: its name, as users type it, where it lies and what it is after.

    ``warping_error`` and ``noise_gain`` say how steady it is; they are multiples of the
    source's own, None where they were not measured.
    """

    name: str
    path: Path
    title: str = ""
    author: str = ""
    year: str = ""
    licence: str = ""
    warping_error: float | None = None
    noise_gain: float | None = None


def bundled_styles() -> list[BundledStyle]:
    """Every shipped style, by name; variants such as ``photo.int8.onnx`` belong to their style.

    Styles are there without the catalogue too: where that is damaged, what they are after is not told.
    """
    folder = Path(str(files("stylize_video_assets") / "styles"))
    names = sorted({path.name.split(".")[0] for path in folder.glob("*.onnx")})
    entries, _ = _catalog()
    return [BundledStyle(name, folder / f"{name}.onnx", **entries.get(name, {})) for name in names]


def find_bundled(name: str) -> BundledStyle | None:
    """The shipped style of this name, with or without ``.onnx``."""
    wanted = name.removesuffix(".onnx")
    return next((style for style in bundled_styles() if style.name == wanted), None)


def catalog_problem() -> str | None:
    """Why the catalogue cannot be read, None where it can."""
    return _catalog()[1]


@cache
def _catalog() -> tuple[Mapping[str, Mapping[str, Any]], str | None]:
    """The entries by the names of their styles, and what is wrong with the file."""
    file = files("stylize_video_assets") / CATALOG_FILE
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        damaged = not isinstance(entries, dict) or not all(map(_is_entry, entries.values()))
        reason = "its entries are not as they should be" if damaged else ""
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    if not reason:
        return entries, None
    problem = f"{file} is damaged ({reason})"
    _log.warning("%s: the styles are there, what they are after is not told", problem)
    return {}, problem


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(value, str) if name in _TEXTS else name in _FIGURES and isinstance(value, (int, float))
        for name, value in entry.items()
    )
