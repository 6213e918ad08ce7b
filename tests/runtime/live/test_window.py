"""The window on a real X server: what it shows, and what keys and mouse do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from live_support import Desktop, MjpegServer, serving, wait_until
from stylize_video.frame import Frame
from stylize_video.live.controls import CONTROLS
from stylize_video.live.display import display_problem
from stylize_video.live.window import TITLE, key_name
from support import command_line

MISSING = [tool for tool in ("Xvfb", "openbox", "xdotool", "import") if not shutil.which(tool)]
needs_x = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")

GREY = 60


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    desktop = Desktop()
    yield desktop
    desktop.close()


class GreyCamera(MjpegServer):
    """A camera that always sees the same grey."""

    def _jpeg(self, number: int) -> bytes:
        return super()._jpeg(GREY)


@contextmanager
def window(
    desktop: Desktop, folder: Path, *arguments: object, camera: MjpegServer | None = None
) -> Iterator[subprocess.Popen[str]]:
    """``stylize-camera`` on a grey camera, its window open; quit by the test."""
    with serving(camera or GreyCamera(fps=30, plain=True)) as camera:
        process = subprocess.Popen(
            [
                *command_line("stylize_video.live.cli:main"),
                *(camera.url, "--device", "cpu"),
                *("--target-fps", "0"),  # no word of a machine that is too slow
                *map(str, arguments),
            ],
            env=desktop.environment,
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            desktop.wait_for_window(TITLE)
            yield process
        except AssertionError:
            process.send_signal(signal.SIGINT)
            print("the command said:", process.communicate(timeout=20)[1])
            raise
        finally:
            process.kill()
            process.communicate()


def wait_for(desktop: Desktop, right: Callable[[Frame], bool]) -> Frame:
    """The window's picture once it is right."""
    pictures: list[Frame] = []

    def arrived() -> bool:
        pictures[:] = [desktop.picture()]
        return right(pictures[0])

    wait_until(arrived)
    return pictures[0]


