"""``stylize-eval`` as a command: the table, JSON, the plot, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from scenes import Texture, noisy, write_frames
from stylize_video.eval.cli import stylize_eval
from stylize_video.eval.plot import plot
from stylize_video.eval.trace import Trace
from support import Command, MakeClip, save_style


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = (Texture(4).at(2 * i, i, width=96, height=64) for i in range(8))
    return write_frames(tmp_path_factory.mktemp("eval") / "clip.mkv", frames)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "still.png"
    cv2.imwrite(str(path), Texture(4).at(0, 0, width=300, height=200))
    return path


@pytest.fixture(scope="module")
def pale_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style of half the contrast, and so of half the sharpness."""
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[range(3), range(3), 1, 1] = 0.5
    return save_style(tmp_path_factory.mktemp("style") / "pale.onnx", weight, np.full(3, 0.25, np.float32))


def test_styles_baselines_and_a_finished_video_in_one_table(
    command_here: Command, source: Path, invert_style: Path, swap_style: Path, tmp_path: Path
) -> None:
    shaky = (noisy(Texture(4).at(2 * i, i, width=96, height=64), 9, seed=i) for i in range(8))
    finished = write_frames(tmp_path / "shaky.mkv", shaky)
    result = command_here(
        "stylize-eval", source, finished, "--style", invert_style, "--smooth", 0.5, "--smooth", 1,
        "--baseline", swap_style, "--device", "cpu",
        "--json", tmp_path / "e.json", "--plot", tmp_path / "e.png",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    facts = json.loads((tmp_path / "e.json").read_text())
    names = [
        "source", "shaky.mkv", "swap (fp32)", "invert (fp32)", "invert (fp32), smooth 0.5",
        "invert (fp32), smooth 1",
    ]  # fmt: skip
    assert list(facts["rows"]) == names
    lines = result.stdout.splitlines()
    assert lines[0] == "clip.mkv: 8 frames of 96x64, 0 cuts"
    assert not any("longer" in line for line in lines)
    for name in names:
        row = next(line for line in lines if line.startswith(f"{name} "))
        assert f"{facts['rows'][name]['warping_error']:.6f}" in row
    assert "first: swap (fp32)" in lines
    assert any("do not compare their rows" in line for line in lines)
    assert not any(line.startswith("warning") for line in lines)
    assert facts["rows"]["shaky.mkv"]["warping_error"] > 10 * facts["rows"]["source"]["warping_error"]
    assert len(facts["rows"]["source"]["trace"]["warping_error"]) == 8
    picture = cv2.imread(str(tmp_path / "e.png"))
    assert picture is not None
    assert picture.shape[1] == 1000


def test_a_picture_moves_and_sharpness_can_be_made_equal(
    command_here: Command, still: Path, invert_style: Path, pale_style: Path, tmp_path: Path
) -> None:
    result = command_here(
        "stylize-eval", still, "-s", invert_style, "-s", pale_style, "--equal-sharpness",
        "--max-frames", 6, "--device", "cpu", "--json", tmp_path / "e.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("still.png: 6 frames of 640x360, 0 cuts\n")
    rows = json.loads((tmp_path / "e.json").read_text())["rows"]
    blur = rows["invert (fp32)"]["softened"]
    assert f"invert (fp32) was blurred by {blur:.2f} pixels, for equal sharpness" in result.stdout
    assert rows["pale (fp32)"]["softened"] == 0
    assert "is less sharp" not in result.stdout


def test_styles_of_one_name_have_rows_of_their_own(
    command_here: Command, source: Path, invert_style: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "photo.onnx"
    shutil.copy(invert_style, mine)
    result = command_here(
        "stylize-eval", source, "-s", mine, "-s", "photo", "--precision", "fp32", "--max-frames", 3
    )
    assert result.returncode == 0, result.stderr
    rows = [line.split(" (fp32)")[0] for line in result.stdout.splitlines() if " (fp32) " in line]
    assert rows[0] == "photo"
    assert rows[1].endswith("/styles/photo.onnx")


def test_a_style_that_is_named_twice_has_one_row(
    command_here: Command, source: Path, invert_style: Path, tmp_path: Path
) -> None:
    result = command_here(
        "stylize-eval", source, "--baseline", invert_style, "-s", invert_style, "-s", invert_style,
        "--smooth", 0.5, "--max-frames", 3, "--device", "cpu", "--json", tmp_path / "e.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "e.json").read_text())["rows"]
    assert list(rows) == ["source", "invert (fp32)", "invert (fp32), smooth 0.5"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["CLIP"], "there is nothing to measure"),
        (["missing.mp4", "-s", "photo"], "the video missing.mp4 does not exist"),
        (["CLIP", "missing.mp4"], "the video missing.mp4 does not exist"),
        (["CLIP", "CLIP", "--smooth", "0.5"], "--smooth goes with --style"),
        (["CLIP", "-s", "photo", "--smooth", "2"], "smooth must be between 0"),
        (["CLIP", "-s", "foto"], "no style 'foto'"),
        (["CLIP", "--baseline", "foto"], "no style 'foto'"),
        (["STILL", "CLIP"], "is a picture; a finished video is measured beside its source video"),
        (["CLIP", "CLIP", "--plot", "e.jpg"], "plots are PNG files"),
        (["CLIP", "CLIP", "--json", "nowhere/e.json"], "the folder nowhere does not exist"),
        (["CLIP", "CLIP", "--json", "CLIP"], "is one of the inputs; name another file with --json"),
        (["STILL", "-s", "photo", "--plot", "STILL"], "is one of the inputs; name another file with --plot"),
        (["CLIP", "-s", "STYLE", "--json", "STYLE"], "is one of the inputs; name another file with --json"),
        (["CLIP", "CLIP", "--json", "e.png", "--plot", "e.png"], "--json and --plot both name e.png"),
        ([".", "-s", "photo"], ". is a folder; name one video"),
        (["%05d.png", "-s", "photo"], "stands for numbered pictures; make a video of them first"),
        (["/dev/null", "-s", "photo"], "/dev/null is no file"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    sentence: str,
    command_here: Command,
    source: Path,
    still: Path,
    invert_style: Path,
    tmp_path: Path,
) -> None:
    places = {"CLIP": str(source), "STILL": str(still), "STYLE": str(invert_style)}
    result = command_here("stylize-eval", *[places.get(a, a) for a in arguments], cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_is_called_does_not_reach_the_terminal_raw(
    command_here: Command, source: Path, invert_style: Path, tmp_path: Path
) -> None:
    clip, style = tmp_path / "clip\x1b[31m.mkv", tmp_path / "in\x1b[2Jvert.onnx"
    shutil.copy(source, clip)
    shutil.copy(invert_style, style)
    result = command_here("stylize-eval", clip, clip, "-s", style, "--max-frames", 3)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert r"clip\x1b[31m.mkv: 3 frames" in result.stdout
    assert r"in\x1b[2Jvert (fp32)" in result.stdout


def test_a_style_that_crashes_is_tried_out_elsewhere(
    source: Path, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []
    monkeypatch.setattr("stylize_video.styles.guard.try_out", tried.append)
    style = shutil.copy(invert_style, tmp_path / "mine.onnx")
    stylize_eval(source, style=[str(style)], baseline=["photo"], max_frames=2, quiet=True)
    assert style in tried


def test_files_are_written_before_anything_is_printed(
    source: Path, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", refuse)
    with pytest.raises(SystemExit):
        stylize_eval(source, style=[str(invert_style)], max_frames=2, quiet=True, json_file=tmp_path / "e")
    assert json.loads((tmp_path / "e").read_text())["frames"] == 2


def test_a_video_made_at_another_rate_is_warned_of(
    command_here: Command, make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=6, sound=False)
    slow = make_clip(tmp_path / "slow.mp4", frames=6, pts=[2 * i for i in range(6)], sound=False)
    result = command_here("stylize-eval", clip, slow, "--json", tmp_path / "e.json")
    assert "warning: slow.mp4 runs up to 0.17 s apart from clip.mp4" in result.stdout
    assert json.loads((tmp_path / "e.json").read_text())["seconds_apart"] == pytest.approx(5 / 30, abs=1e-3)


def curve(*points: float | None) -> Trace:
    return Trace(points=list(points))


def drawn(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows in which a curve lies, and the columns, below the legend and beside the labels."""
    there = (picture[70:, 95:980] == colour).all(-1)
    rows = np.flatnonzero(there.sum(1) > 100)
    return rows, np.flatnonzero(there[rows].any(0))


def test_curves_lie_where_their_values_are_and_break_at_cuts() -> None:
    picture = plot({"one": curve(None, *[1e-3] * 9), "two": curve(None, *[5e-4] * 4, None, *[5e-4] * 4)})
    (high, unbroken), (low, broken) = (drawn(picture, c) for c in ((120, 120, 120), (40, 40, 210)))
    assert high.max() < low.min()  # larger errors are higher up
    assert np.diff(unbroken).max() == 1
    assert np.diff(broken).max() > 100


def test_every_curve_has_a_colour_of_its_own() -> None:
    picture = plot({str(number): curve(None, 1e-3) for number in range(20)})
    samples = [picture[40 + 22 * number - 5, 100].tolist() for number in range(20)]
    assert len({tuple(sample) for sample in samples}) == 20


def test_a_shot_of_two_frames_can_be_seen() -> None:
    without, with_one = (plot({"one": curve(None, 1e-3, None, *more)}) for more in ([None], [5e-4]))
    assert (without != with_one).any(-1).sum() > 9


@pytest.mark.parametrize("points", [[], [None], [None, 0.0], [None, 1e-9], [None, 0.7] * 3])
def test_any_curve_can_be_drawn(points: list[float | None]) -> None:
    assert plot({"one": curve(*points)}).any()
