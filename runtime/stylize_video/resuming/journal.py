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
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from stylize_video.errors import JobInterrupted, SinkError, StylizeError, reason
from stylize_video.files import hidden_name
from stylize_video.resuming.decode_times import DecodeTimes
from stylize_video.resuming.file_lock import lock, open_private
from stylize_video.resuming.journal_format import (
    ENCODER,
    FRAME,
    JOB,
    MAGIC,
    PACKET,
    PART,
    SIDE,
    Contents,
    Record,
    is_of_another_version,
    parse,
    read_contents,
)
from stylize_video.text import counted
from stylize_video.video.durations import PacketDurations

_log = logging.getLogger(__name__)

_SYNC_SECONDS = 5.0
_CHUNK = 2**20


class StaleJournalError(SinkError):
    """A journal is there, but of another job, or nobody asked to go on with it."""


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
            asked for; or it is one of another job or another version.
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
        self._file = open_private(path)
        try:
            self._begin(dict(job), resume=resume, replace=replace)
        except OSError:
            self.settle()
            raise
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the file, which stays unless it was removed."""
        self._file.close()

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
        self._append(Record(ENCODER, content=ours))

    def add_frame(self, pts: int) -> None:
        """Note that a frame goes into the encoder; before its packets come."""
        self._append(Record(FRAME, pts))
        self.frames += 1
        self.last_pts = pts
        self._sync_if_due()

    def add_packet(self, packet: av.Packet[Any]) -> None:
        """Store a packet as the encoder gave it, behind its side data: VP9's transparency is there.

        Raises:
            ValueError: it has no time stamp.
        """
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
                self._append(Record(SIDE, content=side.data_type.encode() + b"\0" + bytes(side)))
        self._append(Record(PACKET, shown, decoded, duration, bool(packet.is_keyframe), bytes(packet)))

    def add_run(self, content: bytes) -> int:
        """Take over what another journal holds, whose frames follow upon these; returns how many.

        Raises:
            StaleJournalError: its encoder's stream header is another, so that the packets of
                both cannot be in one stream.
            ValueError: it is damaged, or not whole.
        """
        file = io.BytesIO(content)
        run = read_contents(file)
        if run.end != len(content) or not run.frames:
            raise ValueError("a part of the video came back damaged")
        if self._extradata not in (None, run.extradata):
            raise StaleJournalError("another machine encoded with another version of the encoder")
        self._extradata = run.extradata
        for record, _ in parse(file, contents=True):
            if record.kind != JOB:
                self._append(record)
        self.frames += run.frames
        self.last_pts = run.last_pts
        self._sync_if_due()
        return run.frames

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._file.fileno()).st_size

    def content(self) -> bytes:
        """All of the file, for :meth:`add_run` of another one."""
        self._file.seek(0)
        return self._file.readall()

    def packets(
        self, end: int | None = None, *, usual: int = 1, adds_up: bool = False
    ) -> Iterator[av.Packet[Any]]:
        """All packets of all runs, in decoding order, with decoding times and durations that fit together.

        For the arguments see :class:`~stylize_video.video.durations.PacketDurations`.
        """
        order = DecodeTimes(r.pts for r in self._records(contents=False) if r.kind == PACKET)
        durations = PacketDurations(usual, order.shown)
        yield from durations.ready(self._stored_packets(order))
        yield from durations.finish(end, adds_up=adds_up)

    def _stored_packets(self, order: DecodeTimes) -> Iterator[av.Packet[Any]]:
        sides: list[PacketSideData] = []
        for record in self._records():
            if record.kind == SIDE:
                sides.append(_side_data(record.content))
            elif record.kind == PACKET:
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
            self._append(Record(PART, content=self._parts[-1]))

    def remove_parts(self) -> None:
        """Remove those playable files that nobody has touched since: what is in them is done."""
        for content in self._parts:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                part = self.path.with_name(json.loads(content)["name"])
                if _identity(part) == content:
                    part.unlink()

    def _sync_if_due(self) -> None:
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

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
            with open_private(self.path, new=True) as copy:  # another run may have begun there
                lock(copy, self.path)
                self._file.seek(0)
                while chunk := self._file.read(_CHUNK):
                    copy.write(chunk)
        except (OSError, SinkError):
            return False
        return True

    def settle(self) -> str:
        """After a failure: keep what a later run can go on from, and say so; else remove the file.

        Where its folder was removed meanwhile, the folder and the file are made again.
        """
        if self._file.closed:  # the job was done
            return ""
        try:
            frames = read_contents(self._file).frames
        except OSError as error:  # of a network's disk, say, which is back in a minute
            self._file.close()
            return f"what was done is in {self.path}, which cannot be read just now ({reason(error)})"
        if not frames:
            self.remove()
            return ""
        kept = self.is_in_place() or self._put_back()
        self._file.close()
        if not kept:
            return f"what was done is lost: {self.path} was removed or replaced meanwhile"
        told = f"{counted(frames, 'frame')} {'is' if frames == 1 else 'are'} kept in {self.path}"
        return f"{told}, and the same command with --resume goes on from there"

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
                    _log.warning("%s could not be removed: %s", self.path, reason(error))
        self._file.close()

    def _begin(self, job: dict[str, str], *, resume: bool, replace: bool) -> None:
        lock(self._file, self.path)
        if not replace and is_of_another_version(self._file):
            raise StaleJournalError(
                f"{self.path} was left by another version of stylize-video, which can go on with it;"
                " pass -y to start again"
            )
        found = read_contents(self._file)
        other = _differences(found.job, job)
        self._parts = [] if other else found.parts
        if found.frames and self._goes_on(found, other, resume=resume, replace=replace):
            self.frames, self.last_pts = found.frames, found.last_pts
            self._extradata = found.extradata
            self._file.truncate(found.end)
        else:
            self._file.truncate(0)
            self._file.write(MAGIC)
            self._append(Record(JOB, content=json.dumps(job, sort_keys=True).encode()))
        self._note_parts()

    def _goes_on(self, found: Contents, other: str, *, resume: bool, replace: bool) -> bool:
        """Whether to go on with what is there, ``other`` says of which job; False to begin anew."""
        if resume and not other:
            return True
        if resume and not replace:
            raise StaleJournalError(
                f"{self.path} is of an interrupted run with {other}: run that one again to go on"
                " with it, or pass -y to start again"
            )
        if not other and not replace:
            raise StaleJournalError(
                f"an interrupted run left {found.frames} frames in {self.path};"
                " pass --resume to go on with it, or -y to start again"
            )
        if other:
            _log.warning("%s of an interrupted run with %s is replaced", self.path, other)
        return False

    def _note_parts(self) -> None:
        """Note the parts of earlier runs again: what was behind the last whole frame is gone."""
        for content in self._parts:
            self._append(Record(PART, content=content))

    def _append(self, record: Record) -> None:
        content = memoryview(record.to_bytes())
        while content:  # an unbuffered file may take less than it was given
            content = content[self._file.write(content) :]

    def _records(self, *, contents: bool = True) -> Iterator[Record]:
        return (record for record, _ in parse(self._file, contents=contents))


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
        raise SinkError(f"cannot write {output}: {reason(error)}") from error
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


def _side_data(content: bytes) -> PacketSideData:
    kind, _, data = content.partition(b"\0")
    make: Any = PacketSideData  # whose arguments its stubs leave out
    side: PacketSideData = make(packet_sidedata_type_from_literal(kind.decode()), len(data))  # type: ignore[arg-type]
    side.update(data)
    return side


def _differences(found: Mapping[str, str], job: Mapping[str, str]) -> str:
    names = [name for name in job if found.get(name) != job[name]]
    return " and ".join(f"another {name}" for name in names)


def _identity(part: Path) -> bytes:
    """What tells a file from one that somebody else put there, or went on with."""
    facts = part.stat()
    known = {"name": part.name, "file": facts.st_ino, "size": facts.st_size, "changed": facts.st_mtime_ns}
    return json.dumps(known, sort_keys=True).encode()
