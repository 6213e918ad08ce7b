from __future__ import annotations

import logging
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import onnx
import pytest
import torch

from stylize_video.console import interruption_code
from stylize_video.errors import SinkError
from stylize_video.styles.contract import StyleMetadata
from stylize_video_export.export import export_checkpoint
from stylize_video_train import state, trainer
from stylize_video_train.calibration import calibrated_style_weight, perceptual_loss
from stylize_video_train.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from stylize_video_train.cli import _SETTINGS, main
from stylize_video_train.data import ContentFolder, DataError, read_picture
from stylize_video_train.errors import TrainingError, TrainingInterrupted
from stylize_video_train.losses import PerceptualLoss
from stylize_video_train.optimizer import NetworkOptimizer
from stylize_video_train.preview import Preview
from stylize_video_train.progress import Progress
from stylize_video_train.recipe import NetworkConfig, Recipe
from stylize_video_train.report import TrainingReport
from stylize_video_train.schedule import learning_rate_factor
from stylize_video_train.state import read_start
from stylize_video_train.trainer import is_result_of, pick_device, train
from support import Command, command_line, draw_picture

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
    "learning_rate": 2e-3,
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


def run(
    pictures: Path,
    output: Path,
    *,
    resume: bool = False,
    report: bool = False,
    tensorboard: Path | None = None,
    device: str = "cpu",
    on_progress: Callable[[Progress], None] = lambda _: None,
    **values: Any,
) -> tuple[Checkpoint, list[Progress]]:
    seen: list[Progress] = []

    def see(progress: Progress) -> None:
        seen.append(progress)
        on_progress(progress)

    checkpoint = train(
        Recipe(**{**TOY, **values}),
        style_picture=pictures / "style.png",
        content=pictures / "photos",
        output=output,
        random_features=True,
        device=device,
        resume=resume,
        report=report,
        tensorboard=tensorboard,
        on_progress=see,
    )
    return checkpoint, seen


@pytest.mark.parametrize("kind", ["realtime", "transformer"])
def test_twenty_steps_lower_the_loss(pictures: Path, tmp_path: Path, kind: str) -> None:
    network = NetworkConfig(kind=kind, width=8, blocks=1, head=8)  # type: ignore[arg-type]
    _, seen = run(pictures, tmp_path / "a.pth", network=network, identity_share=0.0, freeze_norm_at=1.0)
    first, last = seen[:4], seen[-4:]
    assert sum(p.total for p in last) < 0.8 * sum(p.total for p in first)
    assert [p.step for p in seen] == list(range(1, 21))


