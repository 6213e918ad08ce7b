"""EXIF data of pictures: a TIFF whose first directory has tags, a second one a thumbnail."""

from __future__ import annotations

import struct

from stylize_video.video.orientation import UPRIGHT

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRY_BYTES = 12
_ORIENTATION, _SHORT = 0x0112, 3
"""The tag that says how to turn a picture, and the type of its number."""


def orientation_of(exif: bytes) -> int:
    """How the picture has to be turned, from 1, not at all, to 8 (EXIF 2.32, 4.6.4 A); 1 if nothing says."""
    if (place := _place_of_orientation(exif)) is None:
        return UPRIGHT
    (orientation,) = struct.unpack_from(f"{_ORDERS[exif[:4]]}H", exif, place)
    return orientation if 1 <= orientation <= 8 else UPRIGHT


def of_result(exif: bytes) -> bytes:
    """The data for a result, which is upright, and looks otherwise than the thumbnail."""
    if (entries := _entries(exif)) is None:
        return exif
    content, order = bytearray(exif), _ORDERS[exif[:4]]
    if (place := _place_of_orientation(exif)) is not None:
        struct.pack_into(f"{order}H", content, place, UPRIGHT)
    if entries.stop + 4 <= len(content):
        struct.pack_into(f"{order}I", content, entries.stop, 0)  # where the next directory is
    return bytes(content)


def _entries(exif: bytes) -> range | None:
    """Where the tags of the first directory are; None where there are none."""
    order = _ORDERS.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    end = start + 2 + count * _ENTRY_BYTES
    return range(start + 2, end, _ENTRY_BYTES) if end <= len(exif) else None


def _place_of_orientation(exif: bytes) -> int | None:
    for at in _entries(exif) or ():
        if struct.unpack_from(f"{_ORDERS[exif[:4]]}HH", exif, at) == (_ORIENTATION, _SHORT):
            return at + 8
    return None
