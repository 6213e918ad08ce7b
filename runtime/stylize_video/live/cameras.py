"""Cameras: which there are, how they are opened, and what to try where one does not open."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stylize_video.errors import SourceError
from stylize_video.live.capture import Read
from stylize_video.quiet import quiet_stderr

BACKENDS = {
    "auto": cv2.CAP_ANY,
    "v4l2": cv2.CAP_V4L2,
    "gstreamer": cv2.CAP_GSTREAMER,
    "dshow": cv2.CAP_DSHOW,
    "msmf": cv2.CAP_MSMF,
    "avfoundation": cv2.CAP_AVFOUNDATION,
}
"""OpenCV's ways to a camera, by the names that users type."""

_DEVICES = Path("/dev")
_DESCRIPTIONS = Path("/sys/class/video4linux")
_FIRST_INDICES = range(6)
_LONGEST_NUMBER = 9
"""Digits; what is longer does not fit into OpenCV's indices."""


@dataclass(frozen=True)
class CameraRequest:
    """What is wanted of a camera; None leaves it to the camera.

    ``size`` is width and height, ``pixel_format`` four letters such as MJPG.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None
    backend: str = "auto"

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise SourceError(f"unknown backend {self.backend!r}; there are {', '.join(BACKENDS)}")
        if self.pixel_format is not None and not re.fullmatch(r"[ -~]{4}", self.pixel_format):
            raise SourceError(
                f"pixel formats have four letters, such as MJPG or YUYV; got {self.pixel_format!r}"
            )
        if self.fps is not None and not self.fps > 0:
            raise SourceError(f"the camera's frame rate must be above 0, got {self.fps:g}")


@dataclass(frozen=True)
class Camera:
    """A camera of this machine."""

    index: int
    name: str
    path: str = ""


class CameraReader:
    """A camera, opened by OpenCV, frame after frame.

    Raises:
        SourceError: there is none, it is busy, or it gives no picture; the sentence says
            what to try.
    """

    live = True
    end: float | None = None

    def __init__(self, camera: int | str, request: CameraRequest) -> None:
        with quiet_stderr():  # OpenCV's backends print there what is one sentence here
            self._capture = cv2.VideoCapture(camera, BACKENDS[request.backend])
            if request.pixel_format:
                code = cv2.VideoWriter.fourcc(*request.pixel_format)
                self._capture.set(cv2.CAP_PROP_FOURCC, code)
            if request.size:
                self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.size[0])
                self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.size[1])
            if request.fps:
                self._capture.set(cv2.CAP_PROP_FPS, request.fps)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            # A busy camera opens and then gives nothing.
            opened, image = self._capture.read() if self._capture.isOpened() else (False, None)
        self._first: np.ndarray | None = image
        if not opened:
            self._capture.release()
            raise SourceError(camera_problem(camera))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 1 <= rate <= 1000 else None

    def read(self) -> Read | None:
        """The next frame, None once the camera is gone."""
        image, self._first = self._first, None
        came_at = time.perf_counter()
        if image is None:
            if not self._capture.grab():  # drivers keep a frame or a few, and drop what nobody takes
                return None
            came_at = time.perf_counter()
            read, image = self._capture.retrieve()  # which decodes
            if not read:
                return None
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return Read(np.asarray(image, np.uint8), age=time.perf_counter() - came_at)

    def close(self) -> None:
        self._capture.release()


def parse_camera(source: str) -> int | str | None:
    """The camera that ``source`` names, by its number or device; None where it names none.

    Raises:
        SourceError: no machine has a camera of that number.
    """
    if source.isdecimal():
        if len(source) > _LONGEST_NUMBER:
            raise SourceError(f"there is no camera {source}: see --list-cameras")
        return int(source)
    path = Path(source)
    is_device = path.is_char_device() or (source.startswith("/dev/") and not path.is_file())
    return source if is_device and sys.platform.startswith("linux") else None


def list_cameras(
    *, devices: Path = _DEVICES, descriptions: Path = _DESCRIPTIONS, platform: str = sys.platform
) -> list[Camera]:
    """The cameras of this machine, by index.

    Linux lists them unopened; elsewhere the first few are tried out.
    """
    if platform.startswith("linux"):
        found = []
        for path in devices.glob("video*"):
            number = path.name.removeprefix("video")
            if number.isdecimal() and _first_of_its_camera(descriptions / path.name):
                found.append(Camera(int(number), _described(descriptions / path.name), str(path)))
        return sorted(found, key=lambda camera: camera.index)
    return [Camera(index, f"camera {index}") for index in _FIRST_INDICES if _opens(index)]


def camera_problem(camera: int | str, *, devices: Path = _DEVICES, platform: str = sys.platform) -> str:
    """Why a camera did not open, and what to try, in one sentence."""
    if not platform.startswith("linux"):
        return (
            f"camera {camera} does not open: see --list-cameras, close other programs that use it,"
            " and allow this terminal to use the camera in the system's privacy settings"
        )
    path = devices / f"video{camera}" if isinstance(camera, int) else Path(camera)
    others = [str(c.index) for c in list_cameras(devices=devices, platform=platform)]
    if not path.exists():
        here = f"the cameras here are {', '.join(others)}" if others else "no camera is connected"
        return (
            f"there is no camera {camera} ({path} does not exist; {here}): plug it in, or name a file or URL"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return (
            f"{path} may not be used: add yourself to its group (sudo usermod -aG video $USER, log in again)"
        )
    return (
        f"{path} gives no picture: it is busy (close other programs that use it; fuser {path} names them),"
        " no camera, or needs another --pixel-format or --size"
    )


def _first_of_its_camera(description: Path) -> bool:
    """Whether this is the node that gives pictures; cameras have others, for metadata."""
    try:
        return (description / "index").read_text().strip() == "0"
    except OSError:
        return True


def _described(description: Path) -> str:
    try:
        return (description / "name").read_text().strip()
    except OSError:
        return "unnamed"


def _opens(index: int) -> bool:
    with quiet_stderr():
        capture = cv2.VideoCapture(index)
        opened = capture.isOpened()
        capture.release()
    return opened
