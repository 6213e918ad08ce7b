from __future__ import annotations

import hashlib
import logging
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stylize_video import quiet
from stylize_video.video.pictures import read_pixels
from stylize_video_train import data
from stylize_video_train.data import (
    ContentFolder,
    DataError,
    read_picture,
    read_resized,
    resize_short_side,
)
from support import draw_picture


def save(path: Path, *, index: int = 0, width: int = 80, height: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(draw_picture(index, width, height), cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(5):
        save(tmp_path / "photos" / f"sub{index % 2}" / f"{index}.png", index=index)
    return tmp_path / "photos"


def test_a_picture_is_rgb_in_0_to_1(tmp_path: Path) -> None:
    picture = read_picture(save(tmp_path / "a.png"))
    assert picture.shape == (1, 3, 60, 80)
    expected = torch.from_numpy(draw_picture(0, 80, 60)).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(picture, expected)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_what_is_transparent_is_white(tmp_path: Path, depth: type, caplog: pytest.LogCaptureFixture) -> None:
    most = np.iinfo(depth).max
    hidden: np.ndarray = np.zeros((40, 60, 4), depth)
    hidden[..., :3] = (most, 0, most)  # as editors leave behind what they make transparent
    hidden[:, :20] = (0, most, 0, most)
    hidden[:, 20:40, 3] = most // 2
    cv2.imwrite(str(tmp_path / "logo.png"), hidden)
    picture = read_picture(tmp_path / "logo.png")[0, :, 0]
    assert picture[:, 0].tolist() == [0, 1, 0]
    assert picture[:, 30].tolist() == pytest.approx([1, 0.5, 1], abs=0.01)
    assert picture[:, 50].tolist() == [1, 1, 1]
    assert caplog.messages == [f"{tmp_path / 'logo.png'} is transparent in places: they are taken as white"]
    hidden[..., 3] = most
    cv2.imwrite(str(tmp_path / "opaque.png"), hidden)
    assert read_picture(tmp_path / "opaque.png")[0, :, 0, 50].tolist() == [1, 0, 1]
    assert len(caplog.messages) == 1


def save_palette(path: Path) -> None:
    """A PNG of 40x40 whose only colour is a red that is transparent."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    rows = zlib.compress(bytes(40 * (1 + 40)))
    chunks = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 8, 3, 0, 0, 0)),
        chunk(b"PLTE", bytes([255, 0, 0])),
        chunk(b"tRNS", bytes([0])),
        chunk(b"IDAT", rows),
        chunk(b"IEND", b""),
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_what_is_transparent_in_photos_is_white(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not what editors leave there, in palettes too."""
    hidden = np.zeros((40, 40, 4), np.uint8)
    hidden[..., 0] = 255
    save_palette(tmp_path / "d.png")
    for name in ("a.png", "b.webp", "c.tif"):
        cv2.imwrite(str(tmp_path / name), hidden)
    folder = ContentFolder(tmp_path, size=40).untouched()
    assert (len(folder), folder.transparent()) == (4, 4)
    for sample in range(4):
        assert folder[sample].min() == 1
    assert not caplog.messages, "a line for each sample would never end"
    hidden[..., 3] = 255
    cv2.imwrite(str(tmp_path / "a.png"), hidden)
    assert ContentFolder(tmp_path, size=40).transparent() == 3


def test_a_huge_picture_is_made_smaller_before_it_takes_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_large(tmp_path / "a.jpg", 400, 300)
    exact = read_resized(path, 60)
    assert torch.equal(exact, resize_short_side(read_picture(path), 60))
    monkeypatch.setattr(data, "_MANY_PIXELS", 100 * 100)
    sizes: list[torch.Size] = []

    def watched(picture: torch.Tensor, size: int) -> torch.Tensor:
        sizes.append(picture.shape)
        return resize_short_side(picture, size)

    monkeypatch.setattr(data, "resize_short_side", watched)
    small = read_resized(path, 60)
    assert sizes == [(1, 3, 120, 160)]
    assert (small - exact).abs().mean() < 0.01


def test_fine_stripes_become_grey_and_edges_stay_sharp() -> None:
    """No stripes that are not there, and no softer style where its picture is resized."""
    stripes = torch.zeros(1, 3, 100, 100)
    stripes[..., ::2] = 1
    assert (resize_short_side(stripes, 40)[..., 4:-4] - 0.5).abs().max() < 0.05
    edge = torch.full((1, 3, 40, 40), 0.25)
    edge[..., 20:] = 0.75
    for size in (16, 100):
        row = resize_short_side(edge, size)[0, 0, 0]
        assert row.max() > 0.755, "a bicubic edge swings beyond, a linear one does not"


@pytest.mark.parametrize("kind", ["missing", "text"])
def test_what_is_no_picture_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "text":
        path.write_text("not a picture")
    with pytest.raises(DataError, match=r"a\.png"):
        read_picture(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"not a picture", "is not a picture"), (None, "is damaged: its end is missing")],
    ids=["text", "a half"],
)
def test_what_is_called_jpeg_is_not_always_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None, sentence: str
) -> None:
    path = save(tmp_path / "a.jpg")
    path.write_bytes(content or path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"a\.jpg {sentence}"):
        read_picture(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("height", "width", "expected"), [(60, 80, (30, 40)), (90, 30, (90, 30))])