def middle(picture: Frame) -> int:
    """The value a quarter from the left, away from all words and dividers."""
    height, width = picture.shape[:2]
    return round(float(picture[height // 2 - 5 : height // 2 + 5, width // 4 - 5 : width // 4 + 5].mean()))


def is_near(value: int) -> Callable[[Frame], bool]:
    return lambda picture: abs(middle(picture) - value) <= 3


def is_plain(picture: Frame) -> bool:
    return int(np.ptp(picture)) <= 4 and is_near(255 - GREY)(picture)


@needs_x
def test_keys_change_what_is_seen_and_snapshots_save_it(
    desktop: Desktop, invert_style: Path, tmp_path: Path
) -> None:
    with window(desktop, tmp_path, "--style", invert_style) as process:
        shown = wait_for(desktop, is_near(255 - GREY))
        assert shown.shape[0] >= 540  # small pictures get a window that can be seen
        desktop.press("minus", "minus", "minus", "minus", "minus")
        wait_for(desktop, is_near(128))
        desktop.press("s")
        wait_until(lambda: bool(list(tmp_path.glob("camera-*.png"))))
        (saved,) = tmp_path.glob("camera-*.png")
        snapshot = cv2.imread(str(saved))
        assert snapshot is not None
        assert snapshot.shape == (48, 64, 3)  # the picture's size, not the window's, and no words on it
        assert np.ptp(snapshot) <= 2
        assert abs(float(snapshot.mean()) - 128) <= 2
        desktop.press("2")  # the first bundled style
        wait_for(desktop, lambda picture: abs(middle(picture) - 128) > 5)
        desktop.press("1")
        wait_for(desktop, is_near(128))
        desktop.press("r")
        wait_until(lambda: bool(list(tmp_path.glob("camera-*.part.mp4"))))
        desktop.press("q")
        assert process.wait(20) == 0
        assert process.stderr is not None
        errors = process.stderr.read()
        assert "recorded" in errors
        assert "Traceback" not in errors
        assert not list(tmp_path.glob("camera-*.part.mp4"))


@needs_x
def test_words_come_and_go(desktop: Desktop, invert_style: Path, tmp_path: Path) -> None:
    with window(desktop, tmp_path, "--style", invert_style) as process:
        plain = wait_for(desktop, is_plain)
        desktop.press("i")
        wait_for(desktop, lambda picture: has_words(picture[: picture.shape[0] // 4]))
        assert not has_words(desktop.picture()[plain.shape[0] // 2 :])
        desktop.press("h")
        wait_for(desktop, lambda picture: has_words(picture[picture.shape[0] // 2 - 40 :][:80]))
        desktop.press("h")
        wait_for(desktop, lambda picture: not has_words(picture[picture.shape[0] // 2 - 40 :][:80]))
        desktop.press("i")
        wait_for(desktop, is_plain)
        desktop.press("m")  # its value is shown, and goes by itself
        wait_for(desktop, lambda picture: has_words(picture[-picture.shape[0] // 4 :]))
        wait_for(desktop, is_plain)
        desktop.press("Escape")
        assert process.wait(20) == 0


def has_words(part: Frame) -> bool:
    """A dark plate with light letters."""
    return bool((part < 110).mean() > 0.01 and (part > 225).sum() > 30)


@needs_x
def test_the_divider_is_dragged(desktop: Desktop, invert_style: Path, tmp_path: Path) -> None:
    with window(desktop, tmp_path, "--style", invert_style) as process:
        wait_for(desktop, is_near(255 - GREY))
        desktop.press("v")
        wait_for(desktop, is_near(GREY))
        left, top, width, height = desktop.geometry()
        y = top + height // 3
        desktop.drag((left + width // 2, y), (left + width // 10, y))
        picture = wait_for(desktop, is_near(255 - GREY))
        row = picture[height // 3, :, 0].astype(int)
        edge = int(np.flatnonzero(np.abs(row - (255 - GREY)) <= 4)[0])
        assert edge == pytest.approx(width / 10, abs=width / 64 + 4)
        assert np.abs(row[: edge - width // 64 - 4] - GREY).max() <= 4
        desktop.press("q")
        assert process.wait(20) == 0


@needs_x
def test_a_camera_that_goes_is_told_and_the_picture_stays(
    desktop: Desktop, invert_style: Path, tmp_path: Path
) -> None:
    camera = GreyCamera(fps=30, plain=True)
    with window(desktop, tmp_path, "-s", invert_style, camera=camera) as process:
        wait_for(desktop, is_near(255 - GREY))
        camera.stop()
        picture = wait_for(desktop, lambda picture: has_words(picture[-picture.shape[0] // 4 :]))
        assert is_near(255 - GREY)(picture)
        camera.start()
        wait_for(desktop, is_plain)
        desktop.press("q")
        assert process.wait(20) == 0


@needs_x
def test_a_strip_opens_a_window_that_fits_on_a_screen(
    desktop: Desktop, invert_style: Path, tmp_path: Path
) -> None:
    camera = GreyCamera(fps=30, width=2000, height=60, plain=True)
    with window(desktop, tmp_path, "-s", invert_style, camera=camera) as process:
        wait_until(lambda: desktop.geometry()[2:] == (1280, 240))
        desktop.press("q")
        assert process.wait(20) == 0


ONE_PICTURE = """
import os, signal, sys, time
from live_support import numbered_frame
from stylize_video.errors import SinkError
from stylize_video.live.controls import Controls, Settings
from stylize_video.live.picture import LivePicture
from stylize_video.live.statistics import Monitor
from stylize_video.live.window import Window

settings = Settings(style="ink")
frame = numbered_frame(60)
statistics = Monitor(time.perf_counter).report(1, 30.0, (64, 48), (64, 48))
picture = LivePicture(1, frame, frame, 0.0, settings, "ink", "live", statistics)
controls = Controls(settings, ["ink"])
window = Window(controls)
window.show(picture)
"""

DISPLAY_THAT_GOES = """
watch = window._display  # of two connections one may be gone before the other
assert not watch.is_gone
os.kill(int(sys.argv[1]), signal.SIGKILL)
while not watch.is_gone:
    time.sleep(0.01)
try:
    window.show(picture)
except SinkError as error:
    window.close()
    print(error)
"""


@needs_x
def test_a_display_that_goes_is_an_error_and_not_the_end(desktop: Desktop) -> None:
    """Recordings are finished then: the toolkit would end the process."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_PICTURE + DISPLAY_THAT_GOES, str(desktop.process)],
        env={**desktop.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "the display has gone, and the window with it\n", done.stderr


KEYS_WITHOUT_PICTURES = """
print("shown", flush=True)
while controls.settings.strength == 1:
    window.obey()
print("weaker", flush=True)
while "quit" not in controls.take_pressed():
    window.obey()
window.show(picture)  # which the loop had begun with
print("open" if window._open else "closed", flush=True)
window.close()
"""


@needs_x
def test_keys_are_obeyed_without_a_new_picture(desktop: Desktop) -> None:
    """And a window that was closed meanwhile does not come back."""
    with subprocess.Popen(
        [sys.executable, "-c", ONE_PICTURE + KEYS_WITHOUT_PICTURES],
        env={**desktop.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "shown\n"
            desktop.wait_for_window(TITLE)
            desktop.press("minus")
            assert process.stdout.readline() == "weaker\n"
            desktop.do("windowactivate", "--sync", desktop.window)
            desktop.do("key", "alt+F4")
            assert process.stdout.readline() == "closed\n"
        finally:
            process.kill()


@needs_x
def test_full_screen_and_the_frame_of_the_window(
    desktop: Desktop, invert_style: Path, tmp_path: Path
) -> None:
    with window(desktop, tmp_path, "--style", invert_style) as process:
        wait_for(desktop, is_near(255 - GREY))
        small = desktop.geometry()[2:]
        desktop.press("f")
        wait_until(lambda: desktop.geometry()[2:] == (1000, 700))
        # 64x48 in 1000x700: full height, and black bars left and right.
        picture = wait_for(desktop, lambda p: p.shape[:2] == (700, 1000) and int(p[350, 10].max()) == 0)
        assert abs(middle(picture) - (255 - GREY)) <= 3
        desktop.press("Escape")  # leaves full screen first
        wait_until(lambda: desktop.geometry()[2:] == small)
        desktop.do("windowactivate", "--sync", desktop.window)
        desktop.do("key", "alt+F4")
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("display", "sentence", "named"),
    [
        (None, "there is no display (DISPLAY is not set)", True),
        (":987", "the display :987 cannot be opened", False),
    ],
)
def test_without_a_display_there_is_a_sentence(
    display: str | None, sentence: str, named: bool, clip: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    if display:
        environment["DISPLAY"] = display
    result = subprocess.run(
        [*command_line("stylize_video.live.cli:main"), *([str(clip)] if named else [])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2  # and not an abort
    assert sentence in result.stderr
    assert "--no-window" in result.stderr


def test_wayland_alone_is_not_enough() -> None:
    problem = display_problem({"WAYLAND_DISPLAY": "wayland-0"}, platform="linux")
    assert problem is not None
    assert "XWayland" in problem
    assert display_problem({}, platform="win32") is None


@pytest.mark.parametrize(
    ("code", "key"),
    [
        (ord("n"), "n"), (ord("N"), "n"), (27, "escape"), (32, "space"), (ord("="), "+"), (ord("+"), "+"),
        (65361, "left"), (0x100000 | 65363, "right"), (2424832, "left"), (63235, "right"),
        (0x100000 | ord("q"), "q"), (0xFFE1, None), (9, None),
    ],
)  # fmt: skip
def test_key_codes_of_every_system(code: int, key: str | None) -> None:
    assert key_name(code) == key


def test_every_key_of_the_table_can_be_typed() -> None:
    typed = {key_name(code) for code in [*range(128), 65361, 65363]}
    assert {key for control in CONTROLS for key in control.keys} <= typed
