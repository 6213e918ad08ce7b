"""A contact sheet: styles down, photos across."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame
from stylize_video.pictures import PICTURES, read_picture, write_picture
from stylize_video.source import VideoSource
from stylize_video.variants import open_session

_GAP = 6
_CAPTION = 26

WORKING_HEIGHT = 360
"""Height in pixels at which a sheet's samples are stylized at least: that of a small video."""


def read_samples(paths: Sequence[Path], *, height: int) -> list[Frame]:
    """Photos, and the middle frame of videos, BGR at ``height`` pixels.

    Raises:
        SourceError: a photo or a video cannot be read.
    """
    return [_at_height(_read(path), height) for path in paths]


def contact_sheet(
    styles: Mapping[str, Path], samples: Sequence[Frame], *, height: int | None = None
) -> NDArray[np.uint8]:
    """BGR: a row for the samples themselves and one for each style, each with its name above it.

    Args:
        styles: style files by the caption of their row.
        samples: of one height, at which they are stylized.
        height: of the pictures on the sheet; by default that of the samples.
    """
    shown = height or samples[0].shape[0]
    rows = [_row("source", samples, shown)]
    for caption, path in styles.items():
        session = open_session(path, device="cpu", precision="fp32")
        rows.append(_row(caption, [session.stylize(sample) for sample in samples], shown))
    return np.concatenate(rows)


def write_sheet(sheet: NDArray[np.uint8], output: Path, *, quality: int = 82) -> None:
    """Write a JPEG.

    Raises:
        SinkError: it cannot be written.
    """
    write_picture(output, sheet, parameters=[cv2.IMWRITE_JPEG_QUALITY, quality])


def _read(path: Path) -> Frame:
    if path.suffix.lower() in PICTURES:
        return read_picture(path)[0]
    with VideoSource(path) as video:
        middle = (video.info.frame_count or 1) // 2
        # Counts are estimates: of a shorter video it is the last frame.
        (frame,) = deque(islice(video, middle + 1), maxlen=1)
    return frame.image


def _at_height(picture: Frame, height: int) -> Frame:
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


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
