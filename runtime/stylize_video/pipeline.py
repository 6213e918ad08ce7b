"""The way of a frame: decoded, stylized and encoded in three threads at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stylize_video.encoding import Encoding
from stylize_video.errors import SourceError, StylizeError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.journal import Journal, open_journal
from stylize_video.look import Look
from stylize_video.resume import WARM_UP_FRAMES, job_facts
from stylize_video.session import StyleSession
from stylize_video.sink import VideoSink, check_output
from stylize_video.source import VideoInfo, VideoSource
from stylize_video.stylizer import Stylizer
from stylize_video.threads import ReadAhead, WriteBehind, in_order
from stylize_video.working_size import WorkingSize


class InterruptedJobError(StylizeError):
    """Ctrl-C stopped a job; ``part`` is the playable file with what was done, if anything was."""

    def __init__(self, part: Path | None) -> None:
        kept = f"what was done is in {part}" if part else "nothing was written"
        super().__init__(f"interrupted: {kept}")
        self.part = part


@dataclass(frozen=True)
class Result:
    """What a job wrote."""

    output: Path
    frames: int


@dataclass(frozen=True)
class Hooks:
    """Called by :func:`stylize_file` as the job goes on."""

    on_start: Callable[[VideoInfo], None] = field(default=lambda _: None)
    on_frame: Callable[[], None] = field(default=lambda: None)
    on_resume: Callable[[int], None] = field(default=lambda _: None)
    """After ``on_start``, with the number of frames that an interrupted run did already."""


def stylize_frames(
    frames: Iterable[TimedFrame],
    session: StyleSession,
    look: Look = Look(),
    *,
    smooth: float = 0.0,
    working_size: WorkingSize = WorkingSize(),
) -> Generator[TimedFrame, None, None]:
    """Stylize frames, keeping their order and PTS; as many at once as the session is made for.

    A :class:`~stylize_video.stylizer.Stylizer` does the same with knobs that may turn meanwhile.

    Args:
        frames: uint8 ``[H, W, 3]`` BGR with time stamps; a :class:`VideoSource` gives them.
        session: the style, on its device. Threads may share it.
        look: how much of the style is shown.
        smooth: temporal smoothing from 0 (off) to 1.
        working_size: where the network works.

    Raises:
        StyleError: a frame is too small, or the graph fails on it.
        StylizeError: ``smooth`` is out of range.
    """
    stylizer = Stylizer(session, look, smooth=smooth, working_size=working_size)

    def render(frame: TimedFrame) -> Frame:
        return stylizer.render(frame.image)

    with closing(in_order(render, frames, at_once=session.at_once)) as rendered:
        for frame, stylized in rendered:
            yield TimedFrame(frame.pts, stylizer.finish(frame.image, stylized))


def stylize_file(
    source: str | Path,
    output: str | Path,
    session: StyleSession,
    *,
    look: Look = Look(),
    smooth: float = 0.0,
    working_size: WorkingSize = WorkingSize(),
    encoding: Encoding = Encoding(),
    overwrite: bool = False,
    resume: bool = False,
    max_frames: int | None = None,
    hooks: Hooks = Hooks(),
) -> Result:
    """Stylize a video file into an MP4 with the same time stamps and sound.

    Memory does not depend on the video's length, and the output appears only when
    it is whole.

    Args:
        source: the video.
        output: the file to write; its ending chooses the container.
        session: the style, on its device. Threads may share it.
        look: how much of the style is shown.
        smooth: temporal smoothing from 0 (off) to 1.
        working_size: where the network works.
        encoding: codec and quality.
        overwrite: replace ``output`` where it exists, and the journal of an interrupted run.
        resume: go on where an interrupted run of the same job stopped, if there was one.
        max_frames: stop after so many.
        hooks: called as the job goes on, in the caller's thread.

    Raises:
        StylizeError: the source, the style or the output fails. If frames were written,
            they are kept for ``resume``, and the sentence says so.
        InterruptedJobError: Ctrl-C; likewise, and a playable part file is left.
    """
    if max_frames is not None and max_frames < 1:
        raise SourceError(f"the number of frames must be at least 1, got {max_frames}")
    source, output = Path(source), Path(output)
    with VideoSource(source) as video:
        check_output(output, source, overwrite=overwrite)
        encoding.resolved(output)
        facts = job_facts(source, session, look, smooth, working_size, encoding, max_frames)
        time_base = video.info.time_base
        with open_journal(output, facts, time_base=time_base, resume=resume, replace=overwrite) as journal:
            sink = VideoSink(output, video.info, overwrite=overwrite, encoding=encoding, journal=journal)
            try:
                hooks.on_start(video.info)
                if journal.frames:
                    hooks.on_resume(journal.frames)
                    video.skip_past(_warm_up_start(journal, video.info, smooth))
                done, left = journal.last_pts, max_frames and max(0, max_frames - journal.frames)
                read = journal.frames
                depth = _queue_depth(video.info)
                with (
                    ReadAhead(video, depth=depth) as decoded,
                    WriteBehind(sink.write, depth=depth) as encoder,
                ):
                    frames = islice(decoded, left) if done is None else decoded
                    with closing(
                        stylize_frames(frames, session, look, smooth=smooth, working_size=working_size)
                    ) as stylized:
                        unfinished = (frame for frame in stylized if done is None or frame.pts > done)
                        for frame in islice(unfinished, left):
                            encoder.put(frame)
                            read += 1
                            hooks.on_frame()
                if sink.frames != read:  # the promise of the product; never seen broken
                    raise StylizeError(f"{read} frames were read but {sink.frames} written")
            except KeyboardInterrupt as interruption:
                raise InterruptedJobError(sink.keep_part()) from interruption
            except BaseException:
                sink.discard()
                raise
            path = sink.finish(whole=max_frames is None or read < max_frames)
    return Result(path, sink.frames)


def _warm_up_start(journal: Journal, info: VideoInfo, smooth: float) -> int:
    """The time behind which a resumed run reads: smoothing needs some frames that are done."""
    done = journal.last_pts or 0
    return done - round(WARM_UP_FRAMES / info.rate / info.time_base) if smooth else done


def _queue_depth(info: VideoInfo) -> int:
    """Frames that wait on each side of the network: enough to even out the work, but not of 4K."""
    return 4 if info.width * info.height <= 2**21 else 2