@pytest.mark.parametrize("other", [{"noise": 0.5, "grain": 1}, {"noise": 0.1, "grain": 32}])
def test_the_second_look_has_the_noise_of_the_recipe(
    pictures: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    # Each picture is normalised by itself, so that the first look is unmoved by the second.
    network = NetworkConfig(kind="transformer", width=8, blocks=1)
    one, another = (
        run(pictures, tmp_path / f"{number}.pth", network=network, steps=1, identity_share=0.0, **noise)[1][0]
        for number, noise in enumerate(({"noise": 0.1, "grain": 1}, other))
    )
    assert one.content == pytest.approx(another.content, rel=1e-5)
    assert one.steadiness != pytest.approx(another.steadiness, rel=1e-3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("kind", ["realtime", "transformer"])
def test_a_gpu_sees_the_very_looks_that_a_cpu_sees(pictures: Path, tmp_path: Path, kind: str) -> None:
    values: dict[str, Any] = {"network": NetworkConfig(kind=kind, width=8, blocks=1, head=8), "steps": 6}  # type: ignore[arg-type]
    _, on_cpu = run(pictures, tmp_path / "cpu.pth", **values)
    checkpoint, on_gpu = run(pictures, tmp_path / "gpu.pth", device="cuda", **values)
    assert [p.total for p in on_gpu] == pytest.approx([p.total for p in on_cpu], rel=0.02)
    assert all(
        weight.device.type == "cpu" for weight in load_checkpoint(tmp_path / "gpu.pth").weights.values()
    )
    assert checkpoint.step == 6


def test_identity_comes_first(pictures: Path, tmp_path: Path) -> None:
    _, seen = run(pictures, tmp_path / "a.pth", steps=20, identity_share=0.5)
    assert all(p.style == 0 for p in seen[:10])
    assert all(p.style > 0 for p in seen[10:])
    assert seen[9].total < seen[0].total


def test_the_first_steps_imitate_a_teacher(pictures: Path, tmp_path: Path, swap_style: Path) -> None:
    _, seen = run(pictures, tmp_path / "a.pth", steps=60, identity_share=0.9, teacher=str(swap_style))
    assert all(p.style == 0 for p in seen[:54])
    photo = read_picture(pictures / "photos" / "0.png")
    with torch.no_grad():
        learnt = load_checkpoint(tmp_path / "a.pth").build()(photo)
    as_taught, as_seen = ((learnt - target).square().mean() for target in (photo.flip(1), photo))
    assert as_taught < 0.7 * as_seen


def test_a_training_starts_from_the_weights_of_another(pictures: Path, tmp_path: Path) -> None:
    first, seen = run(pictures, tmp_path / "a.pth", steps=20)
    _, again = run(pictures, tmp_path / "b.pth", steps=1, start=str(tmp_path / "a.pth"))
    assert again[0].style > 0, "a network that has learnt needs no identity steps"
    assert again[0].total < 0.9 * seen[2].total
    assert load_checkpoint(tmp_path / "b.pth").style["start_sha256"] == first.weights_sha256()


def test_a_start_of_another_network_is_refused(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "a.pth", steps=1)
    wider = NetworkConfig(width=16, blocks=1, head=8)
    with pytest.raises(TrainingError, match="holds another network"):
        run(pictures, tmp_path / "b.pth", steps=1, start=str(tmp_path / "a.pth"), network=wider)
    with pytest.raises(CheckpointError, match="does not exist"):
        run(pictures, tmp_path / "b.pth", steps=1, start=str(tmp_path / "c.pth"))


def test_the_bundled_start_has_a_style_and_fits_the_default_network(pictures: Path) -> None:
    recipe = Recipe().resolved()
    assert recipe.start == "bundled"
    assert recipe.identity_share == 0
    network = read_start(recipe).build()
    photo = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert 0.01 < (network(photo) - photo).square().mean() < 0.2
    assert Recipe(network=NetworkConfig(width=48)).resolved().start == "none"


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
    calm: dict[str, Any] = {"steps": 3, "identity_share": 0.0, "learning_rate": 5e-4}
    _, exact = run(pictures, tmp_path / "a.pth", **calm)
    _, fast = run(pictures, tmp_path / "b.pth", **calm, precision="bf16")
    for a, b in zip(exact, fast, strict=True):
        assert a.total != b.total == pytest.approx(a.total, rel=0.02)


def test_the_precision_of_this_machine_is_stored_and_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    interrupted_run(pictures, tmp_path / "a.pth", 2, steps=4, precision="auto")
    assert load_checkpoint(tmp_path / "a.pth").recipe["precision"] == "fp32"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    resumed, _ = run(pictures, tmp_path / "a.pth", steps=4, precision="auto", resume=True)
    assert resumed.recipe["precision"] == "fp32"
    begun, _ = run(pictures, tmp_path / "b.pth", steps=1, precision="auto")
    assert begun.recipe["precision"] == "bf16"


def test_a_loss_that_is_no_number_stops_the_training(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="learning-rate"):
        run(pictures, tmp_path / "a.pth", learning_rate=1e30, identity_share=0.0)


def test_a_missing_output_folder_is_found_before_the_work(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="does not exist"):
        run(pictures, tmp_path / "none" / "a.pth")


def test_a_missing_style_picture_is_an_error(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.png"):
        train(Recipe(**TOY), style_picture=tmp_path / "none.png", content=pictures, output=tmp_path / "a.pth")


def test_no_preview_takes_the_style_pictures_place(pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "style.png", tmp_path / "a.preview.png")
    before = (tmp_path / "a.preview.png").read_bytes()
    with pytest.raises(SinkError, match="one of the inputs"):
        train(
            Recipe(**TOY),
            style_picture=tmp_path / "a.preview.png",
            content=pictures / "photos",
            output=tmp_path / "a.pth",
            random_features=True,
            report=True,
        )
    assert (tmp_path / "a.preview.png").read_bytes() == before


def test_pictures_that_are_too_small_to_learn_from_are_told(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "0.png"), draw_picture(0, 96, 71))
    shutil.copy(pictures / "style.png", tmp_path / "style.png")
    run(tmp_path, tmp_path / "a.pth", steps=1, style_size=176)
    assert caplog.messages == [
        "only 1 photo to learn on: a few hundred make a style that suits others",
        "1 of 1 photos are smaller than a crop of 72 pixels: enlarged, they are soft",
        f"{tmp_path / 'style.png'} is small: enlarged 2.2 times to --style-size 176, it has no fine strokes",
    ]
    caplog.clear()
    run(pictures, tmp_path / "b.pth", steps=1, style_size=160)
    assert caplog.messages == ["only 6 photos to learn on: a few hundred make a style that suits others"]


def test_transparent_photos_are_told(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(pictures, tmp_path / "there")
    hidden = cv2.cvtColor(draw_picture(0, 96, 80), cv2.COLOR_RGB2BGRA)
    hidden[:40, :, 3] = 0
    cv2.imwrite(str(tmp_path / "there" / "photos" / "0.png"), hidden)
    run(tmp_path / "there", tmp_path / "a.pth", steps=1)
    assert "1 of 6 photos are transparent in places: they are taken as white" in caplog.messages


def test_an_empty_folder_is_an_error(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable pictures"):
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
    with pytest.raises(TrainingError, match="'meta' computes nothing"):
        pick_device("meta")


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
    command_here: Command, pictures: Path, squeeze_weights: Path, tmp_path: Path
) -> None:
    result = command_here("train-style", *arguments(pictures, squeeze_weights), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "export-onnx style.pth" in result.stderr
    checkpoint = load_checkpoint(tmp_path / "style.pth")
    assert checkpoint.step == 6
    assert checkpoint.recipe["style_layers"] == ["features.1", "features.4"]
    assert checkpoint.build()(torch.rand(1, 3, 20, 24)).shape == (1, 3, 20, 24)

    before = (tmp_path / "style.pth").read_bytes()
    again = command_here("train-style", *arguments(pictures, squeeze_weights), cwd=tmp_path)
    assert again.returncode == 2
    assert "style.pth already exists; pass --resume to go on with it, -y to replace it" in again.stderr
    assert (tmp_path / "style.pth").read_bytes() == before
    replaced = command_here(
        "train-style", *arguments(pictures, squeeze_weights), "--seed", 5, "-y", cwd=tmp_path
    )
    assert replaced.returncode == 0, replaced.stderr
    assert load_checkpoint(tmp_path / "style.pth").recipe["seed"] == 5


def test_the_checkpoint_never_takes_the_paintings_place(
    command_here: Command, pictures: Path, squeeze_weights: Path, tmp_path: Path
) -> None:
    for read in (pictures / "style.png", squeeze_weights):
        before = read.read_bytes()
        given = arguments(pictures, squeeze_weights)
        result = command_here("train-style", *given, "-y", "-o", read, cwd=tmp_path)
        assert result.returncode == 2
        assert "is one of the inputs; name another file with --output" in result.stderr
        assert read.read_bytes() == before


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--features", "no_such"], "preset"),
        (["--feature-weights", "none.pth"], "none.pth"),
        (["--content", "none"], "none"),
        (["--network", "unet"], "unet"),
        (["--device", "tpu9"], "tpu9"),
        (["--steps", "0"], "steps"),
        (["-o", "a.onnx"], "name a checkpoint, such as a.pth"),
        (["-o", "old.pth"], "old.report.html already exists; pass -y"),
        (["--config", "a.report.html", "-o", "a.pth", "-y"], "a.report.html is one of the inputs"),
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
    for name in ("old.report.html", "a.report.html"):
        (tmp_path / name).touch()
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


def test_help_lists_the_options(command_here: Command) -> None:
    result = command_here("train-style", "--help")
    assert result.returncode == 0
    assert "--style-layers" in result.stdout


def test_every_setting_is_a_field_of_the_recipe_or_has_a_type_of_its_own() -> None:
    names = {field.name for field in fields(Recipe)} - {"network"}
    assert all((setting.name in names) != (setting.kind is not None) for setting in _SETTINGS)


@pytest.mark.parametrize("process", [0, 1])
def test_of_several_processes_one_speaks(
    pictures: Path,
    squeeze_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    process: int,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        logging.getLogger("stylize_video_train.data").warning("skipped: a photo")
        raise TrainingInterrupted(3, signal.SIGTERM)

    monkeypatch.setattr(trainer, "train", interrupted)
    monkeypatch.setattr("stylize_video_train.parallel.process_index", lambda: process)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train-style", *map(str, arguments(pictures, squeeze_weights))])
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        logging.disable(logging.NOTSET)
    assert end.value.code == 128 + signal.SIGTERM
    told = capsys.readouterr().err
    assert ("skipped: a photo" in told) == ("interrupted" in told) == ("3 steps are in" in told)
    assert ("interrupted" in told) == (process == 0)
    assert (told == "") == (process == 1)


# --- Going on after an interruption ----------------------------------------------------


def interrupted_run(pictures: Path, output: Path, at: int, **values: Any) -> None:
    """A training that gets Ctrl-C during step ``at``."""

    def on_progress(progress: Progress) -> None:
        if progress.step == at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterrupted) as stop:
        train(
            Recipe(**{**TOY, **values}),
            style_picture=pictures / "style.png",
            content=pictures / "photos",
            output=output,
            random_features=True,
            on_progress=on_progress,
        )
    assert stop.value.step == at


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 12},
        {"steps": 12, "style_memory": 0.9, "precision": "bf16", "style_weight": None, "optimizer": "adam"},
        {"steps": 8, "network": NetworkConfig(kind="transformer", width=4, blocks=1), "accumulate": 2},
    ],
)
def test_resuming_changes_not_a_bit(pictures: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    whole, seen = run(pictures, tmp_path / "whole.pth", **values)
    for at in (1, 7) if values == {"steps": 12} else (7,):
        path = tmp_path / f"{at}.pth"
        interrupted_run(pictures, path, at, **values)
        half = load_checkpoint(path)
        assert half.step == at
        assert half.weights_sha256() != whole.weights_sha256()
        resumed, rest = run(pictures, path, **values, resume=True)
        assert resumed.weights_sha256() == whole.weights_sha256()
        assert load_checkpoint(path).weights_sha256() == whole.weights_sha256()
        assert resumed.recipe == whole.recipe
        assert [p.total for p in rest] == [p.total for p in seen[at:]]


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.99])
def test_the_moving_average_of_the_weights_comes_out(pictures: Path, tmp_path: Path, decay: float) -> None:
    stops = []
    for at in (1, 2, 3):
        interrupted_run(pictures, tmp_path / f"{at}.pth", at, steps=8, ema_decay=decay)
        stops.append(load_checkpoint(tmp_path / f"{at}.pth"))
    names = [name for name, weight in stops[0].weights.items() if "running" not in name and weight.dim()]
    for done, (before, after) in enumerate(pairwise(stops), start=1):
        kept = min(decay, (1 + done) / (10 + done))  # a young average forgets faster
        for name in names:
            expected = kept * before.weights[name] + (1 - kept) * after.state["network"][name]
            torch.testing.assert_close(after.weights[name], expected)


