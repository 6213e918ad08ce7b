"""The page: who may see it, what it may change, and what it does in a real browser."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from browser import CHROMIUM, Browser
from live_support import MjpegServer, live_threads, serving, wait_until
from stylize_video.errors import SinkError
from stylize_video.frame import Frame
from stylize_video.live import server
from stylize_video.live.address import parse_address, reachable
from stylize_video.live.capture import State
from stylize_video.live.cli import with_address
from stylize_video.live.controls import Controls, Settings
from stylize_video.live.picture import AWAY, LivePicture
from stylize_video.live.program import find_styles
from stylize_video.live.server import PageServer
from stylize_video.live.statistics import Monitor
from support import Command, command_line

TOKEN = "a-long-secret"


class Page:
    """A page server with pictures that the test gives, and a client."""

    def __init__(self, address: str = "127.0.0.1:0", *more: str, token: str | None = None) -> None:
        self.controls = Controls(Settings(style="ink"), ["ink", "photo", *more])
        self.server = PageServer(self.controls, address, token=token, styles=find_styles(("photo",)))
        self.port = urlsplit(self.server.url).port

    def give(self, number: int, source: Frame, stylized: Frame, *, state: State = "live") -> None:
        statistics = Monitor(time.perf_counter).report(number, 30.0, (64, 48), (64, 48))
        self.server.show(
            LivePicture(number, source, stylized, 0.0, self.controls.settings, "ink", state, statistics)
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

    def connect(self, sent: bytes) -> socket.socket:
        """A connection of its own on which something was sent; the test reads and closes it."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(sent)
        return connection

    def answers(self, sent: bytes, *, only: bool = False) -> list[int]:
        """The answers until the server ends the connection; ``only`` says that no more will be sent."""
        with self.connect(sent) as connection:
            if only:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while part := connection.recv(65536):
                received += part
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", received)]

    def post(self, path: str, body: object, **headers: str) -> tuple[int, bytes]:
        status, _, content = self.ask(
            "POST", path, body=body, **{"Content_Type": "application/json", **headers}
        )
        return status, content


@contextmanager
def page(address: str = "127.0.0.1:0", *more: str, token: str | None = None) -> Iterator[Page]:
    """``more`` styles than two."""
    page = Page(address, *more, token=token)
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


def test_the_page_shows_what_a_snapshot_keeps() -> None:
    source, stylized = np.full((48, 64, 3), 40, np.uint8), np.full((48, 64, 3), 200, np.uint8)
    with page() as served:
        served.controls.set("split", True)
        served.controls.set("divider", 0.25)
        served.give(7, source, stylized)
        both = cv2.imdecode(
            np.frombuffer(served.ask("GET", "/frame.jpg?view=both")[2], np.uint8), cv2.IMREAD_GRAYSCALE
        )
        kept = cv2.imdecode(
            np.frombuffer(served.ask("GET", "/snapshot.png")[2], np.uint8), cv2.IMREAD_GRAYSCALE
        )
    assert both is not None
    assert kept is not None
    np.testing.assert_allclose(both[:40, [4, 60]], kept[:40, [4, 60]], atol=4)
    assert [int(kept[0, x]) for x in (4, 60)] == [40, 200]


def test_other_programs_get_a_stream() -> None:
    with page() as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", "/stream.mjpg")
        answer = connection.getresponse()
        assert "multipart/x-mixed-replace" in answer.headers["Content-Type"]
        assert answer.read(7) == b"--frame"
        connection.close()


STREAM = b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_who_leaves_a_frozen_stream_leaves_nothing_behind() -> None:
    with page() as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        before = threading.active_count()
        for _ in range(5):
            with served.connect(STREAM) as connection:
                received = b""
                while b"\xff\xd9" not in received:  # the end of the picture
                    received += connection.recv(65536)
        wait_until(lambda: threading.active_count() <= before, seconds=15)


