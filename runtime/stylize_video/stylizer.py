"""One frame after the other: the network, the look, and what is remembered between frames."""

from __future__ import annotations

from stylize_video.effects.cuts import CutDetector
from stylize_video.effects.look import Look
from stylize_video.effects.luma import small_luma
from stylize_video.effects.smoothing import TemporalSmoother, check_smooth
from stylize_video.frame import AnyFrame, Frame, as_frame
from stylize_video.styles.network import Network, check_network
from stylize_video.styles.working_size import WorkingSize, stylize_at
from stylize_video.values import check_kind


class Stylizer:
    """Stylizes a sequence of frames, for files and cameras alike.

    ``session``, ``look``, ``smooth`` and ``working_size`` may be set between two frames and
    count from the next one on. A new session starts without a past, and so does a new shot:
    cuts are found on the source.

    Args:
        session: the network.
        look: strength and colours; applied after smoothing, so that a change shows at once.
        smooth: temporal smoothing from 0 (off) to 1.
        working_size: where the network works: how large strokes are, and how much there is to do.

    Raises:
        StylizeError: ``session`` is no network, ``smooth`` is out of range, or a setting of another type.
    """

    def __init__(
        self,
        session: Network,
        look: Look = Look(),
        *,
        smooth: float = 0.0,
        working_size: WorkingSize = WorkingSize(),
    ) -> None:
        self._smoother = TemporalSmoother()
        self._cuts = CutDetector()
        check_network(session)
        check_kind("look", look, Look)
        check_kind("working_size", working_size, WorkingSize)
        self._session = session
        self.look = look
        self.smooth = smooth
        self.working_size = working_size

    @property
    def session(self) -> Network:
        return self._session

    @session.setter
    def session(self, session: Network) -> None:
        if session is not self._session:
            self._session = session
            self.reset()

    @property
    def smooth(self) -> float:
        return self._smooth

    @smooth.setter
    def smooth(self, amount: float) -> None:
        self._smooth = check_smooth(amount)

    def stylize(self, frame: AnyFrame) -> Frame:
        """Return the next frame, uint8 ``[H, W, 3]`` BGR, in the style and the look.

        Raises:
            StylizeError: it is no such frame, or the network fails on it.
        """
        return self.finish(as_frame(frame), self.render(frame))

    def render(self, frame: AnyFrame) -> Frame:
        """The first half of :meth:`stylize`: what the network makes of a frame, without any past.

        Threads may do this for several frames at once.
        """
        frame = as_frame(frame)
        if not self.look.needs_style:
            return frame
        return stylize_at(self._session, frame, self.working_size.size_for(*frame.shape[:2]))

    def finish(self, frame: Frame, stylized: Frame) -> Frame:
        """The second half: ``stylized`` smoothed and in the look; for one frame after the other."""
        if not self.look.needs_style:
            self.reset()
            return self.look.apply(frame, frame)
        if self._smooth:
            luma = small_luma(frame)
            if self._cuts.is_cut(luma):
                self._smoother.reset()
            stylized = self._smoother.smooth(luma, stylized, self._smooth)
        else:
            self.reset()
        return self.look.apply(frame, stylized)

    def reset(self) -> None:
        """Forget the past, as after a seek."""
        self._smoother.reset()
        self._cuts.reset()
