"""``--serve``: a page with the live picture and all controls, for browsers on this machine or the desk.

The page asks for one frame after the other and gets the newest, so a slow network drops
frames and never falls behind. Other programs read ``/stream.mjpg``.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

import cv2

from stylize_video.errors import SinkError, StylizeError
from stylize_video.live.address import is_loopback, parse_address, reachable
from stylize_video.live.connections import BoundedServer
from stylize_video.live.controls import CONTROLS, Controls, key_help, page_controls
from stylize_video.live.page import Page
from stylize_video.live.picture import LivePicture
from stylize_video.text import printable

_log = logging.getLogger(__name__)

_LONGEST_BODY = 4096
_STILL_SECONDS = 1.0
_IDLE_SECONDS = 15.0
"""Until a request has come whole, since the last was answered; and that a client may take nothing."""
_STREAM_BUFFER = 64 * 1024
_POLICY = "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; " + (
    "script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class PageServer:
    """Serves the page until it is closed.

    Args:
        controls: what the page changes.
        address: ``HOST:PORT``; port 0 takes a free one.
        token: what every request has to bring, as ``Authorization: Bearer`` or ``?token=``; browsers
            get a cookie for it.
        styles: the files of the styles, for their thumbnails.

    Raises:
        SinkError: the address is none, is taken, or needs a token.
    """

    def __init__(
        self,
        controls: Controls,
        address: str,
        *,
        token: str | None = None,
        styles: Mapping[str, Path],
    ) -> None:
        host, port = parse_address(address, token)
        self._page = Page(controls, styles)
        try:
            self._server = _Server((host, port), self._page, token)
        except OSError as error:
            raise SinkError(f"cannot serve {address}: {error.strerror or error}; try another port") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="server", daemon=True
        )
        self._thread.start()
        self.address = self._server.shown_address
        self.url = self.address + (f"?token={quote(token, safe='')}" if token else "")
        """The address with the token in it, where there is one."""

    def show(self, picture: LivePicture) -> None:
        self._page.show(picture)

    def close(self) -> None:
        self._page.stop()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()


class _Server(BoundedServer):
    """Knows its page, and who may see it."""

    def __init__(self, address: tuple[str, int], page: Page, token: str | None) -> None:
        host, _ = address
        super().__init__(address, _Handler, ipv6=":" in host)
        self.page, self.token = page, token
        shown = reachable(host)
        shown = f"[{shown}]" if ":" in shown else shown
        self.shown_address = f"http://{shown}:{self.server_address[1]}/"

    def knows(self, handler: BaseHTTPRequestHandler, query: Mapping[str, list[str]]) -> bool:
        """Whether a request brings the token itself."""
        given = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        given = given or query.get("token", [""])[0]
        return self.token is not None and _same(given, self.token)

    def welcomes(self, handler: BaseHTTPRequestHandler, query: Mapping[str, list[str]]) -> bool:
        """Whether a request may be answered.

        With a token it must bring it, or the cookie. Without one it must have been sent to this
        machine by its loopback name: a page elsewhere whose name was pointed here is not let in.
        """
        if self.token is not None:
            cookies = handler.headers.get("Cookie", "").split(";")
            return self.knows(handler, query) or any(_same(c.strip(), self.cookie) for c in cookies)
        try:
            host = urlsplit(f"//{handler.headers.get('Host', '')}").hostname or ""
        except ValueError:  # half of an IPv6 address
            return False
        return is_loopback(host)

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token.

        Browsers send it to every port of this host, so it has the port in its name, and not the
        token in its value. It outlives a restart with the same token.
        """
        value = hmac.digest((self.token or "").encode(), b"a browser with the token", "sha256").hex()
        return f"stylize-camera-{self.server_address[1]}={value}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers hang up and networks go whenever they like; what else goes wrong is our fault."""
        error = sys.exception()
        # What goes wrong with a file has its name, what goes wrong with a connection none.
        if not isinstance(error, OSError) or error.filename is not None:
            _log.error("the page could not answer", exc_info=error)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())


