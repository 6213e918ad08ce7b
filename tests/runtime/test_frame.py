"""What is no frame is told at once: taken for one it would give a picture that nobody meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stylize_video.effects.look import Look
from stylize_video.errors import StyleError, StylizeError
from stylize_video.frame import TimedFrame, as_frame, letterboxed, psnr
from stylize_video.jobs.pipeline import stylize_frames
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.styles.variants import open_session
from stylize_video.styles.working_size import WorkingSize
from stylize_video.stylizer import Stylizer
from support import draw_picture

PICTURE = draw_picture(0, 96, 64)
NO_FRAMES: list[tuple[Any, str]] = [
    (PICTURE.astype(np.float32) / 255, r"float32 \[64, 96, 3\]"),
    (PICTURE.astype(np.uint16), r"uint16 \[64, 96, 3\]"),
    (PICTURE[..., 0], r"uint8 \[64, 96\]"),
    (np.dstack([PICTURE, PICTURE[..., :1]]), r"uint8 \[64, 96, 4\]"),
    (PICTURE[None], r"uint8 \[1, 64, 96, 3\]"),
    (PICTURE.transpose(2, 0, 1), r"uint8 \[3, 64, 96\]"),
    (PICTURE[:0], r"uint8 \[0, 96, 3\]"),
    (PICTURE.tolist(), "list"),
    (None, "NoneType"),
]


@pytest.fixture(scope="module")
def session(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu", input_range=1)


@pytest.mark.parametrize(("picture", "got"), NO_FRAMES, ids=[got for _, got in NO_FRAMES])
def test_what_is_no_frame_is_refused(picture: Any, got: str, session: StyleSession) -> None:
    sentence = rf"^frames are uint8 \[H, W, 3\] BGR, got {got}$"
    for stylize in (
        session.stylize,
        Stylizer(session).stylize,
        Stylizer(session, working_size=WorkingSize(2.0)).stylize,
        Stylizer(session, Look(0)).stylize,
    ):
        with pytest.raises(StylizeError, match=sentence):
            stylize(picture)


def test_frames_are_told_apart_as_objects() -> None:
    frame = TimedFrame(0, PICTURE)
    assert {frame, TimedFrame(0, PICTURE)} - {frame}
    assert frame != TimedFrame(0, PICTURE)


@pytest.mark.parametrize(
    "view", [PICTURE[::-1], PICTURE[:, ::2], PICTURE[..., ::-1], np.asfortranarray(PICTURE)]
)
def test_views_are_frames(view: np.ndarray, session: StyleSession) -> None:
    assert as_frame(view) is view
    np.testing.assert_array_equal(session.stylize(view), 255 - view)


def test_what_opencv_reads_is_taken_as_it_is_typed(session: StyleSession, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE)
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None
    np.testing.assert_array_equal(session.stylize(picture), 255 - PICTURE)
    np.testing.assert_array_equal(Stylizer(session).stylize(picture), 255 - PICTURE)


@pytest.mark.parametrize("at_once", [1, 2])
def test_sequences_are_of_frames_with_time_stamps(at_once: int, invert_style: Path) -> None:
    session = StyleSession(Style.load(invert_style), "cpu", input_range=1, at_once=at_once)
    with pytest.raises(StylizeError, match=r"are TimedFrame\(pts, image\), got ndarray; .*single pictures"):
        list(stylize_frames([PICTURE], session))  # type: ignore[list-item]  # as mypy says, too
    frames = [TimedFrame(0, PICTURE), TimedFrame(1, PICTURE[..., 0])]
    with pytest.raises(StylizeError, match=r"got uint8 \[64, 96\]"):
        list(stylize_frames(frames, session))


@pytest.mark.parametrize(
    "numbers",
    [
        {"at_once": 0},
        {"at_once": -1},
        {"at_once": 1.5},
        {"at_once": 2000},
        {"at_once": "2"},
        {"threads": -1},
        {"threads": 20_000},
    ],
)
def test_numbers_out_of_range(numbers: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        StyleError, match=r"at_once is at least 1 and threads at least 0 .*at most 1024"
    ) as told:
        open_session("photo", device="cpu", **numbers)
    assert repr(next(iter(numbers.values()))) in str(told.value)
    assert not caplog.text  # it is no variant's fault


def test_whole_numbers_may_be_numpys() -> None:
    numbers: Any = {"threads": np.int64(1), "at_once": np.uint8(2)}
    assert open_session("photo", device="cpu", **numbers).at_once == 2


def test_words_that_mean_nothing() -> None:
    with pytest.raises(StyleError, match="unknown precision 'FP32'; there are auto, fp32, fp16, int8"):
        open_session("photo", device="cpu", precision="FP32")  # type: ignore[arg-type]  # as mypy says, too
    with pytest.raises(StylizeError, match="unknown device None"):
        open_session("photo", device=None)  # type: ignore[arg-type]  # as above
    with pytest.raises(StyleError, match=r"a style is what Style.load returns, got str"):
        StyleSession("photo")  # type: ignore[arg-type]  # as above


def test_measurements_of_nothing(session: StyleSession) -> None:
    with pytest.raises(StyleError, match="a measurement takes at least 1 run, got 0"):
        session.measure(32, 32, runs=0)
    for stylize in (session.prepare, session.measure):
        with pytest.raises(StyleError, match="frames of 5x-1 are too small"):
            stylize(-1, 5)


def test_styles_and_sessions_are_short_to_read(session: StyleSession) -> None:
    assert repr(session) == "<StyleSession invert (fp32) on cpu>"
    assert len(repr(session.style)) < 300
    assert {session.style: 1}[session.style] == 1


def test_likeness_in_decibels_depends_on_what_white_is() -> None:
    a = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(a, a) == float("inf")
    assert psnr(a, a + 1) == pytest.approx(20 * np.log10(255))
    assert psnr(a / np.float32(255), (a + 1) / np.float32(255), white=1) == pytest.approx(20 * np.log10(255))


def test_a_letterboxed_frame_keeps_its_proportions() -> None:
    white = np.full((30, 20, 3), 255, np.uint8)
    wide = letterboxed(white, 60, 100)
    assert wide.shape == (60, 100, 3)
    assert (wide[:, 30:70] == 255).all()
    assert not wide[:, :30].any()
    assert not wide[:, 70:].any()
    assert letterboxed(white, 30, 20) is white
