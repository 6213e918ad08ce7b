from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from stylize_video_export.export import export_checkpoint
from stylize_video_train.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from stylize_video_train.experiments import duel, study
from stylize_video_train.experiments.cli import (
    main_compare_losses,
    main_compare_networks,
    main_train_experiments,
)
from stylize_video_train.experiments.gallery import agreement, results_table, write_grid
from stylize_video_train.experiments.matrix import as_markdown, loss_matrix, read_for_matrix
from stylize_video_train.features import FeatureModel
from stylize_video_train.networks import build_network
from stylize_video_train.recipe import NetworkConfig, Recipe
from support import Command, draw_picture

LAYERS = ("features.1", "features.4", "features.7", "features.12")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for kind in ("photos", "unseen"):
        (folder / kind).mkdir()
        for index in range(5):
            cv2.imwrite(str(folder / kind / f"{index}.png"), draw_picture(3 * index, 90, 70))
    for name, index in (("content", 0), ("style", 60), ("other", 200)):
        cv2.imwrite(str(folder / f"{name}.png"), draw_picture(index, 130, 110)[:: 1 if index else -1])
    return folder


@pytest.fixture(scope="module")
def squeeze_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = FeatureModel("squeezenet1_1", ["features.12"], random_weights=True)
    path = tmp_path_factory.mktemp("weights") / "squeeze.pth"
    torch.save(model.trunk.state_dict(), path)
    return path


def three(pictures: Path) -> torch.Tensor:
    return read_for_matrix([pictures / f"{name}.png" for name in ("content", "style", "other")])


def test_pictures_become_the_middle_of_a_256_pixel_side(pictures: Path) -> None:
    assert three(pictures).shape == (3, 3, 224, 224)


def test_seed_losses_are_zero_on_the_diagonal_and_symmetric(pictures: Path, squeeze_weights: Path) -> None:
    matrix = loss_matrix(three(pictures), "squeezenet1_1", weights_file=squeeze_weights)
    for values in (matrix.content, matrix.style):
        for i in range(3):
            assert values[i][i] == 0
            for j in range(3):
                assert values[i][j] == pytest.approx(values[j][i], rel=1e-5)
                assert i == j or values[i][j] > 0


def test_seed_losses_match_their_definition(pictures: Path, squeeze_weights: Path) -> None:
    crops = three(pictures)
    matrix = loss_matrix(crops, "squeezenet1_1", weights_file=squeeze_weights)
    features = FeatureModel("squeezenet1_1", LAYERS, weights_file=squeeze_weights)(crops)
    second = features["features.4"]
    assert matrix.content[0][1] == pytest.approx(((second[0] - second[1]) ** 2).mean().item(), rel=1e-5)
    style = 0.0
    for layer in LAYERS:
        channels, height, width = features[layer].shape[1:]
        flat = features[layer].reshape(3, channels, -1)
        grams = [f @ f.T / (channels * height * width) for f in flat]
        style += ((grams[0] - grams[1]) ** 2).mean().item()
    assert matrix.style[0][1] == pytest.approx(style, rel=1e-4)


def test_normalised_losses_are_fractions_of_the_column(pictures: Path, squeeze_weights: Path) -> None:
    crops = torch.cat([three(pictures)[:1], three(pictures)[:1]])
    model = loss_matrix(
        crops, "squeezenet1_1", definition="normalised", weights_file=squeeze_weights, layers=LAYERS[:1]
    )
    assert model.content == ((0.0, 0.0), (0.0, 0.0))
    assert model.style == ((0.0, 0.0), (0.0, 0.0))


def test_missing_weights_leave_a_marked_matrix(pictures: Path, tmp_path: Path) -> None:
    matrix = loss_matrix(three(pictures), "resnet101", weights_file=tmp_path / "none.pth")
    assert not matrix.content
    text = as_markdown(matrix, ["a", "b", "c"])
    assert "not measured" in text
    assert "none.pth" in text


