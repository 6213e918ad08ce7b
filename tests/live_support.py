"""What the tests of the live picture share: streams and clocks that do as they are told."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame
from stylize_video.live.capture import Read
from stylize_video.live.picture import LivePicture
from support import draw_picture


class ManualClock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class SteppedReader:
    """A live source whose next frame comes when the last one has been shown.

    ``step`` says so; what is read and shown in turn loses no frame on the slowest machine.
    """

    live = False
    fps: float | None = None
    end: float | None = None

    def __init__(self, frames: Iterable[Frame], *, on_read: Callable[[], None] = lambda: None) -> None:
        self._frames = iter(frames)
        self._next = threading.Semaphore(1)
        self._on_read = on_read
        self.closed = False

    def step(self) -> None:
        self._next.release()

    def read(self) -> Read | None:
        while not self._next.acquire(timeout=0.05):
            if self.closed:
                return None
        self._on_read()
        frame = next(self._frames, None)
        return None if frame is None else Read(frame)

    def close(self) -> None:
        self.closed = True


class Collector:
    """An output that keeps the pictures it was shown, each once."""

    def __init__(self, on_show: Callable[[LivePicture], None] = lambda _: None) -> None:
        self.pictures: list[LivePicture] = []
        self.calls = 0
        self.closed = False
        self._on_show = on_show

    def show(self, picture: LivePicture) -> None:
        self.calls += 1
        if not self.pictures or picture.number != self.pictures[-1].number:
            self.pictures.append(picture)
        self._on_show(picture)

    def close(self) -> None:
        self.closed = True


def numbered_frame(number: int, *, width: int = 64, height: int = 48) -> Frame:
    """A grey frame that tells its number from 0 to 255, also after JPEG."""
    return np.full((height, width, 3), number % 256, np.uint8)


def number_of(frame: Frame) -> int:
    """The number of a :func:`numbered_frame`."""
    return round(float(frame.mean()))


class MjpegServer:
    """A network camera on this machine: JPEGs over HTTP, at a rate, until it is told otherwise.

    ``pause`` lets it stall with open connections, ``stop`` lets it die; ``start`` brings it
    back at the same address.
    """

    def __init__(self, *, fps: float = 30.0, width: int = 64, height: int = 48, plain: bool = False) -> None:
        self.fps, self.width, self.height, self.plain = fps, width, height, plain
        self.sent = 0
        self.pause = threading.Event()
        self._stopped = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/stream.mjpg"

    def start(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._stream(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._stopped.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = False
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="mjpeg-server").start()

    def stop(self) -> None:
        self._stopped.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        due = time.perf_counter()
        while not self._stopped.is_set():
            if self.pause.is_set():
                time.sleep(0.01)
                due = time.perf_counter()
                continue
            try:
                jpeg = self._jpeg(self.sent)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                handler.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                return
            self.sent += 1
            due += 1 / self.fps
            self._stopped.wait(max(0.0, due - time.perf_counter()))

    def _jpeg(self, number: int) -> bytes:
        picture: NDArray[np.uint8] = numbered_frame(number, width=self.width, height=self.height)
        if not self.plain:
            picture = draw_picture(number, self.width, self.height)[..., ::-1]
        return bytes(cv2.imencode(".jpg", np.ascontiguousarray(picture))[1])


@contextmanager
def serving(server: MjpegServer) -> Iterator[MjpegServer]:
    """The server, which ends with the block."""
    try:
        yield server
    finally:
        server.stop()


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait for something that happens in another thread or process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def live_threads() -> set[str]:
    """Names of the threads that a live picture may have started and that still run."""
    ours = ("capture", "styles", "write-behind", "finish-recording", "server", "microphone")
    return {t.name for t in threading.enumerate() if t.name.startswith(ours)}


class Desktop:
    """An X server without a screen, its window manager, and hands on its keys and mouse.

    Without a manager OpenCV's window now and then misses its first expose and stays black.
    """

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", "1", "-screen", "0", "1000x700x24", "-nolisten", "tcp", "-noreset"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._server.stdout
        self.environment = {**os.environ, "DISPLAY": f":{self._server.stdout.readline().strip()}"}
        self._manager = subprocess.Popen(["openbox"], env=self.environment, stderr=subprocess.DEVNULL)
        wait_until(lambda: bool(self.do("get_num_desktops")))  # the manager's word

    def close(self) -> None:
        for process in (self._manager, self._server):
            process.terminate()
            process.wait(20)
            if process.stdout:
                process.stdout.close()

    @property
    def process(self) -> int:
        """The X server's process."""
        return self._server.pid

    def do(self, *arguments: object) -> str:
        """Run xdotool; what it said."""
        done = subprocess.run(
            ["xdotool", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return done.stdout.strip()

    def wait_for_window(self, title: str) -> None:
        self._title = title
        wait_until(lambda: bool(self._windows()), seconds=60)
        self.do("windowfocus", self.window)

    def _windows(self) -> list[str]:
        return self.do("search", "--onlyvisible", "--name", self._title).split()

    @property
    def window(self) -> str:
        """The window's number; looked up anew, since toolkits replace a window by another."""
        found: list[str] = []

        def is_there() -> bool:
            found[:] = self._windows()
            return bool(found)

        wait_until(is_there)
        return found[-1]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.do("key", "--window", self.window, key)
            time.sleep(0.15)  # OpenCV keeps the last key of a frame only

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """In pixels of the screen."""
        self.do("mousemove", *start, "mousedown", 1)
        for part in (0.3, 0.6, 1.0):
            time.sleep(0.1)
            x, y = (round(a + (b - a) * part) for a, b in zip(start, end, strict=True))
            self.do("mousemove", x, y)
        time.sleep(0.1)
        self.do("mouseup", 1)

    def geometry(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the window."""
        told: dict[str, str] = {}

        def was_told() -> bool:
            lines = self.do("getwindowgeometry", "--shell", self.window).splitlines()
            told.update((line.split("=")[0], line.split("=")[1]) for line in lines)
            return "X" in told

        wait_until(was_told)
        left, top, width, height = (int(told[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))
        return left, top, width, height

    def picture(self) -> Frame:
        """The window's inside, BGR."""
        png = b""

        def is_there() -> bool:
            nonlocal png
            png = subprocess.run(
                ["import", "-window", self.window, "png:-"],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=20,
                check=False,
            ).stdout
            return bool(png)

        wait_until(is_there)  # the toolkit may have replaced the window meanwhile
        return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), np.uint8)
