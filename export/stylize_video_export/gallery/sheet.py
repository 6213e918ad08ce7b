"""A contact sheet: styles down, photos across."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.errors import SinkError, SourceError
from stylize_video.frame import Frame
from stylize_video.styles.variants import open_session
from stylize_video.video.inputs import is_picture
from stylize_video.video.pictures import read_picture, write_picture
from stylize_video.video.source import VideoSource

_GAP = 6
_CAPTION = 26
_QUALITY = 82
_JPEG = (".jpg", ".jpeg")
_MOST_PIXELS = 65_500
"""Of a JPEG's side, as libjpeg has it."""

_LONGEST = 8
"""Sides of a sample, one as a multiple of the other."""

WORKING_HEIGHT = 360
"""Height in pixels at which a sheet's samples are stylized at least: that of a small video."""


def read_samples(paths: Sequence[Path], *, height: int) -> list[Frame]:
    """Photos, and the middle frame of videos, BGR at ``height`` pixels.

    Raises:
        SourceError: a photo or a video cannot be read, or is a strip of which nothing would be seen.
    """
    samples = []
    for path in paths:
        sample = _read(path)
        height_there, width_there = sample.shape[:2]
        if max(height_there, width_there) > _LONGEST * min(height_there, width_there):
            raise SourceError(
                f"{path} is a strip of {width_there}x{height_there}; a sheet shows samples of at most"
                f" {_LONGEST} to 1"
            )
        samples.append(_at_height(sample, height))
    return samples


def contact_sheet(
    styles: Mapping[str, Path], samples: Sequence[Frame], *, height: int | None = None
) -> NDArray[np.uint8]:
    """BGR: a row for the samples themselves and one for each style, each with its name above it.

    Args:
        styles: style files by the caption of their row.
        samples: of one height, at which they are stylized.
        height: of the pictures on the sheet; by default that of the samples.

    Raises:
        SinkError: the sheet would be larger than a JPEG can be.
        StylizeError: a style cannot be used.
    """
    shown = height or samples[0].shape[0]
    _check_size(samples, shown, rows=1 + len(styles))
    rows = [_row("source", samples, shown)]
    for caption, path in styles.items():
        session = open_session(path, device="cpu", precision="fp32")
        rows.append(_row(caption, [session.stylize(sample) for sample in samples], shown))
    return np.concatenate(rows)


def check_sheet(output: Path) -> None:
    """Raise SinkError where the name is not that of a JPEG."""
    if output.suffix.lower() not in _JPEG:
        raise SinkError(f"cannot write {output}: sheets are JPEG files (name it something.jpg)")


def write_sheet(sheet: NDArray[np.uint8], output: Path) -> None:
    """Write a JPEG.

    Raises:
        SinkError: it cannot be written.
    """
    write_picture(output, sheet, parameters=[cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def _read(path: Path) -> Frame:
    if is_picture(path):
        return read_picture(path)[0]
    with VideoSource(path) as video:
        middle = (video.info.frame_count or 1) // 2
        # Counts are estimates: of a shorter video it is the last frame.
        (frame,) = deque(islice(video, middle + 1), maxlen=1)
    return frame.image


def _at_height(picture: Frame, height: int) -> Frame:
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _check_size(samples: Sequence[Frame], height: int, *, rows: int) -> None:
    width = sum(round(s.shape[1] * height / s.shape[0]) + _GAP for s in samples) - _GAP
    size = width, rows * (_CAPTION + height)
    if max(size) > _MOST_PIXELS:
        raise SinkError(
            f"the sheet would have {size[0]}x{size[1]} pixels, and no JPEG has a side of more than"
            f" {_MOST_PIXELS}; draw fewer samples or styles, or lower --height"
        )


def _row(caption: str, pictures: Sequence[Frame], height: int) -> NDArray[np.uint8]:
    pictures = [_at_height(picture, height) for picture in pictures]
    width = sum(p.shape[1] + _GAP for p in pictures) - _GAP
    row = np.full((_CAPTION + height, width, 3), 255, np.uint8)
    cv2.putText(row, caption, (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (40, 40, 40), 1, cv2.LINE_AA)
    left = 0
    for picture in pictures:
        row[_CAPTION:, left : left + picture.shape[1]] = picture
        left += picture.shape[1] + _GAP
    return row