def test_a_slow_stream_skips_pictures() -> None:
    """A client that reads nothing for a while gets a few old pictures, then the newest."""
    with page() as served, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        slow.settimeout(10)
        slow.connect(("127.0.0.1", served.port))
        slow.sendall(STREAM)
        noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)  # 86 KB
        for number in range(1, 41):
            served.give(number, noise, noise)
            time.sleep(0.02)
        newest = np.full((48, 64, 3), 200, np.uint8)
        served.give(41, newest, newest)
        lengths: list[int] = []
        received = b""
        while not lengths or lengths[-1] > 10000:
            received += slow.recv(65536)
            lengths = [int(length) for length in re.findall(rb"Content-Length: (\d+)\r\n", received)]
        assert len(lengths) < 10


def test_who_has_the_token_gets_in_while_others_crowd_the_door() -> None:
    """Many connections that send half a head cost a bounded number of threads, and keep nobody out."""
    half = b"GET / HTTP/1.1\r\nX: "
    with page(token=TOKEN) as served, ExitStack() as crowd:
        viewer = crowd.enter_context(
            closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20))
        )

        def ask() -> int:
            viewer.request("GET", "/state.json", headers={"Authorization": f"Bearer {TOKEN}"})
            answer = viewer.getresponse()
            answer.read()
            return answer.status

        assert ask() == 200
        before = threading.active_count()
        for _ in range(250):
            crowd.enter_context(served.connect(half))
        assert served.ask("GET", "/state.json", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask() == 200  # on the connection it had
        wait_until(lambda: threading.active_count() - before <= 100)


def test_a_byte_now_and_then_keeps_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.5)
    with page() as served, served.connect(b"GET / HTTP/1.1\r\nX: ") as drip:
        drip.settimeout(0.1)

        def has_ended() -> bool:
            try:
                drip.sendall(b"a")
                return drip.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(has_ended, seconds=10)


@pytest.mark.parametrize("path", ["/", "/snapshot.png", "/stream.mjpg", "/frame.jpg", "/styles/1.jpg"])
def test_pages_of_other_sites_cannot_embed_it(path: str) -> None:
    """Unless they were given the token."""
    for token, policy in ((None, "same-origin"), (TOKEN, None)):
        with page(token=token) as served:
            served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Cross-Origin-Resource-Policy"]) == (200, policy)
            connection.close()


def test_settings_and_buttons() -> None:
    with page() as served:
        assert served.post("/set", {"name": "strength", "value": 0.25})[0] == 200
        assert served.post("/press", {"name": "mirror"})[0] == 200
        assert served.post("/press", {"name": "snapshot"})[0] == 200
        assert served.controls.settings == Settings(style="ink", strength=0.25, mirror=True)
        for key in ("+", "m", "s", "2"):
            assert served.post("/key", {"name": key})[0] == 200
        assert served.controls.settings == Settings(style="photo", strength=0.35)
        assert served.controls.take_pressed() == ["snapshot", "snapshot"]
        state = json.loads(served.ask("GET", "/state.json")[2])
        assert state["settings"]["strength"] == 0.35
        shown = json.loads(served.ask("GET", "/controls.json")[2])
        assert shown["styles"] == [{"name": name, "label": name} for name in ("ink", "photo")]
        assert not {"quit", "full_screen", "help"} & {c["name"] for c in shown["controls"]}
        keys = {key for row in shown["keys"] for key in row[0].split()}
        assert {"→", "v", "f", "h"} < keys
        assert not {"q", "Esc", "i"} & keys
        status, headers, thumbnail = served.ask("GET", "/styles/1.jpg")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert thumbnail.startswith(b"\xff\xd8")
        assert "max-age" not in headers["Cache-Control"]  # next time the number may be another style's
        assert served.ask("GET", "/styles/0.jpg")[0] == served.ask("GET", "/styles/2.jpg")[0] == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/set", {"name": "strength", "value": "full"}),
        ("/set", {"name": "__class__", "value": 1}),
        ("/set", ["strength", 1]),
        ("/set", {}),
        ("/set", {"name": "full_screen", "value": True}),
        ("/set", {"name": "help", "value": True}),
        ("/set", {"name": "info", "value": True}),
        ("/press", {"name": "info"}),
        ("/press", {"name": "quit"}),
        ("/press", {"name": "explode"}),
        ("/press", {"name": ["quit"]}),
        *(("/key", {"name": key}) for key in ("q", "h", "f", "i", "escape", "x", "9", "", "strength")),
        ("/set", {"name": "strength", "value": "x" * 5000}),
    ],
)
def test_what_makes_no_sense_changes_nothing(path: str, body: object) -> None:
    with page() as served:
        assert served.post(path, body)[0] == 400
        assert served.controls.settings == Settings(style="ink")
        assert served.controls.take_pressed() == []


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/press", {}, "send one JSON object with name"),
        ("/set", {"name": "strength"}, "send one JSON object with name and value"),
        ("/set", ["strength", 1], "send one JSON object with name and value"),
        ("/set", {"name": ["strength"], "value": 1}, "send one JSON object with name and value"),
    ],
)
def test_what_is_missing_is_told(path: str, body: object, sentence: str) -> None:
    with page() as served:
        assert served.post(path, body) == (400, sentence.encode())


