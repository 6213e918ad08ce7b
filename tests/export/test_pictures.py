"""Pictures to calibrate with are those of the whole folder, and thumbnails show something."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from stylize_video_export.pictures import PictureError, read_pictures, thumbnail


def save(path: Path, *, width: int, height: int, level: int = 90) -> Path:
    cv2.imwrite(str(path), np.full((height, width, 3), level, np.uint8))
    return path


@pytest.mark.parametrize("there", [95, 47, 48, 25, 24, 3])
def test_pictures_are_spread_over_the_folder(there: int, tmp_path: Path) -> None:
    for index in range(there):
        save(tmp_path / f"{index:02}.png", width=64, height=64, level=index)
    taken = [round(float(picture[0, 0, 0, 0]) * 255) for picture in read_pictures(tmp_path)]
    assert len(taken) == len(set(taken)) == min(there, 24)
    assert taken[0] == 0
    gaps = np.diff([*taken, there])
    assert gaps.max() - gaps.min() <= 1


def test_pictures_are_those_that_a_training_sees(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "photos"
    elsewhere.mkdir()
    folder.mkdir()
    save(elsewhere / "linked.png", width=64, height=64, level=10)
    (folder / "link").symlink_to(elsewhere)
    save(folder / "painting.preview.png", width=64, height=64, level=20)
    save(folder / ".hidden.png", width=64, height=64, level=30)
    save(folder / "photo.png", width=64, height=64, level=40)
    taken = {round(float(picture[0, 0, 0, 0]) * 255) for picture in read_pictures(folder)}
    assert taken == {10, 40}


def test_what_shrinks_to_less_than_a_style_accepts_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "strip.png", width=9000, height=64)
    with pytest.raises(PictureError, match="no pictures"):
        read_pictures(tmp_path)
    save(tmp_path / "picture.png", width=900, height=64)
    assert [picture.shape for picture in read_pictures(tmp_path)] == [(1, 3, 34, 480)]


def test_others_take_the_place_of_what_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(30):
        save(tmp_path / f"{index:02}.png", width=64, height=64, level=index)
    for broken in (0, 2, 5):
        (tmp_path / f"{broken:02}.png").write_bytes(b"no picture")
    assert len(read_pictures(tmp_path)) == 24
    assert caplog.messages == [f"3 of the pictures in {tmp_path} cannot be read, or are too small"]


def test_few_pictures_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "one.png", width=64, height=64)
    for index in range(34):
        (tmp_path / f"{index}.jpg").write_bytes(b"no picture")
    assert len(read_pictures(tmp_path)) == 1
    assert caplog.messages == [
        f"34 of the pictures in {tmp_path} cannot be read, or are too small",
        f"only 1 in {tmp_path} can be used; int8 wants some two dozen photos",
    ]


def test_a_thumbnail_of_a_strip_is_a_sentence(tmp_path: Path) -> None:
    strip = save(tmp_path / "strip.png", width=9000, height=20)
    with pytest.raises(PictureError, match=r"strip\.png is a strip of 9000x20"):
        thumbnail(strip)
    assert thumbnail(save(tmp_path / "wide.png", width=900, height=20))[:2] == b"\xff\xd8"


def test_a_picture_without_its_end_calibrates_nothing(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.jpg", width=128, height=128)
    (tmp_path / "broken.jpg").write_bytes(whole.read_bytes()[:-40])
    assert len(read_pictures(tmp_path)) == 1
    with pytest.raises(PictureError, match=r"broken\.jpg does not exist or is no picture"):
        thumbnail(tmp_path / "broken.jpg")
