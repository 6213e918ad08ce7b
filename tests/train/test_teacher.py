from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from stylize_video.errors import StyleError
from stylize_video_train.teacher import Teacher


def test_a_teacher_shows_its_style_in_rgb(swap_style: Path) -> None:
    pictures = torch.rand(2, 3, 20, 36)
    stylized = Teacher(str(swap_style))(pictures)
    assert stylized.shape == pictures.shape
    torch.testing.assert_close(stylized, pictures.flip(1), atol=2 / 255, rtol=0)


def test_every_picture_is_stylized_by_itself(invert_style: Path) -> None:
    teacher = Teacher(str(invert_style))
    pictures = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(teacher(pictures)[1:2], teacher(pictures[1:2]))


def test_a_variant_is_itself(invert_style: Path, swap_style: Path, tmp_path: Path) -> None:
    shutil.copy(invert_style, tmp_path / "a.onnx")
    shutil.copy(swap_style, tmp_path / "a.int8.onnx")
    pictures = torch.rand(1, 3, 16, 16)
    stylized = Teacher(str(tmp_path / "a.int8.onnx"))(pictures)
    torch.testing.assert_close(stylized, pictures.flip(1), atol=2 / 255, rtol=0)


def test_an_unknown_teacher_is_one_sentence() -> None:
    with pytest.raises(StyleError, match="no style 'nobody'"):
        Teacher("nobody")