@pytest.mark.parametrize("kind", ["Application/JSON", "application/json ; charset=utf-8"])
def test_types_are_read_as_others_write_them(kind: str) -> None:
    with page() as served:
        assert served.post("/press", {"name": "mirror"}, Content_Type=kind)[0] == 200


def test_a_number_beyond_all_pictures_gets_an_answer() -> None:
    with page() as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        assert served.ask("GET", f"/frame.jpg?after={'9' * 5000}")[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 501),
        (b"OPTIONS /set HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1 or so\r\n\r\n", 400),
    ],
)
def test_what_is_not_spoken_here_is_refused_like_all_else(request_: bytes, status: int) -> None:
    with page() as served, served.connect(request_) as connection:
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    for header in (b"Content-Security-Policy: ", b"X-Content-Type-Options: nosniff", b"Connection: close"):
        assert header in head
    assert b"<" not in body
    assert bool(body) is not request_.startswith(b"HEAD")


def test_a_fault_of_ours_is_told_and_a_client_that_leaves_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with page() as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        before = threading.active_count()
        with served.connect(STREAM) as connection:
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: threading.active_count() <= before, seconds=15)
        assert not caplog.records
        monkeypatch.setattr(served.server._page, "state", lambda: 1 + "1")  # type: ignore[operator]
        with pytest.raises(http.client.RemoteDisconnected):
            served.ask("GET", "/state.json")
        wait_until(lambda: bool(caplog.records))
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is TypeError


def test_reading_changes_nothing_and_paths_lead_nowhere_else() -> None:
    with page() as served:
        for path in (
            "/press?name=quit",
            "/set?name=strength&value=0",
            "/../pyproject.toml",
            "/styles/..%2fx.jpg",
            "/styles/%2e%2e%2fphoto.jpg",
            "/styles/photo%00.jpg",
        ):
            assert served.ask("GET", path)[0] == 404
        assert served.controls.take_pressed() == []


def test_other_sites_are_kept_out() -> None:
    change = {"name": "strength", "value": 0.0}
    with page() as served:
        assert served.ask("GET", "/state.json", host="evil.example")[0] == 403  # a name pointed here
        for host in (f"localhost:{served.port}", "localhost", "[::1]", f"[::1]:{served.port}"):
            assert served.ask("GET", "/state.json", host=host)[0] == 200
        assert served.ask("GET", "/state.json", host="[::1")[0] == 403
        status, _ = served.post("/set", change, Origin="https://evil.example")
        assert status == 403
        assert served.ask("POST", "/set", body=change, Content_Type="text/plain")[0] == 415
        assert served.controls.settings.strength == 1
        own = f"http://127.0.0.1:{served.port}"
        assert served.post("/set", change, Origin=own)[0] == 200


