"""The loop that drives the live picture: capture, style, look, outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from stylize_video.errors import StylizeError
from stylize_video.frame import Frame
from stylize_video.interrupts import let_through, uninterrupted
from stylize_video.live.capture import Capture, CapturedFrame
from stylize_video.live.controls import Controls, Notice, Settings
from stylize_video.live.governor import Governor
from stylize_video.live.picture import AWAY, LivePicture, Output
from stylize_video.live.recorder import Snapshots
from stylize_video.live.statistics import Clock, Monitor, Statistics, StatisticsFile, StreamState
from stylize_video.live.stylist import Stylist

_TICK_SECONDS = 1 / 30
"""Without a new frame the outputs are called so often, so that windows stay alive."""
_LOOKS_A_TICK = 3
"""How often keys are looked for while no frame comes: of two in between one would be lost."""
_STATISTICS_SECONDS = 0.25
_AWAY_SECONDS = 2.0
"""A source that is back sooner is not reported to have been away."""

_MAKES_STYLIZED = ("strength", "keep_colors", "strokes", "smooth", "mirror")
_MAKES_IMAGE = ("split", "divider")


class Engine:
    """Runs until the source ends, or somebody quits.

    Args:
        capture: where frames come from; entered.
        stylist: what stylizes them; entered.
        controls: what users want.
        outputs: where pictures go, in order; the engine closes them, the last one first.
        snapshots: saves single pictures; closed too.
        governor: chooses the working size; without one it is the frame's.
        while_waiting: called every few milliseconds while no frame comes.
        stream: how the stream that goes out does; None where none does.
        statistics_file: gets a line a second.
        clock: seconds; that of the capture.
    """

    def __init__(
        self,
        capture: Capture,
        stylist: Stylist,
        controls: Controls,
        *,
        outputs: Sequence[Output],
        snapshots: Snapshots,
        governor: Governor | None = None,
        while_waiting: Callable[[], None] = lambda: None,
        stream: Callable[[], StreamState | None] = lambda: None,
        statistics_file: StatisticsFile | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._capture, self._stylist, self._controls = capture, stylist, controls
        self._outputs, self._governor, self._statistics_file = outputs, governor, statistics_file
        self._snapshots, self._stream, self._clock = snapshots, stream, clock
        self._while_waiting = while_waiting
        self._monitor = Monitor(clock)
        self._frame: CapturedFrame | None = None
        self._picture: LivePicture | None = None
        self._statistics = self._monitor.report(0, 0.0, (0, 0), (0, 0))
        self._statistics_due = clock()
        self._outcome: Statistics | None = None
        self._stylize_seconds = self._latency = 0.0
        self._lost_since: float | None = None
        self._is_reported_away = self._is_reported_slow = False

    def run(self, *, seconds: float | None = None) -> Statistics:
        """Go on to the end of the source, until ``quit``, or for so many seconds.

        Raises:
            StylizeError: the source, the style or an output fails.
        """
        until = None if seconds is None else self._clock() + seconds
        with uninterrupted():  # a signal that came while a lock is taken would leave it so for ever
            try:
                while self._step() and (until is None or self._clock() < until):
                    let_through()
            finally:
                self._close()
        return self.report()

    def _step(self) -> bool:
        """Show one picture, new or not; False at the end."""
        frame = self._next_frame()
        settings = self._controls.settings
        self._report_source()
        if frame is None and self._capture.state == "ended" and not settings.freeze:
            return False
        start = self._clock()
        fresh = frame is not None and not (settings.freeze and self._picture)
        if fresh or self._frame is None:
            self._frame = frame
        elif frame is not None:  # frozen: newer frames are let go
            self._monitor.let_go(frame.index - self._frame.index)
            self._frame = replace(frame, image=self._frame.image)
        if self._frame is None:
            return True
        settings = self._with_style(settings)
        picture = self._next_picture(self._frame, settings, fresh=fresh)
        for output in self._outputs:
            output.show(picture)
        self._note(picture, start, fresh=fresh)
        return self._obey(picture)

    def _next_frame(self) -> CapturedFrame | None:
        """A new frame as soon as there is one; None after a tick without, or where none is to be expected."""
        after, seconds = self._frame.index if self._frame else 0, _TICK_SECONDS / _LOOKS_A_TICK
        for _ in range(_LOOKS_A_TICK):
            frame = self._capture.newest(after=after, timeout=seconds)
            if frame is not None:
                return frame
            if self._capture.state == "ended":
                if not self._controls.settings.freeze:
                    return None
                time.sleep(seconds)  # there is no frame left to wait for
            self._while_waiting()
        return None

    def _report_source(self) -> None:
        now = self._clock()
        if self._capture.state != "lost":
            self._lost_since = None
            if self._is_reported_away and self._capture.state == "live":
                self._is_reported_away = False
                self._controls.say("the source is back")
        elif self._lost_since is None:
            self._lost_since = now
        elif not self._is_reported_away and now - self._lost_since >= _AWAY_SECONDS:
            self._is_reported_away = True
            self._controls.report(Notice(AWAY, is_essential=True, is_for_terminal=True))

    def _with_style(self, settings: Settings) -> Settings:
        try:
            self._stylist.turn_to(settings.style)
        except StylizeError as error:
            self._controls.warn(str(error))
            self._controls.set("style", self._stylist.style)
            return replace(settings, style=self._stylist.style)
        return settings

    def _next_picture(self, frame: CapturedFrame, settings: Settings, *, fresh: bool) -> LivePicture:
        last = self._picture
        if last and not fresh and self._still_right(last, settings):
            return self._shown_again(last, settings)
        start = self._clock()
        source = _mirrored(frame.image) if settings.mirror else frame.image
        stylized = self._stylist.stylize(source, settings, scale=self._scale)
        self._stylize_seconds = self._clock() - start
        if fresh:
            self._monitor.stylized(self._stylize_seconds)
        self._picture = LivePicture(
            number=last.number + 1 if last else 1,
            source=source,
            stylized=stylized,
            at=frame.captured_at if fresh else start - self._latency,
            settings=settings,
            style=self._stylist.style,
            state=self._capture.state,
            statistics=self._recent(),
        )
        return self._picture

    def _still_right(self, last: LivePicture, settings: Settings) -> bool:
        if self._stylist.fading or last.style != self._stylist.style:
            return False
        return not _differ(last.settings, settings, _MAKES_STYLIZED)

    def _shown_again(self, last: LivePicture, settings: Settings) -> LivePicture:
        """The last picture with the settings of now, under a new number if it looks different."""
        changed = _differ(last.settings, settings, _MAKES_IMAGE)
        self._picture = replace(
            last,
            number=last.number + changed,
            at=self._clock() - self._latency,
            settings=settings,
            state=self._capture.state,
            statistics=self._recent(),
        )
        return self._picture

    def _note(self, picture: LivePicture, start: float, *, fresh: bool) -> None:
        now = self._clock()
        if fresh:
            self._latency = now - picture.at
            self._monitor.shown(self._latency)
            if self._governor:
                self._governor.observe(now - start, self._stylize_seconds, source_fps=self._capture.given_fps)
                self._warn_if_too_slow(self._governor)
        if self._statistics_file:
            self._statistics_file.write(self._recent())

    def _warn_if_too_slow(self, governor: Governor) -> None:
        if governor.is_too_slow and not self._is_reported_slow:
            self._is_reported_slow = True
            busy, style = (1000 * seconds for seconds in governor.typical)
            self._controls.warn(
                f"{governor.target_fps:g} fps cannot be held at any working size"
                f" (the style takes {style:.0f} of {busy:.0f} ms a frame): close other programs,"
                " choose a smaller source (--size of a camera) or a lower --target-fps"
            )

    def _obey(self, picture: LivePicture) -> bool:
        """Do what was pressed; False for ``quit``."""
        pressed = self._controls.take_pressed()
        for _ in range(pressed.count("snapshot")):
            self._snapshots.take(picture.image)
        return "quit" not in pressed

    @property
    def _scale(self) -> float:
        return self._governor.scale if self._governor else 1.0

    def _recent(self) -> Statistics:
        """The statistics of a moment ago: they cost more than they change."""
        if self._clock() >= self._statistics_due:
            self._statistics_due = self._clock() + _STATISTICS_SECONDS
            self._statistics = self.report()
        return self._statistics

    def report(self) -> Statistics:
        """How it has gone so far, or did to the last picture: finishing a long file takes a while."""
        if self._outcome:
            return self._outcome
        height, width = self._frame.image.shape[:2] if self._frame else (0, 0)
        small = self._stylist.working_size.size_for(height, width) if self._frame else (0, 0)
        return self._monitor.report(
            self._capture.captured,
            self._capture.fps,
            (width, height),
            (small[1], small[0]),
            state=self._capture.state,
            stream=self._stream(),
        )

    def _close(self) -> None:
        """Close every output, whatever one of them raises."""
        failed: BaseException | None = None
        self._outcome = outcome = self.report()
        endings: list[Callable[[], None]] = [output.close for output in reversed(self._outputs)]
        endings.append(self._snapshots.close)
        if file := self._statistics_file:
            endings.append(lambda: file.write(outcome, last=True))
        for end in endings:
            try:
                end()
            except BaseException as error:  # the first is raised below
                failed = failed or error
        if failed:
            raise failed


def _differ(one: Settings, other: Settings, names: Sequence[str]) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in names)


def _mirrored(frame: Frame) -> Frame:
    return np.asarray(cv2.flip(frame, 1), np.uint8)
