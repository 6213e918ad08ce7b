from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from stylize_video_train.recipe import PRESETS, NetworkConfig, Recipe, RecipeError


@pytest.mark.parametrize("features", sorted(PRESETS))
def test_presets_fill_in_the_layers(features: str) -> None:
    recipe = Recipe(features=features).resolved()
    assert recipe.content_layer == PRESETS[features].content_layer
    assert recipe.style_layers == PRESETS[features].style_layers
    assert recipe.resolved() == recipe


def test_layers_given_are_kept() -> None:
    recipe = Recipe(features="vgg19", content_layer="relu3_3", style_layers=("relu1_1",)).resolved()
    assert (recipe.content_layer, recipe.style_layers) == ("relu3_3", ("relu1_1",))


def test_a_model_without_preset_needs_layers() -> None:
    with pytest.raises(RecipeError, match="--style-layers"):
        Recipe(features="densenet121").resolved()
    Recipe(features="densenet121", content_layer="a", style_layers=("b",)).resolved()


@pytest.mark.parametrize(
    ("name", "now", "then"),
    [
        ("style_statistics", "moments", "gram"),
        ("optimizer", "muon", "adam"),
        ("zoom", (1.1, 4.0), (1.1, 1.8)),
        ("contrast", (0.45, 1.1), (1.0, 1.0)),
        ("brightness", 0.12, 0.0),
        ("noise", 8 / 255, 4 / 255),
        ("grain", 32, 1),
        ("ema_decay", 0.99, 0.0),
    ],
)
def test_recipes_from_before_a_choice_are_read_as_what_they_were(
    name: str, now: object, then: object
) -> None:
    values = Recipe().to_dict()
    assert getattr(Recipe.from_dict(values), name) == now
    del values[name]
    assert getattr(Recipe.from_dict(values), name) == then


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"style_statistics": "mean"}, "style_statistics must be moments or gram"),
        ({"layer_weights": (1.0,)}, "layer weights"),
        ({"steps": 0}, "steps"),
        ({"batch": -1}, "batch"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"muon_learning_rate": 0.0}, "muon_learning_rate"),
        ({"optimizer": "sgd"}, "optimizer must be muon or adam"),
        ({"style_weight": -1.0}, "style_weight"),
        ({"identity_share": 1.5}, "identity_share"),
        ({"precision": "fp8"}, "precision"),
        ({"image_size": 32}, "image_size"),
        ({"window": 0.0}, "window"),
        ({"zoom": (1.0,)}, "zoom must be two numbers"),
        ({"zoom": (0.5, 2.0)}, "zoom must be from 1 to 16"),
        ({"zoom": (1.0, 100.0)}, "zoom must be from 1 to 16"),
        ({"contrast": (1.0, 0.5)}, "the lower one first"),
        ({"contrast": (0.0, 1.0)}, "contrast must be two numbers above 0"),
        ({"brightness": 1.0}, "brightness"),
        ({"noise": -0.1}, "noise must be from 0 to 1"),
        ({"noise": 4.0}, "noise must be from 0 to 1"),
        ({"grain": 0}, "grain"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 20240101123456}, "seed must be from 0"),
        ({"style_layers": ("relu1_2", "relu1_2")}, "named twice"),
        ({"contrast": (0.5, math.inf)}, "contrast must be finite"),
        ({"style_weight": math.inf}, "style_weight must be finite"),
        ({"content_weight": math.nan}, "content_weight must be finite"),
        ({"style_weight": 5.0, "style_balance": math.inf}, "style_balance must be finite"),
        ({"optimizer": "adam", "muon_learning_rate": math.inf}, "muon_learning_rate must be finite"),
        ({"layer_weights": (math.inf, 1.0, 1.0)}, "layer_weights must be finite"),
        ({"content_scale": 0.25}, "one of style_scales"),
        ({"style_scales": ()}, "style_scales"),
        ({"style_scales": (0.5, 0.5)}, "style_scales must differ"),
        ({"layer_weights": (1e308, 1e308, 1e308)}, "layer_weights must be 0 or more with a finite sum"),
        ({"steps": 10**10}, "steps must be at most 10000000"),
        ({"batch": 10**6}, "batch must be at most 4096"),
    ],
)
def test_values_out_of_range_are_errors(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe(**values).resolved()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(network=NetworkConfig(kind="transformer", width=16), style_memory=None),
        Recipe(features="squeezenet1_1", style_scales=(1.0,), layer_weights=(1.0, 2.0, 3.0, 0.5)).resolved(),
    ],
)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sparkle": 3}, "settings that this release does not know: sparkle"),
        ({"network": None}, "cannot be used"),
        ({"network": {"kind": "unet"}}, "unknown network 'unet'"),
        ({"steps": "many"}, "steps must be a whole number"),
    ],
)
def test_a_stored_recipe_that_is_none_of_ours_is_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=rf"^a\.pth .*{words}"):
        Recipe.from_dict({**Recipe().to_dict(), **change}, source="a.pth")
    with pytest.raises(RecipeError, match="the recipe does not say which network it is for"):
        Recipe.from_dict({})


def test_the_recipe_does_not_import_torch() -> None:
    code = "import sys, stylize_video_train.recipe, stylize_video_train.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
