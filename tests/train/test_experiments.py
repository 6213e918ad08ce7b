from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from stylize_video.errors import StyleError
from stylize_video.styles.style import find_style
from stylize_video_export.export import export_checkpoint
from stylize_video_train.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from stylize_video_train.data import DataError
from stylize_video_train.errors import TrainingDivergedError
from stylize_video_train.experiments import compare_networks, study
from stylize_video_train.experiments.cli import (
    main_compare_losses,
    main_compare_networks,
    main_train_experiments,
)
from stylize_video_train.experiments.compare_losses import as_markdown, labels, loss_matrix, read_for_matrix
from stylize_video_train.experiments.gallery import agreement, read_shown, results_table, write_grid
from stylize_video_train.features import FeatureModel
from stylize_video_train.networks import build_network
from stylize_video_train.recipe import BEFORE_CHOICES, NetworkConfig, Recipe
from stylize_video_train.teacher import Teacher
from support import Command, draw_picture

LAYERS = ("features.1", "features.4", "features.7", "features.12")
TOY = study.Size(2, 64, 64, 2, NetworkConfig(width=8, blocks=1, head=4))


@pytest.fixture(autouse=True)
def toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(study.SIZES, "toy", TOY)


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


def test_plain_losses_are_zero_on_the_diagonal_and_symmetric(pictures: Path, squeeze_weights: Path) -> None:
    matrix = loss_matrix(three(pictures), "squeezenet1_1", weights_file=squeeze_weights)
    for values in (matrix.content, matrix.style):
        for i in range(3):
            assert values[i][i] == 0
            for j in range(3):
                assert values[i][j] == pytest.approx(values[j][i], rel=1e-5)
                assert i == j or values[i][j] > 0


def test_plain_losses_match_their_definition(pictures: Path, squeeze_weights: Path) -> None:
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
    pictures: Path,
    squeeze_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [pictures / "content.png", pictures / "style.png", "--features", "squeezenet1_1,resnet101"]
    given += ["--feature-weights", f"resnet101={tmp_path / 'none.pth'}"]
    given += ["--feature-weights", f"squeezenet1_1={squeeze_weights}", "-o", tmp_path / "m.md"]
    monkeypatch.setattr(sys, "argv", ["compare-losses", *map(str, given)])
    with pytest.raises(SystemExit) as end:
        main_compare_losses()
    assert end.value.code == 0
    capsys.readouterr()
    text = (tmp_path / "m.md").read_text()
    assert text.count("| **content** | 0, 0 |") == 2
    assert text.count("not measured") == 2
    assert "plain losses" in text
    run(main_compare_losses, "compare-losses", *given[:-2], "--definition", "plain")
    assert "normalised" not in capsys.readouterr().out