def test_a_finished_training_is_not_trained_further(pictures: Path, tmp_path: Path) -> None:
    done, _ = run(pictures, tmp_path / "a.pth", steps=3)
    again, seen = run(pictures, tmp_path / "a.pth", steps=3, resume=True)
    assert not seen
    assert again.weights_sha256() == done.weights_sha256()
    assert not load_checkpoint(tmp_path / "a.pth").state


def test_a_stopped_process_goes_on_from_its_last_checkpoint(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 4)
    whole, _ = run(pictures, tmp_path / "whole.pth", steps=10)

    class Killed(BaseException):
        pass

    def on_progress(progress: Progress) -> None:
        if progress.step == 7:
            raise Killed

    with pytest.raises(Killed):
        run(pictures, tmp_path / "a.pth", steps=10, on_progress=on_progress)
    assert load_checkpoint(tmp_path / "a.pth").step == 4
    resumed, _ = run(pictures, tmp_path / "a.pth", steps=10, resume=True)
    assert resumed.weights_sha256() == whole.weights_sha256()


ALWAYS_SAVING = """
import itertools, sys
from itertools import pairwise
from pathlib import Path
from stylize_video_train.checkpoint import load_checkpoint
from dataclasses import replace
checkpoint = load_checkpoint(Path(sys.argv[1]))
for step in itertools.count(1):
    replace(checkpoint, step=step).save(Path(sys.argv[2]))
    print(step, flush=True)
"""


