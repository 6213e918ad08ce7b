"""Checkpoints of other makers load; what cannot load says why."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stylize_video_export.formats import load_any_checkpoint
from stylize_video_train.checkpoint import Checkpoint, CheckpointError
from stylize_video_train.networks import build_network
from stylize_video_train.recipe import NetworkConfig


def public_state(width: int) -> dict[str, Tensor]:
    """A state dict as the public projects save it."""
    torch.manual_seed(width)
    return build_network(NetworkConfig(kind="transformer", width=width, blocks=5)).state_dict()


def save(state: Any, folder: Path) -> Path:
    path = folder / "candy.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("width", [8, 16, 32])
def test_public_state_dicts_of_any_width(width: int, tmp_path: Path) -> None:
    checkpoint = load_any_checkpoint(save(public_state(width), tmp_path))
    assert checkpoint.network == NetworkConfig(kind="transformer", width=width, blocks=5, pixel_range=255)
    assert checkpoint.style["name"] == "candy"
    # The public networks see 0..255: scaled around, they give what they gave there.
    pixels = torch.rand(1, 3, 20, 24)
    plain = build_network(NetworkConfig(kind="transformer", width=width, blocks=5))
    plain.load_state_dict(public_state(width))
    with torch.inference_mode():
        expected = plain.eval()(pixels * 255) / 255
        np.testing.assert_allclose(checkpoint.build()(pixels), expected, atol=1e-5)


def test_a_checkpoint_of_ours_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = NetworkConfig(width=4, blocks=1, head=4)
    ours = Checkpoint(config, build_network(config).state_dict(), {}, {"name": "waves"}, 12)
    ours.save(tmp_path / "a.pth")
    read: list[Path] = []
    load = torch.load

    def loaded(path: Path, **how: Any) -> Any:
        read.append(path)
        return load(path, **how)

    monkeypatch.setattr(torch, "load", loaded)
    assert load_any_checkpoint(tmp_path / "a.pth").weights_sha256() == ours.weights_sha256()
    assert read == [tmp_path / "a.pth"]


def test_the_public_key_names() -> None:
    keys = set(public_state(8))
    assert {"conv1.conv2d.weight", "in1.weight", "res1.conv1.conv2d.weight", "res5.in2.bias"} <= keys
    assert {"deconv1.conv2d.weight", "in5.bias", "deconv3.conv2d.bias"} <= keys


def test_old_ones_with_running_statistics(tmp_path: Path) -> None:
    state = public_state(8)
    for key in [k for k in state if ".weight" in k and "in" in k.split(".")[-2]]:
        state[key.replace("weight", "running_mean")] = torch.zeros(8)
        state[key.replace("weight", "running_var")] = torch.ones(8)
    assert any("res1.in1.running_mean" in key for key in state)
    load_any_checkpoint(save(state, tmp_path))


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model", "net"])
def test_state_dicts_inside_a_training_checkpoint(wrap: str, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in public_state(8).items()}
    checkpoint = load_any_checkpoint(save({wrap: state, "epoch": 2}, tmp_path))
    assert checkpoint.network.width == 8


def test_of_several_state_dicts_the_usual_one_is_taken_and_none_is_guessed(tmp_path: Path) -> None:
    wide, narrow = public_state(16), public_state(8)
    assert load_any_checkpoint(save({"ema": narrow, "model": wide}, tmp_path)).network.width == 16
    with pytest.raises(CheckpointError, match="no network weights"):
        load_any_checkpoint(save({"ema": narrow, "net": wide}, tmp_path))


def test_another_number_of_residual_blocks(tmp_path: Path) -> None:
    state = {k: v for k, v in public_state(8).items() if not k.startswith(("res4", "res5"))}
    assert load_any_checkpoint(save(state, tmp_path)).network.blocks == 3


def test_one_wrong_shape_is_named(tmp_path: Path) -> None:
    state = public_state(8)
    state["res2.conv1.conv2d.weight"] = torch.zeros(32, 32, 5, 5)
    with pytest.raises(CheckpointError, match=r"res2\.conv1\.conv2d\.weight has shape \[32, 32, 5, 5\]"):
        load_any_checkpoint(save(state, tmp_path))


def test_a_first_layer_that_is_a_number(tmp_path: Path) -> None:
    state = {**public_state(8), "conv1.conv2d.weight": torch.tensor(1.0)}
    with pytest.raises(CheckpointError, match=r"conv1\.conv2d\.weight has shape \[\] instead of \[width"):
        load_any_checkpoint(save(state, tmp_path))


def test_a_missing_and_a_foreign_key_are_named(tmp_path: Path) -> None:
    state = public_state(8)
    state["extra.weight"] = state.pop("in2.bias")
    with pytest.raises(CheckpointError, match=r"in2\.bias is missing; extra\.weight is not part of it"):
        load_any_checkpoint(save(state, tmp_path))


def test_another_network_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a stylize-video checkpoint or .* found fc\.bias"):
        load_any_checkpoint(save({"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)}, tmp_path))


@pytest.mark.parametrize("content", [3, [torch.zeros(2)], {"a": "b"}, {}])
def test_files_without_weights(content: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"candy\.pth"):
        load_any_checkpoint(save(content, tmp_path))


@pytest.mark.parametrize(
    "of_another_kind",
    [
        Tensor.to_sparse,
        lambda weight: weight.to("meta"),
        lambda weight: weight.to(torch.complex64),
        lambda weight: torch.nested.nested_tensor([weight]),
        lambda weight: weight[:1].expand(10**9),  # a small file that would take all memory
        lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(deprecated|nested tensors):UserWarning")
def test_weights_that_are_no_plain_tensors(
    of_another_kind: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    state = public_state(8)
    state["in2.weight"] = of_another_kind(state["in2.weight"])
    with pytest.raises(CheckpointError, match="expected a state dict of plain tensors"):
        load_any_checkpoint(save(state, tmp_path))


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("protocol", ["torch", "old torch", 2, 3, 4, 5])
def test_pickle_bombs_do_not_go_off(protocol: str | int, tmp_path: Path) -> None:
    target, path = tmp_path / "boom", tmp_path / "bomb.pth"
    if isinstance(protocol, int):
        path.write_bytes(pickle.dumps(Bomb(target), protocol=protocol))
    else:
        torch.save({"weights": Bomb(target)}, path, _use_new_zipfile_serialization=protocol == "torch")
    with pytest.raises(CheckpointError, match=r"bomb\.pth needs pickle code .* save its state_dict"):
        load_any_checkpoint(path)
    assert not target.exists()


@pytest.mark.parametrize("size", [0, 1, 100, 2000])
def test_truncated_files(size: int, tmp_path: Path) -> None:
    path = save(public_state(8), tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="damaged or no torch checkpoint"):
        load_any_checkpoint(path)


def test_zip_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("hello.txt", "hello")
    (tmp_path / "archive.pth").write_bytes(content.getvalue())
    with pytest.raises(CheckpointError, match="damaged or no torch checkpoint"):
        load_any_checkpoint(tmp_path / "archive.pth")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_any_checkpoint(tmp_path / "missing.pth")
