"""Which cameras there are, and what is said where one does not open."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stylize_video.errors import SourceError
from stylize_video.live.cameras import (
    Camera,
    CameraReader,
    CameraRequest,
    camera_problem,
    list_cameras,
    parse_camera,
)
from stylize_video.video.source import VideoSource


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """The folders /dev and /sys/class/video4linux of a machine with two cameras of two nodes each."""
    devices, descriptions = tmp_path / "dev", tmp_path / "sys"
    for number, name, index in ((0, "HD Webcam", 0), (1, "HD Webcam", 1), (10, "Capture", 0), (2, "", 0)):
        devices.mkdir(exist_ok=True)
        (devices / f"video{number}").write_text("")
        if name:
            (descriptions / f"video{number}").mkdir(parents=True)
            (descriptions / f"video{number}" / "name").write_text(f"{name}\n")
            (descriptions / f"video{number}" / "index").write_text(f"{index}\n")
    (devices / "videodriver").write_text("")
    return devices, descriptions


def test_a_camera_gives_each_frame_and_its_age_with_decoding(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV takes a file for a camera too."""

    class SlowToDecode:
        """Has one: a subclass would spoil the memory of Python's garbage collector."""

        def __init__(self, *arguments: Any) -> None:
            self._capture = capture(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._capture, name)

        def retrieve(self) -> Any:
            time.sleep(0.02)
            return self._capture.retrieve()

    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", SlowToDecode)
    reader = CameraReader(str(clip), CameraRequest())
    with VideoSource(clip) as video:
        for number, frame in enumerate(video):
            item = reader.read()
            assert item is not None
            np.testing.assert_array_equal(item.image, frame.image)
            assert number == 0 or item.age >= 0.02
    assert reader.read() is None
    reader.close()


def test_cameras_are_listed_by_index_with_their_names(machine: tuple[Path, Path]) -> None:
    devices, descriptions = machine
    assert list_cameras(devices=devices, descriptions=descriptions, platform="linux") == [
        Camera(0, "HD Webcam", str(devices / "video0")),
        Camera(2, "unnamed", str(devices / "video2")),
        Camera(10, "Capture", str(devices / "video10")),
    ]


def test_a_camera_that_is_absent_names_those_that_are_there(machine: tuple[Path, Path]) -> None:
    devices, _ = machine
    problem = camera_problem(7, devices=devices, platform="linux")
    assert "there is no camera 7" in problem
    assert "the cameras here are 0, " in problem
    empty = camera_problem(7, devices=devices / "none", platform="linux")
    assert "no camera is connected" in empty
    assert "plug it in" in empty


def test_a_camera_that_gives_nothing_is_called_busy(machine: tuple[Path, Path]) -> None:
    devices, _ = machine
    problem = camera_problem(0, devices=devices, platform="linux")
    assert "busy" in problem
    assert f"fuser {devices / 'video0'}" in problem


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may use every device")
def test_a_camera_that_may_not_be_used(machine: tuple[Path, Path]) -> None:
    devices, _ = machine
    (devices / "video0").chmod(0)
    assert "usermod -aG video" in camera_problem(0, devices=devices, platform="linux")


@pytest.mark.parametrize("number", ["9999999999", "9" * 5000])
def test_a_number_that_no_camera_has(number: str) -> None:
    with pytest.raises(SourceError, match=f"there is no camera {number}"):
        parse_camera(number)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cameras are no files here")
def test_cameras_are_numbers_and_devices() -> None:
    assert parse_camera("0") == 0
    assert parse_camera("/dev/video9") == "/dev/video9"
    for other in ("clip.mp4", "rtsp://host/stream", "-1", "1.5"):
        assert parse_camera(other) is None
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as in_memory:
        assert parse_camera(in_memory.name) is None


def test_elsewhere_privacy_settings_are_named() -> None:
    assert "privacy settings" in camera_problem(0, platform="darwin")


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"backend": "webcam"}, "unknown backend 'webcam'; there are auto, v4l2"),
        ({"pixel_format": "JPEG2000"}, "four letters"),
        ({"fps": 0.0}, "above 0"),
    ],
)
def test_requests_that_make_no_sense(request_: dict[str, object], sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        CameraRequest(**request_)  # type: ignore[arg-type]
