"""The doctor tries things, and its exit code can be relied on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stylize_video.doctor import checks
from stylize_video.errors import DeviceError
from stylize_video.session import cuda_problem, missing_library
from support import Command


def test_a_healthy_machine(command: Command) -> None:
    result = command("stylize-doctor", "--device", "cpu")
    assert result.returncode == 0, result.stdout
    for word in (
        "onnxruntime",
        "opencv-python",
        "libx264",
        "golden pair right",
        "fps",
        "cameras",
        "on cpu",
        "auto on cpu",
    ):
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
    variants = [finding for finding in checks.runs("cpu") if "--precision" not in finding.topic]
    assert variants
    assert all(finding.state == "broken" for finding in variants)


def test_two_runtimes_at_once_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "version", lambda _: "1.0")
    assert any("overwrite each other" in f.fact for f in checks.versions() if f.state == "broken")


def test_libraries_that_keep_a_provider_from_loading_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "missing_library", lambda kind: f"lib{kind}.so.1")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["TensorrtExecutionProvider"])
    finding = next(f for f in checks.providers() if f.topic == "Tensorrt provider")
    assert finding.state == "missing"
    assert "libtensorrt.so.1 could not be loaded" in finding.fact


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")
def test_a_missing_library_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared library that needs one which is not there."""
    assert missing_library("none_such") is None
    (tmp_path / "capi").mkdir()
    broken = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
    broken.write_bytes(b"no library at all")
    monkeypatch.setattr("stylize_video.session.ort.__file__", str(tmp_path / "__init__.py"))
    named = missing_library("cuda")
    assert named
    assert "libonnxruntime_providers" in named


def test_every_gpu_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*_: object, device: str, precision: str = "auto") -> None:
        asked.append(device)
        raise DeviceError("no such GPU")

    monkeypatch.setattr(checks, "cuda_problem", lambda: None)
    monkeypatch.setattr(checks, "open_session", refuse)
    findings = list(checks.runs("cuda:3"))
    assert set(asked) == {"cpu", "cuda:3"}
    assert all(f.state == "broken" and f.fact == "no such GPU" for f in findings)


def test_an_encoder_that_is_not_there() -> None:
    assert checks._encodes("libx264")
    assert not checks._encodes("no_such_encoder")
