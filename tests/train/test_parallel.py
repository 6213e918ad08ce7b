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

WORKER = """
import json, sys, torch
from pathlib import Path
from stylize_video_train.parallel import process_group, process_index
from stylize_video_train.recipe import Recipe
from stylize_video_train.trainer import train

torch.set_num_threads(1)
folder, losses = Path(sys.argv[1]), []
recipe = Recipe.from_dict(json.loads(sys.argv[2]))
with process_group("cpu"):
    train(recipe, style_picture=folder / "style.png", content=folder / "photos",
          output=folder / "two.pth", random_features=True,
          on_progress=lambda p: losses.append([p.content, p.style, p.steadiness, p.total]))
    (folder / f"losses{process_index()}.json").write_text(json.dumps(losses))
"""


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


def make_pictures(folder: Path) -> None:
    (folder / "photos").mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / "photos" / f"{index}.png"), draw_picture(3 * index, 96, 80))
    cv2.imwrite(str(folder / "style.png"), draw_picture(40, 80, 80)[::-1])


def in_two_processes(code: str, folder: Path, recipe: Recipe) -> subprocess.CompletedProcess[str]:
    script = folder / "worker.py"
    script.write_text(code)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, str(script), str(folder), json.dumps(recipe.to_dict())],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    make_pictures(tmp_path)
    seen: list[list[float]] = []
    recipe = Recipe(**RECIPE)
    alone = train(
        recipe,
        style_picture=tmp_path / "style.png",
        content=tmp_path / "photos",
        output=tmp_path / "one.pth",
        random_features=True,
        on_progress=lambda p: seen.append([p.content, p.style, p.steadiness, p.total]),
    )
    result = in_two_processes(WORKER, tmp_path, recipe)
    assert result.returncode == 0, result.stderr
    for process in range(2):
        losses = json.loads((tmp_path / f"losses{process}.json").read_text())
        assert len(losses) == len(seen)
        for ours, theirs in zip(losses, seen, strict=True):
            assert ours == pytest.approx(theirs, rel=2e-3, abs=1e-5)
    together = load_checkpoint(tmp_path / "two.pth")
    assert together.recipe == alone.recipe
    frames = torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(together.build()(frames), alone.build()(frames), rtol=0.02, atol=0.02)
    assert math.isfinite(seen[-1][-1])


VANISHING = """
import json, shutil, sys, torch
from dataclasses import replace
from pathlib import Path
from stylize_video_train.data import DataError
from stylize_video_train.parallel import process_group, process_index
from stylize_video_train.recipe import Recipe
from stylize_video_train.trainer import train

torch.set_num_threads(1)
folder = Path(sys.argv[1])
recipe = replace(Recipe.from_dict(json.loads(sys.argv[2])), steps=100, batch=2)

def step(progress):
    if progress.step == 2 and process_index() == 1:
        for photo in photos.iterdir():
            photo.unlink()

with process_group("cpu"):
    photos = folder / f"photos{process_index()}"  # as on two machines
    shutil.copytree(folder / "photos", photos)
    try:
        train(recipe, style_picture=folder / "style.png", content=photos,
              output=folder / "two.pth", random_features=True, on_progress=step)
    except DataError as error:
        (folder / f"error{process_index()}.txt").write_text(str(error))
"""


def test_a_photo_that_vanishes_ends_all_processes_with_one_sentence(tmp_path: Path) -> None:
    make_pictures(tmp_path)
    result = in_two_processes(VANISHING, tmp_path, Recipe(**RECIPE))
    assert result.returncode == 0, result.stderr
    said = [(tmp_path / f"error{process}.txt").read_text() for process in range(2)]
    assert said[0] == said[1]
    assert said[0].startswith(f"the photo {tmp_path}/photos1/")
    assert load_checkpoint(tmp_path / "two.pth").step >= 2


DIVERGING = """
import json, sys, torch
from dataclasses import replace
from pathlib import Path
from stylize_video_train import state, trainer
from stylize_video_train.errors import TrainingDivergedError
from stylize_video_train.parallel import process_group, process_index
from stylize_video_train.recipe import Recipe

torch.set_num_threads(1)
folder = Path(sys.argv[1])
recipe = replace(Recipe.from_dict(json.loads(sys.argv[2])), steps=40, batch=2)
trainer.CHECKPOINT_EVERY = 2
rate = state.learning_rate_factor
state.learning_rate_factor = lambda done, recipe: rate(done, recipe) if done < 3 else 1e30
with process_group("cpu"):
    try:
        trainer.train(recipe, style_picture=folder / "style.png", content=folder / "photos",
                      output=folder / "two.pth", random_features=True)
    except TrainingDivergedError as error:
        (folder / f"error{process_index()}.txt").write_text(str(error))
"""


def test_all_processes_say_the_same_of_what_is_saved(tmp_path: Path) -> None:
    make_pictures(tmp_path)
    result = in_two_processes(DIVERGING, tmp_path, Recipe(**RECIPE))
    assert result.returncode == 0, result.stderr
    said = {(tmp_path / f"error{process}.txt").read_text() for process in range(2)}
    assert len(said) == 1
    assert "the checkpoint keeps the 4 steps before" in said.pop()
