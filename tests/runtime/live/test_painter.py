"""What the window shows, at every size a window may have."""

from __future__ import annotations

import numpy as np
import pytest

from live_support import ManualClock, numbered_frame
from stylize_video.frame import Frame
from stylize_video.live.capture import State
from stylize_video.live.controls import Controls, Notice, Settings
from stylize_video.live.painter import Painter
from stylize_video.live.picture import AWAY, LivePicture
from stylize_video.live.statistics import Monitor

GREY = 200


class Shown:
    """A painter of grey pictures, and what it painted last."""

    def __init__(self, **settings: object) -> None:
        self.settings = Settings(style="ink", **settings)  # type: ignore[arg-type]
        self.controls = Controls(self.settings, ["ink", "photo"])
        self.painter = Painter(self.controls, clock=ManualClock())

    def paint(self, width: int, height: int, *, state: State = "live") -> Frame:
        frame = numbered_frame(GREY, width=width, height=height)
        statistics = Monitor(lambda: 0.0).report(0, 0.0, (1920, 1080), (1920, 1080))
        picture = LivePicture(1, frame, frame, 0.0, self.settings, "ink", state, statistics)
        self.painter.note(picture)
        return self.painter.paint(picture, width, height)


def rows_with_words(canvas: Frame) -> int:
    return int((canvas != GREY).any(axis=(1, 2)).sum())


@pytest.mark.parametrize(("width", "height"), [(360, 640), (240, 400), (640, 360), (1280, 720)])
def test_nothing_is_cut_off_in_a_narrow_window(width: int, height: int) -> None:
    for shown in (Shown(help=True), Shown(info=True), Shown()):
        if not (shown.settings.help or shown.settings.info):
            shown.controls.say("recorded holidays/camera-20261231-235959.mp4")
        canvas = shown.paint(width, height)
        assert rows_with_words(canvas) > 10
        assert (canvas[:, :4] == GREY).all()
        assert (canvas[:, -4:] == GREY).all()


def test_a_source_that_is_away_is_told_once() -> None:
    """As long as it is away, also where a notice has just said so."""
    shown = Shown()
    silent = shown.paint(960, 540, state="lost")
    shown.controls.report(Notice(AWAY, is_for_terminal=True))
    np.testing.assert_array_equal(shown.paint(960, 540, state="lost"), silent)
    assert rows_with_words(silent) > 10


def test_the_picture_is_as_large_as_it_will_go() -> None:
    shown = Shown()
    frame = numbered_frame(GREY)  # 64x48
    statistics = Monitor(lambda: 0.0).report(0, 0.0, (64, 48), (64, 48))
    canvas = shown.painter.paint(
        LivePicture(1, frame, frame, 0.0, shown.settings, "ink", "live", statistics), 1000, 300
    )
    assert shown.painter.area == (300, 0, 400, 300)
    assert (canvas[:, 300:700] == GREY).all()
    assert not canvas[:, :300].any()
    assert not canvas[:, 700:].any()