def test_the_command_prints_and_writes_tables(
    pictures: Path, squeeze_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [pictures / "content.png", pictures / "style.png", "--features", "squeezenet1_1,resnet101"]
    given += ["--feature-weights", f"squeezenet1_1={squeeze_weights}", "-o", tmp_path / "m.md"]
    given += ["--feature-weights", f"resnet101={tmp_path / 'none.pth'}"]
    monkeypatch.setattr(sys, "argv", ["compare-losses", *map(str, given)])
    with pytest.raises(SystemExit) as end:
        main_compare_losses()
    assert end.value.code == 0
    text = (tmp_path / "m.md").read_text()
    assert text.count("| **content** | 0, 0 |") == 2
    assert text.count("not measured") == 2


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ([], "two pictures"),
        (["{b}", "--definition", "other"], "--definition"),
        (["{b}", "--feature-weights", "vgg16"], "NAME=FILE"),
        (["none.png"], "none.png"),
    ],
)
def test_mistakes_are_one_sentence(
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    words: str,
) -> None:
    given = [str(pictures / "content.png"), *(e.format(b=pictures / "style.png") for e in extra)]
    monkeypatch.setattr(sys, "argv", ["compare-losses", *given])
    with pytest.raises(SystemExit) as end:
        main_compare_losses()
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_each_run_differs_from_an_earlier_one_in_one_thing() -> None:
    runs = study.plan(study.SIZES["small"])
    assert all(run.recipe.start == "none" for run in runs), "no run may know more than another"
    recipes = [run.recipe.to_dict() for run in runs]
    for index, recipe in enumerate(recipes[1:], start=1):
        changes = [
            sum(value != earlier[name] for name, value in recipe.items()) for earlier in recipes[:index]
        ]
        assert 1 in changes, runs[index].name
        assert 0 not in changes, runs[index].name
    assert len({study.slug(run.name) for run in runs}) == len(runs)
    for run in runs:
        if not run.recipe.layer_weights:
            assert isinstance(run.recipe.resolved(), Recipe)


def test_rank_correlation() -> None:
    assert study.rank_correlation([1, 2, 5], [10, 11, 12]) == pytest.approx(1)
    assert study.rank_correlation([1, 2, 5], [3, 2, 1]) == pytest.approx(-1)
    assert study.rank_correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6)