def test_resizing_sets_the_short_side(height: int, width: int, expected: tuple[int, int]) -> None:
    resized = resize_short_side(torch.rand(1, 3, height, width), 30)
    assert resized.shape[-2:] == expected
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_crops_are_square_and_in_range(photos: Path) -> None:
    folder = ContentFolder(photos, size=48)
    assert len(folder) == 5
    for sample in range(12):
        crop = folder[sample]
        assert crop.shape == (3, 48, 48)
        assert crop.dtype == torch.float32
        assert 0 <= crop.min() <= crop.max() <= 1


def test_a_sample_depends_on_seed_and_number_alone(photos: Path) -> None:
    forwards = ContentFolder(photos, size=40, seed=7)
    backwards = ContentFolder(photos, size=40, seed=7)
    samples = {k: forwards[k] for k in range(15)}
    for k in reversed(range(15)):
        assert torch.equal(backwards[k], samples[k])
    other = ContentFolder(photos, size=40, seed=8)
    assert not all(torch.equal(other[k], samples[k]) for k in range(15))


def test_every_picture_comes_once_an_epoch_in_a_new_order(tmp_path: Path) -> None:
    for index in range(6):
        picture = np.full((64, 64, 3), 40 * index, np.uint8)
        (tmp_path / "flat").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "flat" / f"{index}.png"), picture)
    folder = ContentFolder(tmp_path / "flat", size=32)
    seen = [round(folder[k].mean().item() * 255 / 40) for k in range(24)]
    epochs = [seen[k : k + 6] for k in range(0, 24, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_damaged_and_tiny_pictures_are_skipped_and_counted(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / "empty.png").touch()
    save(photos / "tiny.png", width=90, height=31)
    (photos / "notes.txt").write_text("not a picture, not counted")
    with caplog.at_level(logging.WARNING):
        folder = ContentFolder(photos, size=40)
    assert (len(folder), folder.skipped) == (5, 3)
    assert "tiny.png is smaller than 32 pixels" in caplog.text
    assert "damaged.jpg" in caplog.text


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.3, 0.98])
def test_pictures_whose_end_is_missing_are_skipped_in_silence(
    suffix: str,
    share: float,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quiet, "_is_command", True)
    save(tmp_path / f"whole{suffix}", width=120, height=90)
    content = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"broken{suffix}").write_bytes(content[: int(share * len(content))])
    folder = ContentFolder(tmp_path, size=40)
    assert (folder.paths, folder.skipped) == ([tmp_path / f"whole{suffix}"], 1)
    assert capfd.readouterr().err == ""


def test_crops_reach_both_ends_of_a_photo(tmp_path: Path) -> None:
    """Of one that is a row longer than a crop, either the first row or the last is left out."""
    photo = np.zeros((49, 48, 3), np.uint8)
    photo[0], photo[-1] = 100, 200
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    folder = ContentFolder(tmp_path, size=48, zoom=(1.0, 1.0))
    crops = [folder[k][0] * 255 for k in range(20)]
    ends = {(round(crop[0].mean().item()), round(crop[-1].mean().item())) for crop in crops}
    assert ends == {(100, 0), (0, 200)}


