"""The styles that ship with the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True)
class BundledStyle:
    """A style file of the package: its name, as users type it, and where it lies."""

    name: str
    path: Path


def bundled_styles() -> list[BundledStyle]:
    """Every shipped style, by name; variants such as ``photo.int8.onnx`` belong to their style."""
    folder = Path(str(files("stylize_video_assets") / "styles"))
    names = sorted({path.name.split(".")[0] for path in folder.glob("*.onnx")})
    return [BundledStyle(name, folder / f"{name}.onnx") for name in names]


def find_bundled(name: str) -> BundledStyle | None:
    """The shipped style of this name, with or without ``.onnx``."""
    wanted = name.removesuffix(".onnx")
    return next((style for style in bundled_styles() if style.name == wanted), None)
