"""What a job has encoded so far, on disk at once, so that it can go on after any crash.

A journal is a file of checksummed records, appended one by one: what the job is, the
frames that went into the encoder, the packets that came out. Killed at any moment, it
holds every packet up to then; only the frames inside the encoder are done again. The
packets of all runs are joined into the result when the last frame is there.

Why a journal, and not segments or a fragmented MP4: segments of a few seconds force
keyframes and lose up to a segment; a fragment of an MP4 is not written before it is
whole, and MP4 does not take every codec. A journal costs a second writing of packets.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import stat
import struct
import time
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from stylize_video.errors import JobInterrupted, SinkError, StylizeError
from stylize_video.files import hidden_name

_log = logging.getLogger(__name__)

_JOB, _ENCODER, _FRAME, _SIDE, _PACKET, _PART = b"J", b"E", b"F", b"S", b"P", b"K"
_LARGE = (_SIDE, _PACKET)
_MAGIC = b"stylize-video journal 1\n"
_RECORD = struct.Struct("<cBqqqII")  # kind, is keyframe, pts, dts, duration, size, CRC-32 of it all
_MAX_JOB_BYTES = 2**20
_SYNC_SECONDS = 5.0
_CHUNK = 2**20
_LOCKED_BYTE = 2**31 - 2
"""On Windows, where nobody else can read what is locked: as far behind the beginning as it takes."""


class StaleJournalError(SinkError):
    """A journal is there, but of another job, or nobody asked to go on with it."""


@dataclass(frozen=True)
class _Record:
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
class _Contents:
    """What of a journal can be used: up to ``end`` its packets are ``frames`` whole frames."""

    job: Mapping[str, str]
    frames: int
    last_pts: int
    extradata: bytes | None
    end: int
    parts: list[bytes]


class Journal:
    """The journal of one job; one process at a time holds it.

    Args:
        path: the file. A new one can be read by its owner alone.
        job: what the job is, as facts by the names that a user knows them by.
        time_base: seconds of one unit of the time stamps.
        resume: go on with a journal that is there.
        replace: begin anew where one is there.

    Raises:
        StaleJournalError: a journal is there, and neither ``resume`` nor ``replace`` was
            asked for; or it is one of another job.
        OSError: the folder is missing, cannot be written, or full.
    """

    def __init__(
        self,
        path: Path,
        job: Mapping[str, str],
        *,
        time_base: Fraction,
        resume: bool = False,
        replace: bool = False,
    ) -> None:
        self.path = path
        self.frames = 0
        self.last_pts: int | None = None
        self._time_base = time_base
        self._extradata: bytes | None = None
        self._parts: list[bytes] = []
        self._file = _open_private(path)
        try:
            self._begin(dict(job), resume=resume, replace=replace)
        except OSError:
            self.settle()
            raise
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def begin_run(self, extradata: bytes | None) -> None:
        """Note that an encoder starts, whose stream header is ``extradata``.

        Raises:
            StaleJournalError: an earlier run's header is another, so that the packets of
                both cannot be in one stream.
        """
        ours = extradata or b""
        if self._extradata not in (None, ours):
            raise StaleJournalError(
                f"{self.path} was encoded by another version of the encoder; pass -y to start again"
            )
        self._extradata = ours
        self._append(_Record(_ENCODER, content=ours))

    def add_frame(self, pts: int) -> None:
        """Note that a frame goes into the encoder; before its packets come."""
        self._append(_Record(_FRAME, pts))
        self.frames += 1
        self.last_pts = pts
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def add_packet(self, packet: av.Packet[Any]) -> None:
        """Store a packet as the encoder gave it, behind its side data: VP9's transparency is there."""
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None:
            raise ValueError("the encoder gave a packet without a time stamp")
        base = packet.time_base or self._time_base
        shown, decoded, duration = (
            round(t * base / self._time_base)
            for t in (pts, packet.dts if packet.dts is not None else pts, packet.duration or 0)
        )
        for side in packet.iter_sidedata():
            if side.data_type != "quality_stats":  # which no container holds
                self._append(_Record(_SIDE, content=side.data_type.encode() + b"\0" + bytes(side)))
        self._append(_Record(_PACKET, shown, decoded, duration, bool(packet.is_keyframe), bytes(packet)))

    def add_run(self, content: bytes) -> int:
        """Take over what another journal holds, whose frames follow upon these; returns how many.

        Raises:
            StaleJournalError: its encoder's stream header is another, so that the packets of
                both cannot be in one stream.
            ValueError: it is damaged, or not whole.
        """
        file = io.BytesIO(content)
        run = _read(file)
        if run.end != len(content) or not run.frames:
            raise ValueError("a part of the video came back damaged")
        if self._extradata not in (None, run.extradata):
            raise StaleJournalError("another machine encoded with another version of the encoder")
        self._extradata = run.extradata
        for record, _ in _parse(file, contents=True):
            if record.kind != _JOB:
                self._append(record)
        self.frames += run.frames
        self.last_pts = run.last_pts
        return run.frames

    def content(self) -> bytes:
        """All of the file, for :meth:`add_run` of another one."""
        self._file.seek(0)
        return self._file.readall()

    def packets(self) -> Iterator[av.Packet[Any]]:
        """All packets of all runs, in decoding order, with decoding times that fit together."""
        order = _DecodeTimes(r.pts for r in self._records(contents=False) if r.kind == _PACKET)
        sides: list[PacketSideData] = []
        for record in self._records():
            if record.kind == _SIDE:
                sides.append(_side_data(record.content))
            elif record.kind == _PACKET:
                packet: av.Packet[Any] = av.Packet(record.content)
                packet.pts, packet.dts = record.pts, order.next(record.pts)
                packet.duration = record.duration
                packet.time_base = self._time_base
                packet.is_keyframe = record.is_keyframe
                while sides:
                    packet.set_sidedata(sides.pop())
                yield packet

    def add_part(self, part: Path) -> None:
        """Note the playable file that an interrupted run makes of its frames, beside the journal."""
        with contextlib.suppress(OSError):  # then it stays, as a file of nobody
            self._parts.append(_identity(part))
            self._append(_Record(_PART, content=self._parts[-1]))

    def remove_parts(self) -> None:
        """Remove those playable files that nobody has touched since: what is in them is done."""
        for content in self._parts:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                part = self.path.with_name(json.loads(content)["name"])
                if _identity(part) == content:
                    part.unlink()

    def sync(self) -> None:
        """Have the disk hold what was written, and notice that the file is gone.

        Raises:
            OSError: the disk failed, or somebody removed the file.
        """
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()
        if not self.is_in_place():
            raise FileNotFoundError(2, "the folder was removed or replaced meanwhile", str(self.path))

    def is_in_place(self) -> bool:
        """Whether the path still leads to this file."""
        with contextlib.suppress(OSError):
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        return False

    def _put_back(self) -> bool:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _open_private(self.path) as copy:
                self._file.seek(0)
                while chunk := self._file.read(_CHUNK):
                    copy.write(chunk)
        except OSError:
            return False
        return True

    def settle(self) -> str:
        """After a failure: keep what a later run can go on from, and say so; else remove the file.

        Where its folder was removed meanwhile, the folder and the file are made again.
        """
        if self._file.closed:  # the job was done
            return ""
        frames = 0
        with contextlib.suppress(OSError):
            frames = _read(self._file).frames
        if not frames:
            self.remove()
            return ""
        kept = self.is_in_place() or self._put_back()
        self._file.close()
        if not kept:
            return "its folder is gone, and what was done with it"
        return (
            f"{frames} frames are kept in {self.path}, and the same command with --resume goes on from there"
        )

    def remove(self) -> None:
        """The job is done, or nothing of it is worth keeping."""
        if not self._file.closed and self.is_in_place():
            try:
                # Before it is closed: without the lock it could be another process's by now.
                self.path.unlink(missing_ok=True)
            except PermissionError:  # Windows removes no file that is open, not even another process's
                self._file.close()
                try:
                    self.path.unlink(missing_ok=True)
                except PermissionError as error:
                    _log.warning("%s could not be removed: %s", self.path, error.strerror)
        self._file.close()

    def _begin(self, job: dict[str, str], *, resume: bool, replace: bool) -> None:
        _lock(self._file, self.path)
        if os.fstat(self._file.fileno()).st_size:
            found = _read(self._file)
            other = _differences(found.job, job)
            self._parts = [] if other else found.parts
            if found.frames and resume and not other:
                self.frames, self.last_pts = found.frames, found.last_pts
                self._extradata = found.extradata
                self._file.truncate(found.end)
                self._note_parts()
                return
            if found.frames and not replace:
                if resume:
                    raise StaleJournalError(
                        f"{self.path} is of an interrupted run with {other}: run that one again to go on"
                        " with it, or pass -y to start again"
                    )
                if not other:
                    raise StaleJournalError(
                        f"an interrupted run left {found.frames} frames in {self.path};"
                        " pass --resume to go on with it, or -y to start again"
                    )
            if found.frames and other:
                _log.warning("%s of an interrupted run with %s is replaced", self.path, other)
        self._file.truncate(0)
        self._file.write(_MAGIC)
        self._append(_Record(_JOB, content=json.dumps(job, sort_keys=True).encode()))
        self._note_parts()

    def _note_parts(self) -> None:
        """Note the parts of earlier runs again: what was behind the last whole frame is gone."""
        for content in self._parts:
            self._append(_Record(_PART, content=content))

    def _append(self, record: _Record) -> None:
        content = memoryview(record.to_bytes())
        while content:  # an unbuffered file may take less than it was given
            content = content[self._file.write(content) :]

    def _records(self, *, contents: bool = True) -> Iterator[_Record]:
        return (record for record, _ in _parse(self._file, contents=contents))


