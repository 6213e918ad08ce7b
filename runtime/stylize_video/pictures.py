"""Picture files: frames of 8 bits, with their transparency."""

from __future__ import annotations

import logging
import mmap
import re
from pathlib import Path

import cv2
import numpy as np

from stylize_video.bounds import MAX_PICTURE_PIXELS
from stylize_video.errors import SinkError, SourceError
from stylize_video.files import replacing
from stylize_video.frame import Alpha, Frame

_log = logging.getLogger(__name__)

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

_JPEG = (".jpg", ".jpeg")

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A JPEG marker that ends a scan, which has escaped and restart markers of its own."""

_END = 0xD9

_HEAD = 2**16
"""Bytes in which a picture says that it moves; profiles of colours may come before that."""

_WEBP_FLAGS, _WEBP_ANIMATION = 20, 0x02

_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")


def read_picture(path: Path) -> tuple[Frame, Alpha | None]:
    """A picture upright, uint8 ``[H, W, 3]`` BGR, and its transparency where it has some.

    Pictures of 16 bits are reduced to 8. Of an animation the first one is taken.

    Raises:
        SourceError: it is no picture, or a part of one.
    """
    if path.suffix.lower() in _JPEG and _is_cut_off(path):
        raise SourceError(f"{path} is damaged: its end is missing")
    try:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # larger than OpenCV may read
        picture = None
    if picture is None:
        limit = f"{MAX_PICTURE_PIXELS // 10**6} million pixels"
        raise SourceError(f"{path} is not a picture that can be read, or has more than {limit}")
    if is_animation(path):
        _log.warning("%s is an animation; its first picture alone is taken", path)
    alpha = None
    if picture.ndim == 3 and picture.shape[2] == 4:
        picture, alpha = picture[..., :3], _eight_bits(picture[..., 3])
    else:
        # Read again for the orientation in the EXIF data, which IMREAD_UNCHANGED leaves alone.
        picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR))
    return np.ascontiguousarray(_eight_bits(picture)), alpha


def is_animation(path: Path) -> bool:
    """Whether a picture file is a PNG or WebP that moves."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head[: head.find(b"IDAT")]
    is_webp = head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8X" and len(head) > _WEBP_FLAGS
    return is_webp and bool(head[_WEBP_FLAGS] & _WEBP_ANIMATION)


def write_picture(path: Path, image: Frame, alpha: Alpha | None = None) -> None:
    """Write a picture that appears when it is whole; formats without transparency leave it out.

    Raises:
        SinkError: it cannot be written.
    """
    if alpha is not None and path.suffix.lower() in _WITH_ALPHA:
        image = np.dstack([image, alpha])
    try:
        encoded, data = cv2.imencode(path.suffix, image)
        if not encoded:
            raise SinkError(f"cannot write {path}: {path.suffix} files hold no picture of this size")
        with replacing(path) as temporary:
            temporary.write_bytes(data.tobytes())
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"cannot write {path}: {reason}") from error


def _is_cut_off(path: Path) -> bool:
    """Whether a JPEG has a start but no end. OpenCV fills what is missing with grey."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # Larger than any picture that may be read: OpenCV refuses it without looking at all of it.
            whole_or_none = len(data) > 3 * MAX_PICTURE_PIXELS or data[:2] != b"\xff\xd8"
            return not (whole_or_none or _has_end(data))
    except (OSError, ValueError):  # not there, no file, or empty
        return False


def _has_end(data: mmap.mmap) -> bool:
    at = 2
    while marker := _MARKER.search(data, at):
        kind = data[marker.start() + 1]
        if kind == _END:
            return True
        # A segment says how long it is; a scan goes on behind that, until the next marker.
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return False


def _eight_bits(plane: np.ndarray) -> Frame:
    return np.asarray(plane if plane.dtype == np.uint8 else plane // 257, np.uint8)