def run(command: Callable[[], None], *arguments: object) -> int:
    """Call an entry point; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(map(str, arguments)))
        with pytest.raises(SystemExit) as end:
            command()
    return int(end.value.code or 0)


def test_nothing_measured_is_an_error(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [pictures / "content.png", pictures / "style.png", "--features", "resnet101"]
    given += ["--feature-weights", f"resnet101={tmp_path / 'none.pth'}", "-o", tmp_path / "m.md"]
    assert run(main_compare_losses, "compare-losses", *given) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: nothing was measured; resnet101: ")
    assert told.err.count("none.pth") == 1
    assert list(tmp_path.iterdir()) == []


def test_tables_are_written_before_they_are_printed(
    pictures: Path, squeeze_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", refuse)
    given = [pictures / "content.png", pictures / "style.png", "--features", "squeezenet1_1"]
    given += ["--feature-weights", f"squeezenet1_1={squeeze_weights}", "-o", tmp_path / "m.md"]
    assert run(main_compare_losses, "compare-losses", *given) == 2
    assert "plain losses" in (tmp_path / "m.md").read_text()


def test_no_table_takes_a_pictures_place(
    pictures: Path, squeeze_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [pictures / "content.png", pictures / "style.png", "--features", "squeezenet1_1"]
    given += ["--feature-weights", f"squeezenet1_1={squeeze_weights}"]
    for target in (pictures / "content.png", squeeze_weights):
        before = target.read_bytes()
        assert run(main_compare_losses, "compare-losses", *given, "-o", target) == 2
        assert "is one of the inputs; name another file with --output" in capsys.readouterr().err
        assert target.read_bytes() == before


def test_pictures_of_one_name_are_told_apart() -> None:
    assert labels([Path("a/x.jpg"), Path("b/x.jpg"), Path("b/y.jpg")]) == ["a/x.jpg", "b/x.jpg", "y"]


def test_names_do_not_break_tables(pictures: Path, squeeze_weights: Path) -> None:
    matrix = loss_matrix(three(pictures), "squeezenet1_1", weights_file=squeeze_weights)
    lines = as_markdown(matrix, ["a|b", "c\nd", "e\x1b[31m"]).splitlines()
    assert lines[2] == r"| | a\|b | c\nd | e\x1b[31m |"
    assert lines[4].startswith(r"| **a\|b** | 0, 0 |")
    score = compare_networks.Score("a|b", 1, 2, 3, 4)
    assert compare_networks.as_table([score]).splitlines()[2].startswith(r"| a\|b | 1 |")
    result = study.Result(study.plan(TOY)[0], missing="no | weights\nat hand")
    assert r"not trained: no \| weights\nat hand |" in results_table([result])


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ([], "two pictures"),
        (["{b}", "--definition", "other"], "--definition"),
        (["{b}", "--feature-weights", "vgg16"], "NAME=FILE"),
        (["{b}", "--feature-weights", "vgg13=a.pth"], "none of the models here: vgg16, resnet101"),
        (["{b}", "-o", "nowhere/m.md"], "the folder nowhere does not exist"),
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
    # Once they were the only ones, and the committed results were made with them.
    assert all(getattr(run.recipe, name) == value for run in runs for name, value in BEFORE_CHOICES.items())
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
    size = TOY
    runs = study.plan(size)[:1]
    weights = {"resnet101": tmp_path / "none.pth"}
    results = [
        study.train_run(
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
        study.train_run(
            resnet,
            style_picture=pictures / "style.png",
            content=pictures / "photos",
            folder=tmp_path,
            weights=weights,
        )
    )
    yardsticks = study.yardsticks(pictures / "style.png", size, weights={}, random_features=True)
    photos = study.measured_photos(pictures / "unseen", size)
    results = [study.measure(result, yardsticks, photos) for result in results]
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


@pytest.mark.parametrize("shape", [(300, 60), (60, 300), (20, 2000), (2000, 20), (40, 40)])
def test_earlier_pictures_may_have_any_shape(shape: tuple[int, int], pictures: Path, tmp_path: Path) -> None:
    extra = tmp_path / "earlier.png"
    cv2.imwrite(str(extra), draw_picture(0, *shape))
    write_grid(tmp_path / "grid.jpg", [], pictures / "content.png", extra=[extra])
    grid = cv2.imread(str(tmp_path / "grid.jpg"))
    assert grid is not None
    assert grid.shape[0] == 260
    assert grid.shape[1] < 284 + 4 * 240 + 10


def test_a_photo_too_long_for_the_grids_is_told_first(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "strip.png"), draw_picture(0, 500, 100))
    with pytest.raises(DataError, match="too long for the grids"):
        read_shown(tmp_path / "strip.png")


def test_a_training_that_diverges_is_an_answer_too(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize_video_train.state._DIVERGED", 0.0)
    result = study.train_run(
        study.plan(TOY)[0],
        style_picture=pictures / "style.png",
        content=pictures / "photos",
        folder=tmp_path,
        weights={},
        random_features=True,
    )
    assert result.network is None
    assert result.missing.startswith("the training diverged at step 1")
    assert "not trained: the training diverged" in results_table([result])
    write_grid(tmp_path / "grid.jpg", [result], pictures / "content.png")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A network with fresh weights, and one whose every picture is grey."""
    folder = tmp_path_factory.mktemp("networks")
    recipe = Recipe(
        network=NetworkConfig(width=8, blocks=1),
        features="squeezenet1_1",
        content_layer="features.4",
        style_layers=("features.1", "features.4"),
        style_scales=(1.0,),
        style_weight=3.0,
        range_weight=0.0,
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
    pictures: Path, networks: list[Path], squeeze_weights: Path
) -> None:
    photos = compare_networks.unseen_photos(pictures / "unseen", size=64, most=3)
    assert photos.shape == (3, 3, 64, 64)
    scores = compare_networks.score(networks, pictures / "style.png", photos, weights_file=squeeze_weights)
    assert [each.name for each in scores] == ["plain", "grey"]
    grey = scores[1]
    assert grey.variation == 0
    assert grey.total == pytest.approx(grey.content + 3 * grey.style)
    alone = compare_networks.score(networks[1:], pictures / "style.png", photos, weights_file=squeeze_weights)
    assert alone == [grey]  # whoever was measured before
    nameless = networks[0].with_name("nameless.pth")
    replace(load_checkpoint(networks[0]), recipe={}).save(nameless)
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        compare_networks.score([nameless], pictures / "style.png", photos)
    lines = compare_networks.as_table(scores).splitlines()
    assert lines[2].endswith("| 1.00 |")
    assert lines[3].endswith(f"| {grey.total / scores[0].total:.2f} |")


