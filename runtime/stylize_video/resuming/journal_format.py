"""The records of a journal: how they lie in the file, and how much of it can be used."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

JOB, ENCODER, FRAME, SIDE, PACKET, PART = b"J", b"E", b"F", b"S", b"P", b"K"
"""Kinds: the job's facts, an encoder's stream header, a frame that goes into it, side data of the packet
behind, a packet that came out, a playable file made of the frames so far."""

_NAME = b"stylize-video journal "
MAGIC = _NAME + b"3\n"
"""Another number for everything that an earlier version would take for another job, or cannot read."""

_RECORD = struct.Struct("<cBqqqII")  # kind, is keyframe, pts, dts, duration, size, CRC-32 of it all
_LARGE = (SIDE, PACKET)
_MOST_BYTES = 2**20
"""Of a record that is not among the large ones."""


@dataclass(frozen=True)
class Record:
    """Times are in the journal's time base, 0 where a kind has none."""

    kind: bytes
    pts: int = 0
    dts: int = 0
    duration: int = 0
    is_keyframe: bool = False
    content: bytes = b""

    def to_bytes(self) -> bytes:
        fields = (self.kind, self.is_keyframe, self.pts, self.dts, self.duration, len(self.content))
        checksum = zlib.crc32(self.content, zlib.crc32(_RECORD.pack(*fields, 0)))
        return _RECORD.pack(*fields, checksum) + self.content


@dataclass(frozen=True)
class Contents:
    """What of a journal can be used: up to ``end`` its packets are ``frames`` whole frames."""

    job: Mapping[str, str]
    frames: int
    last_pts: int
    extradata: bytes | None
    end: int
    parts: list[bytes]


def parse(file: io.RawIOBase | io.BytesIO, *, contents: bool) -> Iterator[tuple[Record, int]]:
    """Records with the offset behind each, up to the first that is damaged or cut off.

    Without ``contents`` the payload of packets is skipped, and not checked either.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        return
    offset = len(MAGIC)
    while len(head := file.read(_RECORD.size)) == _RECORD.size:
        kind, is_keyframe, pts, dts, duration, length, checksum = _RECORD.unpack(head)
        offset += _RECORD.size + length
        if offset > size or (kind not in _LARGE and length > _MOST_BYTES):
            return
        if kind in _LARGE and not contents:
            file.seek(length, os.SEEK_CUR)
            content = b""
        else:
            content = file.read(length)
            if zlib.crc32(content, zlib.crc32(head[:-4] + bytes(4))) != checksum:
                return
        yield Record(kind, pts, dts, duration, bool(is_keyframe), content), offset
        file.seek(offset)


def is_of_another_version(file: io.RawIOBase | io.BytesIO) -> bool:
    """Whether it is a journal that only another version can go on with."""
    file.seek(0)
    head = file.read(len(MAGIC)) or b""
    return head.startswith(_NAME) and len(head) == len(MAGIC) and head != MAGIC


def read_contents(file: io.RawIOBase | io.BytesIO) -> Contents:
    """Find the last place up to which all frames are whole.

    Packets come in decoding order: a prefix of them is whole where the frames in it are
    exactly the first ones that went into the encoder.
    """
    job: Mapping[str, str] = {}
    extradata: bytes | None = None
    shown = array("q")
    early: set[int] = set()
    done = end = frames = 0
    parts: list[bytes] = []
    for record, offset in parse(file, contents=True):
        if record.kind == JOB:
            job = _job_facts(record.content)
        elif record.kind == ENCODER:
            extradata = record.content
            del shown[done:]
            early.clear()
        elif record.kind == FRAME:
            shown.append(record.pts)
        elif record.kind == PART and record.content not in parts:
            parts.append(record.content)
        elif record.kind == PACKET:
            early.add(record.pts)
            while done < len(shown) and shown[done] in early:
                early.remove(shown[done])
                done += 1
            if not early:
                end, frames = offset, done
    return Contents(job, frames, shown[frames - 1] if frames else 0, extradata, end, parts)


def _job_facts(content: bytes) -> dict[str, str]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in facts.items()} if isinstance(facts, dict) else {}
