"""The picture as a camera that other programs can choose: meetings, OBS, browsers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from stylize_video.errors import SinkError
from stylize_video.frame import letterboxed
from stylize_video.live.controls import Controls
from stylize_video.live.picture import LivePicture

_USUAL_FPS = 30.0
_WAYS = {
    "linux": "sudo apt install v4l2loopback-dkms && sudo modprobe v4l2loopback exclusive_caps=1",
    "win32": "install OBS Studio, which brings one",
    "darwin": "install OBS Studio and start its virtual camera once",
}


class VirtualCamera:
    """Sends every new picture to a virtual camera, as large as the first one; others are fitted into that.

    Args:
        controls: where the camera's name is reported.
        fps: what the camera promises.

    Raises:
        SinkError: pyvirtualcam is not installed.
    """

    def __init__(self, controls: Controls, *, fps: float | None = None) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise SinkError(
                "--virtual-camera needs pyvirtualcam: pip install 'stylize-video[live]'"
            ) from error
        self._library: Any = pyvirtualcam
        self._controls, self._fps = controls, fps or _USUAL_FPS
        self._camera: Any = None
        self._shown = 0

    def show(self, picture: LivePicture) -> None:
        """Send a picture that is new.

        Raises:
            SinkError: there is no virtual camera; the sentence says how to make one.
        """
        if picture.number == self._shown:
            return
        self._shown = picture.number
        image = picture.image
        if self._camera is None:
            self._open(width=image.shape[1], height=image.shape[0])
        self._camera.send(np.ascontiguousarray(letterboxed(image, self._camera.height, self._camera.width)))

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _open(self, *, width: int, height: int) -> None:
        try:
            self._camera = self._library.Camera(width, height, self._fps, fmt=self._library.PixelFormat.BGR)
        except (RuntimeError, ValueError) as error:
            way = _WAYS.get(sys.platform, "see pyvirtualcam's documentation")
            raise SinkError(f"there is no virtual camera to send to: {way}") from error
        self._controls.say(f"the virtual camera is {self._camera.device}")
