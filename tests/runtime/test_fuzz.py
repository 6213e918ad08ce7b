"""Damaged files: never a traceback, a crash, a file that is left, or ten seconds for nothing.

``pytest -m fuzz tests/runtime/test_fuzz.py`` runs thousands; by default there are some hundred.
A problem names its number, which is its seed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzzing.run import Report, fuzz
from fuzzing.seeds import style_seeds, video_seeds

SHORT, LONG = 150, 2500


@pytest.fixture
def seeds(kind: str, tmp_path: Path) -> Path:
    folder = tmp_path / "seeds"
    folder.mkdir()
    return (video_seeds if kind == "video" else style_seeds)(folder)


def run(kind: str, seeds: Path, style: Path, folder: Path, count: int) -> Report:
    folder.mkdir()
    report = fuzz(kind, seeds, folder, style, first=0, count=count)
    print(f"{count} damaged files of kind {kind}: {dict(report.states)}")
    assert not report.problems, "\n".join(report.problems)
    assert not list(folder.iterdir())
    # The damage has to be of a kind that gets past the first check, and is noticed often.
    assert report.states["done"] > count // 50
    assert report.states["refused"] > count // 10
    assert report.states.total() == count
    return report


@pytest.mark.parametrize("kind", ["video", "onnx"])
def test_some_damaged_files(kind: str, seeds: Path, invert_style: Path, tmp_path: Path) -> None:
    run(kind, seeds, invert_style, tmp_path / "work", SHORT)


@pytest.mark.fuzz
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["video", "onnx"])
def test_thousands_of_damaged_files(
    kind: str, seeds: Path, invert_style: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "fuzz" not in request.config.getoption("-m"):
        pytest.skip("the long run: pytest -m fuzz")
    run(kind, seeds, invert_style, tmp_path / "work", LONG)


def test_the_watch_itself(invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies or hangs is told, and the files behind it still run."""
    monkeypatch.setattr("fuzzing.run.SECONDS", 2)
    work, seeds = tmp_path / "work", tmp_path / "seeds"
    work.mkdir()
    seeds.mkdir()
    (seeds / "a.onnx").write_bytes(invert_style.read_bytes())
    report = fuzz("misbehave", seeds, work, invert_style, first=0, count=4)
    assert report.states == {"done": 1, "crash": 1, "hang": 1, "bug": 1}
    kinds = " ".join(sorted(report.problems))
    for sign in ("the process ended with -6", "took longer than 2 s", "ZeroDivisionError", "left ['2.onnx"):
        assert sign in kinds
    assert not list(work.iterdir())
