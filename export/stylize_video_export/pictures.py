"""Pictures for exporting: to calibrate int8 with, and thumbnails."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from stylize_video.errors import SourceError, StylizeError
from stylize_video.styles.contract import MIN_SIDE
from stylize_video.video.pictures import PICTURES, read_pixels
from stylize_video_export.parity import Pixels
from stylize_video_train.data import files_below

CALIBRATION_PICTURES = 24
"""More pictures change the ranges of int8 no further; so many of a folder, evenly spread, are taken."""

_FEW = 6
"""With fewer pictures, one or two are what int8 is judged by."""

_LONG_SIDE = 480
_SMALLEST_SIDE = 64
_THUMBNAIL_SIDE = 128

_log = logging.getLogger(__name__)


class PictureError(StylizeError):
    """A picture or a folder of pictures cannot be used."""


def read_pictures(folder: Path) -> list[Pixels]:
    """Up to :data:`CALIBRATION_PICTURES` of a folder, evenly spread over it, at most 480 pixels a side.

    They are of the files that a training on the folder looks at. Others take the place of those that cannot
    be used; a warning tells how many there were, and that there are few.

    Raises:
        PictureError: the folder is missing or has no picture that can be read.
    """
    if not folder.is_dir():
        raise PictureError(f"the folder of calibration pictures {folder} does not exist")
    paths = sorted(p for p in files_below(folder) if p.suffix.lower() in PICTURES)
    count = min(CALIBRATION_PICTURES, len(paths))
    chosen = [paths[index * len(paths) // count] for index in range(count)]
    pictures: list[Pixels] = []
    unusable = 0
    for path in dict.fromkeys([*chosen, *paths]):
        if len(pictures) == count:
            break
        if (pixels := _pixels_of(path)) is None:
            unusable += 1
        else:
            pictures.append(pixels)
    if not pictures:
        raise PictureError(f"there are no pictures in {folder} that can be read")
    if unusable:
        _log.warning("%d of the pictures in %s cannot be read, or are too small", unusable, folder)
    if len(pictures) < _FEW:
        _log.warning("only %d in %s can be used; int8 wants some two dozen photos", len(pictures), folder)
    return pictures


def _pixels_of(path: Path) -> Pixels | None:
    """The picture at ``path``, None where it cannot be read or nothing would be left of it."""
    try:
        picture = read_pixels(path)
    except SourceError:
        return None
    if min(picture.shape[:2]) < _SMALLEST_SIDE or _shorter_side(picture, _LONG_SIDE) < MIN_SIDE:
        return None
    rgb = _shrunk(picture, _LONG_SIDE)[..., ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(rgb / 255, np.float32)


def thumbnail(path: Path) -> bytes:
    """A JPEG of the picture at ``path``, at most 128 pixels a side.

    Raises:
        PictureError: there is no picture, or it is a strip of which nothing would be left.
    """
    try:
        picture = read_pixels(path)
    except SourceError as error:
        raise PictureError(f"the thumbnail picture {path} does not exist or is no picture") from error
    if _shorter_side(picture, _THUMBNAIL_SIDE) < 1:
        height, width = picture.shape[:2]
        raise PictureError(
            f"the thumbnail picture {path} is a strip of {width}x{height}, of which nothing is left to see"
            f" at {_THUMBNAIL_SIDE} pixels"
        )
    _, jpeg = cv2.imencode(".jpg", _shrunk(picture, _THUMBNAIL_SIDE), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return jpeg.tobytes()


def _shorter_side(picture: np.ndarray, side: int) -> float:
    """What the shorter side of ``picture`` is once the longer one has at most ``side`` pixels."""
    shorter, longer = sorted(picture.shape[:2])
    return float(shorter * min(1, side / longer))


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    factor = side / max(picture.shape[:2])
    if factor >= 1:
        return picture
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