def journal_path(output: Path) -> Path:
    """Where the journal of a job lies: hidden beside its output."""
    return output.with_name(hidden_name(output.name, ".resume"))


@contextlib.contextmanager
def open_journal(
    output: Path, job: Mapping[str, str], *, time_base: Fraction, resume: bool, replace: bool
) -> Iterator[Journal]:
    """The journal of the job that writes ``output``: removed when the block ends well, else kept.

    What is kept is added to the sentence of the error that ended the block.

    Raises:
        SinkError: as for :class:`Journal`; or it cannot be written.
    """
    path = journal_path(output)
    try:
        journal = Journal(path, job, time_base=time_base, resume=resume, replace=replace)
    except OSError as error:
        raise SinkError(f"cannot write {output}: {error.strerror}") from error
    try:
        yield journal
    except (StylizeError, JobInterrupted) as error:
        if kept := journal.settle():
            error.args = (f"{error}; {kept}",)
        raise
    except BaseException:
        journal.settle()
        raise
    journal.remove()


class _DecodeTimes:
    """Decoding times for packets with these presentation times, in decoding order.

    Encoders choose decoding times that suit their own run; where runs meet they could
    go backwards. With ``d`` the deepest reordering, the time of the packet ``d`` places
    earlier in order of presentation is always late enough and never too late.
    """

    def __init__(self, pts: Iterator[int]) -> None:
        decoded = array("q", pts)
        self._shown = array("q", sorted(decoded))
        ranks = {value: rank for rank, value in enumerate(self._shown)}
        self._depth = max((index - ranks[value] for index, value in enumerate(decoded)), default=0)
        self._index = 0

    def next(self, pts: int) -> int:
        index = self._index - self._depth
        self._index += 1
        if index >= 0:
            return min(pts, self._shown[index])
        step = self._shown[1] - self._shown[0] if len(self._shown) > 1 else 1
        return self._shown[0] + index * max(1, step)