def test_photos_are_enlarged_within_the_limits_of_zoom(tmp_path: Path) -> None:
    """A ramp across a picture is as steep in a crop as the picture was small there."""
    ramp = np.tile(np.linspace(0, 255, 120, dtype=np.float32).astype(np.uint8), (80, 1))
    (tmp_path / "p").mkdir()
    cv2.imwrite(str(tmp_path / "p" / "ramp.png"), cv2.merge([ramp] * 3))
    folder = ContentFolder(tmp_path / "p", size=40, zoom=(1.1, 4.0))
    spans = [(folder[k].max() - folder[k].min()).item() for k in range(60)]
    zooms = np.array([80 / 120 / span for span in spans])
    assert 1.05 < zooms.min() < 1.4
    assert 3.2 < zooms.max() < 4.3
    assert 15 <= (zooms < (1.1 * 4) ** 0.5).sum() <= 45, "every doubling is as likely as the next"


def test_contrast_and_brightness_change_within_their_limits(photos: Path) -> None:
    plain = ContentFolder(photos, size=40, seed=3)
    lit = ContentFolder(photos, size=40, seed=3, contrast=(0.5, 0.8), brightness=0.1)
    for sample in range(20):
        before, after = plain[sample], lit[sample]
        inside = (after > 0) & (after < 1)
        slope = (after[inside] - after[inside].mean()) @ (before[inside] - before[inside].mean())
        slope = slope / (before[inside] - before[inside].mean()).square().sum()
        assert 0.5 - 1e-3 <= slope <= 0.8 + 1e-3
        middle = before.mean()
        moved = after[inside] - ((before[inside] - middle) * slope + middle)
        assert moved.abs().max() <= 0.1 + 1e-3
    assert torch.equal(lit.untouched()[0], plain[0])
    assert lit.contrast == (0.5, 0.8), "the folder itself stays as it is"


def save_large(path: Path, width: int, height: int) -> Path:
    """A JPEG of smooth shapes, as photos are at their full size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = cv2.resize(draw_picture(0, 48, 36), (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), picture)
    return path


def test_large_jpegs_are_decoded_at_a_part_of_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_large(tmp_path / "p" / "a.jpg", 1203, 901)
    flags: list[int] = []

    def watched(path: Path, kind: int) -> np.ndarray:
        flags.append(kind)
        return read_pixels(path, kind)

    monkeypatch.setattr(data, "read_pixels", watched)
    folder = ContentFolder(tmp_path / "p", size=64, zoom=(1.0, 16.0))
    assert flags == [cv2.IMREAD_REDUCED_COLOR_8]
    fast = [folder[k] for k in range(24)]
    assert set(flags) == {*data._REDUCED.values()}
    monkeypatch.setattr(data, "_reduction", lambda *_: 1)
    for k in range(24):
        assert (folder[k] - fast[k]).abs().mean() < 0.01


def test_photos_that_are_not_made_half_as_large_are_decoded_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_large(tmp_path / "p" / "a.jpg", 160, 127)
    save_large(tmp_path / "p" / "b.png", 640, 480)
    folder = ContentFolder(tmp_path / "p", size=64, zoom=(1.0, 4.0))
    crops = [folder[k] for k in range(12)]
    monkeypatch.setattr(data, "_reduction", lambda *_: 1)
    assert all(torch.equal(folder[k], crop) for k, crop in enumerate(crops))


@pytest.mark.parametrize("side", [31, 32, 33, 71, 72, 73])
def test_the_sides_of_small_jpegs_are_exact(tmp_path: Path, side: int) -> None:
    save(tmp_path / "a.png", width=90, height=80)
    save(tmp_path / "b.jpg", width=side, height=side + 40)
    folder = ContentFolder(tmp_path, size=72)
    assert (len(folder), folder.skipped) == ((1, 1) if side < 32 else (2, 0))
    assert folder.small() == (32 <= side < 72)


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.png", width=40, height=33)
    assert ContentFolder(tmp_path / "p", size=64)[0].shape == (3, 64, 64)


def test_a_strip_is_not_scaled_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p").mkdir()
    ramp = np.tile(np.linspace(0, 255, 100_000, dtype=np.float32).astype(np.uint8), (33, 1))
    cv2.imwrite(str(tmp_path / "p" / "strip.png"), cv2.merge([ramp] * 3))
    folder = ContentFolder(tmp_path / "p", size=200)
    sizes = []
    resize = cv2.resize

    def watched(picture: np.ndarray, size: tuple[int, int], **options: Any) -> np.ndarray:
        sizes.append(size)
        return resize(picture, size, **options)

    monkeypatch.setattr(cv2, "resize", watched)
    crops = [folder[k] for k in range(4)]
    assert sizes == [(200, 200)] * 4
    assert len({crop.mean().item() for crop in crops}) == 4
    assert all(crop.max() - crop.min() < 2 / 255 for crop in crops), "each shows one place of the ramp"


@pytest.mark.parametrize("zoom", [(1.1, 1.8), (4.0, 8.0)])
def test_a_part_scaled_is_that_part_of_the_scaled_picture(
    photos: Path, zoom: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ContentFolder(photos, size=64, zoom=zoom)
    whole = [folder[k] for k in range(10)]
    monkeypatch.setattr(data, "_MOST_PIXELS", 0)
    for k in range(10):
        assert (folder[k] - whole[k]).abs().mean() < 0.06, "moved by less than a pixel of the photo"


def test_links_to_folders_are_followed_once(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    save(tmp_path / "linked" / "own.png")
    (tmp_path / "linked" / "more").symlink_to(photos)
    (photos / "back").symlink_to(tmp_path / "linked")
    assert len(ContentFolder(tmp_path / "linked", size=40)) == 6


def test_previews_of_trainings_are_no_photos(photos: Path) -> None:
    before = ContentFolder(photos, size=40)
    save(photos / "painting.preview.png")
    after = ContentFolder(photos, size=40)
    assert (after.paths, after.fingerprint()) == (before.paths, before.fingerprint())


def test_what_is_hidden_is_no_photo(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the preview that a killed training was writing, nor macOS's notes on files."""
    before = ContentFolder(photos, size=16).fingerprint()
    shutil.copy(next(photos.rglob("*.png")), photos / ".a.preview.k3j2h1g0.png")
    (photos / "._0.jpg").write_bytes(b"Mac OS X")
    (photos / ".thumbnails").mkdir()
    shutil.copy(next(photos.rglob("*.png")), photos / ".thumbnails" / "a.png")
    assert ContentFolder(photos, size=16).fingerprint() == before
    assert not caplog.records


