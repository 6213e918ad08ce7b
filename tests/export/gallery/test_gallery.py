from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stylize_video.errors import SinkError, StylizeError
from stylize_video.styles.style import Style
from stylize_video_export.gallery.build import Workshop, export_style, is_made_of, train_style
from stylize_video_export.gallery.catalogue import (
    forget_figures,
    read_catalogue,
    steadiness,
    update_catalogue,
)
from stylize_video_export.gallery.cli import main
from stylize_video_export.gallery.recipes import GalleryRecipe, read_recipes
from stylize_video_export.gallery.sheet import contact_sheet, read_samples
from stylize_video_train.features import FeatureModel
from stylize_video_train.progress import Progress
from stylize_video_train.recipe import RecipeError
from support import ROOT, Command, draw_picture, write_clip

TOY = """
[style]
title = "Stripes"
author = "Nobody"
year = "2026"
licence = "CC0-1.0"
source = "drawn by the test"
picture = "stripes.png"

[recipe]
features = "squeezenet1_1"
content_layer = "features.1"
style_layers = ["features.1"]
style_size = 64
style_weight = 5
image_size = 64
batch = 2
steps = 4
identity_share = 0.5

[recipe.network]
width = 16
blocks = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``recipes/toy.toml``, ``pictures/stripes.png`` and a folder ``photos``."""
    folder = tmp_path_factory.mktemp("gallery")
    for name in ("recipes", "pictures", "photos", "styles", "runs"):
        (folder / name).mkdir()
    (folder / "recipes" / "toy.toml").write_text(TOY)
    stripes = draw_picture(0, 80, 80)
    stripes[::6] = 255
    cv2.imwrite(str(folder / "pictures" / "stripes.png"), stripes)
    for index in range(4):
        cv2.imwrite(str(folder / "photos" / f"{index}.png"), draw_picture(3 * index, 96, 80))
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> GalleryRecipe:
    (recipe,) = read_recipes(folder / "recipes", folder / "pictures")
    return recipe


@pytest.fixture(scope="module")
def style(folder: Path, recipe: GalleryRecipe) -> Path:
    workshop = Workshop(folder / "photos", folder / "runs", random_features=True)
    export_style(recipe, train_style(recipe, workshop), workshop, folder / "styles", device="cpu")
    return folder / "styles" / "toy.onnx"


def test_a_style_is_made_from_its_recipe_alone(style: Path, recipe: GalleryRecipe) -> None:
    metadata = Style.load(style).metadata
    assert metadata is not None
    assert metadata.name == "toy"
    assert metadata.author == "Nobody, Stripes (2026)"
    assert metadata.licence == "CC0-1.0"
    assert metadata.recipe["steps"] == 4
    thumbnail = cv2.imdecode(np.frombuffer(metadata.thumbnail, np.uint8), cv2.IMREAD_COLOR)
    assert thumbnail is not None
    assert thumbnail.shape == (80, 80, 3)
    assert style.with_name("toy.fp16.onnx").is_file()


def test_a_start_may_lie_beside_the_recipe(folder: Path, tmp_path: Path) -> None:
    text = (folder / "recipes" / "toy.toml").read_text()
    (tmp_path / "toy.toml").write_text(text.replace("[recipe]", '[recipe]\nstart = "before.pth"', 1))

    def start() -> str:
        return read_recipes(tmp_path, folder / "pictures")[0].recipe.start

    assert start() == "before.pth"
    (tmp_path / "before.pth").touch()
    assert start() == str(tmp_path / "before.pth")


def test_an_interrupted_training_goes_on(folder: Path, recipe: GalleryRecipe, tmp_path: Path) -> None:
    workshop = Workshop(folder / "photos", tmp_path, random_features=True)

    def stop(at: Progress) -> None:
        if at.step == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train_style(recipe, workshop, on_progress=stop)
    # Saved was what the first preview shows: the training goes on from there, and ends like one never
    # interrupted.
    whole = train_style(recipe, Workshop(folder / "photos", folder / "runs", random_features=True))
    assert train_style(recipe, workshop).weights_sha256() == whole.weights_sha256()


