"""Whole videos: which style flickers, by how much, and what smoothing and cuts do to it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from scenes import Texture, noisy, write_frames
from stylize_video.errors import SourceError
from stylize_video.eval.measure import IDENTITY, Candidate, Evaluation, evaluate
from stylize_video.frame import Frame
from support import MakeClip


class Inverted:
    """A style that is as steady as its source."""

    def stylize(self, frame: Frame) -> Frame:
        return np.asarray(255 - frame, np.uint8)


class Flickering:
    """The inverted source with fresh noise in each frame."""

    def __init__(self, sigma: float) -> None:
        self.sigma, self.frames = sigma, 0

    def stylize(self, frame: Frame) -> Frame:
        self.frames += 1
        return noisy(np.asarray(255 - frame, np.uint8), self.sigma, seed=self.frames)


class Blurred(Flickering):
    """Steadier than what it blurs, by the blur."""

    def stylize(self, frame: Frame) -> Frame:
        return np.asarray(cv2.GaussianBlur(super().stylize(frame), (0, 0), 4), np.uint8)


@pytest.fixture(scope="module")
def panning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of a pan, off the stride and between pixels too."""
    frames = (np.asarray(Texture(2).at(2.5 * i, -1.25 * i) // 2 + 64, np.uint8) for i in range(12))
    return write_frames(tmp_path_factory.mktemp("pan") / "pan.mkv", frames)


@pytest.fixture(scope="module")
def evaluation(panning: Path) -> Evaluation:
    flicker = Flickering(12)
    return evaluate(
        panning,
        [
            Candidate("inverted", Inverted()),
            Candidate("flicker", flicker),
            Candidate("flicker, smooth", flicker, 0.5),
            Candidate("blurred", Blurred(12)),
        ],
    )


def errors(evaluation: Evaluation, name: str) -> tuple[float, float]:
    row = evaluation.rows[name]
    assert row.warping_error is not None
    assert row.long_range_error is not None
    return row.warping_error, row.long_range_error


def test_steady_styles_are_as_steady_as_the_source(evaluation: Evaluation) -> None:
    assert (evaluation.width, evaluation.height, evaluation.frames) == (160, 120, 12)
    assert errors(evaluation, IDENTITY)[0] < 1e-4
    assert errors(evaluation, "inverted") == pytest.approx(errors(evaluation, IDENTITY), rel=1e-6)
    assert evaluation.rows["inverted"].noise_gain == 1


def test_flicker_is_measured_near_and_far(evaluation: Evaluation) -> None:
    """Noise of 12 levels: twice its variance, of which interpolation between pixels takes a part."""
    steady, flickering = (errors(evaluation, name) for name in ("inverted", "flicker"))
    for before, after in zip(steady, flickering, strict=True):
        assert 0.5 < (after - before) / (2 * (12 / 255) ** 2) < 1.02
    gain = evaluation.rows["flicker"].noise_gain
    assert gain is not None
    assert gain == pytest.approx((1 + 6**2) ** 0.5, rel=0.1)  # noise of 2 levels in, 2 and 12 out


def test_smoothing_lowers_the_error_and_the_gain_and_keeps_sharpness(evaluation: Evaluation) -> None:
    smooth, rough = (evaluation.rows[name] for name in ("flicker, smooth", "flicker"))
    assert errors(evaluation, "flicker, smooth")[0] < 0.4 * errors(evaluation, "flicker")[0]
    assert (smooth.noise_gain or 9) < 0.6 * (rough.noise_gain or 0)
    assert smooth.sharpness > 0.9 * evaluation.rows["inverted"].sharpness


def test_blur_is_found_out(evaluation: Evaluation) -> None:
    assert errors(evaluation, "blurred")[0] < 0.1 * errors(evaluation, "flicker")[0]
    assert evaluation.rows["blurred"].sharpness < 0.8 * evaluation.rows[IDENTITY].sharpness


def test_sequences_can_be_compared_at_equal_sharpness(panning: Path, evaluation: Evaluation) -> None:
    """The sharper ones are blurred, a finished video and the source too."""
    candidates = [Candidate("blurred", Blurred(12)), Candidate("flicker", Flickering(12))]
    equal = evaluate(panning, candidates, stylized=panning, equal_sharpness=True).rows
    least = equal["blurred"].sharpness
    for name in (IDENTITY, "flicker", panning.name):
        assert equal[name].sharpness == pytest.approx(least, rel=0.05)
        assert equal[name].softened > 1
    assert equal["blurred"].softened == 0
    assert equal["flicker"].warping_error == pytest.approx(equal["blurred"].warping_error, rel=0.3)
    assert (equal["flicker"].noise_gain or 9) < 0.3 * (evaluation.rows["flicker"].noise_gain or 0)
    assert equal[IDENTITY].warping_error == pytest.approx(equal[panning.name].warping_error, rel=1e-6)
    assert 0 < (equal[IDENTITY].noise_gain or 0) < 0.3


def test_a_source_that_is_less_sharp_stays_as_it_is(panning: Path, evaluation: Evaluation) -> None:
    equal = evaluate(panning, [Candidate("flicker", Flickering(12))], equal_sharpness=True)
    assert equal.rows[IDENTITY] == evaluation.rows[IDENTITY]


def test_the_trace_has_one_point_for_each_frame(evaluation: Evaluation) -> None:
    points = evaluation.rows["flicker"].trace.points
    assert points[0] is None
    assert len(points) == 12
    known = [point for point in points if point is not None]
    assert sum(known) / 11 == pytest.approx(errors(evaluation, "flicker")[0])


def test_pairs_across_a_cut_do_not_count(tmp_path: Path) -> None:
    shots = [Texture(shot).at(i, 0) for shot in range(3) for i in range(7)]
    measured = evaluate(write_frames(tmp_path / "cut.mkv", shots))
    assert measured.cuts == [7, 14]
    row = measured.rows[IDENTITY]
    assert [i for i, point in enumerate(row.trace.points) if point is None] == [0, 7, 14]
    assert max(errors(measured, IDENTITY)) < 1e-4


def test_a_finished_video_is_measured_frame_for_frame(panning: Path, tmp_path: Path) -> None:
    """Also one whose encoder made an odd side even; a shorter one ends the comparison."""
    odd, short = (
        write_frames(
            tmp_path / f"odd{count}.mkv", (Texture(2).at(2 * i, i, width=99, height=61) for i in range(count))
        )
        for count in (6, 4)
    )
    made = [noisy(Texture(2).at(2 * i, i, width=100, height=62), 9, seed=i) for i in range(5)]
    measured = evaluate(odd, stylized=write_frames(tmp_path / "made.mkv", made))
    assert (measured.frames, measured.longer) == (5, IDENTITY)
    assert evaluate(short, stylized=tmp_path / "made.mkv").longer == "made.mkv"
    assert evaluate(short, stylized=tmp_path / "made.mkv", max_frames=4).longer is None
    row = measured.rows["made.mkv"]
    assert row.noise_gain is None
    assert row.long_range_error is None  # five frames have no pair five apart
    assert row.warping_error is not None
    assert 0.5 < row.warping_error / (2 * (9 / 255) ** 2) < 1.02
    with pytest.raises(SourceError, match=r"100x62, its source 160x120; both must have the same size"):
        evaluate(panning, stylized=tmp_path / "made.mkv")


@pytest.mark.parametrize("again", [False, True])
def test_progress_is_told_of_every_look_at_every_frame(again: bool, panning: Path) -> None:
    totals: list[int | None] = []
    done: list[None] = []
    evaluate(
        panning,
        [Candidate("inverted", Inverted())],
        max_frames=8,
        equal_sharpness=again,
        on_start=totals.append,
        on_frame=lambda: done.append(None),
    )
    assert totals == [len(done)] == [16 if again else 8]


def test_a_video_of_another_rate_is_found_out(make_clip: MakeClip, tmp_path: Path) -> None:
    """Frames are compared by their number; where their times go apart, they show other moments."""
    source = make_clip(tmp_path / "source.mp4", frames=9, sound=False)
    late = make_clip(tmp_path / "late.mp4", frames=9, pts=[90 + i for i in range(9)], sound=False)
    slow = make_clip(tmp_path / "slow.mp4", frames=9, pts=[2 * i for i in range(9)], sound=False)
    assert evaluate(source, stylized=late).apart is None, "it begins later, as a whole"
    measured = evaluate(source, stylized=slow)
    assert measured.apart == pytest.approx(8 / 30, abs=1e-3)
    assert evaluate(source, stylized=slow, max_frames=2).apart == pytest.approx(1 / 30, abs=1e-3)


def test_a_finished_video_may_be_called_anything(panning: Path, tmp_path: Path) -> None:
    """Also what the row of the source is called."""
    (tmp_path / "source").write_bytes(panning.read_bytes())
    rows = evaluate(panning, [Candidate("a", Inverted())], stylized=tmp_path / "source").rows
    assert list(rows) == [IDENTITY, str(tmp_path / "source"), "a"]


@pytest.mark.parametrize("size", [(8, 8), (64, 8), (8, 64)])
def test_frames_too_small_to_follow_are_a_sentence(size: tuple[int, int], tmp_path: Path) -> None:
    frames = [Texture(1).at(i, 0, width=size[0], height=size[1]) for i in range(3)]
    video = write_frames(tmp_path / "tiny.mkv", frames)
    with pytest.raises(SourceError, match=f"frames of {size[0]}x{size[1]} are too small"):
        evaluate(video)


def test_sharpness_cannot_be_made_equal_to_none(panning: Path, tmp_path: Path) -> None:
    flat = write_frames(tmp_path / "flat.mkv", [np.full((120, 160, 3), 90, np.uint8)] * 12)
    with pytest.raises(SourceError, match=r"flat\.mkv is too flat to compare at its sharpness: a would"):
        evaluate(panning, [Candidate("a", Inverted())], stylized=flat, equal_sharpness=True)


def test_one_frame_has_no_steadiness(tmp_path: Path) -> None:
    one = write_frames(tmp_path / "one.mkv", [Texture(1).at(0, 0)])
    with pytest.raises(SourceError, match="at least two frames"):
        evaluate(one)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 120):
        frames = (Texture(1).at(i % 9, 0, width=64, height=48) for i in range(count))
        path = write_frames(tmp_path / f"{count}.mkv", frames)
        evaluate(path, [Candidate("inverted", Inverted())], max_frames=8)  # what is loaded once
        tracemalloc.start()
        evaluate(path, [Candidate("inverted", Inverted())])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
