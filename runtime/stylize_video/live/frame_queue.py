"""Live frames on their way to an encoder, which works in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from stylize_video.frame import Frame, TimedFrame, letterboxed
from stylize_video.threads import WriteBehind
from stylize_video.video.info import VideoInfo

TIME_BASE = Fraction(1, 90_000)
USUAL_FPS = 30.0

_QUEUED_FRAMES = 15
_QUEUED_BYTES = 64 * 2**20
"""Frames that wait for the encoder, half a second or so; beyond that they are left out."""


_CATCHING_UP = 0.02
"""By so much of their steps pictures that are too late follow each other sooner."""


class TimeLine:
    """Times that rise, for pictures whose own may go back, as where the source falls behind.

    Pictures keep the steps between them, and are as much later as they have to be, though never later than
    now; what they are too late is made up for little by little.
    """

    def __init__(self) -> None:
        self._own = self._now = 0.0
        self._placed = float("-inf")

    def place(self, at: float, now: float) -> float:
        """The second at which the picture of that second is shown."""
        step = at - self._own if at > self._own else now - self._now
        self._placed = max(at, min(self._placed + (1 - _CATCHING_UP) * step, now))
        self._own, self._now = at, now
        return self._placed

    def at(self, now: float) -> float:
        """The second that is shown now, where the last picture stayed until now."""
        return self._placed + now - self._now


class FrameQueue:
    """Calls ``write`` with each frame in a thread, and never lets the giver wait.

    Args:
        write: gets frames of one size whose time stamps rise, from 0 on.
        info: of the frames, see :func:`live_info`.
        at: the second that the time stamp 0 stands for.
        step: ticks of the time base between two frames, at least.
    """

    def __init__(
        self, write: Callable[[TimedFrame], None], info: VideoInfo, *, at: float, step: int = 1
    ) -> None:
        self._shape = (info.height, info.width)
        self._started, self._step = at, step
        self._last_pts = -step
        self._threads = ExitStack()
        depth = min(_QUEUED_FRAMES, max(4, _QUEUED_BYTES // (3 * info.width * info.height)))
        self._writer = self._threads.enter_context(WriteBehind(write, depth=depth))

    def offer(self, image: Frame, at: float) -> bool:
        """Give the frame of that second; False where there is no room and it is left out.

        Raises what ``write`` raised before.
        """
        image = letterboxed(image, *self._shape)  # the camera may have come back with another size
        pts = max(int((at - self._started) / TIME_BASE), self._last_pts + self._step)
        taken = self._writer.offer(TimedFrame(pts, image))
        if taken:
            self._last_pts = pts
        return taken

    def close(self) -> None:
        """Wait until all frames are written; raises what ``write`` raised."""
        self._threads.close()


def live_info(width: int, height: int, fps: float, *, path: Path = Path()) -> VideoInfo:
    """Of frames that carry the times of their capture; ``path`` is the file that they come from, if any."""
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=TIME_BASE,
        start_pts=0,
        rate=Fraction(fps).limit_denominator(1001),
    )
