"""The doctor tries things, and its exit code can be relied on."""

from __future__ import annotations

import pytest

from stylize_video.doctor import checks
from stylize_video.session import cuda_problem
from support import Command


def test_a_healthy_machine(command: Command) -> None:
    result = command("stylize-doctor", "--device", "cpu")
    assert result.returncode == 0, result.stdout
    for word in ("onnxruntime", "opencv-python", "libx264", "golden pair right", "fps", "cameras", "on cpu"):
        assert word in result.stdout
    assert "broken" not in result.stdout


@pytest.mark.skipif(cuda_problem() is None, reason="CUDA works here")
def test_cuda_asked_for_and_not_working(command: Command) -> None:
    result = command("stylize-doctor", "--device", "cuda")
    assert result.returncode == 1
    assert "--device cuda does not work" in result.stdout
    problem = cuda_problem()
    assert problem
    assert problem in result.stdout


def test_an_unknown_device(command: Command) -> None:
    result = command("stylize-doctor", "--device", "gpu")
    assert result.returncode == 1
    assert "unknown device 'gpu'" in result.stdout


def test_wrong_pixels_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "golden_problem", lambda _: "other pixels")
    assert all(finding.state == "broken" for finding in checks.runs("cpu"))


def test_two_runtimes_at_once_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "version", lambda _: "1.0")
    assert any("overwrite each other" in f.fact for f in checks.versions() if f.state == "broken")


def test_an_encoder_that_is_not_there() -> None:
    assert checks._encodes("libx264")
    assert not checks._encodes("no_such_encoder")