def a_request(start: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{start} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode() + body


JSON = "Content-Type: application/json"
SMUGGLED = a_request("POST /press", JSON, "Content-Length: 17", body=b'{"name":"record"}')
LENGTH = f"Content-Length: {len(SMUGGLED)}"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (a_request("POST /set", "Content-Type: text/plain", LENGTH), 415),
        (a_request("POST /set", "Origin: http://evil.example", JSON, LENGTH), 403),
        (a_request("POST /set", "Origin: http://[", JSON, LENGTH), 403),
        (a_request("GET http://["), 400),
        (
            a_request("POST /set", "Host: evil.example", JSON, LENGTH).replace(b"Host: 127.0.0.1\r\n", b""),
            403,
        ),
        (a_request("POST /set", JSON), 400),
        (a_request("POST /set", JSON, "Content-Length: 5000"), 400),
        (a_request("POST /set", JSON, "Content-Length: -2"), 400),
        (a_request("POST /set", JSON, "Content-Length: +2", body=b"{}"), 400),
        (a_request("POST /set", JSON, "Content-Length: 2", LENGTH, body=b"{}"), 400),
        (a_request("POST /set", JSON, "Transfer-Encoding: chunked"), 400),
        (a_request("POST /set", JSON, "Transfer-Encoding: chunked", "Content-Length: 2", body=b"0\r"), 400),
        (a_request("GET /state.json", "Transfer-Encoding: chunked"), 400),
        (a_request("GET /state.json", "Content-Length: 5000"), 400),
        (a_request("PUT /set", JSON, LENGTH), 501),
    ],
)
def test_what_is_refused_ends_the_connection(request_: bytes, status: int) -> None:
    """Nothing behind it is taken for a request, whatever a page elsewhere wrote there."""
    with page() as served:
        assert served.answers(request_ + SMUGGLED) == [status]
        assert not served.controls.settings.record


@pytest.mark.parametrize(
    "request_",
    [a_request("GET /state.json", LENGTH), a_request("GET /nowhere", LENGTH)]
    + [a_request(f"POST {path}", JSON, LENGTH) for path in ("/set", "/nowhere")],
)
def test_what_is_sent_along_is_no_request(request_: bytes) -> None:
    with page() as served:
        assert len(served.answers(request_ + SMUGGLED, only=True)) == 1
        assert not served.controls.settings.record
        one_after_the_other = SMUGGLED + a_request("GET /state.json") + SMUGGLED
        assert served.answers(one_after_the_other, only=True) == [200, 200, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/state.json",
        "/controls.json",
        "/frame.jpg",
        "/stream.mjpg",
        "/snapshot.png",
        "/styles/1.jpg",
    ],
)
def test_a_token_is_needed_everywhere(path: str) -> None:
    with page(token=TOKEN) as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        assert served.ask("GET", path)[0] == 403
        assert served.ask("GET", f"{path}?token=wrong")[0] == 403
        assert served.ask("GET", path, Authorization="Bearer wrong")[0] == 403
        if path != "/stream.mjpg":
            assert served.ask("GET", f"{path}?token={TOKEN}")[0] == (303 if path == "/" else 200)
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
        ("127.0.0.1:80", "pässwörter", "ASCII letters, digits and signs, no spaces"),
        ("127.0.0.1:80", "pass word 1", "ASCII"),
        ("127.0.0.1:80", "password1\n", "ASCII"),
        ("127.0.0.1", None, "takes HOST:PORT"),
        ("127.0.0.1:99999", None, "takes HOST:PORT"),
    ],
)
def test_addresses_that_are_refused(address: str, token: str | None, sentence: str) -> None:
    with pytest.raises(SinkError, match=sentence.replace("[", r"\[")):
        parse_address(address, token)


def test_addresses(clip: Path) -> None:
    assert parse_address(":8000", None) == ("127.0.0.1", 8000)
    assert parse_address("[::1]:8000", None) == ("::1", 8000)
    assert parse_address("0.0.0.0:8000", TOKEN) == ("0.0.0.0", 8000)
    assert with_address(["--serve", str(clip)]) == ["--serve", "127.0.0.1:8765", str(clip)]
    assert with_address(["1", "--serve"]) == ["1", "--serve", "127.0.0.1:8765"]
    assert with_address(["--serve", ":80", "1"]) == ["--serve", ":80", "1"]
    assert with_address([]) == []


@pytest.mark.parametrize("word", ["8080", "localhost", "camera.local"])
def test_what_can_be_nothing_but_an_address_is_taken_for_one(word: str) -> None:
    """It is no camera and no file, so what is wrong with it as an address is told."""
    assert with_address(["--serve", word]) == ["--serve", word]
    with pytest.raises(SinkError, match=f"takes HOST:PORT, such as 127.0.0.1:8765; got '{word}'"):
        parse_address(word, None)
    for source in ("1", "rtsp://host/stream", "/dev/video0", "-q"):
        assert with_address(["--serve", source]) == ["--serve", "127.0.0.1:8765", source]


