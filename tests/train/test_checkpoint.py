from __future__ import annotations

import os
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


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    checkpoint().save(path)
    before = path.read_bytes()

    def half_written(_: object, file: Path) -> None:
        Path(file).write_bytes(b"PK half a file")
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(CheckpointError, match="no space left"):
        checkpoint(1).save(path)
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
        ({"weights": ["none"]}, "damaged"),
        ({"weights": {"stem.conv.weight": torch.zeros(4, 3, 12, 12)}}, "train it again"),
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
