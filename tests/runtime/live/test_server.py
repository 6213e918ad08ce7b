"""The page: who may see it, what it may change, and what it does in a real browser."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from browser import CHROMIUM, Browser
from live_support import MjpegServer, live_threads, serving, wait_until
from stylize_video.errors import SinkError
from stylize_video.frame import Frame
from stylize_video.live.address import parse_address
from stylize_video.live.cli import with_address
from stylize_video.live.controls import Controls, Settings
from stylize_video.live.picture import LivePicture
from stylize_video.live.program import find_styles
from stylize_video.live.server import PageServer
from stylize_video.live.statistics import Monitor
from support import Command, command_line

TOKEN = "a-long-secret"


class Page:
    """A page server with pictures that the test gives, and a client."""

    def __init__(self, *, token: str | None = None) -> None:
        self.controls = Controls(Settings(style="ink"), ["ink", "photo"])
        self.server = PageServer(self.controls, "127.0.0.1:0", token=token, styles=find_styles(("photo",)))
        self.port = int(self.server.url.split(":")[2].split("/")[0])

    def give(self, number: int, source: Frame, stylized: Frame) -> None:
        statistics = Monitor(time.perf_counter).report(number, 30.0, (64, 48), (64, 48))
        self.server.show(
            LivePicture(number, source, stylized, 0.0, self.controls.settings, "ink", "live", statistics)
        )

    def ask(
        self, method: str, path: str, *, body: object = None, host: str | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = {"Host": host or f"127.0.0.1:{self.port}"}
            sent.update({name.replace("_", "-"): value for name, value in headers.items()})
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: object, **headers: str) -> tuple[int, bytes]:
        status, _, content = self.ask(
            "POST", path, body=body, **{"Content_Type": "application/json", **headers}
        )
        return status, content


@contextmanager
def page(*, token: str | None = None) -> Iterator[Page]:
    page = Page(token=token)
    try:
        yield page
    finally:
        page.server.close()
        assert not live_threads()


def test_frames_are_the_newest_and_come_with_their_source() -> None:
    source, stylized = np.full((48, 64, 3), 40, np.uint8), np.full((48, 64, 3), 200, np.uint8)
    with page() as served:
        served.give(7, source, stylized)
        status, headers, content = served.ask("GET", "/frame.jpg?view=both&after=0")
        assert (status, headers["X-Frame"]) == (200, "7")
        both = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert both is not None
        assert both.shape == (96, 64, 3)
        assert np.abs(both[:44].astype(int) - 200).max() <= 4
        assert np.abs(both[52:].astype(int) - 40).max() <= 4
        picture = cv2.imdecode(
            np.frombuffer(served.ask("GET", "/snapshot.png")[2], np.uint8), cv2.IMREAD_COLOR
        )
        np.testing.assert_array_equal(picture, stylized)


def test_other_programs_get_a_stream() -> None:
    with page() as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", "/stream.mjpg")
        answer = connection.getresponse()
        assert "multipart/x-mixed-replace" in answer.headers["Content-Type"]
        assert answer.read(7) == b"--frame"
        connection.close()


def test_settings_and_buttons() -> None:
    with page() as served:
        assert served.post("/set", {"name": "strength", "value": 0.25})[0] == 200
        assert served.post("/press", {"name": "mirror"})[0] == 200
        assert served.post("/press", {"name": "snapshot"})[0] == 200
        assert served.controls.settings == Settings(style="ink", strength=0.25, mirror=True)
        assert served.controls.take_pressed() == ["snapshot"]
        state = json.loads(served.ask("GET", "/state.json")[2])
        assert state["settings"]["strength"] == 0.25
        shown = json.loads(served.ask("GET", "/controls.json")[2])
        assert shown["styles"] == ["ink", "photo"]
        assert not {"quit", "full_screen", "help"} & {c["name"] for c in shown["controls"]}
        status, headers, thumbnail = served.ask("GET", "/styles/photo.jpg")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert thumbnail.startswith(b"\xff\xd8")
        assert served.ask("GET", "/styles/ink.jpg")[0] == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/set", {"name": "strength", "value": "full"}),
        ("/set", {"name": "__class__", "value": 1}),
        ("/set", ["strength", 1]),
        ("/set", {}),
        ("/press", {"name": "quit"}),
        ("/press", {"name": "explode"}),
        ("/press", {"name": ["quit"]}),
        ("/set", {"name": "strength", "value": "x" * 5000}),
    ],
)
def test_what_makes_no_sense_changes_nothing(path: str, body: object) -> None:
    with page() as served:
        assert served.post(path, body)[0] == 400
        assert served.controls.settings == Settings(style="ink")
        assert served.controls.take_pressed() == []


def test_reading_changes_nothing_and_paths_lead_nowhere_else() -> None:
    with page() as served:
        for path in (
            "/press?name=quit",
            "/set?name=strength&value=0",
            "/../pyproject.toml",
            "/styles/..%2fx.jpg",
        ):
            assert served.ask("GET", path)[0] == 404
        assert served.controls.take_pressed() == []


def test_other_sites_are_kept_out() -> None:
    change = {"name": "strength", "value": 0.0}
    with page() as served:
        assert served.ask("GET", "/state.json", host="evil.example")[0] == 403  # a name pointed here
        assert served.ask("GET", "/state.json", host=f"localhost:{served.port}")[0] == 200
        status, _ = served.post("/set", change, Origin="https://evil.example")
        assert status == 403
        assert served.ask("POST", "/set", body=change, Content_Type="text/plain")[0] == 415
        assert served.controls.settings.strength == 1
        own = f"http://127.0.0.1:{served.port}"
        assert served.post("/set", change, Origin=own)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/state.json",
        "/controls.json",
        "/frame.jpg",
        "/stream.mjpg",
        "/snapshot.png",
        "/styles/photo.jpg",
    ],
)
def test_a_token_is_needed_everywhere(path: str) -> None:
    with page(token=TOKEN) as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        assert served.ask("GET", path)[0] == 403
        assert served.ask("GET", f"{path}?token=wrong")[0] == 403
        assert served.ask("GET", path, Authorization="Bearer wrong")[0] == 403
        if path != "/stream.mjpg":
            assert served.ask("GET", f"{path}?token={TOKEN}")[0] == 200
            assert served.ask("GET", path, Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_token_is_needed_to_change_something() -> None:
    with page(token=TOKEN) as served:
        assert served.post("/set", {"name": "strength", "value": 0.0})[0] == 403
        assert served.controls.settings.strength == 1
        assert served.post("/press", {"name": "mirror"}, Authorization=f"Bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(
    ("address", "token", "sentence"),
    [
        ("0.0.0.0:80", None, "other machines can reach 0.0.0.0: choose a secret with --token"),
        ("[::]:80", None, "other machines can reach ::"),
        ("camera.local:80", None, "other machines"),
        ("0.0.0.0:80", "short", "at least 8 characters"),
        ("127.0.0.1", None, "takes HOST:PORT"),
        ("127.0.0.1:99999", None, "takes HOST:PORT"),
    ],
)
def test_addresses_that_are_refused(address: str, token: str | None, sentence: str) -> None:
    with pytest.raises(SinkError, match=sentence.replace("[", r"\[")):
        parse_address(address, token)


def test_addresses() -> None:
    assert parse_address(":8000", None) == ("127.0.0.1", 8000)
    assert parse_address("[::1]:8000", None) == ("::1", 8000)
    assert parse_address("0.0.0.0:8000", TOKEN) == ("0.0.0.0", 8000)
    assert with_address(["--serve", "clip.mp4"]) == ["--serve", "127.0.0.1:8765", "clip.mp4"]
    assert with_address(["1", "--serve"]) == ["1", "--serve", "127.0.0.1:8765"]
    assert with_address(["--serve", ":80", "1"]) == ["--serve", ":80", "1"]
    assert with_address([]) == []


def test_a_port_that_is_taken() -> None:
    with page() as served, pytest.raises(SinkError, match="try another port"):
        PageServer(served.controls, f"127.0.0.1:{served.port}")


def test_the_command_refuses_open_doors(command: Command, clip: Path) -> None:
    result = command("stylize-camera", clip, "--no-window", "--serve", "0.0.0.0:0")
    assert result.returncode == 2
    assert "--token" in result.stderr


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_in_a_browser(invert_style: Path, swap_style: Path, tmp_path: Path) -> None:
    """Switch a style, move a slider, take a snapshot: by mouse, in the page of the real command."""
    with serving(MjpegServer(fps=20)) as camera:
        process = subprocess.Popen(
            [
                *command_line("stylize_video.live.cli:main"),
                *(camera.url, "-s", str(invert_style), "-s", str(swap_style), "--no-window"),
                *("--serve", "127.0.0.1:0", "--token", TOKEN),
            ],
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
        )
        assert process.stderr
        try:
            line = ""
            while "the page is at " not in line:
                line = process.stderr.readline()
                assert line
            url = line.split("the page is at ")[1].strip()
            with Browser(url, tmp_path / "profile") as browser:
                wait_until(lambda: int(browser.run("document.body?.dataset.frame || 0")) > 2)
                inverted = colour(browser, "stylized")
                original = colour(browser, "original")
                assert np.abs(np.array(inverted) + original - 255).max() < 40
                assert browser.run("document.querySelectorAll('.tile').length") >= 3
                browser.click(".tile[data-style=swap]")
                wait_until(lambda: text(browser, "#name") == "swap")
                browser.click("#strength")  # in its middle
                wait_until(
                    lambda: "50 %" in browser.run("document.querySelector('.slider output').textContent")
                )
                browser.click("#snapshot")
                wait_until(lambda: bool(list(tmp_path.glob("camera-*.png"))))
                wait_until(lambda: "saved" in text(browser, "#notice"))
                assert text(browser, "#numbers").endswith("delay")
                (saved,) = tmp_path.glob("camera-*.png")
                assert cv2.imread(str(saved)) is not None
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 143


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).textContent"))


def colour(browser: Browser, canvas: str) -> list[int]:
    """Red, green and blue of a canvas at a corner where the picture stands still."""
    script = f"Array.from(document.querySelector('#{canvas}').getContext('2d').getImageData(3, 3, 1, 1).data)"
    values: list[int] = browser.run(script)
    return values[:3]
