"""The command from the outside: what is started, and what is read of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stylize_video.bench.process import measure_process
from stylize_video.errors import StylizeError


@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_the_command_that_is_measured_has_the_precision_asked_for(
    precision: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="2048")

    monkeypatch.setattr("stylize_video.bench.process.subprocess.run", run)
    cost = measure_process(clip, Path("photo.onnx"), device="cpu", precision=precision)
    assert cost.peak_megabytes == 2
    assert all(command[command.index("--precision") + 1] == precision for command in commands)
    assert all("-P" in command[: command.index("-c")] for command in commands)


def test_no_code_of_the_working_folder_is_run(
    clip: Path, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize_video.bench.process._STARTS", 1)
    (tmp_path / "numpy.py").write_text("raise SystemExit('code of whoever made this folder')")
    monkeypatch.chdir(tmp_path)
    assert measure_process(clip, invert_style, device="cpu", frames=2).first_frame_seconds > 0


def test_memory_is_that_of_as_many_frames_as_were_measured(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> str:
        commands.append(command)
        return "2048"

    monkeypatch.setattr("stylize_video.bench.process._output_of", run)
    measure_process(clip, Path("photo.onnx"), device="cpu", frames=7)
    assert [command[-2:] for command in commands] == [["--max-frames", str(n)] for n in (1, 1, 1, 7)]


def test_a_command_that_fails_is_a_sentence(clip: Path) -> None:
    with pytest.raises(StylizeError, match=r"failed when it was measured: .*no style 'none'"):
        measure_process(clip, Path("none"), device="cpu")
