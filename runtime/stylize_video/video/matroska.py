"""How long a Matroska file should be in bytes, which FFmpeg does not tell (RFC 8794, 4; RFC 9559, 5.1)."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_HEADER, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"

_BEHIND, _BEHIND_BYTES = 0.1, 2**16
"""Share of a file, or bytes, that its index and tags behind the last packet may take."""


def holds_nothing_behind(name: str, position: int) -> bool:
    """Whether a file is all there, and the packet up to this byte can be its last one."""
    try:
        size = Path(name).stat().st_size
        with Path(name).open("rb") as file:
            end = _end_of_segment(file)
    except (OSError, IndexError):  # not there, or its beginning alone
        return False
    return end is not None and end <= size and end - position <= max(_BEHIND * end, _BEHIND_BYTES)


def _end_of_segment(file: BinaryIO) -> int | None:
    """The byte behind the first segment; None where that is unknown, as in what was streamed."""
    if file.read(4) != _HEADER or (header := _size_in(file)) is None:
        return None
    file.seek(header, 1)
    if file.read(4) != _SEGMENT or (segment := _size_in(file)) is None:
        return None
    return file.tell() + segment


def _size_in(file: BinaryIO) -> int | None:
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    ones = (1 << 7 * length) - 1
    size = int.from_bytes(bytes([first, *file.read(length - 1)]), "big") & ones
    return None if size == ones or length > 8 else size