def test_a_study_trains_measures_and_marks_what_is_missing(pictures: Path, tmp_path: Path) -> None:
    size = study.SIZES["toy"]
    runs = study.plan(size)[:1]
    weights = {"resnet101": tmp_path / "none.pth"}
    results = [
        study.carry_out(
            run,
            style_picture=pictures / "style.png",
            content=pictures / "photos",
            folder=tmp_path,
            weights={},
            random_features=True,
        )
        for run in runs
    ]
    resnet = next(run for run in study.plan(size) if run.recipe.features == "resnet101")
    results.append(
        study.carry_out(
            resnet,
            style_picture=pictures / "style.png",
            content=pictures / "photos",
            folder=tmp_path,
            weights=weights,
        )
    )
    rulers = study.yardsticks(pictures / "style.png", size, weights={}, random_features=True)
    photos = study.measured_photos(pictures / "unseen", size)
    results = [study.measure(result, rulers, photos) for result in results]
    table = results_table(results)
    assert "not trained" in table
    assert table.count("\n") == 4
    assert results[0].content["vgg19"] > 0
    assert "Too few" in agreement(results)
    assert "rank correlation 1.00" not in agreement([results[0]] * 2)
    write_grid(tmp_path / "grid.jpg", results, pictures / "content.png", extra=[pictures / "style.png"])
    grid = cv2.imread(str(tmp_path / "grid.jpg"))
    assert grid is not None
    assert grid.shape[0] == 260


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A network with fresh weights, and one whose every picture is grey."""
    folder = tmp_path_factory.mktemp("rivals")
    recipe = Recipe(
        network=NetworkConfig(width=8, blocks=1),
        features="squeezenet1_1",
        content_layer="features.4",
        style_layers=("features.1", "features.4"),
        style_scales=(1.0,),
        style_weight=3.0,
        style_memory=0.5,
    ).resolved()
    for name, grey in (("plain", False), ("grey", True)):
        torch.manual_seed(1)
        weights = build_network(recipe.network).state_dict()
        if grey:
            weights["up2.weight"].zero_()
            weights["up2.bias"].fill_(0.5)
        Checkpoint(recipe.network, weights, recipe.to_dict(), {"name": name}, 1).save(folder / f"{name}.pth")
    return [folder / "plain.pth", folder / "grey.pth"]


def test_networks_are_compared_by_the_first_ones_losses(
    pictures: Path, rivals: list[Path], squeeze_weights: Path
) -> None:
    photos = duel.unseen_photos(pictures / "unseen", size=64, most=3)
    assert photos.shape == (3, 3, 64, 64)
    scores = duel.score(rivals, pictures / "style.png", photos, weights_file=squeeze_weights)
    assert [each.name for each in scores] == ["plain", "grey"]
    grey = scores[1]
    assert grey.variation == 0
    assert grey.total == pytest.approx(grey.content + 3 * grey.style)
    alone = duel.score(rivals[1:], pictures / "style.png", photos, weights_file=squeeze_weights)
    assert alone == [grey]  # whoever was measured before
    nameless = rivals[0].with_name("nameless.pth")
    replace(load_checkpoint(rivals[0]), recipe={}).save(nameless)
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        duel.score([nameless], pictures / "style.png", photos)
    lines = duel.as_table(scores).splitlines()
    assert lines[2].endswith("| 1.00 |")
    assert lines[3].endswith(f"| {grey.total / scores[0].total:.2f} |")


def test_style_files_are_compared_with_checkpoints(
    pictures: Path, rivals: list[Path], squeeze_weights: Path, invert_style: Path, tmp_path: Path
) -> None:
    photos = duel.unseen_photos(pictures / "unseen", size=64, most=3)
    export_checkpoint(load_checkpoint(rivals[0]), tmp_path / "plain.onnx")

    def score(*paths: Path) -> list[duel.Score]:
        return duel.score(paths, pictures / "style.png", photos, weights_file=squeeze_weights)

    checkpoint, file, foreign = score(rivals[0], tmp_path / "plain.onnx", invert_style)
    assert file.name == "plain.onnx"
    assert file.total == pytest.approx(checkpoint.total, rel=0.01)  # 8 bits
    assert foreign.content > 0.5
    assert foreign.total != checkpoint.total
    assert score(tmp_path / "plain.onnx") == [file]  # the recipe is in the file
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        score(invert_style)


def test_compare_networks_prints_a_table(
    pictures: Path,
    rivals: list[Path],
    squeeze_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["compare-networks", pictures / "style.png", *rivals, "--photos", pictures / "unseen"]
    given += ["--size", 64, "--feature-weights", squeeze_weights]
    monkeypatch.setattr(sys, "argv", list(map(str, given)))
    with pytest.raises(SystemExit) as end:
        main_compare_networks()
    assert end.value.code == 0
    assert "| grey |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*map(str, given[:2]), "none.pth", *map(str, given[4:])])
    with pytest.raises(SystemExit) as end:
        main_compare_networks()
    assert end.value.code == 2
    assert "none.pth" in capsys.readouterr().err


def test_experiments_refuse_an_unknown_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = [f"--{name}={tmp_path}" for name in ("content", "unseen", "style", "photo", "output")]
    monkeypatch.setattr(sys, "argv", ["train-experiments", *options, "--size", "huge"])
    with pytest.raises(SystemExit) as end:
        main_train_experiments()
    assert end.value.code == 2
    assert "small" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["compare-losses", "compare-networks", "train-experiments"])
def test_help(command: Command, name: str) -> None:
    assert "--feature-weights" in command(name, "--help").stdout
