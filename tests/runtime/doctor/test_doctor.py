"""The doctor tries things, and its exit code can be relied on."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stylize_video.doctor import checks
from stylize_video.doctor.cli import stylize_doctor
from stylize_video.errors import DeviceError
from stylize_video.live.cameras import Camera
from stylize_video.styles.device import cuda_problem, missing_library
from stylize_video.video.hardware import HARDWARE
from stylize_video_assets.catalog import bundled_styles
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
        "photo int8 on cpu",
        "Extras",
    ):
        assert word in result.stdout
    assert "broken" not in result.stdout
    assert result.stderr == ""


@pytest.mark.skipif(cuda_problem() is None, reason="CUDA works here")
def test_cuda_asked_for_and_not_working(command_here: Command) -> None:
    result = command_here("stylize-doctor", "--device", "cuda")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == f"--device cuda does not work: {cuda_problem()}"


def test_an_unknown_device_ends_it_at_once(command_here: Command) -> None:
    result = command_here("stylize-doctor", "--device", "gpu")
    assert result.returncode == 2
    assert "unknown device 'gpu'" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("module", ["cv2", "av", "onnxruntime"])
def test_a_package_that_cannot_be_loaded_is_found_and_what_to_install(
    module: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenCV on a server; it answers otherwise when it is asked again."""
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text(
        "import sys\n"
        "again, sys.tried = hasattr(sys, 'tried'), True\n"
        "raise ImportError('asked again' if again else 'libGL.so.1: cannot open shared object file')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    result = command("stylize-doctor")
    assert result.returncode == 1
    assert result.stderr == ""
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    at = lines.index(f"broken {module} cannot be loaded: libGL.so.1: cannot open shared object file")
    assert "apt install libgl1" in lines[at + 1]
    assert f"broken codecs cannot be tried, as {module} cannot be loaded" in lines
    assert lines[-1] == f"--device auto does not work: {module} cannot be loaded"
    assert "asked again" not in result.stdout


def test_what_to_install_for_a_package_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ModuleNotFoundError("No module named 'av'", name="av")
    assert checks._to_load(gone) == "pip install --force-reinstall av"
    monkeypatch.setattr(checks, "package_versions", lambda: {"onnxruntime-gpu": "1"})
    assert checks._to_load(gone, "onnxruntime") == "pip install --force-reinstall onnxruntime-gpu"


def test_wrong_pixels_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.styles.golden.golden_problem", lambda _: "other pixels")
    variants = [finding for finding in checks.styles("cpu") if "--precision" not in finding.topic]
    assert len(variants) == 3 * len(bundled_styles())
    assert all(finding.state == "broken" for finding in variants)


@pytest.mark.parametrize("name", ["photo", "mosaic"])
@pytest.mark.parametrize("kind", ["fp32", "int8"])
@pytest.mark.parametrize("damage", ["cut off", "gone"])
def test_a_damaged_style_is_found(
    name: str, kind: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = []
    for style in bundled_styles():
        if style.name in ("photo", "mosaic"):
            for file in style.path.parent.glob(f"{style.name}.*onnx"):
                shutil.copy(file, tmp_path)
            copies.append(replace(style, path=tmp_path / style.path.name))
    damaged = tmp_path / (f"{name}.onnx" if kind == "fp32" else f"{name}.{kind}.onnx")
    damaged.write_bytes(damaged.read_bytes()[:50_000])
    if damage == "gone":
        damaged.unlink()
    monkeypatch.setattr(checks, "bundled_styles", lambda: copies)
    monkeypatch.setattr(checks, "find_bundled", lambda wanted: next(c for c in copies if c.name == wanted))
    broken = [finding for finding in checks.styles("cpu") if finding.state == "broken"]
    if damage == "gone" and kind != "fp32":
        assert not broken, "it works without, only slower"
    else:
        assert any(finding.topic.startswith(f"{name} {kind}") for finding in broken)
        assert all(finding.advice for finding in broken)


def test_a_missing_default_style_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "bundled_styles", list)
    monkeypatch.setattr(checks, "find_bundled", lambda _: None)
    assert [(f.topic, f.state) for f in checks.styles("cpu")] == [("photo", "broken")]


def test_a_damaged_catalogue_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "catalog_problem", lambda: "catalog.json is damaged")
    first = next(checks.styles("cpu"))
    assert (first.topic, first.state, first.fact) == ("catalogue", "broken", "catalog.json is damaged")


def test_whatever_is_wrong_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.video.hardware.why_not", lambda *_: "built without it")
    monkeypatch.setattr("stylize_video.styles.golden.golden_problem", lambda _: "other pixels")
    monkeypatch.setattr("stylize_video.live.cameras.list_cameras", list)
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    found = [finding for title in checks.TOPICS for finding in checks.examine(title, "cpu")]
    assert all(finding.advice for finding in found if finding.state != "ok")
    assert {f.state for f in found if f.topic in ("libx264", "libx265")} == {"broken", "missing"}


def test_what_is_missing_for_extras_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    both = {"opencv-python": "5", "opencv-python-headless": "5"}
    monkeypatch.setattr(checks, "package_versions", lambda: both)
    found = {finding.topic: finding for finding in checks.extras()}
    assert {finding.state for finding in found.values()} == {"missing"}
    assert found["torch"].advice == "pip install 'stylize-video[train]'"
    assert "torchvision" in found["torch"].fact
    assert "overwrite each other" in found["headless OpenCV"].fact


def test_every_encoder_of_a_graphics_chip_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, str]] = []

    def why_not(encoder: str, pixels: str) -> None:
        tried.append((encoder, pixels))

    monkeypatch.setattr("stylize_video.video.hardware.why_not", why_not)
    told = next(f for f in checks.codecs() if f.topic == "hardware encoders").fact.split(", ")
    wanted = [(f"{codec}_{maker}", h.pixels) for maker, h in HARDWARE.items() for codec in h.codecs]
    assert told == [encoder for encoder, _ in wanted]
    assert set(wanted) <= set(tried)


def test_names_of_cameras_do_not_reach_the_terminal_raw(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stylize_video.live.cameras.list_cameras", lambda: [Camera(0, "cam\x1b[31m")])
    monkeypatch.setattr(checks, "TOPICS", {"Windows and cameras": lambda _: checks.display()})
    stylize_doctor("cpu")
    out = capsys.readouterr().out
    assert r"0 cam\x1b[31m" in out
    assert "\x1b" not in out


def test_two_runtimes_at_once_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.machine.version", lambda _: "1.0")
    assert any("overwrite each other" in f.fact for f in checks.versions() if f.state == "broken")


def test_libraries_that_keep_a_provider_from_loading_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.styles.device.missing_library", lambda kind: f"lib{kind}.so.1")
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
    monkeypatch.setattr("stylize_video.styles.device.ort.__file__", str(tmp_path / "__init__.py"))
    named = missing_library("cuda")
    assert named
    assert "libonnxruntime_providers" in named


def test_every_gpu_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*_: object, device: str, precision: str = "auto") -> None:
        asked.append(device)
        raise DeviceError("no such GPU")

    monkeypatch.setattr("stylize_video.styles.device.cuda_problem", lambda: None)
    monkeypatch.setattr("stylize_video.styles.variants.open_session", refuse)
    findings = list(checks.styles("cuda:3"))
    assert set(asked) == {"cpu", "cuda:3"}
    assert all(f.state == "broken" and f.fact == "no such GPU" for f in findings)
