"""Picture files that hold more than one picture."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import stylize_video
import stylize_video_export
import stylize_video_train
from media import exif_of, write_apng
from stylize_video.errors import SourceError
from stylize_video.frame import psnr
from stylize_video.video.inputs import is_picture
from stylize_video.video.pictures import (
    is_animation,
    is_still_gif,
    read_picture,
    read_pixels,
    write_picture,
)
from support import draw_picture


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


def write_gif(path: Path, count: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for index in range(count):
            picture = av.VideoFrame.from_ndarray(draw_picture(index, 64, 48), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="rgb8")))
        container.mux(stream.encode(None))
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


@pytest.fixture
def _opencv_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose functions that take a file's name know ASCII alone."""
    imread, imwrite = cv2.imread, cv2.imwrite
    monkeypatch.setattr(cv2, "imread", lambda name, *how: imread(name, *how) if name.isascii() else None)
    monkeypatch.setattr(cv2, "imwrite", lambda name, *what: imwrite(name, *what) if name.isascii() else False)


@pytest.mark.usefixtures("_opencv_of_windows")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_names_of_any_characters(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "Größe 大"
    folder.mkdir()
    picture = np.full((48, 64, 3), 60, np.uint8)
    write_picture(folder / f"ж{suffix}", picture)
    assert np.abs(read_picture(folder / f"ж{suffix}")[0].astype(int) - picture).max() <= 1
    assert np.abs(read_pixels(folder / f"ж{suffix}").astype(int) - picture).max() <= 1


@pytest.mark.parametrize("package", [stylize_video, stylize_video_export, stylize_video_train])
def test_no_picture_is_read_or_written_by_opencv_itself(package: ModuleType) -> None:
    """It would be, but for names beyond ASCII on Windows."""
    for path in Path(package.__path__[0]).rglob("*.py"):
        calls = re.findall(r"cv2\.(?:imread|imwrite)\w*\(", path.read_text(encoding="utf-8"))
        assert not calls, path


@pytest.mark.parametrize("flags", [cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYCOLOR])
@pytest.mark.parametrize(
    "kind", ["a.jpg", "turned.jpg", "grey.jpg", "a.png", "16.png", "alpha.png", "a.webp", "16.tif"]
)
def test_pixels_are_those_of_imread(kind: str, flags: int, tmp_path: Path) -> None:
    picture = draw_picture(0, 90, 70)
    variants: dict[str, NDArray[Any]] = {
        "grey.jpg": picture[..., 0],
        "16.png": picture.astype(np.uint16) * 257,
        "16.tif": picture.astype(np.uint16) * 257,
        "alpha.png": np.dstack([picture, picture[..., 0]]),
    }
    path = tmp_path / kind
    cv2.imwrite(str(path), variants.get(kind, picture))
    if kind == "turned.jpg":
        orientation = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        jpeg = path.read_bytes()
        path.write_bytes(
            jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(orientation) + 2) + orientation + jpeg[2:]
        )
    pixels = read_pixels(path, flags)
    assert (pixels.shape[:2] == (90, 70)) == (kind == "turned.jpg" and flags == cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(pixels, np.asarray(cv2.imread(str(path), flags)), strict=True)


@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "text"])
def test_what_is_no_picture_is_a_sentence(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text("" if kind == "empty" else "I am a text file")
    with pytest.raises(SourceError, match=r"in\.png is not a picture that can be read, or has more than 268"):
        read_pixels(path)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_transparent_pictures_are_turned_as_others(suffix: str, orientation: int, tmp_path: Path) -> None:
    path, picture = tmp_path / f"in{suffix}", draw_picture(0, 40, 30)
    kinds, data = [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(exif_of(orientation), np.uint8)]
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []

    def write(pixels: NDArray[np.uint8]) -> None:
        path.write_bytes(cv2.imencodeWithMetadata(suffix, pixels, kinds, data, lossless)[1].tobytes())

    write(picture)
    expected, without = read_picture(path)
    write(np.dstack([picture, picture[..., 0] | 1]))  # what is not seen at all has no colour in WebP
    turned, alpha = read_picture(path)
    assert without is None
    assert alpha is not None
    np.testing.assert_array_equal(turned, expected)
    np.testing.assert_array_equal(alpha, expected[..., 0] | 1)


def test_sixteen_bits_become_the_nearest_level(tmp_path: Path) -> None:
    deep = np.arange(2**16, dtype=np.uint16).reshape(256, 256, 1).repeat(4, axis=2)
    cv2.imwrite(str(tmp_path / "in.png"), deep)
    picture, alpha = read_picture(tmp_path / "in.png")
    nearest = np.round(deep[..., 0] / 257)
    np.testing.assert_array_equal(alpha, nearest)
    np.testing.assert_array_equal(picture, np.dstack([nearest] * 3))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_other_numbers_than_of_8_or_16_bits_are_refused(
    kind: type[np.generic], channels: int, tmp_path: Path
) -> None:
    path = tmp_path / "in.tif"
    cv2.imwrite(str(path), np.ones((8, 8, channels), kind))
    with pytest.raises(SourceError, match=rf"in\.tif has {np.dtype(kind)} pixels; save it with 8 or 16 bits"):
        read_picture(path)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_gif_of_one_picture_is_a_picture(count: int, tmp_path: Path) -> None:
    path = write_gif(tmp_path / "in.gif", count)
    assert is_still_gif(path) == is_picture(path) == (count == 1)
    image, alpha = read_picture(path)
    assert image.shape == (48, 64, 3)
    assert alpha is None
    whole = path.read_bytes()
    first = whole.index(b",")
    for size in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        assert not (is_still_gif(path) and size <= first)
    assert not is_still_gif(tmp_path / "none.gif")


def test_a_picture_becomes_a_gif_of_colours_of_its_own(tmp_path: Path) -> None:
    picture = draw_picture(3, 160, 120)
    alpha = np.full((120, 160), 255, np.uint8)
    alpha[:40] = 0
    write_picture(tmp_path / "opaque.gif", picture)
    write_picture(tmp_path / "clear.gif", picture, alpha)
    assert is_still_gif(tmp_path / "opaque.gif")
    image, without = read_picture(tmp_path / "opaque.gif")
    assert without is None
    assert psnr(image, picture) > 30
    image, kept = read_picture(tmp_path / "clear.gif")
    assert kept is not None
    np.testing.assert_array_equal(kept, alpha)
    assert psnr(image[40:], picture[40:]) > 30