def _side_data(content: bytes) -> PacketSideData:
    kind, _, data = content.partition(b"\0")
    make: Any = PacketSideData  # whose arguments its stubs leave out
    side: PacketSideData = make(packet_sidedata_type_from_literal(kind.decode()), len(data))  # type: ignore[arg-type]
    side.update(data)
    return side


def _differences(found: Mapping[str, str], job: Mapping[str, str]) -> str:
    names = [name for name in job if found.get(name) != job[name]]
    return " and ".join(f"another {name}" for name in names)


def _read(file: io.RawIOBase | io.BytesIO) -> _Contents:
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
    for record, offset in _parse(file, contents=True):
        if record.kind == _JOB:
            job = _job_facts(record.content)
        elif record.kind == _ENCODER:
            extradata = record.content
            del shown[done:]
            early.clear()
        elif record.kind == _FRAME:
            shown.append(record.pts)
        elif record.kind == _PART and record.content not in parts:
            parts.append(record.content)
        elif record.kind == _PACKET:
            early.add(record.pts)
            while done < len(shown) and shown[done] in early:
                early.remove(shown[done])
                done += 1
            if not early:
                end, frames = offset, done
    return _Contents(job, frames, shown[frames - 1] if frames else 0, extradata, end, parts)


def _identity(part: Path) -> bytes:
    """What tells a file from one that somebody else put there, or went on with."""
    facts = part.stat()
    known = {"name": part.name, "file": facts.st_ino, "size": facts.st_size, "changed": facts.st_mtime_ns}
    return json.dumps(known, sort_keys=True).encode()


def _job_facts(content: bytes) -> dict[str, str]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in facts.items()} if isinstance(facts, dict) else {}


def _parse(file: io.RawIOBase | io.BytesIO, *, contents: bool) -> Iterator[tuple[_Record, int]]:
    """Records with the offset behind each, up to the first that is damaged or cut off.

    Without ``contents`` the payload of packets is skipped, and not checked either.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        return
    offset = len(_MAGIC)
    while len(head := file.read(_RECORD.size)) == _RECORD.size:
        kind, is_keyframe, pts, dts, duration, length, checksum = _RECORD.unpack(head)
        offset += _RECORD.size + length
        if offset > size or (kind not in _LARGE and length > _MAX_JOB_BYTES):
            return
        if kind in _LARGE and not contents:
            file.seek(length, os.SEEK_CUR)
            content = b""
        else:
            content = file.read(length)
            if zlib.crc32(content, zlib.crc32(head[:-4] + bytes(4))) != checksum:
                return
        yield _Record(kind, pts, dts, duration, bool(is_keyframe), content), offset
        file.seek(offset)


def _open_private(path: Path) -> io.FileIO:
    """Open for reading and appending, unbuffered; never through a link, never anybody else's file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode) or (hasattr(os, "getuid") and facts.st_uid != os.getuid()):
        os.close(handle)
        raise PermissionError(1, "it belongs to somebody else", str(path))
    return io.FileIO(handle, "r+b")


def _lock(file: io.FileIO, path: Path) -> None:
    """Hold the file until it is closed.

    Raises:
        SinkError: another process holds it.
    """
    try:
        _lock_or_fail(file)
    except (BlockingIOError, PermissionError) as error:
        raise SinkError(f"another process is writing {path} just now") from error
    except (ImportError, OSError):  # a system or a network folder without locks
        return


def _lock_or_fail(file: io.FileIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        msvcrt: Any = import_module("msvcrt")
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            file.seek(0)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
