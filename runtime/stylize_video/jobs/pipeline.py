"""Jobs: frames of anything, or a file into a file, decoded, stylized and encoded in threads of their own."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from stylize_video.effects.look import Look
from stylize_video.errors import JobInterrupted, JobStopped, SinkError, SourceError, StylizeError
from stylize_video.files import behind_links
from stylize_video.frame import Frame, TimedFrame, as_frame, as_timed_frame
from stylize_video.interrupts import Terminated, interruptible, uninterrupted
from stylize_video.jobs.options import Options
from stylize_video.jobs.outputs import UNTIMED, FrameSink, check_target, is_resumable, open_sink, retimed_for
from stylize_video.jobs.resume import WARM_UP_FRAMES, job_facts
from stylize_video.resuming.journal import open_journal
from stylize_video.styles.network import Network, check_network
from stylize_video.styles.session import StyleSession
from stylize_video.styles.working_size import WorkingSize
from stylize_video.stylizer import Stylizer
from stylize_video.threads import (
    ProgramEnds,
    ReadAhead,
    WriteBehind,
    awaited_at_exit,
    in_order,
    opencv_threads_for,
)
from stylize_video.values import check_kind
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.inputs import FrameSource, Source, open_source, parse_source
from stylize_video.video.pipes import STANDARD, PipeSink, RawFormat, StreamSource
from stylize_video.video.source import VideoSource
from stylize_video.video.timing import repeated

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a job wrote."""

    output: Path
    frames: int


def _ignore(*_: object) -> None:
    """A hook that does nothing; unlike a lambda it can be pickled."""


@dataclass(frozen=True)
class Hooks:
    """Called by :func:`stylize_file` as the job goes on."""

    on_start: Callable[[VideoInfo], None] = _ignore
    on_frame: Callable[[], None] = _ignore
    on_resume: Callable[[int], None] = _ignore
    """After ``on_start``, with the number of frames that an interrupted run did already."""
    on_frames: Callable[[int], None] | None = None
    """In place of so many calls of ``on_frame``, where a cluster has that many ready at once."""

    def tell_frames(self, count: int) -> None:
        """Tell of ``count`` more."""
        if self.on_frames:
            self.on_frames(count)
            return
        for _ in range(count):
            self.on_frame()

    def stopped_by(
        self, stop: threading.Event, by: type[KeyboardInterrupt | JobStopped] = KeyboardInterrupt
    ) -> Hooks:
        """These hooks, which end their job once ``stop`` is set, as Ctrl-C does or by :class:`JobStopped`."""

        def check() -> None:
            if stop.is_set():
                raise by

        def on_start(info: VideoInfo) -> None:
            check()
            self.on_start(info)

        def on_frame() -> None:
            check()
            self.on_frame()

        return replace(self, on_start=on_start, on_frame=on_frame)


def stylize_frames(
    frames: Iterable[TimedFrame],
    session: Network,
    look: Look = Look(),
    *,
    smooth: float = 0.0,
    working_size: WorkingSize = WorkingSize(),
) -> Generator[TimedFrame, None, None]:
    """Stylize frames, keeping their order and PTS; as many at once as the session is made for.

    The pictures that come out share no memory with those that went in, which may be reused for the
    next frame. A :class:`~stylize_video.stylizer.Stylizer` does the same with knobs that may turn meanwhile.

    Args:
        frames: uint8 ``[H, W, 3]`` BGR with time stamps; a :class:`VideoSource` gives them.
        session: the style, on its device; any :class:`~stylize_video.styles.network.Network` will do.
        look: how much of the style is shown.
        smooth: temporal smoothing from 0 (off) to 1.
        working_size: where the network works.

    Raises:
        StyleError: a frame is too small, or the graph fails on it.
        StylizeError: ``smooth`` is out of range, or what comes are no frames.
    """
    stylizer = Stylizer(session, look, smooth=smooth, working_size=working_size)
    at_once = getattr(session, "at_once", 1)
    if not isinstance(frames, VideoSource):
        frames = map(partial(_copied, picture=at_once > 1), frames)
    return _stylized(frames, stylizer, at_once)


def _copied(frame: TimedFrame, *, picture: bool) -> TimedFrame:
    """The transparency, which goes on as it is, in memory of its own, and the ``picture`` if it has to wait.

    Reading runs ahead of what is in the works: a camera's one buffer would hold a later picture.
    """
    frame = as_timed_frame(frame)
    image = as_frame(frame.image).copy() if picture else frame.image
    return replace(frame, image=image, alpha=None if frame.alpha is None else frame.alpha.copy())