def test_what_is_out_of_range_counts_as_in_training(
    pictures: Path, networks: list[Path], squeeze_weights: Path, tmp_path: Path
) -> None:
    grey = load_checkpoint(networks[1])
    recipe = {**grey.recipe, "range_weight": 200.0}
    bright = {**grey.weights, "up2.bias": grey.weights["up2.bias"] + 0.6}
    for name, weights in (("grey", grey.weights), ("bright", bright)):
        replace(grey, weights=weights, recipe=recipe).save(tmp_path / f"{name}.pth")
    export_checkpoint(load_checkpoint(tmp_path / "bright.pth"), tmp_path / "bright.onnx")
    photos = compare_networks.unseen_photos(pictures / "unseen", size=64, most=2)
    files = [tmp_path / name for name in ("grey.pth", "bright.pth", "bright.onnx")]
    scores = compare_networks.score(files, pictures / "style.png", photos, weights_file=squeeze_weights)
    assert [each.range for each in scores] == [0, pytest.approx(0.01, rel=1e-3), None]
    checkpoint, file = scores[1:]
    assert checkpoint.total == pytest.approx(checkpoint.content + 3 * checkpoint.style + 2, rel=1e-3)
    assert file.total == pytest.approx(checkpoint.total - 2, rel=1e-3)
    assert " | - | " in compare_networks.as_table(scores).splitlines()[-1]


def test_a_network_of_which_nothing_comes_spoils_no_other_row(
    pictures: Path, networks: list[Path], squeeze_weights: Path, tmp_path: Path
) -> None:
    broken = load_checkpoint(networks[0])
    weights = {
        name: value * torch.nan if name == "up2.bias" else value for name, value in broken.weights.items()
    }
    replace(broken, weights=weights).save(tmp_path / "nan.pth")
    photos = compare_networks.unseen_photos(pictures / "unseen", size=64, most=1)

    def score(*paths: Path) -> list[compare_networks.Score]:
        return compare_networks.score(paths, pictures / "style.png", photos, weights_file=squeeze_weights)

    nothing, after = score(tmp_path / "nan.pth", networks[0])
    assert math.isnan(nothing.style)
    assert [after] == score(networks[0])


def test_networks_trained_for_nothing_can_be_compared() -> None:
    scores = [compare_networks.Score(name, 1, 2, 3, 0) for name in "ab"]
    assert compare_networks.as_table(scores).splitlines()[3] == "| b | 1 | 2 | 3 | - | 0 |  |"


def test_style_files_are_compared_with_checkpoints(
    pictures: Path, networks: list[Path], squeeze_weights: Path, invert_style: Path, tmp_path: Path
) -> None:
    photos = compare_networks.unseen_photos(pictures / "unseen", size=64, most=3)
    export_checkpoint(load_checkpoint(networks[0]), tmp_path / "plain.onnx")

    def score(*paths: Path) -> list[compare_networks.Score]:
        return compare_networks.score(paths, pictures / "style.png", photos, weights_file=squeeze_weights)

    checkpoint, file, foreign = score(networks[0], tmp_path / "plain.onnx", invert_style)
    assert file.name == "plain.onnx"
    assert file.total == pytest.approx(checkpoint.total, rel=0.01)  # 8 bits
    assert foreign.content > 0.5
    assert foreign.total != checkpoint.total
    assert score(tmp_path / "plain.onnx") == [file]  # the recipe is in the file
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        score(invert_style)


