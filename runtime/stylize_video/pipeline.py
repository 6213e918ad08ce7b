"""The way of a frame: decoded, stylized and encoded in three threads at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stylize_video.encoding import Encoding
from stylize_video.errors import SourceError, StylizeError
from stylize_video.frame import TimedFrame
from stylize_video.look import Look
from stylize_video.session import StyleSession
from stylize_video.sink import VideoSink
from stylize_video.source import VideoInfo, VideoSource
from stylize_video.stylizer import Stylizer
from stylize_video.threads import ReadAhead, WriteBehind


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


def stylize_frames(
    frames: Iterable[TimedFrame], session: StyleSession, look: Look = Look(), *, smooth: float = 0.0
) -> Iterator[TimedFrame]:
    """Stylize frames one by one, keeping their order and PTS.

    A :class:`~stylize_video.stylizer.Stylizer` does the same with knobs that may turn meanwhile.

    Args:
        frames: uint8 ``[H, W, 3]`` BGR with time stamps; a :class:`VideoSource` gives them.
        session: the style, on its device. Threads may share it.
        look: how much of the style is shown.
        smooth: temporal smoothing from 0 (off) to 1.

    Raises:
        StyleError: a frame is too small, or the graph fails on it.
        StylizeError: ``smooth`` is out of range.
    """
    stylizer = Stylizer(session, look, smooth=smooth)
    for frame in frames:
        yield TimedFrame(frame.pts, stylizer.stylize(frame.image))


def stylize_file(
    source: str | Path,
    output: str | Path,
    session: StyleSession,
    *,
    look: Look = Look(),
    smooth: float = 0.0,
    encoding: Encoding = Encoding(),
    overwrite: bool = False,
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
        encoding: codec and quality.
        overwrite: replace ``output`` where it exists.
        max_frames: stop after so many.
        hooks: called as the job goes on, in the caller's thread.

    Raises:
        StylizeError: the source, the style or the output fails; nothing is left behind.
        InterruptedJobError: Ctrl-C; a playable part file may be left.
    """
    if max_frames is not None and max_frames < 1:
        raise SourceError(f"the number of frames must be at least 1, got {max_frames}")
    with VideoSource(Path(source)) as video:
        sink = VideoSink(Path(output), video.info, overwrite=overwrite, encoding=encoding)
        try:
            hooks.on_start(video.info)
            read = 0
            with ReadAhead(video) as decoded, WriteBehind(sink.write) as encoder:
                for frame in stylize_frames(islice(decoded, max_frames), session, look, smooth=smooth):
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