def _stylized(
    frames: Iterable[TimedFrame], stylizer: Stylizer, at_once: int
) -> Generator[TimedFrame, None, None]:
    """As :func:`stylize_frames`, of frames whose memory nobody reuses."""

    def render(frame: TimedFrame) -> Frame:
        return stylizer.render(as_timed_frame(frame).image)

    with opencv_threads_for(at_once), closing(in_order(render, frames, at_once=at_once)) as rendered:
        for frame, stylized in rendered:
            yield replace(frame, image=stylizer.finish(frame.image, stylized))


def stylize_file(
    source: str | Source,
    output: str | Path,
    session: StyleSession,
    *,
    look: Look = Look(),
    smooth: float = 0.0,
    working_size: WorkingSize = WorkingSize(),
    edit: Edit = Edit(),
    encoding: Encoding = Encoding(),
    overwrite: bool = False,
    resume: bool = False,
    max_frames: int | None = None,
    raw: RawFormat | None = None,
    hooks: Hooks = Hooks(),
    stop: threading.Event | None = None,
) -> Result:
    """Stylize a video into another with the same time stamps and sound.

    Memory does not depend on the video's length, and the output appears only when
    it is whole.

    Args:
        source: a file, a URL, numbered pictures (``frames/%05d.png``), or ``-``, standard input.
        output: the file to write, whose ending chooses the container; numbered pictures; or
            ``-``, standard output.
        session: the style, on its device. Threads may share it.
        look: how much of the style is shown.
        smooth: temporal smoothing from 0 (off) to 1.
        working_size: where the network works.
        edit: which part is taken, and its rate and size.
        encoding: codec and quality.
        overwrite: replace ``output`` where it exists, and the journal of an interrupted run.
        resume: go on where an interrupted run of the same job stopped, if there was one.
        max_frames: stop after so many.
        raw: what standard input holds, where it has no header.
        hooks: called as the job goes on, in the caller's thread.
        stop: once another thread has set it the job ends after the next frame.

    Raises:
        StylizeError: the source, the style or the output fails. If frames were written,
            they are kept for ``resume``, and the sentence says so.
        JobStopped: ``stop``; likewise, and a playable part file is left.
        JobInterrupted: Ctrl-C, SIGTERM or SIGHUP; likewise. It is a KeyboardInterrupt.
    """
    check_network(session)
    options = Options(
        look=look,
        smooth=smooth,
        working_size=working_size,
        edit=edit,
        encoding=encoding,
        overwrite=overwrite,
        resume=resume,
        max_frames=max_frames,
        raw=raw,
    )
    check_kind("hooks", hooks, Hooks)
    if stop is not None and not callable(getattr(stop, "is_set", None)):
        raise StylizeError(f"stop must be a threading.Event, got {stop!r}")
    parsed = parse_source(source) if isinstance(source, str) else source
    hooks = hooks.stopped_by(stop, JobStopped) if stop else hooks
    return stylize_source(parsed, Path(output), session, options, hooks=hooks)


def stylize_source(
    source: Source, output: Path, session: StyleSession, options: Options, *, hooks: Hooks = Hooks()
) -> Result:
    """:func:`stylize_file`, with its keywords gathered."""

    def stylize_here(job: Job) -> Iterator[int]:
        with (
            WriteBehind(
                job.sink.write, depth=_queue_depth(job.info), stop_waiting=_end_of_waiting(job.sink)
            ) as encoder,
            closing(missing_frames(job, session, options)) as stylized,
        ):
            for frame in stylized:
                encoder.put(frame)
                interruptible(hooks.on_frame)
                yield 1

    return run_job(source, output, session, stylize_here, options, hooks=hooks)


@dataclass(frozen=True)
class Job:
    """A file that is being written: what is read, where it goes, and what an earlier run did.

    ``frames`` and ``info`` are what the options' edit and the kind of result make of ``video``; ``done`` is
    the time stamp up to which frames are in ``sink`` already, None for none; ``left`` how many more there
    may be, None for all.
    """

    video: FrameSource
    frames: Iterable[TimedFrame]
    info: VideoInfo
    sink: FrameSink
    done: int | None
    left: int | None