def test_bundled_styles_are_compared_by_name(
    pictures: Path, networks: list[Path], squeeze_weights: Path
) -> None:
    photos = compare_networks.unseen_photos(pictures / "unseen", size=64, most=1)
    named: list[str | Path] = [networks[0], "photo", find_style("photo")]
    scores = compare_networks.score(named, pictures / "style.png", photos, weights_file=squeeze_weights)
    assert [each.name for each in scores] == ["plain", "photo", "photo.onnx"]
    assert scores[1].total == scores[2].total
    with pytest.raises(StyleError, match="no style 'foto'"):
        compare_networks.score([networks[0], "foto"], pictures / "style.png", photos)


def test_style_files_are_tried_out_elsewhere_first(
    invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []
    monkeypatch.setattr("stylize_video_train.teacher.try_out", tried.append)
    Teacher(str(invert_style))
    assert tried == [invert_style]


def test_compare_networks_prints_a_table(
    pictures: Path,
    networks: list[Path],
    squeeze_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["compare-networks", pictures / "style.png", *networks, "--photos", pictures / "unseen"]
    given += ["--size", 64, "--feature-weights", squeeze_weights]
    monkeypatch.setattr(sys, "argv", list(map(str, given)))
    with pytest.raises(SystemExit) as end:
        main_compare_networks()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "| grey |" in out
    assert out.endswith(
        f"5 photos of {pictures / 'unseen'}, their middles of 64x64 pixels;\n"
        "total is without steadiness, which stylize-eval measures\n"
    )
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
    assert "--size must be one of small, full, toy, got huge" in capsys.readouterr().err


@pytest.fixture
def study_options(pictures: Path, tmp_path: Path) -> dict[str, object]:
    """Options of a study of one question, ``network``, that could be run."""
    return {
        "--content": pictures / "photos",
        "--unseen": pictures / "unseen",
        "--style": pictures / "style.png",
        "--photo": pictures / "content.png",
        "--output": tmp_path / "out",
        "--questions": "network",
        "--size": "toy",
        "-q": None,
    }


def experiment(options: dict[str, object]) -> int:
    arguments = [part for pair in options.items() for part in pair if part is not None]
    return run(main_train_experiments, "train-experiments", *arguments)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--unseen": "photos"}, "--unseen needs other photos than --content"),
        ({"--unseen": ""}, "--unseen needs other photos than --content"),
        ({"--output": "photos"}, "the photos of --content; write somewhere else"),
        ({"--output": "unseen/out"}, "the photos of --unseen; write somewhere else"),
        ({"--photo": "out/network.jpg", "--output": "out"}, "is one of the inputs"),
    ],
)
def test_experiments_keep_photos_apart(
    change: dict[str, str],
    sentence: str,
    study_options: dict[str, object],
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (pictures / "out").mkdir(exist_ok=True)
    cv2.imwrite(str(pictures / "out" / "network.jpg"), draw_picture(0, 60, 60))
    before = sorted(path for path in pictures.rglob("*"))
    assert experiment({**study_options, **{name: pictures / path for name, path in change.items()}}) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path for path in pictures.rglob("*") if path.name != "runs") == before


def test_weights_of_models_that_no_experiment_asks_are_refused(
    study_options: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment({**study_options, "--feature-weights": "vgg13=a.pth"}) == 2
    assert "none of the models here: vgg19, squeezenet1_1" in capsys.readouterr().err


def test_a_study_of_which_nothing_comes_has_results_all_the_same(
    study_options: dict[str, object], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weights at hand, say; an earlier picture of any shape is shown."""

    def diverge(*_: object, **__: object) -> None:
        raise TrainingDivergedError("the training diverged at step 1")

    monkeypatch.setattr(study, "train", diverge)
    monkeypatch.setattr(study, "yardsticks", lambda *_, **__: {})
    earlier = tmp_path / "earlier.png"
    cv2.imwrite(str(earlier), draw_picture(0, 200, 50))
    assert experiment({**study_options, "--questions": "steps", "--earlier": earlier}) == 0
    assert "not trained: the training diverged" in (tmp_path / "out" / "results.md").read_text()
    assert (tmp_path / "out" / "steps.jpg").is_file()


@pytest.mark.parametrize("name", ["compare-losses", "compare-networks", "train-experiments"])
def test_help(command_here: Command, name: str) -> None:
    assert "--feature-weights" in command_here(name, "--help").stdout
