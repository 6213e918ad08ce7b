from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import cv2
import onnx
import pytest
import torch

from stylize_video.contract import StyleMetadata
from stylize_video_export.export import export_checkpoint
from stylize_video_train.checkpoint import Checkpoint, load_checkpoint
from stylize_video_train.cli import main
from stylize_video_train.data import DataError
from stylize_video_train.recipe import NetworkConfig, Recipe
from stylize_video_train.trainer import Progress, TrainingError, pick_device, train
from support import Command, draw_picture

TOY: dict[str, Any] = {
    "network": NetworkConfig(width=8, blocks=1, head=8),
    "features": "squeezenet1_1",
    "content_layer": "features.1",
    "style_layers": ("features.1", "features.4"),
    "style_size": 64,
    "style_weight": 5.0,
    "image_size": 64,
    "batch": 2,
    "steps": 20,
    "learning_rate": 5e-3,
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``style.png`` and a folder ``photos``."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photos").mkdir()
    for index in range(6):
        photo = cv2.cvtColor(draw_picture(3 * index, 96, 80), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "photos" / f"{index}.png"), photo)
    stripes = draw_picture(0, 80, 80)
    stripes[::6, :, 0] = 255
    stripes[:, ::9, 2] = 0
    cv2.imwrite(str(folder / "style.png"), stripes)
    return folder


def run(pictures: Path, output: Path, **values: Any) -> tuple[Checkpoint, list[Progress]]:
    seen: list[Progress] = []
    checkpoint = train(
        Recipe(**{**TOY, **values}),
        style_picture=pictures / "style.png",
        content=pictures / "photos",
        output=output,
        random_features=True,
        on_progress=seen.append,
    )
    return checkpoint, seen


@pytest.mark.parametrize("kind", ["realtime", "transformer"])
def test_twenty_steps_lower_the_loss(pictures: Path, tmp_path: Path, kind: str) -> None:
    network = NetworkConfig(kind=kind, width=8, blocks=1, head=8)  # type: ignore[arg-type]
    _, seen = run(pictures, tmp_path / "a.pth", network=network, identity_share=0.0)
    first, last = seen[:4], seen[-4:]
    assert sum(p.total for p in last) < 0.8 * sum(p.total for p in first)
    assert [p.step for p in seen] == list(range(1, 21))


def test_identity_comes_first(pictures: Path, tmp_path: Path) -> None:
    _, seen = run(pictures, tmp_path / "a.pth", steps=20, identity_share=0.5)
    assert all(p.style == 0 for p in seen[:10])
    assert all(p.style > 0 for p in seen[10:])
    assert seen[9].total < seen[0].total


def test_the_same_seed_gives_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    first, _ = run(pictures, tmp_path / "a.pth", steps=5)
    second, _ = run(pictures, tmp_path / "b.pth", steps=5)
    other, _ = run(pictures, tmp_path / "c.pth", steps=5, seed=1)
    assert first.weights_sha256() == second.weights_sha256() != other.weights_sha256()


def test_the_checkpoint_and_the_style_carry_the_recipe(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "a.pth", steps=2, tv_weight=0.25)
    checkpoint = load_checkpoint(tmp_path / "a.pth")
    recipe = Recipe(**{**TOY, "steps": 2, "tv_weight": 0.25}).resolved()
    assert Recipe.from_dict(checkpoint.recipe) == recipe
    assert checkpoint.style["name"] == "style"
    export_checkpoint(checkpoint, tmp_path / "a.onnx")
    props = {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    metadata = StyleMetadata.from_props(props)
    assert metadata is not None
    assert Recipe.from_dict(metadata.recipe) == recipe
    assert metadata.checkpoint_sha256 == checkpoint.weights_sha256()


def test_bf16_trains_close_to_fp32(pictures: Path, tmp_path: Path) -> None:
    _, exact = run(pictures, tmp_path / "a.pth", steps=3, identity_share=0.0)
    _, fast = run(pictures, tmp_path / "b.pth", steps=3, identity_share=0.0, precision="bf16")
    for a, b in zip(exact, fast, strict=True):
        assert b.total == pytest.approx(a.total, rel=0.05)


def test_a_loss_that_is_no_number_stops_the_training(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="learning-rate"):
        run(pictures, tmp_path / "a.pth", learning_rate=1e30, identity_share=0.0)


def test_a_missing_output_folder_is_found_before_the_work(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not exist"):
        run(pictures, tmp_path / "none" / "a.pth")


def test_an_empty_folder_is_an_error(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        train(
            Recipe(**TOY),
            style_picture=pictures / "style.png",
            content=tmp_path,
            output=tmp_path / "a.pth",
            random_features=True,
        )


def test_devices() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(TrainingError, match="nonsense"):
        pick_device("nonsense")


def test_progress_is_finite(pictures: Path, tmp_path: Path) -> None:
    _, seen = run(pictures, tmp_path / "a.pth", steps=3)
    for at in seen:
        assert all(math.isfinite(v) for v in (at.content, at.style, at.steadiness, at.total, at.seconds))


# --- The command -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeeze_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in a file, so that the command needs no download."""
    from stylize_video_train.features import FeatureModel

    torch.manual_seed(0)
    model = FeatureModel("squeezenet1_1", ["features.4"], random_weights=True)
    path = tmp_path_factory.mktemp("weights") / "squeeze.pth"
    torch.save(model.trunk.state_dict(), path)
    return path


def arguments(pictures: Path, weights: Path) -> list[object]:
    return [
        *(pictures / "style.png", "--content", pictures / "photos", "--feature-weights", weights),
        *(
            "--features",
            "squeezenet1_1",
            "--content-layer",
            "features.1",
            "--style-layers",
            "features.1,features.4",
        ),
        *(
            "--width",
            8,
            "--steps",
            6,
            "--batch",
            2,
            "--image-size",
            64,
            "--style-size",
            64,
            "--device",
            "cpu",
        ),
    ]


def test_the_command_trains_from_end_to_end(
    command: Command, pictures: Path, squeeze_weights: Path, tmp_path: Path
) -> None:
    result = command("train-style", *arguments(pictures, squeeze_weights), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "export-onnx style.pth" in result.stderr
    checkpoint = load_checkpoint(tmp_path / "style.pth")
    assert checkpoint.step == 6
    assert checkpoint.recipe["style_layers"] == ["features.1", "features.4"]
    assert checkpoint.build()(torch.rand(1, 3, 20, 24)).shape == (1, 3, 20, 24)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--features", "no_such"], "preset"),
        (["--feature-weights", "none.pth"], "none.pth"),
        (["--content", "none"], "none"),
        (["--network", "unet"], "unet"),
        (["--device", "tpu9"], "tpu9"),
        (["--steps", "0"], "steps"),
    ],
)
def test_mistakes_are_one_sentence(
    pictures: Path,
    squeeze_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    words: str,
) -> None:
    if "--features" in extra:
        given: list[object] = [pictures / "style.png", "--content", pictures / "photos"]
    else:
        given = arguments(pictures, squeeze_weights)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train-style", *map(str, given), *extra])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.glob("*.pth"))


def test_help_lists_the_options(command: Command) -> None:
    result = command("train-style", "--help")
    assert result.returncode == 0
    assert "--style-layers" in result.stdout