def test_the_address_that_is_told_brings_the_token() -> None:
    token = "Zm9v+YmFy&x#y=="
    with page(token=token) as served:
        url = urlsplit(served.server.url)
        assert parse_qs(url.query) == {"token": [token]}
        assert not url.fragment
        status, headers, _ = served.ask("GET", f"{url.path}?{url.query}")
        cookie, *attributes = headers["Set-Cookie"].split("; ")
        assert (status, headers["Location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=Lax"} <= set(attributes)
        assert cookie.startswith(f"stylize-camera-{served.port}=")  # other ports of this host have theirs
        assert token not in headers["Set-Cookie"]
        assert served.ask("GET", "/", Cookie=f"theirs=a b; {cookie}; more={{}}")[0] == 200
        assert served.post("/press", {"name": "mirror"}, Cookie=cookie)[0] == 200
        assert served.ask("GET", "/", Cookie=cookie[:-1])[0] == 403
        _, headers, _ = served.ask("GET", "/state.json", Cookie=cookie)
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        origin = "http://127.0.0.1:1"  # the same site, as browsers see it
        assert served.post("/press", {"name": "mirror"}, Cookie=cookie, Origin=origin)[0] == 403
    with page(token="another" + token) as served:
        assert served.ask("GET", "/", Cookie=cookie)[0] == 403


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_other_machines_are_told_an_address_they_can_open(address: str) -> None:
    if "::" in address and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with page(address, token=TOKEN) as served:
        url = urlsplit(served.server.url)
        assert url.hostname not in ("0.0.0.0", "::")
        connection = http.client.HTTPConnection(url.hostname or "", served.port, timeout=20)
        connection.request("GET", f"/state.json?{url.query}")
        assert connection.getresponse().status == 200
        connection.close()
        assert served.ask("GET", f"/state.json?{url.query}")[0] == 200  # by IPv4 in any case


def test_without_a_network_the_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert reachable("0.0.0.0") == reachable("::") == socket.gethostname()
    assert reachable("127.0.0.1") == "127.0.0.1"
    assert reachable("camera.local") == "camera.local"


def test_a_port_that_is_taken() -> None:
    with page() as served, pytest.raises(SinkError, match="try another port"):
        PageServer(served.controls, f"127.0.0.1:{served.port}", styles={})


def test_the_command_refuses_open_doors(command_here: Command, clip: Path) -> None:
    result = command_here("stylize-camera", clip, "--no-window", "--serve", "0.0.0.0:0")
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
                *("--serve", "127.0.0.1:0"),
            ],
            env={**os.environ, "STYLIZE_VIDEO_TOKEN": TOKEN},
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
            with urllib.request.urlopen(url.replace("?", "state.json?"), timeout=20) as answer:
                notice = json.load(answer)["notice"]["text"]  # seen by all who see the picture
            assert TOKEN in url
            assert notice == f"the page is at {url.split('?')[0]}"
            with Browser(url, tmp_path / "profile") as browser:
                wait_until(lambda: int(browser.run("document.body?.dataset.frame || 0")) > 2)
                assert TOKEN not in browser.run("location.href + document.documentElement.innerHTML")
                inverted = colour(browser, "stylized")
                original = colour(browser, "original")
                assert np.abs(np.array(inverted) + original - 255).max() < 40
                wait_until(lambda: browser.run("document.querySelectorAll('.tile').length") >= 3)
                browser.click(".tile[name=swap]")
                wait_until(lambda: text(browser, "#name") == "swap", seconds=60)  # it is tried out first
                browser.click("#strength")  # in its middle
                wait_until(
                    lambda: "50 %" in browser.run("document.querySelector('.slider .value').textContent")
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


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_styles_of_any_name_have_a_tile(tmp_path: Path) -> None:
    """Names in bytes that are no UTF-8, long ones, and those with characters that do something."""
    names = ["l\udce9on", "a-very-long-name-" * 20, "\x1b[31mred"]
    with page("127.0.0.1:0", *names) as served:
        served.give(1, *(np.full((48, 64, 3), v, np.uint8) for v in (40, 200)))
        with Browser(served.server.url, tmp_path / "profile") as browser:
            tiles = "[...document.querySelectorAll('.tile')]"
            wait_until(lambda: browser.run(f"{tiles}.length") == 5)
            assert browser.run(f"{tiles}.map(t => t.title)") == [
                *("ink", "photo", "l\\udce9on", names[1], "\\x1b[31mred")
            ]
            assert browser.run(f"Math.max(...{tiles}.map(t => t.offsetHeight))") < 140
            for name in names:
                number = names.index(name) + 2
                browser.run(f"{tiles}[{number}].click()")
                wait_until(lambda name=name: served.controls.settings.style == name)  # type: ignore[misc]
        status, content = served.post("/set", {"name": "style", "value": "no\udce9"})
        assert (status, content.decode().partition(";")[0]) == (400, "there is no style 'no\\udce9' here")


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_the_page_after_a_restart_and_out_of_sight(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), v, np.uint8) for v in (40, 200)]
    with ExitStack() as stack:
        with page(token=TOKEN) as served:
            served.give(1, *frames)
            browser = stack.enter_context(Browser(served.server.url, tmp_path / "profile"))
            wait_until(lambda: browser.run("document.body?.dataset.frame") == "1")
            wait_until(lambda: text(browser, "#numbers") != "")
            browser.run("Object.defineProperty(document, 'hidden', {get: () => hidden}); hidden = true")
            asked = "performance.getEntriesByType('resource').length"
            served.give(2, *frames)  # what was under way ends
            wait_until(lambda: browser.run("document.body.dataset.frame") == "2")
            time.sleep(0.6)  # the time of one more question for the state
            before = browser.run(asked)
            served.give(3, *frames)
            time.sleep(1.2)
            assert browser.run(asked) == before
            browser.run("hidden = false; document.dispatchEvent(new Event('visibilitychange'))")
            wait_until(lambda: browser.run("document.body.dataset.frame") == "3")
        wait_until(lambda: text(browser, "#away").startswith("stylize-camera does not answer"))
        assert text(browser, "#numbers") == text(browser, "#statistics") == ""
        address = f"127.0.0.1:{served.port}"
        with page(address, token="another-secret") as served:
            wait_until(lambda: text(browser, "#away").startswith("the token is missing or wrong: open"))
        with page(address, "one more", token=TOKEN) as served:
            served.give(1, *frames)
            wait_until(lambda: browser.run("document.querySelectorAll('.tile').length") == 3)
            wait_until(lambda: text(browser, "#away") == "")


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_the_page_speaks_and_fits(tmp_path: Path) -> None:
    """Names for screen readers, words for colours, the picture in sight on a phone, and a second try."""
    frames = [np.full((360, 640, 3), v, np.uint8) for v in (40, 200)]
    with page() as served:
        served.give(1, *frames)
        with Browser(served.server.url, tmp_path / "profile") as browser:
            wait_until(lambda: int(browser.run("document.body?.dataset.frame || 0")) == 1)
            wait_until(lambda: text(browser, "#numbers") != "")
            nodes = [n for n in browser.call("Accessibility.getFullAXTree")["nodes"] if "name" in n]
            names = {(n["role"]["value"], n["name"]["value"]) for n in nodes}
            assert ("slider", "Strength") in names
            assert {("image", "the picture in its style"), ("image", "source: live")} <= names
            assert not browser.run(
                "document.querySelector('#numbers[role], output')"
            )  # read aloud with each change
            tops = "[...document.querySelectorAll('.tile')].map(t => t.querySelector('i').offsetTop)"
            assert len(set(browser.run(tops))) == 1

            served.give(2, *frames, state="lost")
            wait_until(lambda: text(browser, "#away") == AWAY)
            served.give(3, *frames)
            wait_until(lambda: text(browser, "#away") == "")

            served.controls.set("strokes", 16.0)
            wait_until(lambda: browser.run("+document.querySelector('#strokes').value") == 4)  # its logarithm
            browser.run("$('strokes').value = 1; $('strokes').dispatchEvent(new Event('input'))")
            wait_until(lambda: abs(served.controls.settings.strokes - 2) < 1e-6)

            browser.call("Network.enable")
            browser.call("Network.setBlockedURLs", urls=["*/press"])
            browser.click("#mirror")
            wait_until(lambda: text(browser, "#notice").startswith("that was not done"))
            browser.call("Network.setBlockedURLs", urls=["*/controls.json"])
            browser.call("Page.reload")
            wait_until(lambda: browser.run("document.querySelector('#source')?.className") == "gone")
            browser.call("Network.setBlockedURLs", urls=[])
            wait_until(lambda: browser.run("document.querySelectorAll('.tile').length") == 2)

            phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
            browser.call("Emulation.setDeviceMetricsOverride", **phone)
            browser.run("document.querySelector('#record').scrollIntoView()")
            wait_until(lambda: browser.run("scrollY") > 100)
            top, bottom = (
                browser.run(f"document.querySelector('#stylized').getBoundingClientRect().{side}")
                for side in ("top", "bottom")
            )
            assert 0 <= top < bottom
            assert bottom <= browser.run("document.querySelector('#record').getBoundingClientRect().top")

            phone.update(width=844, height=390)
            browser.call("Emulation.setDeviceMetricsOverride", **phone)
            place = "(({top, bottom, right}) => [top, bottom, right])($('stylized').getBoundingClientRect())"
            wait_until(lambda: 400 < browser.run(place)[2] < 844)
            browser.run("document.querySelector('#record').scrollIntoView()")
            for _ in range(2):
                top, bottom, right = browser.run(place)
                assert 0 <= top < bottom <= 390
                assert right <= browser.run("document.querySelector('#record').getBoundingClientRect().left")
                browser.run("scrollTo(0, 0)")


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_the_page_has_the_keys_and_the_split_view(tmp_path: Path) -> None:
    frames = [np.full((360, 640, 3), v, np.uint8) for v in (40, 200)]
    with page() as served:
        served.give(1, *frames)
        with Browser(served.server.url, tmp_path / "profile") as browser:
            wait_until(lambda: browser.run("document.body?.dataset.frame") == "1")
            wait_until(lambda: browser.run("document.querySelectorAll('.tile').length") == 2)

            def press(*keys: str) -> None:
                for key in keys:
                    typed = {"text": key} if len(key) == 1 else {}
                    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, **typed)
                    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key)

            press("-", "-", "ArrowRight", "v")
            wait_until(lambda: served.controls.settings == Settings("photo", strength=0.8, split=True))
            wait_until(lambda: browser.run("$('divider').checkVisibility()"))
            left, top, width = browser.run(
                "(({x, y, width}) => [x, y, width])($('stylized').getBoundingClientRect())"
            )
            mouse = {"y": top + 20, "button": "left", "buttons": 1, "clickCount": 1}
            for kind, part in (("mousePressed", 0.5), ("mouseMoved", 0.4), ("mouseMoved", 0.3)):
                browser.call("Input.dispatchMouseEvent", type=kind, x=left + width * part, **mouse)
            browser.call("Input.dispatchMouseEvent", type="mouseReleased", x=left + width * 0.3, **mouse)
            wait_until(lambda: abs(served.controls.settings.divider - 0.3) < 0.01)
            browser.run("$('strength').focus()")  # whose own keys are the arrows
            press("ArrowLeft", "v")
            wait_until(lambda: not served.controls.settings.split)
            assert served.controls.settings.style == "photo"
            browser.run("$('mirror').focus()")  # and the space bar is a button's
            press(" ", "c")
            wait_until(lambda: served.controls.settings.keep_colors)
            assert not served.controls.settings.freeze

            browser.click("#open-help")
            assert browser.run("$('help').open && $('key-list').textContent.includes('Next style')")
            browser.run("$('with-keys').click()")
            press("h", "n")
            assert browser.run("$('help').open")
            browser.run("$('with-keys').click()")
            press("h")
            assert not browser.run("$('help').open")
            press("f")
            wait_until(lambda: browser.run("document.fullscreenElement?.id") == "stage")
            assert served.controls.settings.style == "photo"


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).textContent"))


def colour(browser: Browser, canvas: str) -> list[int]:
    """Red, green and blue of a canvas at a corner where the picture stands still."""
    script = f"Array.from(document.querySelector('#{canvas}').getContext('2d').getImageData(3, 3, 1, 1).data)"
    values: list[int] = browser.run(script)
    return values[:3]