def test_pictures_of_kinds_that_are_not_read_are_told(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.heic", "b.HEIC", "c.nef", "d.txt"):
        (photos / name).touch()
    ContentFolder(photos, size=40)
    assert [record.getMessage() for record in caplog.records] == [
        "skipped: 2 .heic files, which are not read; make JPEGs of them",
        "skipped: 1 .nef files, which are not read; make JPEGs of them",
    ]


def test_names_need_not_be_utf_8(photos: Path) -> None:
    """Those out of old archives; the hash of names that are is what it has always been."""
    names = "".join(f"{path.name}\0{path.stat().st_size}\n" for path in sorted(photos.rglob("*.png")))
    assert ContentFolder(photos, size=40).fingerprint() == hashlib.sha256(names.encode()).hexdigest()
    save(photos / "a.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    folder = ContentFolder(photos, size=40)
    assert len(folder) == 6
    assert len(folder.fingerprint()) == 64


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        ContentFolder(tmp_path / "none", size=40)
    with pytest.raises(DataError, match="no usable pictures"):
        ContentFolder(tmp_path, size=40)
    (tmp_path / "broken.png").touch()
    with pytest.raises(DataError, match=r"1 file.*damaged or too small"):
        ContentFolder(tmp_path, size=40)


def test_what_previews_show_is_not_learnt(tmp_path: Path) -> None:
    for index in range(60):
        save(tmp_path / f"{index}.png", index=index, width=40, height=40)
    folder = ContentFolder(tmp_path, size=32, hold_out=4)
    assert len(folder.held_out) == 4
    assert len(folder.paths) == 56
    assert not set(folder.held_out) & set(folder.paths)


def test_half_of_the_crops_are_mirrored(tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    folder = ContentFolder(tmp_path, size=64).untouched()
    bright_on_the_right = [bool(folder[k][..., 32:].mean() > folder[k][..., :32].mean()) for k in range(60)]
    assert 15 < sum(bright_on_the_right) < 45
