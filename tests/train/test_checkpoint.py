from __future__ import annotations

import hashlib
import math
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stylize_video_train.checkpoint import Checkpoint, CheckpointError, load_checkpoint, read_torch_file
from stylize_video_train.networks import build_network
from stylize_video_train.recipe import NetworkConfig, Recipe

SMALL = NetworkConfig(width=4, blocks=1, head=4)


def checkpoint(seed: int = 0) -> Checkpoint:
    torch.manual_seed(seed)
    recipe = Recipe(network=SMALL).resolved()
    return Checkpoint(SMALL, build_network(SMALL).state_dict(), recipe.to_dict(), {"name": "waves"}, 12)


def test_everything_comes_back(tmp_path: Path) -> None:
    saved = checkpoint()
    saved.save(tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.network, loaded.style, loaded.step) == (SMALL, {"name": "waves"}, 12)
    assert Recipe.from_dict(loaded.recipe) == Recipe(network=SMALL).resolved()
    assert loaded.weights_sha256() == saved.weights_sha256()
    frames = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        assert torch.equal(loaded.build()(frames), saved.build()(frames))


def test_the_hash_is_of_the_weights() -> None:
    assert checkpoint(0).weights_sha256() == checkpoint(0).weights_sha256()
    assert checkpoint(0).weights_sha256() != checkpoint(1).weights_sha256()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_may_be_of_any_precision(tmp_path: Path, kind: torch.dtype) -> None:
    """Some halve a file so; the hash of those that we write is what it has always been."""
    plain = checkpoint()
    digest = hashlib.sha256()
    for name, value in sorted(plain.weights.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode() + value.numpy().tobytes())
    assert plain.weights_sha256() == digest.hexdigest()
    weights = {name: v.to(kind) if v.is_floating_point() else v for name, v in plain.weights.items()}
    replace(plain, weights=weights).save(tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert len(loaded.weights_sha256()) == 64
    assert all(weight.dtype == torch.float32 for weight in loaded.build().parameters())


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    checkpoint().save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=rf"^cannot write {path}: File too large$"):
            checkpoint(1).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pth"]


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_bomb_is_refused_unexploded(tmp_path: Path) -> None:
    target = tmp_path / "exploded"
    torch.save({"format": "stylize-video checkpoint", "weights": Bomb(target)}, tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError, match="pickle code"):
        load_checkpoint(tmp_path / "bomb.pth")
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut"])
def test_damaged_files_are_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_torch_file(path)


def test_half_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    checkpoint().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_weights_that_have_changed_since_are_an_error(tmp_path: Path) -> None:
    """A bad disk, or a bad copy: torch itself reads them as they are."""
    path, saved = tmp_path / "a.pth", checkpoint()
    saved.save(path)
    content = bytearray(path.read_bytes())
    at = content.index(saved.weights["stem.conv.weight"].numpy().tobytes())
    content[at + 40 : at + 44] = b"\x7f\x7f\x7f\x7f"
    path.write_bytes(content)
    assert isinstance(torch.load(path, weights_only=True), dict)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path)


def test_settings_of_a_newer_release_hinder_nobody_who_only_exports(tmp_path: Path) -> None:
    saved = checkpoint()
    replace(saved, recipe={**saved.recipe, "sparkle": 3}).save(tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth").recipe["sparkle"] == 3


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "no stylize-video checkpoint"),
        ({"version": 99}, "version 99"),
        ({"network": {"kind": "unet"}}, "damaged"),
        ({"step": None}, "damaged"),
        ({"step": float("inf")}, "damaged"),
        ({"weights": ["none"]}, "damaged"),
        ({"weights": {"stem.conv.weight": torch.zeros(4, 3, 12, 12)}}, "train it again"),
        ({"weights": {"stem.conv.weight": torch.eye(4).to_sparse()}}, "damaged.*no plain tensor"),
        ({"weights": {"stem.conv.weight": torch.empty(4, device="meta")}}, "damaged.*no plain tensor"),
        ({"weights": None}, "damaged"),
        ({"network": {"width": 32.0}}, "damaged.*width must be a whole number"),
        ({"network": {"width": 10**9}}, "damaged.*width must be"),
        ({"network": {"blocks": 3_000_000}}, "damaged.*blocks must be"),
        ({"recipe": None}, "damaged.*recipe is no table"),
        ({"recipe": ["steps"]}, "damaged.*recipe is no table"),
        ({"recipe": {"steps": "many"}}, "damaged.*steps must be a whole number"),
        ({"recipe": {"start": torch.zeros(1)}}, "damaged"),
        ({"recipe": {"noise": math.nan}}, "damaged"),
        ({"style": None}, "damaged.*style is no table"),
        ({"style": {"name": 3}}, "damaged.*no text"),
        ({"state": [1]}, "damaged.*state is no table"),
    ],
)
def test_checkpoints_of_another_kind_are_errors(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "a.pth"
    checkpoint().save(path)
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write"):
        checkpoint().save(tmp_path / "none" / "a.pth")
