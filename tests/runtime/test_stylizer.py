"""What the stylizer remembers between frames, and what makes it forget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scenes import Texture
from stylize_video.effects.look import Look
from stylize_video.errors import StylizeError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.jobs.pipeline import stylize_frames
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.stylizer import Stylizer
from support import draw_picture


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


class Flicker:
    """A network whose every pixel jumps from frame to frame though its input stays."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def stylize(self, frame: Frame) -> Frame:
        return self._rng.integers(80, 176, frame.shape, np.uint8)


STILL = draw_picture(0, 96, 64)


def spread(frames: list[Frame]) -> float:
    """How much a sequence changes from frame to frame, in levels of 255, once it has settled."""
    return float(np.abs(np.diff(np.stack(frames[10:]).astype(int), axis=0)).mean())


def test_without_smoothing_frames_are_on_their_own(invert: StyleSession) -> None:
    stylizer = Stylizer(invert)
    for index in (0, 5, 2):
        frame = draw_picture(index, 96, 64)
        np.testing.assert_array_equal(stylizer.stylize(frame), invert.stylize(frame))


def test_smoothing_holds_what_flickers() -> None:
    free, held, half = (
        spread([stylizer.stylize(STILL) for _ in range(40)])
        for stylizer in (Stylizer(Flicker()), Stylizer(Flicker(), smooth=1), Stylizer(Flicker(), smooth=0.5))
    )
    assert held < 0.2 * free
    assert held < half < 0.6 * free


def test_a_reset_forgets(invert: StyleSession) -> None:
    stylizer = Stylizer(Flicker(), smooth=1)
    for _ in range(3):
        stylizer.stylize(STILL)
    stylizer.reset()
    stylizer.session = invert
    np.testing.assert_array_equal(stylizer.stylize(STILL), invert.stylize(STILL))


def test_another_session_starts_without_a_past(invert: StyleSession) -> None:
    stylizer = Stylizer(Flicker(), smooth=1)
    stylizer.stylize(STILL)
    stylizer.session = invert
    np.testing.assert_array_equal(stylizer.stylize(STILL), invert.stylize(STILL))


def test_smoothing_switched_off_and_on_again_starts_without_a_past(invert: StyleSession) -> None:
    stylizer = Stylizer(invert, smooth=1)
    stylizer.stylize(STILL)
    stylizer.smooth = 0
    stylizer.stylize(STILL // 2)
    stylizer.smooth = 1
    dark = STILL // 3
    np.testing.assert_array_equal(stylizer.stylize(dark), invert.stylize(dark))


def test_a_look_counts_from_the_next_frame_on(invert: StyleSession) -> None:
    stylizer = Stylizer(invert, smooth=1)
    stylizer.stylize(STILL)
    stylizer.look = Look(0)
    np.testing.assert_array_equal(stylizer.stylize(STILL), STILL)
    stylizer.look = Look(0.5)
    mixed = stylizer.stylize(STILL).astype(float)
    assert np.abs(mixed - (STILL.astype(float) + invert.stylize(STILL)) / 2).max() <= 1


def test_the_size_may_change(invert: StyleSession) -> None:
    stylizer = Stylizer(invert, smooth=1)
    for width, height in ((96, 64), (64, 96), (16, 16), (331, 17)):
        frame = draw_picture(0, width, height)
        np.testing.assert_array_equal(stylizer.stylize(frame), invert.stylize(frame))
        assert stylizer.stylize(frame).shape == frame.shape


@pytest.mark.parametrize("amount", [-0.1, 1.01, float("nan")])
def test_smoothing_out_of_range(amount: float, invert: StyleSession) -> None:
    with pytest.raises(StylizeError, match="between 0"):
        Stylizer(invert, smooth=amount)


def test_files_go_through_it_with_their_time_stamps(invert: StyleSession) -> None:
    frames = [TimedFrame(7 * i, draw_picture(i, 96, 64)) for i in range(4)]
    alone = Stylizer(invert, smooth=0.5)
    for frame, stylized in zip(frames, stylize_frames(frames, invert, smooth=0.5), strict=True):
        assert stylized.pts == frame.pts
        np.testing.assert_array_equal(stylized.image, alone.stylize(frame.image))


@pytest.mark.parametrize("at_once", [1, 2])
def test_one_buffer_may_hold_one_frame_after_the_other(at_once: int, invert_style: Path) -> None:
    """Cameras fill the same memory again and again."""
    session = StyleSession(Style.load(invert_style), "cpu", at_once=at_once)
    buffer, transparency = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)

    def capture() -> Iterator[TimedFrame]:
        for number in range(6):
            buffer[:] = transparency[:] = 40 * number
            yield TimedFrame(number, buffer, transparency)

    levels = list(range(0, 240, 40))
    for look, expected in ((Look(), [255 - level for level in levels]), (Look(0), levels)):
        shown = list(stylize_frames(capture(), session, look))
        assert [int(frame.image.mean()) for frame in shown] == expected
        assert [int(frame.alpha.mean()) for frame in shown if frame.alpha is not None] == levels


def test_any_network_stylizes_sequences() -> None:
    frames = [TimedFrame(number, STILL) for number in range(3)]
    shown = list(stylize_frames(frames, Flicker()))
    assert [frame.pts for frame in shown] == [0, 1, 2]
    assert 80 <= shown[0].image.min() <= shown[0].image.max() < 176


def test_nothing_bleeds_across_a_cut(invert: StyleSession) -> None:
    """Five shots: the first frame of each is what it would be without smoothing."""
    stylizer = Stylizer(invert, smooth=1)
    for shot in range(5):
        for index in range(4):
            frame = Texture(shot).at(index, 0)
            stylized = stylizer.stylize(frame)
            if index == 0:
                np.testing.assert_array_equal(stylized, invert.stylize(frame))
