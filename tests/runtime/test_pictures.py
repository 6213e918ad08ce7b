"""Picture files that hold more than one picture."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from media import write_apng
from stylize_video.pictures import is_animation, read_picture


def write_animated_webp(path: Path) -> Path:
    """By hand, of a still one: the header of an animation, and one picture in a frame of its own."""
    still = cv2.imencode(".webp", np.full((48, 64, 3), 60, np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 80])[1]
    size = struct.pack("<I", 63)[:3] + struct.pack("<I", 47)[:3]
    picture = still.tobytes()[12:]
    frame = bytes(6) + size + struct.pack("<I", 100)[:3] + b"\0" + picture
    content = b"WEBP" + chunk(b"VP8X", b"\x02\0\0\0" + size) + chunk(b"ANIM", bytes(6))
    content += chunk(b"ANMF", frame) * 2
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


@pytest.mark.parametrize(
    ("name", "write"), [("in.png", write_apng), ("in.webp", write_animated_webp)], ids=["png", "webp"]
)
def test_of_an_animation_one_picture_is_taken_and_that_is_told(
    name: str, write: type[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / name)
    assert is_animation(path)
    image, _ = read_picture(path)
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - 60).max() <= 3
    assert caplog.messages == [f"{path} is an animation; its first picture alone is taken"]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_ordinary_pictures_are_none(suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"in{suffix}"
    cv2.imwrite(str(path), np.full((48, 64, 3), 60, np.uint8))
    assert not is_animation(path)
    read_picture(path)
    assert not caplog.messages


def test_what_is_no_picture_is_no_animation(tmp_path: Path) -> None:
    assert not is_animation(tmp_path / "none.png")
    (tmp_path / "short.webp").write_bytes(b"RIFF....WEBPVP8X")
    assert not is_animation(tmp_path / "short.webp")
    (tmp_path / "short.png").write_bytes(b"\x89PNG")
    assert not is_animation(tmp_path / "short.png")
