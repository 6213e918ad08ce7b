from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import nn

from stylize_video_train.checkpoint import load_checkpoint
from stylize_video_train.parallel import BatchNorm, mean_over_processes, process_count, process_index
from stylize_video_train.recipe import NetworkConfig, Recipe
from stylize_video_train.trainer import train
from support import draw_picture

RECIPE: dict[str, Any] = {
    "network": NetworkConfig(width=8, blocks=1, head=8),
    "features": "squeezenet1_1",
    "content_layer": "features.1",
    "style_layers": ("features.1", "features.4"),
    "style_size": 64,
    "style_memory": 0.5,
    "image_size": 64,
    "batch": 4,
    "steps": 8,
    "learning_rate": 5e-5,
    "muon_learning_rate": 5e-4,
    "identity_share": 0.25,
    "precision": "fp32",
}

TOGETHER = """
import json, shutil, sys, torch
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
from stylize_video_train import state, trainer
from stylize_video_train.data import DataError
from stylize_video_train.errors import TrainingDivergedError
from stylize_video_train.parallel import process_group, process_index
from stylize_video_train.recipe import Recipe

torch.set_num_threads(1)
folder, recipe = Path(sys.argv[1]), Recipe.from_dict(json.loads(sys.argv[2]))
rate = state.learning_rate_factor

def train(recipe, name, *, content=folder / "photos", on_progress=lambda _: None):
    trainer.train(recipe, style_picture=folder / "style.png", content=content,
                  output=folder / f"{name}.pth", random_features=True, on_progress=on_progress)

def share():
    losses = []
    train(recipe, "shared", on_progress=lambda p: losses.append([p.content, p.style, p.steadiness, p.total]))
    (folder / f"shared{process_index()}.json").write_text(json.dumps(losses))

def lose_photos():
    def step(progress):
        if progress.step == 2 and process_index() == 1:
            for photo in photos.iterdir():
                photo.unlink()

    photos = folder / f"photos{process_index()}"  # as on two machines
    shutil.copytree(folder / "photos", photos)
    try:
        train(replace(recipe, steps=100, batch=2), "vanished", content=photos, on_progress=step)
    except DataError as error:
        (folder / f"vanished{process_index()}.txt").write_text(str(error))

def diverge():
    def factor(done, recipe):
        return rate(done, recipe) if done < 3 else 1e30

    with patch.object(trainer, "CHECKPOINT_EVERY", 2), patch.object(state, "learning_rate_factor", factor):
        try:
            train(replace(recipe, steps=40, batch=2), "diverged")
        except TrainingDivergedError as error:
            (folder / f"diverged{process_index()}.txt").write_text(str(error))

with process_group("cpu"):
    share()
    lose_photos()
    diverge()
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where two processes have trained three times, which are started once: that takes seconds."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "photos").mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / "photos" / f"{index}.png"), draw_picture(3 * index, 96, 80))
    cv2.imwrite(str(folder / "style.png"), draw_picture(40, 80, 80)[::-1])
    script = folder / "worker.py"
    script.write_text(TOGETHER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*launcher, str(script), str(folder), json.dumps(Recipe(**RECIPE).to_dict())],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_one_process_needs_no_group() -> None:
    assert (process_count(), process_index()) == (1, 0)
    values = torch.randn(3)
    assert mean_over_processes(values) is values


def test_batch_norm_alone_is_torchs() -> None:
    torch.manual_seed(0)
    ours, torchs = BatchNorm(5), nn.BatchNorm2d(5)
    x = torch.randn(4, 5, 6, 7)
    torch.testing.assert_close(ours(x), torchs(x))
    torch.testing.assert_close(ours.running_var, torchs.running_var)


def test_two_processes_train_like_one(together: Path, tmp_path: Path) -> None:
    seen: list[list[float]] = []
    alone = train(
        Recipe(**RECIPE),
        style_picture=together / "style.png",
        content=together / "photos",
        output=tmp_path / "one.pth",
        random_features=True,
        on_progress=lambda p: seen.append([p.content, p.style, p.steadiness, p.total]),
    )
    for process in range(2):
        losses = json.loads((together / f"shared{process}.json").read_text())
        assert len(losses) == len(seen)
        for ours, theirs in zip(losses, seen, strict=True):
            assert ours == pytest.approx(theirs, rel=2e-3, abs=1e-5)
    shared = load_checkpoint(together / "shared.pth")
    assert shared.recipe == alone.recipe
    frames = torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(shared.build()(frames), alone.build()(frames), rtol=0.02, atol=0.02)
    assert math.isfinite(seen[-1][-1])


def test_a_photo_that_vanishes_ends_all_processes_with_one_sentence(together: Path) -> None:
    said = [(together / f"vanished{process}.txt").read_text() for process in range(2)]
    assert said[0] == said[1]
    assert said[0].startswith(f"the photo {together}/photos1/")
    assert load_checkpoint(together / "vanished.pth").step >= 2


def test_all_processes_say_the_same_of_what_is_saved(together: Path) -> None:
    said = {(together / f"diverged{process}.txt").read_text() for process in range(2)}
    assert len(said) == 1
    assert "the checkpoint keeps the 4 steps before" in said.pop()
