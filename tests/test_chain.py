"""The whole chain at toy scale: train, export, stylize, through the commands that users type."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from torchvision.models import squeezenet1_1

from support import Command, draw_picture


@pytest.mark.timeout(600)
def test_train_export_stylize(command: Command, command_here: Command, clip: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(4):
        cv2.imwrite(str(photos / f"{index}.png"), draw_picture(index, 100, 80))
    cv2.imwrite(str(tmp_path / "sea.png"), draw_picture(9, 90, 90)[::-1])
    torch.manual_seed(0)
    # Random weights in a real feature model: pretrained ones would have to be downloaded.
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "features.pth")

    trained = command_here(
        "train-style", tmp_path / "sea.png", "--content", photos, "-o", tmp_path / "sea.pth",
        "--features", "squeezenet1_1", "--feature-weights", tmp_path / "features.pth",
        "--steps", 12, "--image-size", 64, "--style-size", 64, "--batch", 2, "--width", 16, "--device", "cpu",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "export-onnx" in trained.stderr

    exported = command_here("export-onnx", tmp_path / "sea.pth")
    assert exported.returncode == 0, exported.stderr
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["sea.onnx"]

    source = tmp_path / "clip.mp4"
    source.write_bytes(clip.read_bytes())
    stylized = command("stylize-video", source, "--style", tmp_path / "sea.onnx")
    assert stylized.returncode == 0, stylized.stderr
    with av.open(str(tmp_path / "clip.sea.mp4")) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(frames) == 12
    original = cv2.VideoCapture(str(source)).read()[1]
    assert np.abs(frames[0].astype(int) - original).mean() > 3  # it does something