def test_a_finished_training_is_taken_as_it_is(folder: Path, recipe: GalleryRecipe, tmp_path: Path) -> None:
    workshop = Workshop(folder / "photos", tmp_path, random_features=True)
    steps: list[int] = []

    def train_it(recipe: GalleryRecipe) -> str:
        steps.clear()
        return train_style(recipe, workshop, on_progress=lambda at: steps.append(at.step)).weights_sha256()

    first = train_it(recipe)
    assert len(steps) == 4
    assert train_it(recipe) == first
    assert steps == []
    longer = replace(recipe, recipe=replace(recipe.recipe, steps=5))
    assert train_it(longer) != first
    assert len(steps) == 5
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), draw_picture(9, 80, 80))
    train_it(replace(longer, picture=other))
    assert len(steps) == 5, "another picture is another style"


def test_the_catalogue_says_where_a_style_is_from_and_how_steady_it_is(
    style: Path, recipe: GalleryRecipe, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", width=96, height=64, sound=False)
    catalogue = tmp_path / "catalog.json"
    catalogue.write_text(json.dumps({"other": {"title": "kept"}}))
    update_catalogue(catalogue, recipe, style, [clip])
    entries = json.loads(catalogue.read_text())
    assert entries["other"] == {"title": "kept"}
    assert entries["toy"]["title"] == "Stripes"
    assert entries["toy"]["warping_error"] == steadiness(style, [clip])["warping_error"] > 0
    update_catalogue(catalogue, recipe, style, [])
    assert json.loads(catalogue.read_text()) == entries, "figures stay until they are measured anew"


def test_figures_of_other_weights_are_dropped(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalog.json"
    other = {"title": "kept", "warping_error": 1.5, "noise_gain": 0.2}
    catalogue.write_text(json.dumps({"toy": {**other, "year": "2026"}, "other": other}))
    forget_figures(catalogue, "toy")
    assert json.loads(catalogue.read_text()) == {"toy": {"title": "kept", "year": "2026"}, "other": other}
    forget_figures(tmp_path / "none.json", "toy")
    assert not (tmp_path / "none.json").exists()


def test_a_style_is_known_by_its_weights(style: Path, folder: Path, recipe: GalleryRecipe) -> None:
    checkpoint = train_style(recipe, Workshop(folder / "photos", folder / "runs", random_features=True))
    assert is_made_of(style, checkpoint)
    weights = {name: value + 1 for name, value in checkpoint.weights.items()}
    assert not is_made_of(style, replace(checkpoint, weights=weights))
    assert not is_made_of(folder / "missing.onnx", checkpoint)


@pytest.mark.parametrize("text", ["no json", "[1]", '{"toy": 3}', "[" * 100_000])
def test_a_catalogue_that_is_none_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(StylizeError, match=r"catalog\.json is no catalogue"):
        read_catalogue(tmp_path / "catalog.json")


def test_a_variant_that_is_refused_is_not_there(
    style: Path, folder: Path, recipe: GalleryRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = Workshop(folder / "photos", folder / "runs", random_features=True)
    checkpoint = train_style(recipe, workshop)
    shutil.copy(style, tmp_path)
    for name in ("toy.fp16.onnx", "toy.int8.onnx", "other.int8.onnx"):
        (tmp_path / name).write_bytes(b"of an earlier training")
    monkeypatch.setattr("stylize_video_export.export.VARIANT_PSNR", 98.9)
    export = export_style(recipe, checkpoint, workshop, tmp_path, device="cpu")
    assert len(export.refused) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"toy.onnx", "other.int8.onnx"}


def test_the_sheet_shows_every_style_on_every_sample(
    invert_style: Path, swap_style: Path, folder: Path, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", sound=False)
    samples = read_samples([folder / "photos" / "0.png", clip], height=40)
    sheet = contact_sheet({"invert": invert_style, "swap": swap_style}, samples)
    rows = np.split(sheet, 3)
    source, inverted = (row[-40:, : samples[0].shape[1]] for row in rows[:2])
    assert np.array_equal(source, samples[0])
    assert np.abs(255 - source.astype(int) - inverted).max() <= 1
    small = contact_sheet({"invert": invert_style}, samples, height=20)
    source, inverted = (row[-20:, : samples[0].shape[1] // 2] for row in np.split(small, 2))
    assert np.abs(255 - source.astype(int) - inverted).max() <= 1, "stylized as they were, shown smaller"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[style]\ntitle = 'x'\n", "needs a table"),
        ("not toml", "no recipe that can be read"),
        (TOY.replace("stripes.png", "gone.png"), "there is no picture"),
        (TOY.replace("steps = 4", "stepz = 4"), "did you mean steps"),
    ],
)
def test_a_bad_recipe_is_one_sentence(folder: Path, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(RecipeError, match=sentence):
        read_recipes(tmp_path, folder / "pictures")


def test_the_command_makes_the_folders_that_it_writes_to(
    command_here: Command, folder: Path, tmp_path: Path
) -> None:
    new = tmp_path / "\x1b[31mnew"
    weights = tmp_path / "features.pth"
    torch.manual_seed(0)  # those of the other trainings here
    model = FeatureModel("squeezenet1_1", ["features.1"], random_weights=True)
    torch.save(model.trunk.state_dict(), weights)
    result = command_here(
        *("train-gallery", "toy", "--content", folder / "photos", "--feature-weights", weights),
        *("--recipes", folder / "recipes", "--pictures", folder / "pictures", "--device", "cpu"),
        *("--output", new / "styles", "--checkpoints", new / "runs"),
        *("--catalogue", new / "catalogue" / "catalog.json"),
    )
    assert result.returncode == 0, result.stderr
    assert Style.load(new / "styles" / "toy.onnx").metadata
    assert (new / "runs" / "toy.pth").is_file()
    assert json.loads((new / "catalogue" / "catalog.json").read_text())["toy"]["title"] == "Stripes"
    assert "\\x1b[31mnew" in result.stderr
    assert "\x1b" not in result.stderr


def test_an_unknown_name_lists_what_there_is(command_here: Command, folder: Path) -> None:
    result = command_here("train-gallery", "nobody", "--content", folder, cwd=ROOT)
    assert result.returncode == 2
    assert "no recipe 'nobody'" in result.stderr
    assert "photo" in result.stderr


def test_one_thing_at_a_time(command_here: Command, tmp_path: Path) -> None:
    result = command_here("train-gallery", "--measure", "a.mp4", "--sheet", tmp_path / "a.jpg", cwd=ROOT)
    assert result.returncode == 2
    assert "--measure and --sheet" in result.stderr


@pytest.fixture
def prepared(folder: Path, recipe: GalleryRecipe, tmp_path: Path) -> list[object]:
    """Arguments of the command that find the training done, in a folder of their own."""
    workshop = Workshop(folder / "photos", tmp_path, random_features=True)
    train_style(recipe, workshop)
    return [
        *("--content", folder / "photos", "--recipes", folder / "recipes", "--pictures", folder / "pictures"),
        *("--checkpoints", tmp_path, "--output", tmp_path, "--catalogue", tmp_path / "catalog.json"),
    ]


def test_the_command_ends_with_1_where_a_variant_is_refused(
    prepared: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = {"warping_error": 2.5, "noise_gain": 0.25}
    (tmp_path / "catalog.json").write_text(json.dumps({"toy": figures}))
    monkeypatch.setattr("stylize_video_export.export.VARIANT_PSNR", 98.9)
    monkeypatch.setattr("stylize_video_export.gallery.build.proof_devices", devices := Devices())
    monkeypatch.setattr("sys.argv", ["train-gallery", *map(str, prepared), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "error: toy: fp16 was not written" in capsys.readouterr().err
    assert devices.asked == ["cpu"]
    entry = json.loads((tmp_path / "catalog.json").read_text())["toy"]
    assert entry["title"] == "Stripes"
    assert not figures.keys() & entry.keys(), "they were of other weights"


class Devices:
    """In place of ``proof_devices``: what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, device: str) -> tuple[str, ...]:
        self.asked.append(device)
        return ("cpu",)


@pytest.mark.parametrize("written", [False, True])
def test_figures_stay_as_long_as_the_weights_that_they_are_of(
    written: bool, prepared: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that fails leaves the old style and what is true of it; one that is interrupted may not."""
    whole = {"warping_error": 2.5, "title": "Stripes"}
    (tmp_path / "catalog.json").write_text(json.dumps({"toy": whole}))

    def interrupted(*arguments: Any, **options: Any) -> None:
        if written:
            export_style(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("stylize_video_export.gallery.build.export_style", interrupted)
    monkeypatch.setattr("sys.argv", ["train-gallery", *map(str, prepared), "--device", "cpu"])
    with pytest.raises(SystemExit):
        main()
    entry = json.loads((tmp_path / "catalog.json").read_text())["toy"]
    assert entry == ({"title": "Stripes"} if written else whole)


def test_outside_of_a_clone_it_says_where_recipes_are(command_here: Command, tmp_path: Path) -> None:
    result = command_here("train-gallery", cwd=tmp_path)
    assert result.returncode == 2
    assert "; run it in a clone of the project, or name a folder with --recipes" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sheet", "s.txt", "--sample", "PHOTO"], "cannot write s.txt: sheets are JPEG files"),
        (["--sheet", "PHOTO", "--sample", "PHOTO"], "is one of the inputs; name another file with --sheet"),
        (["--sheet", "nowhere/s.jpg", "--sample", "PHOTO"], "the folder nowhere does not exist"),
        (["--sheet", "s.jpg", "--sample", "STRIP"], "is a strip of 900x20; a sheet shows"),
        (["--sample", "PHOTO"], "--sample goes with --sheet"),
        (["--measure", "PHOTO", "--catalogue", "PHOTO"], "is one of the inputs; name another file with"),
    ],
)
def test_what_is_wrong_with_a_sheet_is_told_before_it_is_drawn(
    arguments: list[str], sentence: str, command_here: Command, folder: Path, tmp_path: Path
) -> None:
    photo, strip = tmp_path / "photo.jpg", tmp_path / "strip.jpg"
    cv2.imwrite(str(photo), draw_picture(0, 60, 40))
    cv2.imwrite(str(strip), draw_picture(0, 900, 20))
    before = photo.read_bytes()
    places = {"PHOTO": str(photo), "STRIP": str(strip)}
    result = command_here(
        *("train-gallery", "--recipes", folder / "recipes", "--pictures", folder / "pictures"),
        *(places.get(argument, argument) for argument in arguments),
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert sentence in result.stderr
    assert photo.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_sheet_is_no_larger_than_a_jpeg_can_be(invert_style: Path) -> None:
    wide = [np.zeros((40, 400, 3), np.uint8)] * 20
    with pytest.raises(SinkError, match="lower --height"):
        contact_sheet({"invert": invert_style}, wide, height=400)


def test_a_broken_catalogue_is_told_before_anything_is_trained(
    command_here: Command, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "catalog.json").write_text("{")
    result = command_here(
        *("train-gallery", "--content", folder / "photos"),
        *("--recipes", folder / "recipes", "--pictures", folder / "pictures"),
        *("--checkpoints", tmp_path, "--output", tmp_path, "--catalogue", tmp_path / "catalog.json"),
    )
    assert result.returncode == 2
    assert "is no catalogue that can be read" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.json"]


def test_every_shipped_style_has_a_recipe_and_its_picture() -> None:
    recipes = read_recipes(ROOT / "assets/gallery/recipes", ROOT / "assets/pictures")
    shipped = {p.name.split(".")[0] for p in (ROOT / "assets/stylize_video_assets/styles").glob("*.onnx")}
    assert {recipe.name for recipe in recipes} >= shipped
    catalogue = json.loads((ROOT / "assets/stylize_video_assets/catalog.json").read_text())
    assert set(catalogue) == shipped
    sources = (ROOT / "assets/SOURCES.md").read_text()
    for recipe in recipes:
        assert recipe.picture.name in sources
        assert recipe.origin.licence
