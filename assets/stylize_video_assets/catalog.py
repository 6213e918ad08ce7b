"""The styles that ship with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

CATALOG_FILE = "catalog.json"
"""Beside this module; ``train-gallery`` writes it."""


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
    """Every shipped style, by name; variants such as ``photo.int8.onnx`` belong to their style."""
    folder = Path(str(files("stylize_video_assets") / "styles"))
    names = sorted({path.name.split(".")[0] for path in folder.glob("*.onnx")})
    return [BundledStyle(name, folder / f"{name}.onnx", **_catalog().get(name, {})) for name in names]


def find_bundled(name: str) -> BundledStyle | None:
    """The shipped style of this name, with or without ``.onnx``."""
    wanted = name.removesuffix(".onnx")
    return next((style for style in bundled_styles() if style.name == wanted), None)


@cache
def _catalog() -> Mapping[str, Mapping[str, Any]]:
    catalog: Mapping[str, Mapping[str, Any]] = json.loads(
        (files("stylize_video_assets") / CATALOG_FILE).read_text(encoding="utf-8")
    )
    return catalog
