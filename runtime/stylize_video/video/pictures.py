"""Picture files: frames of 8 bits, with their transparency, their colour profile and their EXIF data."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.bounds import MAX_PICTURE_PIXELS
from stylize_video.errors import SinkError, SourceError
from stylize_video.files import replacing
from stylize_video.frame import Alpha, Frame
from stylize_video.video.exif import of_result, orientation_of
from stylize_video.video.orientation import turned

_log = logging.getLogger(__name__)

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""The endings of picture files, in small letters."""

GIF = ".gif"
"""The ending of a file that is a picture or a video, by what is in it."""

_MOST_BYTES = 2**31 - 1
"""OpenCV decodes no longer files: 16 bits of RGBA for as many pixels as a picture may have."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A JPEG marker that ends a scan, which has escaped and restart markers of its own."""

_END = 0xD9

_HEAD = 2**16
"""Bytes in which a picture says that it moves; profiles of colours may come before that."""

_WEBP_FLAGS, _WEBP_ANIMATION = 20, 0x02

_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff", GIF)

_GIF_DITHER = 3
"""OpenCV's way to 256 colours that are chosen for the picture; its usual ones are the same for all."""

_WITH_METADATA = (".jpg", ".jpeg", ".png", ".webp")
"""Endings of pictures in which OpenCV reads and writes colour profiles and EXIF data."""

_LONGEST_PROFILE_IN_JPEG, _LONGEST_EXIF_IN_JPEG = 2**16 - 17, 2**16 - 9
"""Bytes that fit into one segment; OpenCV writes no more."""

_EXIF_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF")
_PROFILE_MARKS = (b"ICC_PROFILE", b"iCCP", b"ICCP")
_SIGNATURE, _SIGNATURE_AT, _SPACE = b"acsp", 36, slice(16, 20)
"""What every profile begins with (ICC.1:2010, 7.2): its length in four bytes, then what its numbers are."""


