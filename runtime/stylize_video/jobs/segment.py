"""A part of a video that any machine can stylize by itself: it begins at a keyframe of the source."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, takewhile
from pathlib import Path

import av
import av.error

from stylize_video.errors import SourceError, StyleError
from stylize_video.files import for_ffmpeg
from stylize_video.jobs.options import Options
from stylize_video.jobs.pipeline import Job, missing_frames
from stylize_video.jobs.resume import fingerprint
from stylize_video.resuming.journal import Journal, journal_path
from stylize_video.resuming.resumable_sink import ResumableSink
from stylize_video.styles.contract import Precision
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, variant_path
from stylize_video.video.info import Window
from stylize_video.video.probe import all_packets, video_stream
from stylize_video.video.source import VideoSource
from stylize_video_assets.catalog import find_bundled

SHORT_SECONDS, LONG_SECONDS = 2.0, 10.0
"""Least length of segments: shorter ones spend their time on opening the source and seeking, and
longer ones are no faster."""


@dataclass(frozen=True)
class Segment:
    """Frames behind the time stamp ``done`` and before ``end``; None for no limit."""

    done: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class StyleReference:
    """A style as other machines find it: a bundled one by name, else a path that all of them see."""

    name_or_path: str
    precision: Precision
    input_range: int
    sha256: str

    @classmethod
    def of(cls, session: StyleSession) -> StyleReference:
        style = session.style
        bundled = find_bundled(style.name)
        ours = bundled is not None and bundled.path.parent == style.path.parent
        name = style.name if ours else str(style.path.resolve())
        return cls(name, style.precision, session.input_range, style.sha256)

    def open(self, device: str) -> StyleSession:
        """The same style here.

        Raises:
            StyleError: it is not here, or it is another one.
        """
        session = _open(self, device)
        if session.style.sha256 != self.sha256:
            raise StyleError(f"the style {self.name_or_path} is another one on this machine")
        return session


@dataclass(frozen=True)
class SegmentJob:
    """One segment of one file, with everything another machine needs to know.

    ``fingerprint`` is that of the source, as :func:`~stylize_video.jobs.resume.fingerprint` takes it.
    """

    source: Path
    fingerprint: str
    suffix: str
    style: StyleReference
    device: str
    options: Options
    segment: Segment


def plan_segments(source: Path, done: int | None, *, window: Window, seconds: float) -> list[Segment]:
    """Cut what is left of a video at its keyframes.

    Args:
        source: the video file.
        done: the time stamp in the result up to which frames are there already, None for none.
        window: the part of the source that is taken.
        seconds: least length of a segment.
    """
    cuts = _spaced(_keyframes(source, window), after=done, seconds=seconds)
    edges: list[int | None] = [done, *(cut - 1 for cut in cuts), None]
    return [Segment(done, None if last is None else last + 1) for done, last in pairwise(edges)]


def stylize_segment(job: SegmentJob) -> bytes:
    """Stylize and encode a segment: the content of a journal, which :meth:`ResumableSink.add_run` takes.

    It is empty where no frame of the segment can be decoded.

    Raises:
        StylizeError: the source or the style is not on this machine, or fails.
    """
    if not job.source.exists():
        raise SourceError(f"{job.source} is not on this machine; a cluster needs a folder that all share")
    if fingerprint(job.source) != job.fingerprint:
        raise SourceError(f"{job.source} is another file on this machine; a folder that all share is needed")
    options, end = job.options, job.segment.end
    session = job.style.open(job.device)
    with (
        tempfile.TemporaryDirectory(prefix="stylize-video-") as folder,
        VideoSource(job.source, edit=options.edit, alpha=options.encoding.alpha) as video,
    ):
        frames, info = options.edit.apply(video, video.info)
        if end is not None:
            frames = takewhile(lambda frame: frame.pts < end, frames)
        output = Path(folder) / f"segment{job.suffix}"
        with Journal(journal_path(output), {}, time_base=info.time_base) as journal:
            sink = ResumableSink(output, info, journal, encoding=options.encoding, copy_streams=False)
            try:
                part = Job(video, frames, info, sink, done=job.segment.done, left=None)
                with closing(missing_frames(part, session, options)) as stylized:
                    for frame in stylized:
                        sink.write(frame)
            finally:
                sink.discard()  # which leaves the journal whole
            return journal.content() if sink.frames else b""


@lru_cache(maxsize=4)
def _open(reference: StyleReference, device: str) -> StyleSession:
    path = Path(reference.name_or_path)
    if bundled := find_bundled(reference.name_or_path):
        path = variant_path(bundled.path, reference.precision)
    # There is a worker for each core.
    return StyleSession(Style.load(path), device, input_range=reference.input_range, threads=1)


def _keyframes(source: Path, window: Window) -> list[tuple[int, float]]:
    """Time stamp in the result, and seconds, of every keyframe; none where the container has no times."""
    found = []
    try:
        with av.open(for_ffmpeg(source)) as container:
            stream = video_stream(container)
            if stream is None or stream.time_base is None:
                return []
            shift = round(window.shift / stream.time_base)
            for packet in all_packets(container, stream):
                if packet.is_keyframe and packet.pts is not None:
                    at = packet.pts * stream.time_base
                    if window.holds(at):
                        found.append((packet.pts - shift, float(at)))
    except av.error.FFmpegError:  # what is damaged stays in one piece from there on
        pass
    return sorted(found)


def _spaced(keyframes: Sequence[tuple[int, float]], *, after: int | None, seconds: float) -> list[int]:
    """Keyframes that are at least ``seconds`` apart, and from the beginning too."""
    if not keyframes:
        return []
    cuts: list[int] = []
    last = keyframes[0][1]
    for pts, at in keyframes:
        if after is not None and pts <= after:
            last = at
        elif at - last >= seconds:
            cuts.append(pts)
            last = at
    return cuts