class _Handler(BaseHTTPRequestHandler):
    """One connection. Reading changes nothing; what changes something is posted as JSON."""

    protocol_version = default_request_version = "HTTP/1.1"
    server_version = "stylize-camera"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: _Server
    _embeddable = False
    """By pages of other sites: those that have the token. A cookie comes with what any page embeds."""

    def setup(self) -> None:
        super().setup()
        self._visit = self.server.visit(self.connection)

    def handle_one_request(self) -> None:
        self._visit.due = time.monotonic() + _IDLE_SECONDS
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read a request to its end.

        What is left of one is taken for the next, and pages of other sites may write bodies
        as they like. Where the end is not certain, the connection ends.
        """
        if not super().parse_request():
            return False
        lengths = self.headers.get_all("Content-Length", [] if self.command == "POST" else ["0"])
        if (
            len(lengths) != 1
            or not re.fullmatch(r"[0-9]{1,9}", lengths[0].strip())
            or int(lengths[0]) > _LONGEST_BODY
            or "Transfer-Encoding" in self.headers
        ):
            self._refuse(
                HTTPStatus.BAD_REQUEST,
                f"say with Content-Length what you send, at most {_LONGEST_BODY} bytes",
            )
            return False
        try:
            self._url = urlsplit(self.path)
        except ValueError:  # as of http://[
            self._refuse(HTTPStatus.BAD_REQUEST, "that is no address")
            return False
        self._body = self.rfile.read(int(lengths[0]))
        self._visit.due = inf
        return True

    def do_GET(self) -> None:
        url = self._url
        query = parse_qs(url.query)
        if not self._may(query):
            return
        answer = self._PAGES.get(url.path)
        if answer:
            answer(self, query)
        elif match := re.fullmatch(r"/styles/([0-9]{1,4})\.jpg", url.path):
            self._thumbnail(int(match[1]))
        else:
            self._text(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        url = self._url
        if not self._may(parse_qs(url.query)):
            return
        # Pages of other sites cannot send this type without asking first, and are never allowed to.
        if self.headers.get("Content-Type", "").split(";")[0].strip().lower() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
            return
        origin = self.headers.get("Origin")
        if origin and origin.partition("://")[2] != self.headers.get("Host"):
            self._refuse(HTTPStatus.FORBIDDEN, "this page is not ours")
            return
        if url.path not in ("/set", "/press", "/key"):
            self._text(HTTPStatus.NOT_FOUND, "there is nothing here")
            return
        try:
            self._obey(url.path, json.loads(self._body))
        except (StylizeError, ValueError, RecursionError) as error:
            self._text(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._json(self.server.page.state())

    def _obey(self, path: str, asked: object) -> None:
        wanted = ("name", "value") if path == "/set" else ("name",)
        if not (isinstance(asked, dict) and asked.keys() >= {*wanted} and isinstance(asked["name"], str)):
            raise ValueError(f"send one JSON object with {' and '.join(wanted)}")
        name = asked["name"]
        if any(c.window and name in (c.keys if path == "/key" else (c.name,)) for c in CONTROLS):
            raise StylizeError("that is for the window alone")
        controls = self.server.page.controls
        if path == "/set":
            controls.set(name, asked["value"])
        elif path == "/press":
            controls.press(name)
        elif not controls.press_key(name):
            raise StylizeError(f"nothing is done by the key {name!r}")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses, such as other methods, with the headers of all answers."""
        status = HTTPStatus(code)
        self._refuse(status, message or status.phrase)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal belongs to the live picture."""

    def _may(self, query: Mapping[str, list[str]]) -> bool:
        server = self.server
        if server.welcomes(self, query):
            self._visit.welcome = True
            self._embeddable = server.knows(self, query)
            return True
        if server.token is None:
            address = server.shown_address
            self._refuse(HTTPStatus.FORBIDDEN, f"this is not the right address: open {address}")
        else:
            cure = "open the page at the address that stylize-camera prints in its terminal"
            self._refuse(HTTPStatus.FORBIDDEN, f"the token is missing or wrong: {cure}")
        return False

    def _page(self, query: Mapping[str, list[str]]) -> None:
        if self.server.token is not None and "token" in query:
            # Who sees the browser, as in a broadcast, must not read the token in its address bar. Lax,
            # not Strict: a link in a chat's page opens it too, and opening changes nothing.
            cookie = f"{self.server.cookie}; Path=/; HttpOnly; SameSite=Lax"
            self._answer(HTTPStatus.SEE_OTHER, "text/plain", b"", {"Location": "/", "Set-Cookie": cookie})
            return
        page = (files("stylize_video") / "live" / "page.html").read_bytes()
        self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page)

    def _controls(self, query: Mapping[str, list[str]]) -> None:
        # A name may hold what no text can, as one in bytes that are no UTF-8: its label is to be shown.
        styles = [{"name": name, "label": printable(name)} for name in self.server.page.controls.styles]
        self._json({"controls": page_controls(), "styles": styles, "keys": key_help(page=True)})

    def _state(self, query: Mapping[str, list[str]]) -> None:
        self._json(self.server.page.state())

    def _frame(self, query: Mapping[str, list[str]]) -> None:
        after = query.get("after", ["0"])[0]
        picture = self.server.page.wait_for(int(after) if re.fullmatch(r"[0-9]{1,18}", after) else 0)
        if picture is None:
            self._answer(HTTPStatus.NO_CONTENT, "image/jpeg", b"")
            return
        view = "both" if query.get("view") == ["both"] else "picture"
        jpeg = self.server.page.jpeg(picture, view)
        self._answer(HTTPStatus.OK, "image/jpeg", jpeg, {"X-Frame": str(picture.number)})

    def _snapshot(self, query: Mapping[str, list[str]]) -> None:
        picture = self.server.page.picture
        if picture is None:
            self._text(HTTPStatus.NOT_FOUND, "there is no picture yet")
            return
        png = cv2.imencode(".png", picture.image)[1].tobytes()
        name = {"Content-Disposition": 'attachment; filename="camera.png"'}
        self._answer(HTTPStatus.OK, "image/png", png, name)

    def _stream(self, query: Mapping[str, list[str]]) -> None:
        # What the kernel holds back is shown late: it gets one picture or two, and a slow
        # network the newest of those that came meanwhile.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STREAM_BUFFER)
        self.close_connection = True
        self._start(HTTPStatus.OK, {"Content-Type": "multipart/x-mixed-replace; boundary=frame"})
        page, number = self.server.page, 0
        while not page.stopped:
            # Where nothing new comes the last is sent again: only writing shows who has hung up.
            picture = page.wait_for(number, _STILL_SECONDS) or page.picture
            if picture is None:
                continue
            number = picture.number
            jpeg = page.jpeg(picture, "picture")
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    _PAGES: ClassVar[Mapping[str, Callable[[_Handler, Mapping[str, list[str]]], None]]] = {
        "/": _page,
        "/controls.json": _controls,
        "/state.json": _state,
        "/frame.jpg": _frame,
        "/snapshot.png": _snapshot,
        "/stream.mjpg": _stream,
    }

    def _thumbnail(self, number: int) -> None:
        jpeg = self.server.page.thumbnail(number)
        if jpeg is None:
            self._text(HTTPStatus.NOT_FOUND, "there is no picture of it")
        else:
            self._answer(HTTPStatus.OK, "image/jpeg", jpeg)

    def _json(self, value: object) -> None:
        self._answer(HTTPStatus.OK, "application/json", json.dumps(value).encode())

    def _text(self, status: HTTPStatus, text: str) -> None:
        self._answer(status, "text/plain; charset=utf-8", printable(text).encode())

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._text(status, text)

    def _answer(
        self, status: HTTPStatus, kind: str, content: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        length = {} if status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(content))}
        self._start(
            status,
            {
                "Content-Type": kind,
                "Content-Security-Policy": _POLICY,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                **length,
                **(headers or {}),
            },
        )
        if self.command != "HEAD":
            self.wfile.write(content)

    def _start(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        sent = {"Cache-Control": "no-store", **headers}
        if not self._embeddable:
            sent["Cross-Origin-Resource-Policy"] = "same-origin"
        if self.close_connection:
            sent["Connection"] = "close"
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