def run_job(
    source: Source,
    output: Path,
    session: StyleSession,
    fill: Callable[[Job], Iterable[int]],
    options: Options,
    *,
    hooks: Hooks = Hooks(),
) -> Result:
    """Open everything, let ``fill`` write the frames that are missing, and complete the file.

    ``fill`` gives the numbers of frames that it has read, a few at a time.

    Raises what :func:`stylize_file` does.
    """
    edit, encoding, max_frames = options.edit, options.encoding, options.max_frames
    resume, overwrite = options.resume, options.overwrite
    output = behind_links(output)
    with awaited_at_exit(), open_source(source, edit=edit, alpha=encoding.alpha, raw=options.raw) as video:
        check_target(output, video.info.path, encoding=encoding, overwrite=overwrite)
        frames, info = edit.apply(video, video.info)
        frames, info = retimed_for(frames, info, output, encoding)
        with uninterrupted(), ExitStack() as stack:
            journal = None
            if is_resumable(video, output):
                facts = job_facts(video.info.path, session, options)
                journal = stack.enter_context(
                    open_journal(output, facts, time_base=info.time_base, resume=resume, replace=overwrite)
                )
            elif resume:
                raise SinkError(f"{output} cannot be resumed: only videos made of video files can")
            sink = open_sink(output, info, video, overwrite=overwrite, encoding=encoding, journal=journal)
            try:
                interruptible(partial(hooks.on_start, info))
                if journal and journal.frames:
                    interruptible(partial(hooks.on_resume, journal.frames))
                done = journal.last_pts if journal else None
                left = max_frames and max(0, max_frames - sink.frames)
                read = sink.frames + sum(fill(Job(video, frames, info, sink, done, left)))
                if sink.frames != read:  # the promise of the product; never seen broken
                    raise StylizeError(f"{read} frames were read but {sink.frames} written")
                if not sink.frames:
                    raise SourceError(f"{video.info.path} has no frame in the part asked for")
                path = sink.finish(whole=max_frames is None or read < max_frames)
            except (KeyboardInterrupt, JobStopped) as ending:
                raise _part_kept(ending, sink) from ending
            except BaseException:
                sink.discard()
                raise
    return Result(path, sink.frames)


def _part_kept(
    ending: KeyboardInterrupt | JobStopped, sink: FrameSink
) -> JobInterrupted | JobStopped | SystemExit:
    """Complete what there is; whatever comes of that, the job was interrupted, or stopped."""
    part, kept = None, "nothing was written"
    try:
        part = sink.keep_part()
    except StylizeError as error:
        kept = str(error)
    else:
        if part:
            where = "went to standard output" if part == Path(STANDARD) else f"is in {part}"
            kept = f"what was done {where}"
        elif sink.frames:  # Ctrl-C once more, of somebody who did not want to wait for it
            kept = "what was done was not completed"
    if isinstance(ending, JobStopped):
        return JobStopped(f"stopped: {kept}", part=part)
    if isinstance(ending, ProgramEnds):
        _log.warning("the program ends: %s", kept)
        return SystemExit()  # which ends a thread without a traceback
    number = ending.signal_number if isinstance(ending, Terminated) else signal.SIGINT
    return JobInterrupted(f"interrupted: {kept}", part=part, signal_number=number)


def missing_frames(job: Job, session: StyleSession, options: Options) -> Generator[TimedFrame, None, None]:
    """The stylized frames that are not in the job's sink yet."""
    video, frames, info, done, left = job.video, job.frames, job.info, job.done, job.left
    if done is not None:
        rate = min(info.rate, video.info.rate)  # where it is raised, frames are stylized once each
        start = done * info.time_base - (WARM_UP_FRAMES / rate if options.smooth else 0)
        if job.sink.output.suffix.lower() in UNTIMED:
            # A frame may be shown later than in the source, depending on all before it.
            frames = (f for f in frames if (f.pts, *f.again)[-1] * info.time_base > start)
        elif isinstance(video, VideoSource):
            # At another rate: the frame that is on screen then, and for how long the one before it was.
            video.skip_past(math.floor(start / video.info.time_base), but=2 if options.edit.fps else 0)
    with ReadAhead(frames, depth=_queue_depth(info), stop_waiting=_end_of_waiting(video)) as decoded:
        needed = islice(decoded, left) if done is None else decoded
        stylizer = Stylizer(session, options.look, smooth=options.smooth, working_size=options.working_size)
        with closing(_stylized(needed, stylizer, session.at_once)) as stylized:
            shown = repeated(stylized)
            yield from islice((frame for frame in shown if done is None or frame.pts > done), left)


def _queue_depth(info: VideoInfo) -> int:
    """Frames that wait on each side of the network: enough to even out the work, but not of 4K."""
    return 4 if info.width * info.height <= 2**21 else 2


def _end_of_waiting(end: FrameSource | FrameSink) -> Callable[[], None]:
    """What ends the waiting of another thread at this end of a job; only pipes let anybody wait."""
    return end.stop_waiting if isinstance(end, StreamSource | PipeSink) else lambda: None
