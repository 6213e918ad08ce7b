"""The virtual camera gets every picture once; where there is none, one is told how to make it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from live_support import numbered_frame
from stylize_video.errors import SinkError
from stylize_video.frame import Frame
from stylize_video.live.controls import Controls, Settings
from stylize_video.live.picture import LivePicture
from stylize_video.live.statistics import Monitor
from stylize_video.live.virtual_camera import VirtualCamera

pyvirtualcam = pytest.importorskip("pyvirtualcam")


class Recording:
    """A backend of pyvirtualcam that keeps what it is sent."""

    sent: list[tuple[int, int, np.ndarray]] = []  # noqa: RUF012  # emptied by each test
    closed = 0

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: Any) -> None:
        self._size = (width, height)

    def send(self, frame: np.ndarray) -> None:
        self.sent.append((*self._size, np.array(frame).reshape(self._size[1], self._size[0], 3)))

    def close(self) -> None:
        type(self).closed += 1

    def device(self) -> str:
        return "a test's camera"

    def native_fourcc(self) -> None:
        return None


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> type[Recording]:
    monkeypatch.setattr("pyvirtualcam.camera.BACKENDS", {"recording": Recording})
    Recording.sent.clear()
    Recording.closed = 0
    return Recording


def picture(number: int, frame: Frame) -> LivePicture:
    statistics = Monitor(lambda: 0.0).report(0, 0.0, (0, 0), (0, 0))
    return LivePicture(number, frame, frame, 0.0, Settings(style="ink"), "ink", "live", statistics)


@pytest.fixture
def controls() -> Controls:
    return Controls(Settings(style="ink"), ["ink"])


def test_every_picture_is_sent_once_and_of_one_size(backend: type[Recording], controls: Controls) -> None:
    camera = VirtualCamera(controls, fps=25)
    coloured = np.dstack([numbered_frame(n)[..., 0] for n in (10, 20, 30)])
    camera.show(picture(1, coloured))
    camera.show(picture(1, coloured))
    camera.show(picture(2, numbered_frame(90, width=128, height=96)))
    camera.show(picture(3, numbered_frame(90, width=48, height=64)))
    camera.close()
    assert [(w, h) for w, h, _ in backend.sent] == [(64, 48)] * 3
    np.testing.assert_array_equal(backend.sent[0][2], coloured)
    assert int(backend.sent[1][2].mean()) == 90
    assert (backend.sent[2][2][:, 14:50] == 90).all()
    assert not backend.sent[2][2][:, [*range(14), *range(50, 64)]].any()
    assert backend.closed == 1
    assert controls.notice[1] == "the virtual camera is a test's camera"


def test_without_a_device_there_is_a_way_to_make_one(
    monkeypatch: pytest.MonkeyPatch, controls: Controls
) -> None:
    monkeypatch.setattr("pyvirtualcam.camera.BACKENDS", {})
    with pytest.raises(SinkError, match=r"no virtual camera to send to: .*(modprobe|OBS)"):
        VirtualCamera(controls).show(picture(1, numbered_frame(1)))


def test_without_the_library_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, controls: Controls) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(SinkError, match=r"pip install 'stylize-video\[live\]'"):
        VirtualCamera(controls)