def read_pixels(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any]:
    """The picture at ``path`` as ``cv2.imread`` gives it with ``flags``; by default uint8 BGR, upright.

    ``cv2.imread`` itself opens no file on Windows whose name is beyond ASCII.

    Raises:
        SourceError: it is no picture, or a part of one.
    """
    return _decoded(path, _content_of(path), flags)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what is to be kept of it.

    ``profile`` is the ICC profile that says which colours its numbers are, None where they are sRGB's;
    ``exif`` the date, camera, place and other EXIF data as its result has them, empty for none.
    """

    image: Frame
    alpha: Alpha | None
    profile: bytes | None
    exif: bytes

    @classmethod
    def read(cls, path: Path) -> Picture:
        """As :func:`read_picture`, and with what it says of itself."""
        content = _content_of(path)
        profile, exif = _profile_in(content, path), of_result(_exif_in(content))
        return cls(*_pixels_of(path, content), profile, exif)


def read_picture(path: Path) -> tuple[Frame, Alpha | None]:
    """A picture upright, uint8 ``[H, W, 3]`` BGR, and its transparency where it has some.

    Pictures of 16 bits are reduced to 8. Of an animation the first one is taken.

    Raises:
        SourceError: it is no picture, or a part of one, or has other numbers than those of 8 or 16 bits.
    """
    return _pixels_of(path, _content_of(path))


def _pixels_of(path: Path, content: bytes) -> tuple[Frame, Alpha | None]:
    picture = _decoded(path, content, cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYCOLOR)
    if path.suffix.lower() == GIF and picture.ndim == 3 and picture[..., 3:].all():
        picture = picture[..., :3]  # of a GIF every picture has transparency to OpenCV
    if picture.dtype not in (np.uint8, np.uint16):
        raise SourceError(f"{path} has {picture.dtype} pixels; save it with 8 or 16 bits a colour first")
    if _says_that_it_moves(content[:_HEAD]):
        _log.warning("%s is an animation; its first picture alone is taken", path)
    alpha = None
    if picture.ndim == 3 and picture.shape[2] == 4:
        picture = turned(_eight_bits(picture), orientation_of(_exif_in(content)))
        picture, alpha = picture[..., :3], np.ascontiguousarray(picture[..., 3])
    else:
        # Decoded again for the orientation in the EXIF data, which IMREAD_UNCHANGED leaves alone.
        picture = _decoded(path, content, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(picture, np.uint8), alpha


def _profile_in(content: bytes, path: Path) -> bytes | None:
    profile = None
    if path.suffix.lower() in _WITH_METADATA:
        if any(mark in content for mark in _PROFILE_MARKS):
            profile = _metadata_of(content).get(cv2.IMAGE_METADATA_ICCP)
    elif (at := content.find(_SIGNATURE) - _SIGNATURE_AT) >= 0:  # in a TIFF, as it is
        profile = content[at : at + int.from_bytes(content[at : at + 4], "big")]
    return None if profile is None or b"sRGB" in profile.replace(b"\0", b"") else profile


def warn_if_profile_is_lost(
    profile: bytes | None, source: Path, output: Path, *, is_video: bool = False
) -> None:
    """Warn where the result will look different, because it holds no such profile, as no video does."""
    if profile and (is_video or not _is_held(profile, output)):
        _log.warning(
            "%s has a colour profile that cannot be kept in %s: its colours will look different",
            source, output,
        )  # fmt: skip


def is_animation(path: Path) -> bool:
    """Whether a picture file is a PNG or WebP that moves."""
    try:
        with path.open("rb") as file:
            return _says_that_it_moves(file.read(_HEAD))
    except OSError:
        return False


def _says_that_it_moves(head: bytes) -> bool:
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head[: head.find(b"IDAT")]
    is_webp = head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8X" and len(head) > _WEBP_FLAGS
    return is_webp and bool(head[_WEBP_FLAGS] & _WEBP_ANIMATION)


def is_still_gif(path: Path) -> bool:
    """Whether a file is a GIF of one picture (GIF89a, 17 to 27)."""
    try:
        with path.open("rb") as file:
            head = file.read(13)
            if head[:4] != b"GIF8" or len(head) < 13:
                return False
            _skip_gif_colors(file, head[10])
            pictures = 0
            while pictures < 2 and (kind := file.read(1)) in (b",", b"!"):
                if kind == b",":
                    pictures += 1
                    _skip_gif_colors(file, file.read(9)[8])
                file.read(1)  # what kind of block it is, or how its pixels are coded
                while length := file.read(1)[0]:
                    file.read(length)
            return pictures == 1
    except (OSError, IndexError):  # not there, or its end is missing
        return False


def _skip_gif_colors(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.read(3 << (flags & 7) + 1)


def holds_alpha(path: Path) -> bool:
    """Whether pictures with this ending have transparency."""
    return path.suffix.lower() in _WITH_ALPHA


def write_picture(
    path: Path,
    image: Frame,
    alpha: Alpha | None = None,
    *,
    profile: bytes | None = None,
    exif: bytes = b"",
    parameters: Sequence[int] = (),
    overwrite: bool = True,
) -> None:
    """Write a picture that appears when it is whole.

    Formats without transparency leave that out, those without profiles or EXIF data these; see
    :func:`warn_if_profile_is_lost`.

    Args:
        path: where, its ending chooses the format.
        image: uint8 ``[H, W, 3]`` BGR.
        alpha: its transparency.
        profile: of its colours, see :class:`Picture`.
        exif: likewise.
        parameters: of ``cv2.imencode``, such as a JPEG's quality.
        overwrite: replace a file that is there.

    Raises:
        SinkError: it cannot be written.
    """
    if alpha is not None and holds_alpha(path):
        image = np.dstack([image, alpha])
    try:
        held = {}
        if profile and _is_held(profile, path):
            held[cv2.IMAGE_METADATA_ICCP] = np.frombuffer(profile, np.uint8)
        if exif and _holds(path, exif, _LONGEST_EXIF_IN_JPEG):
            held[cv2.IMAGE_METADATA_EXIF] = np.frombuffer(exif, np.uint8)
        if path.suffix.lower() == GIF:
            parameters = (cv2.IMWRITE_GIF_DITHER, _GIF_DITHER)
        encoded, data = cv2.imencodeWithMetadata(path.suffix, image, [*held], [*held.values()], parameters)
        if not encoded:
            raise SinkError(f"cannot write {path}: {path.suffix} files hold no picture of this size")
        with replacing(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(data.tobytes())
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"cannot write {path}: {reason}") from error


def _is_held(profile: bytes, output: Path) -> bool:
    return profile[_SPACE] == b"RGB " and _holds(output, profile, _LONGEST_PROFILE_IN_JPEG)  # as results are


def _holds(output: Path, metadata: bytes, longest_in_jpeg: int) -> bool:
    suffix = output.suffix.lower()
    return suffix in _WITH_METADATA and (suffix not in (".jpg", ".jpeg") or len(metadata) <= longest_in_jpeg)


def _exif_in(content: bytes) -> bytes:
    """The EXIF data of a picture, empty for none; not of a TIFF, whose orientation OpenCV always obeys."""
    is_marked = any(mark in content for mark in _EXIF_MARKS)
    return _metadata_of(content).get(cv2.IMAGE_METADATA_EXIF, b"") if is_marked else b""


def _metadata_of(content: bytes) -> dict[int, bytes]:
    """What a picture has besides its pixels, by OpenCV's numbers of kinds."""
    small = cv2.IMREAD_REDUCED_GRAYSCALE_8
    with contextlib.suppress(cv2.error):
        _, kinds, data = cv2.imdecodeWithMetadata(np.frombuffer(content, np.uint8), small)
        return dict(zip(np.ravel(kinds).tolist(), map(bytes, data), strict=True))
    return {}


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
    except OSError:  # not there, or no file
        return b""


def _decoded(path: Path, content: bytes, flags: int) -> NDArray[Any]:
    if content.startswith(b"\xff\xd8") and not _has_end(content):
        raise SourceError(f"{path} is damaged: its end is missing")
    picture = None
    with contextlib.suppress(cv2.error):  # empty, or larger than OpenCV may read
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if picture is None:
        limit = f"{MAX_PICTURE_PIXELS // 10**6} million pixels"
        raise SourceError(f"{path} is not a picture that can be read, or has more than {limit}")
    return picture


def _has_end(jpeg: bytes) -> bool:
    """Whether a JPEG goes on to its end; OpenCV refuses one that does not, but does not say why."""
    at = 2
    while marker := _MARKER.search(jpeg, at):
        kind = jpeg[marker.start() + 1]
        if kind == _END:
            return True
        # A segment says how long it is; a scan goes on behind that, until the next marker.
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return False


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Of 8 or 16 bits, to the nearest level."""
    if pixels.dtype == np.uint16:
        pixels = (pixels.astype(np.uint32) + 128) // 257
    return pixels.astype(np.uint8)
