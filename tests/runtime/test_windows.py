"""What Windows lacks or refuses is no part of an ordinary job. It is acted out in the commands' processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stylize_video.resuming.journal import journal_path
from support import ROOT, Command, MakeClip, command_line, draw_picture


@pytest.fixture
def on_windows(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """As ``command``, but every process that is started believes that it runs on Windows."""
    if os.name != "nt":
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/acted_windows"), prepend=os.pathsep)
    return command


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import os; file = open('x', 'w'); os.unlink('x')", "PermissionError"),
        ("import os; file = open('x', 'w'); open('y', 'w').close(); os.replace('y', 'x')", "PermissionError"),
        ("import fcntl", "ModuleNotFoundError"),
        ("import signal; signal.SIGHUP", "AttributeError"),
    ],
)
def test_it_is_acted_well(program: str, error: str, on_windows: Command, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"{error}: " in done.stderr


def test_a_video(on_windows: Command, clip: Path, tmp_path: Path) -> None:
    done = on_windows("stylize-video", clip, "-o", tmp_path / "größer.mp4", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert frames_of(tmp_path / "größer.mp4") == 12
    assert [path.name for path in tmp_path.iterdir()] == ["größer.mp4"]
    again = on_windows("stylize-video", clip, "-o", tmp_path / "größer.mp4", "-y", "-q", "--device", "cpu")
    assert (again.returncode, again.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["größer.mp4"]


def test_a_batch_goes_on(on_windows: Command, clip: Path, make_clip: MakeClip, tmp_path: Path) -> None:
    clips, results = tmp_path / "clips", tmp_path / "results"
    clips.mkdir()
    results.mkdir()
    shutil.copy(clip, clips / "a.mp4")
    make_clip(clips / "b.mp4", frames=400, width=320, height=240)
    batch = [clips, "-o", results, "--resume", "--device", "cpu"]
    journal = journal_path(results / "b.photo.mp4")
    first = subprocess.Popen([*command_line("stylize_video.cli:main"), *map(str, batch)])
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.stat().st_size < 60_000:
        assert time.monotonic() < deadline, f"{journal} does not grow"
        time.sleep(0.02)
    first.kill()
    first.wait(timeout=30)
    done = on_windows("stylize-video", *batch)
    assert done.returncode == 0, done.stderr
    assert "a.photo.mp4 is there already" in done.stderr
    assert "going on after " in done.stderr
    assert [frames_of(results / name) for name in ("a.photo.mp4", "b.photo.mp4")] == [12, 400]
    assert sorted(path.name for path in results.iterdir()) == ["a.photo.mp4", "b.photo.mp4"]


def test_numbered_pictures(on_windows: Command, invert_style: Path, tmp_path: Path) -> None:
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"in_{index}.png"), draw_picture(index, 48, 32))
    arguments = [tmp_path / "in_%d.png", "-s", invert_style, "-o", tmp_path / "out/%d.png", "--device", "cpu"]
    done = on_windows("stylize-video", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4
    stylized = np.asarray(cv2.imread(str(tmp_path / "out/2.png")))
    np.testing.assert_array_equal(stylized, 255 - draw_picture(2, 48, 32))


def test_a_benchmark(on_windows: Command, clip: Path, invert_style: Path, tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    done = on_windows(
        "stylize-bench", clip, "-s", invert_style, "--size", "64x48", "--frames", 3, "--rounds", 1,
        "--seconds", 0.1, "--device", "cpu", "--json", report,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["sizes"][0]["command"]["first_frame_seconds"] > 0


def test_a_doctor(on_windows: Command) -> None:
    done = on_windows("stylize-doctor", "--device", "cpu")
    assert done.returncode == 0, done.stdout
    assert "golden pair right" in done.stdout


def test_what_a_code_page_lacks_is_written_out(
    on_windows: Command, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp437")
    style = tmp_path / "\u0152uvre \u2192.onnx"
    shutil.copy(invert_style, style)
    done = on_windows("export-onnx", "--show", style)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u0152uvre \\u2192.onnx" in done.stdout


@pytest.mark.usefixtures("on_windows")
def test_tests_are_found() -> None:
    """What some of them need of POSIX they look for when they run, and skip with the reason."""
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", str(ROOT / "tests/runtime")]
    done = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout
