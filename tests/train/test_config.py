from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stylize_video_train.cli import _recipe
from stylize_video_train.config import read_config, with_values
from stylize_video_train.recipe import NetworkConfig, Recipe, RecipeError

TOML = """
features = "vgg16"
style_layers = ["relu1_2", "relu2_2"]
layer_weights = [1, 0.5]
style_weight = "auto"
steps = 6000
learning_rate = 1

[network]
kind = "transformer"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "photo.toml"
    path.write_text(TOML)
    return path


def test_a_file_sets_what_it_names_and_nothing_else(config: Path) -> None:
    recipe = with_values(Recipe(), read_config(config), source="photo.toml")
    assert recipe == Recipe(
        features="vgg16",
        style_layers=("relu1_2", "relu2_2"),
        layer_weights=(1.0, 0.5),
        steps=6000,
        learning_rate=1.0,
        network=NetworkConfig(kind="transformer", width=32, blocks=5),
    )
    assert isinstance(recipe.learning_rate, float)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Windows' Notepad writes one."""
    (tmp_path / "a.toml").write_text("steps = 3", encoding="utf-8-sig")
    assert read_config(tmp_path / "a.toml") == {"steps": 3}


def test_options_override_the_file(config: Path) -> None:
    recipe = _recipe({"steps": 10, "network": {"width": 16}}, config=config, resumed=None)
    assert (recipe.steps, recipe.network.kind, recipe.network.width) == (10, "transformer", 16)
    assert recipe.features == "vgg16"


def test_every_field_can_be_set_from_what_a_recipe_stores() -> None:
    stored = Recipe(features="vgg16", style_weight=3.0, layer_weights=(1.0, 2.0)).to_dict()
    assert Recipe.from_dict(stored) == with_values(Recipe(), stored, source="stored")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stepz": 3}, "did you mean steps"),
        ({"qqqqqqqq": 3}, "known: "),
        ({"steps": "many"}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"learning_rate": 10**400}, "learning_rate has a number that is too large"),
        ({"style_weight": 10**400}, "style_weight has a number that is too large"),
        ({"layer_weights": [10**400]}, "layer_weights has a number that is too large"),
        ({"network": {"pixel_range": 255}}, "pixel_range is a setting of the network transformer alone"),
        ({"network": {"kind": "transformer", "head": 8}}, "head is a setting of the network realtime alone"),
        ({"steps": 2.5}, "whole number"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"style_weight": "heavy"}, "'auto'"),
        ({"style_layers": "relu1_2"}, "list of names"),
        ({"layer_weights": ["a"]}, "list of numbers"),
        ({"features": 19}, "text in quotes"),
        ({"network": "realtime"}, r"\[network\]"),
        ({"network": {"kind": "unet"}}, "unet"),
        ({"network": {"wdth": 3}}, "did you mean width"),
        ({"network": {"width": 0}}, "at least 1"),
        ({"network": {"blocks": 10**6}}, "at most 128"),
        ({"width": 16}, r"no width outside of the table \[network\]"),
        ({"content": "photos"}, "no content in a recipe; it is an option"),
    ],
)
def test_mistakes_name_the_file_and_the_value(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as error:
        with_values(Recipe(), values, source="photo.toml")
    assert str(error.value).startswith("photo.toml: ")


def test_files_that_are_no_toml_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("steps = = 3")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_config(tmp_path / "a.toml")