def test_sigkill_while_a_checkpoint_is_written_leaves_the_one_before(pictures: Path, tmp_path: Path) -> None:
    interrupted_run(pictures, tmp_path / "a.pth", 2, steps=4)
    target = tmp_path / "b.pth"
    last = 0
    with subprocess.Popen(
        [sys.executable, "-c", ALWAYS_SAVING, str(tmp_path / "a.pth"), str(target)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(20):  # stopped dead at twenty moments: what lies there is whole at each
            time.sleep(0.013)
            process.send_signal(signal.SIGSTOP)
            step = load_checkpoint(target).step
            assert step >= max(1, last)
            last = step
            process.send_signal(signal.SIGCONT)
        process.kill()
    assert load_checkpoint(target).step >= last > 1
    assert load_checkpoint(target).build()(torch.rand(1, 3, 16, 16)).isfinite().all()


def test_a_divergence_keeps_the_last_good_checkpoint(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(
        state,
        "learning_rate_factor",
        lambda done, recipe: learning_rate_factor(done, recipe) if done < 5 else 1e30,
    )
    with pytest.raises(TrainingError, match=r"diverged at step.*keeps the [46] steps"):
        run(pictures, tmp_path / "a.pth", steps=12)
    kept = load_checkpoint(tmp_path / "a.pth")
    assert kept.step in (4, 6)
    assert all(torch.isfinite(v).all() for v in kept.weights.values() if v.is_floating_point())


def test_a_training_that_fails_leaves_no_process(pictures: Path, tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise ValueError("a caller's own")

    with pytest.raises(ValueError, match="a caller's own") as failure:
        run(pictures, tmp_path / "a.pth", steps=12, on_progress=fail)
    assert not multiprocessing.active_children()  # while the error, whose frames held them, is still there
    del failure


def test_another_recipe_or_other_pictures_cannot_be_resumed(pictures: Path, tmp_path: Path) -> None:
    interrupted_run(pictures, tmp_path / "a.pth", 2, steps=5)
    with pytest.raises(TrainingError, match="begun with batch 2, not 4"):
        run(pictures, tmp_path / "a.pth", steps=5, batch=4, resume=True)
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    (other / "photos" / "0.png").unlink()
    with pytest.raises(TrainingError, match="other photos"):
        run(other, tmp_path / "a.pth", steps=5, resume=True)
    (other / "style.png").write_bytes((pictures / "photos" / "0.png").read_bytes())
    with pytest.raises(TrainingError, match="another style picture"):
        run(other, tmp_path / "a.pth", steps=5, resume=True)


def test_a_finished_training_is_of_its_own_picture(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "a.pth", steps=1)
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    shutil.copy(pictures / "photos" / "0.png", other / "style.png")
    with pytest.raises(TrainingError, match="another style picture"):
        run(other, tmp_path / "a.pth", steps=1, resume=True)


def test_a_training_goes_on_without_what_it_started_from(pictures: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    run(pictures, start, steps=1)
    interrupted_run(pictures, tmp_path / "a.pth", 2, steps=4, start=str(start))
    begun = load_checkpoint(tmp_path / "a.pth").style["start_sha256"]
    start.unlink()
    finished, _ = run(pictures, tmp_path / "a.pth", steps=4, start=str(start), resume=True)
    assert finished.style["start_sha256"] == begun


def test_a_result_is_that_of_its_start(pictures: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    run(pictures, start, steps=1)
    checkpoint, _ = run(pictures, tmp_path / "a.pth", steps=1, start=str(start))
    recipe = Recipe(**{**TOY, "steps": 1, "start": str(start)})
    assert is_result_of(checkpoint, recipe, pictures / "style.png")
    assert not is_result_of(replace(checkpoint, step=0), recipe, pictures / "style.png")  # an unfinished one
    run(pictures, start, steps=2)
    assert not is_result_of(checkpoint, recipe, pictures / "style.png")


def test_a_start_may_be_named_in_another_way(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pictures, tmp_path / "start.pth", steps=1)
    run(pictures, tmp_path / "other.pth", steps=2)
    monkeypatch.chdir(tmp_path)
    interrupted_run(pictures, tmp_path / "a.pth", 2, steps=3, start="start.pth")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match=r"begun with start start\.pth, not \.\./other\.pth"):
        run(pictures, tmp_path / "a.pth", steps=3, start="../other.pth", resume=True)
    start = str(tmp_path / "start.pth")
    finished, _ = run(pictures, tmp_path / "a.pth", steps=3, start=start, resume=True)
    assert is_result_of(finished, Recipe(**{**TOY, "steps": 3, "start": start}), pictures / "style.png")


def test_a_photo_that_vanishes_is_one_sentence_and_the_steps_before_are_kept(
    pictures: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    shutil.copytree(pictures, there)

    def clear(progress: Progress) -> None:
        if progress.step == 3:
            for photo in (there / "photos").iterdir():
                photo.unlink()

    with pytest.raises(DataError) as raised:
        run(there, tmp_path / "a.pth", steps=200, on_progress=clear)
    assert str(raised.value).startswith(f"the photo {there}")
    assert str(raised.value).endswith("is gone")
    assert "\n" not in str(raised.value)
    assert load_checkpoint(tmp_path / "a.pth").step >= 3


def test_a_worker_that_is_killed_takes_no_step_along(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(progress: Progress) -> None:
        if progress.step == 5:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)  # type: ignore[arg-type]

    whole, _ = run(pictures, tmp_path / "whole.pth", steps=24)
    with pytest.raises(TrainingError, match="not enough memory"):
        run(pictures, tmp_path / "a.pth", steps=24, on_progress=kill)
    kept = load_checkpoint(tmp_path / "a.pth").step
    assert 5 <= kept < 24, "the last checkpoint before was that of the first preview, after 3"
    assert f"a.pth keeps the {kept} steps before" in caplog.text
    resumed, _ = run(pictures, tmp_path / "a.pth", steps=24, resume=True)
    assert resumed.weights_sha256() == whole.weights_sha256()


class FailsOnce:
    """A function that fails after its work, the ``at``-th time it is called."""

    def __init__(self, function: Callable[..., Any], at: int, error: BaseException) -> None:
        self._function, self._left, self._error = function, at, error

    def __get__(self, instance: object, _: type) -> Callable[..., Any]:
        return lambda *given, **named: self(instance, *given, **named)

    def __call__(self, *given: object, **named: object) -> Any:
        result = self._function(*given, **named)
        self._left -= 1
        if self._left == 0:
            raise self._error
        return result


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), TrainingError),
        (RuntimeError("a driver's own"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),  # the second Ctrl-C
    ],
)
def test_a_step_that_fails_takes_no_other_along(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    told: type[BaseException],
) -> None:
    values: dict[str, Any] = {"steps": 12, "identity_share": 0.0, "style_memory": 0.5}
    whole, _ = run(pictures, tmp_path / "whole.pth", **values)
    with monkeypatch.context() as patch:
        # By then the step has changed running statistics and what is remembered of styles.
        patch.setattr(PerceptualLoss, "forward", FailsOnce(PerceptualLoss.forward, 6, error))
        with pytest.raises(told):
            run(pictures, tmp_path / "a.pth", **values)
    assert load_checkpoint(tmp_path / "a.pth").step == 5
    assert f"{tmp_path / 'a.pth'} keeps the 5 steps before" in caplog.messages
    resumed, _ = run(pictures, tmp_path / "a.pth", **values, resume=True)
    assert resumed.weights_sha256() == whole.weights_sha256()


def test_weights_between_two_steps_are_not_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 4)
    failing = FailsOnce(NetworkOptimizer.step, 6, RuntimeError("a driver's own"))
    monkeypatch.setattr(NetworkOptimizer, "step", failing)
    with pytest.raises(RuntimeError, match="a driver's own"):
        run(pictures, tmp_path / "a.pth", steps=12)
    assert load_checkpoint(tmp_path / "a.pth").step == 4
    assert f"{tmp_path / 'a.pth'} keeps the 4 steps before" in caplog.messages


@pytest.mark.parametrize("saved", [True, False])
def test_no_preview_is_left_of_a_training_that_cannot_go_on(
    pictures: Path, tmp_path: Path, saved: bool
) -> None:
    """It would take the room that the checkpoint is waiting for, too."""

    class Killed(BaseException):
        pass

    def on_progress(progress: Progress) -> None:
        if progress.step == 1 and not saved:
            (tmp_path / "a.pth").mkdir()  # nothing can be written there
        if progress.step == 4:
            raise Killed

    with pytest.raises(Killed):
        run(pictures, tmp_path / "a.pth", steps=20, report=True, on_progress=on_progress)
    assert (tmp_path / "a.preview.png").is_file() == saved
    assert not saved or load_checkpoint(tmp_path / "a.pth").step == 3


def test_a_full_disk_in_the_midst_of_a_training_ends_nothing(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_and_clear(progress: Progress) -> None:
        full = progress.step in (2, 8)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 if full else limits[0], limits[1]))

    output = tmp_path / "a.pth"
    try:
        run(pictures, output, steps=7, on_progress=fill_and_clear)
        assert load_checkpoint(output).step == 7
        with pytest.raises(CheckpointError, match=rf"^cannot write {tmp_path}/b\.pth: File too large$"):
            run(pictures, tmp_path / "b.pth", steps=8, on_progress=fill_and_clear)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sentence = f"cannot write {output}: File too large; the training goes on without"
    assert caplog.messages.count(sentence) == 1
    assert load_checkpoint(tmp_path / "b.pth").step == 6


def test_a_training_is_kept_whatever_becomes_of_its_report(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def put_folders_there(_: Progress) -> None:
        for name in ("a.preview.png", "a.report.html"):
            (tmp_path / name).mkdir(exist_ok=True)

    run(pictures, tmp_path / "a.pth", steps=2, report=True, on_progress=put_folders_there)
    assert load_checkpoint(tmp_path / "a.pth").step == 2
    told = [record.getMessage() for record in caplog.records]
    assert all(
        f"cannot write {tmp_path / name}: Is a directory" in told
        for name in ("a.preview.png", "a.report.html")
    )


def test_a_checkpoint_comes_before_what_may_fill_the_disk(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[bool] = []
    monkeypatch.setattr(
        TrainingReport, "write_preview", lambda *_: saved.append((tmp_path / "a.pth").exists())
    )
    run(pictures, tmp_path / "a.pth", steps=1, report=True)
    assert saved == [True]


def test_a_preview_shows_photos_that_are_not_learnt_on_where_there_are_enough(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[set[Path], bool]] = []

    def watched(photos: Sequence[Path], *, unseen: bool) -> Preview:
        shown.append((set(photos), unseen))
        return Preview(photos, unseen=unseen)

    monkeypatch.setattr(trainer, "Preview", watched)
    run(pictures, tmp_path / "few.pth", steps=1)
    shutil.copytree(pictures, tmp_path / "many")
    for index in range(34):
        shutil.copy(pictures / "photos" / "0.png", tmp_path / "many" / "photos" / f"more{index}.png")
    run(tmp_path / "many", tmp_path / "many.pth", steps=1)
    (few, few_are_unseen), (many, many_are_unseen) = shown
    learnt_on = ContentFolder(tmp_path / "many" / "photos", size=72, hold_out=4).paths
    assert len(few) == len(many) == 4
    assert (few_are_unseen, many_are_unseen) == (False, True)
    assert not many & set(learnt_on)


@pytest.mark.parametrize("name", [b"caf\xe9.pth", b"v1.0", b"v1.1"])
def test_a_report_has_the_name_of_its_checkpoint(pictures: Path, tmp_path: Path, name: bytes) -> None:
    """Names need not be UTF-8, nor end in .pth."""
    style = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(pictures / "style.png", style)
    train(
        Recipe(**{**TOY, "steps": 1}),
        style_picture=style,
        content=pictures / "photos",
        output=tmp_path / os.fsdecode(name),
        random_features=True,
        report=True,
    )
    stem = os.fsdecode(name.removesuffix(b".pth"))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {style.name, os.fsdecode(name), f"{stem}.preview.png", f"{stem}.report.html"}
    assert load_checkpoint(tmp_path / os.fsdecode(name)).style["name"] == r"caf\udce9"


def test_a_training_among_its_photos_goes_on(pictures: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    shutil.copytree(pictures, here)
    (here / "photos" / "style.png").write_bytes((here / "style.png").read_bytes())

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    output = here / "photos" / "a.pth"
    with pytest.raises(TrainingInterrupted):
        run(here, output, steps=6, report=True, on_progress=stop)
    assert (here / "photos" / "a.preview.png").is_file()
    assert run(here, output, steps=6, report=True, resume=True)[0].step == 6


@pytest.mark.parametrize(("width", "height"), [(1000, 2), (2, 1000)])
def test_a_report_shows_a_strip_too(pictures: Path, tmp_path: Path, width: int, height: int) -> None:
    cv2.imwrite(str(tmp_path / "style.png"), draw_picture(0, width, height))
    (tmp_path / "photos").symlink_to(pictures / "photos")
    run(tmp_path, tmp_path / "a.pth", steps=1, style_size=32, report=True)
    assert "the style picture" in (tmp_path / "a.report.html").read_text()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"identity_share": 0.5}, "The first 2 steps teach the network to give its input back"),
        (
            {"identity_share": 0.5, "teacher": "photo"},
            "The first 2 steps teach the network what photo makes of",
        ),
        ({"identity_share": 0.0}, ""),
    ],
)
def test_a_report_says_what_the_first_steps_were_for(
    pictures: Path, tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    run(pictures, tmp_path / "a.pth", steps=4, report=True, **values)
    page = (tmp_path / "a.report.html").read_text()
    assert words in page
    assert ("The first" in page) == bool(words)
    assert "4 steps on 6 photos in" in page


@pytest.mark.parametrize(
    "values",
    [
        {"style_scales": (1.0, 0.01)},
        {"style_size": 3},
        {"window": 0.1, "style_layers": ("features.1", "features.7")},
    ],
)
def test_pictures_too_small_for_the_feature_model_are_one_sentence(
    pictures: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    with pytest.raises(TrainingError, match="raise --image-size, --style-size"):
        run(pictures, tmp_path / "a.pth", **values)


def test_what_else_goes_wrong_is_not_told_as_too_small(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(PerceptualLoss, "forward", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(pictures, tmp_path / "a.pth", identity_share=0.0)


@pytest.mark.parametrize("values", [{"image_size": 8_000_000}, {"style_size": 8_000_000}])
def test_too_little_memory_is_told_as_what_it_is(
    pictures: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    with pytest.raises(
        TrainingError, match=r"not enough memory.*lower --image-size, --batch or --style-size"
    ):
        run(pictures, tmp_path / "a.pth", **{"style_weight": None, **values})


def test_another_teacher_cannot_go_on_and_none_is_needed_for_the_rest(
    pictures: Path, tmp_path: Path, swap_style: Path, invert_style: Path
) -> None:
    teacher = shutil.copy(swap_style, tmp_path / "t.onnx")
    values: dict[str, Any] = {"steps": 6, "teacher": str(teacher), "identity_share": 0.5}
    interrupted_run(pictures, tmp_path / "a.pth", 2, **values)
    interrupted_run(pictures, tmp_path / "b.pth", 4, **values)
    shutil.copy(invert_style, teacher)
    with pytest.raises(TrainingError, match=r"a\.pth was begun with another teacher"):
        run(pictures, tmp_path / "a.pth", resume=True, **values)
    Path(teacher).unlink()
    assert run(pictures, tmp_path / "b.pth", resume=True, **values)[0].step == 6


def test_a_training_goes_on_whose_history_has_fewer_losses(pictures: Path, tmp_path: Path) -> None:
    """It was begun before the last one was noted."""
    interrupted_run(pictures, tmp_path / "a.pth", 2, steps=4)
    begun = load_checkpoint(tmp_path / "a.pth")
    state = {**begun.state, "history": begun.state["history"][:, :4]}
    replace(begun, state=state).save(tmp_path / "a.pth")
    finished, _ = run(pictures, tmp_path / "a.pth", steps=4, resume=True, report=True)
    assert finished.step == 4
    assert "range: last" in (tmp_path / "a.report.html").read_text()


@pytest.mark.parametrize("change", [{"preview": None}, {"network": {}}, {"history": [1]}])
def test_a_checkpoint_that_cannot_go_on_is_one_sentence(
    pictures: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    interrupted_run(pictures, tmp_path / "a.pth", 1, steps=4)
    checkpoint = load_checkpoint(tmp_path / "a.pth")
    replace(checkpoint, state={**checkpoint.state, **change}).save(tmp_path / "a.pth")
    with pytest.raises(TrainingError, match=r"a\.pth holds no training that can go on"):
        run(pictures, tmp_path / "a.pth", steps=4, resume=True)


def test_a_layer_that_is_no_map_is_one_sentence(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="or choose other layers"):
        run(pictures, tmp_path / "a.pth", style_layers=("features.1", "flatten"))


def test_nothing_to_resume_is_an_error(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        run(pictures, tmp_path / "a.pth", resume=True)


# --- Weights, parts, schedules ---------------------------------------------------------


def test_the_style_weight_is_calibrated_and_remembered(pictures: Path, tmp_path: Path) -> None:
    weak, _ = run(pictures, tmp_path / "a.pth", steps=1, style_weight=None, style_balance=1.0)
    strong, _ = run(pictures, tmp_path / "b.pth", steps=1, style_weight=None, style_balance=3.0)
    assert strong.recipe["style_weight"] == pytest.approx(3 * weak.recipe["style_weight"], rel=1e-3)
    recipe = Recipe(**{**TOY, "style_weight": None}).resolved()
    side = recipe.image_size
    loss = perceptual_loss(recipe, pictures / "style.png", random_features=True, side=side)
    folder = ContentFolder(pictures / "photos", size=side + 8, hold_out=4)
    crops = torch.stack([folder[k][:, :64, :64] for k in range(8)])
    with torch.no_grad():
        distance = loss(crops, crops, torch.Generator().manual_seed(recipe.seed))[1].item()
    assert weak.recipe["style_weight"] * distance == pytest.approx(1.0, rel=2e-3)


def test_calibration_leaves_the_memory_of_styles_alone(pictures: Path) -> None:
    recipe = Recipe(**{**TOY, "style_memory": 0.9}).resolved()
    loss = perceptual_loss(recipe, pictures / "style.png", random_features=True)
    before = {name: value.clone() for name, value in loss.pools.state_dict().items()}
    calibrated_style_weight(recipe, loss, ContentFolder(pictures / "photos", size=72))
    assert all(torch.equal(value, before[name]) for name, value in loss.pools.state_dict().items())


def test_a_style_far_from_photos_gets_a_lower_weight(pictures: Path, tmp_path: Path) -> None:
    night = cv2.imread(str(pictures / "style.png"))
    assert night is not None
    cv2.imwrite(str(tmp_path / "night.png"), night // 6)
    recipe = Recipe(**TOY).resolved()
    folder = ContentFolder(pictures / "photos", size=72)
    day, dark = (
        calibrated_style_weight(recipe, perceptual_loss(recipe, path, random_features=True), folder)
        for path in (pictures / "style.png", tmp_path / "night.png")
    )
    assert dark < day


def test_parts_give_the_same_step_where_pictures_are_independent(pictures: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "network": NetworkConfig(kind="transformer", width=4, blocks=1),
        "style_memory": None,
        "batch": 4,
        "steps": 1,
        "identity_share": 0.0,
    }
    _, once = run(pictures, tmp_path / "a.pth", **values)
    _, parts = run(pictures, tmp_path / "b.pth", **values, accumulate=2)
    assert parts[0].style == pytest.approx(once[0].style, rel=1e-4)
    assert parts[0].steadiness == pytest.approx(once[0].steadiness, rel=1e-4)


def test_schedules() -> None:
    cosine, constant = (Recipe(steps=1000, schedule=name) for name in ("cosine", "constant"))
    for recipe in (cosine, constant):
        warm_up = [learning_rate_factor(done, recipe) for done in range(50)]
        assert warm_up == sorted(warm_up)
        assert warm_up[0] == pytest.approx(0.02)
    assert learning_rate_factor(1000, cosine) == pytest.approx(0.05)
    assert learning_rate_factor(525, cosine) == pytest.approx(0.525)
    assert {learning_rate_factor(done, constant) for done in range(50, 1000)} == {1.0}


def test_a_report_and_previews_are_written(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "a.pth", steps=10, report=True, tensorboard=tmp_path / "board")
    assert sorted(p.name for p in tmp_path.glob("a.*")) == ["a.preview.png", "a.pth", "a.report.html"]
    assert list((tmp_path / "board").glob("events.*"))
    page = (tmp_path / "a.report.html").read_text()
    assert "10 steps" in page
    assert "<polyline" in page
    assert "style_balance" in page


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_training_after_its_step(pictures: Path, tmp_path: Path, name: str) -> None:
    """Twice, as ``timeout`` sends it; Ctrl-C pressed twice is an order."""
    number = getattr(signal, name, None)
    if number is None or signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{name} means nothing to this process")

    def stop(progress: Progress) -> None:
        if progress.step == 2:
            for _ in range(1 if number == signal.SIGINT else 2):
                signal.raise_signal(number)

    with pytest.raises(TrainingInterrupted) as stopped:
        run(pictures, tmp_path / "a.pth", steps=6, on_progress=stop)
    assert interruption_code(stopped.value) == 128 + number
    assert load_checkpoint(tmp_path / "a.pth").step == stopped.value.step == 2


def test_a_signal_in_the_last_step_interrupts_nothing(pictures: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            signal.raise_signal(signal.SIGINT)

    try:
        run(pictures, tmp_path / "a.pth", steps=2, on_progress=stop)
    except TrainingInterrupted:  # which would end the whole test run
        pytest.fail("the training was told as interrupted")
    assert load_checkpoint(tmp_path / "a.pth").step == 2


def test_a_signal_ends_the_command_and_resume_finishes(
    pictures: Path, squeeze_weights: Path, tmp_path: Path, command_here: Command
) -> None:
    """The signal goes to all processes, as that of a terminal does."""
    given = [*map(str, arguments(pictures, squeeze_weights)), "--steps", "2000"]
    with subprocess.Popen(
        [*command_line("stylize_video_train.cli:main"), *given],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "learning" in line)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, first + rest
    assert "steps are in style.pth; the same command with --resume goes on" in rest
    assert "Traceback" not in rest
    left = load_checkpoint(tmp_path / "style.pth")
    replace(left, recipe={**left.recipe, "steps": left.step + 2}).save(tmp_path / "style.pth")
    given[-1] = str(left.step + 2)
    finished = command_here("train-style", *given, "--resume", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert load_checkpoint(tmp_path / "style.pth").step == left.step + 2
