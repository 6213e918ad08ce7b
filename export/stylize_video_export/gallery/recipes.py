"""Recipes of the shipped styles: one TOML file each, with all that its style came from.

::

    [style]
    title = "The Starry Night"
    author = "Vincent van Gogh"
    year = "1889"
    licence = "public domain"
    source = "https://…"
    picture = "starry.jpg"       # in the folder of style pictures

    [recipe]                     # anything that train-style --config takes
    style_weight = 12
    start = "starts/night.pth"   # a checkpoint beside the recipe, or as for train-style
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from stylize_video.styles.contract import StyleMetadata
from stylize_video_train.config import with_values
from stylize_video_train.recipe import Recipe, RecipeError


@dataclass(frozen=True)
class Origin:
    """Where a style's picture comes from."""

    title: str
    author: str
    year: str
    licence: str
    source: str


@dataclass(frozen=True)
class GalleryRecipe:
    """A shipped style: its name, its picture and where that is from, and how it is trained."""

    name: str
    picture: Path
    origin: Origin
    recipe: Recipe

    def metadata(self, thumbnail: bytes) -> StyleMetadata:
        """What the style file will say of itself, besides what the export adds."""
        author = f"{self.origin.author}, {self.origin.title} ({self.origin.year})"
        return StyleMetadata(self.name, author=author, licence=self.origin.licence, thumbnail=thumbnail)


def read_recipes(folder: Path, pictures: Path, names: Sequence[str] = ()) -> list[GalleryRecipe]:
    """The recipes in ``folder``, or only those called ``names``, in the order of their names.

    Args:
        folder: one ``NAME.toml`` a style.
        pictures: the folder of style pictures.
        names: which ones; all by default.

    Raises:
        RecipeError: there is none, one is not there, or one is not as it should be.
    """
    known = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if not known:
        raise RecipeError(
            f"there are no recipes (NAME.toml) in {folder}; run it in a clone of the project, or name a"
            " folder with --recipes"
        )
    if unknown := [name for name in names if name not in known]:
        raise RecipeError(f"there is no recipe {unknown[0]!r} in {folder}; there are {', '.join(known)}")
    return [_read(path, pictures) for name, path in known.items() if not names or name in names]


def _read(path: Path, pictures: Path) -> GalleryRecipe:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} is no recipe that can be read: {error}") from error
    about = content.get("style", {})
    wanted = {"picture", *(field.name for field in fields(Origin))}
    if set(content) - {"style", "recipe"} or set(about) != wanted:
        raise RecipeError(
            f"{path} needs a table [style] with {', '.join(sorted(wanted))} and may have a table [recipe]"
        )
    picture = pictures / str(about["picture"])
    if not picture.is_file():
        raise RecipeError(f"{path}: there is no picture {picture}")
    origin: dict[str, Any] = {name: str(about[name]) for name in wanted - {"picture"}}
    recipe = with_values(Recipe(), content.get("recipe", {}), source=str(path))
    beside = path.parent / recipe.start
    if beside.is_file():
        recipe = replace(recipe, start=str(beside))
    return GalleryRecipe(path.stem, picture, Origin(**origin), recipe)
