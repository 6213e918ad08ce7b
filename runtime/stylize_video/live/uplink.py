"""The connection that a live stream goes out by: a process that sends what it is given to an address.

PyAV opens a connection while every thread of Python waits, and FFmpeg's RTMP waits for a peer that hangs
for ever. A process of its own can be ended at any time; it reads the address, which may
hold a key, from its standard input, which nobody else can read.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import av
import av.error

from stylize_video.errors import SinkError, reason

_CONTAINERS = {"rtmp": "flv", "rtmps": "flv", "srt": "mpegts", "tcp": "mpegts", "udp": "mpegts"}
"""FFmpeg's names of what each protocol carries."""
_EXAMPLES = "rtmp://HOST/APP/KEY, rtmps://HOST/APP/KEY, srt://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT"

_TS_PACKET = 188
_DATAGRAM = 7 * _TS_PACKET
"""Bytes of MPEG-TS that fit into what networks carry in one piece."""

_PATIENCE = 10.0
_GRACE = 1.0
_CONNECTED = "connected"
_SECRETS = {"STYLIZE_VIDEO_STREAM", "STYLIZE_VIDEO_TOKEN"}
"""Of the environment; the other process needs neither."""
_NO_PROTOCOL = "Protocol not found"


class Uplink:
    """A connection to ``url``, that can be made again where it was lost. Bytes are written as to a file.

    Attributes:
        shown: the address as everybody may see it: without path, query and password, which hold keys.
        container: FFmpeg's name of the format that is to be written.
        is_connected: whether there is a peer.
        is_stopped: it is over for good.
        sent: bytes so far.

    Args:
        url: where to, such as ``rtmp://HOST/APP/KEY``.
        patience: a peer that neither answers nor takes anything for so many seconds has hung.

    Raises:
        SinkError: ``url`` is no address that a stream can be sent to.
    """

    def __init__(self, url: str, *, patience: float = _PATIENCE) -> None:
        self._url, self.shown = _checked(url)
        self._patience = patience
        scheme = urlsplit(url).scheme.lower()
        self.container = _CONTAINERS[scheme]
        self.is_connected = self.is_stopped = False
        self.sent = 0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def connect(self) -> None:
        """Reach the peer, or give up after ``patience``.

        Raises:
            SinkError: it cannot be reached, or refuses.
        """
        process = self._spawn()
        try:
            unit = _TS_PACKET if self.container == "mpegts" else 1
            head = f"{self._url}\n{unit} {self._patience}\n"
            with contextlib.suppress(OSError):  # it ended already; its last words say why
                _input_of(process).write(head.encode())
                _input_of(process).flush()
            answer = ""
            with contextlib.suppress(ValueError):  # it was closed by `stop`
                answer = _output_of(process).readline().decode(errors="replace").strip()
        except BaseException:
            self.disconnect()
            raise
        if answer == _CONNECTED:
            self.is_connected = True
            return
        self.disconnect()
        if answer == _NO_PROTOCOL:
            scheme = self.shown.partition(":")[0]
            raise SinkError(
                f"the FFmpeg of PyAV here has no {scheme}: stream to tcp://127.0.0.1:PORT, and let another"
                f" FFmpeg send it on: ffmpeg -i 'tcp://127.0.0.1:PORT?listen' -c copy -f {self.container} ..."
            )
        raise SinkError(f"{self.shown} cannot be reached ({self._why(answer)}): is it right, and running?")

    def write(self, data: bytes) -> int:
        """Send; waits for a slow network.

        Raises:
            BrokenPipeError: the connection is lost; :meth:`disconnect` knows why.
        """
        process = self._process
        if process is None:
            raise BrokenPipeError
        _input_of(process).write(data)
        _input_of(process).flush()
        self.sent += len(data)
        return len(data)

    def finish(self) -> None:
        """Send what is left and take leave of the peer, within a second."""
        if process := self._process:
            with contextlib.suppress(OSError):
                _input_of(process).close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
        self.disconnect()

    def disconnect(self) -> str:
        """End the connection at once; returns why it was lost, as far as that is known."""
        with self._lock:
            process, self._process = self._process, None
            self.is_connected = False
        if process is None:
            return "it was ended"
        with contextlib.suppress(OSError):
            _input_of(process).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)  # one that lost its peer is about to end, and to say why
        process.kill()
        process.wait()
        with _output_of(process) as output:
            return self._why(output.read().decode(errors="replace").strip())

    def stop(self) -> None:
        """End, in whatever thread, what another one waits for, and never connect again."""
        with self._lock:
            self.is_stopped = True
            if self._process:
                self._process.kill()
        self.disconnect()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # -P: what lies in the working folder is not imported. Ctrl-C is for us, who end it in order.
        command = [sys.executable, "-P", "-m", "stylize_video.live.uplink"]
        environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        with self._lock:
            if self.is_stopped:
                raise SinkError(f"the stream to {self.shown} was ended")
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    **apart,
                )
            except OSError as error:
                raise SinkError(f"no process for the stream can be started: {reason(error)}") from error
            return self._process

    def _why(self, last_words: str) -> str:
        return last_words or f"no answer for {self._patience:g} s"


def _checked(url: str) -> tuple[str, str]:
    """The address for FFmpeg, and as everybody may see it.

    Raises:
        SinkError: it is none; the sentence shows nothing that may be a key.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError as error:
        raise SinkError(f"the address of the stream is none: write {_EXAMPLES}") from error
    if not url.isprintable() or "://" not in url:
        raise SinkError(f"the address of the stream is none: write {_EXAMPLES}")
    if scheme not in _CONTAINERS:
        raise SinkError(f"no stream can be sent to {scheme}://: write {_EXAMPLES}")
    shown = f"{scheme}://{parts.netloc.rpartition('@')[2]}"
    if scheme.startswith("rtmp"):
        if not host or not parts.path.strip("/"):
            raise SinkError(f"the stream to {shown} needs an application and a key: {scheme}://HOST/APP/KEY")
    elif port is None or not (host or scheme == "srt"):
        raise SinkError(f"the stream to {shown} needs a host and a port: {scheme}://HOST:PORT")
    if scheme == "udp" and "pkt_size=" not in parts.query:
        url += f"{'&' if parts.query else '?'}pkt_size={_DATAGRAM}"
    return url, shown


def _input_of(process: subprocess.Popen[bytes]) -> Any:
    return process.stdin


def _output_of(process: subprocess.Popen[bytes]) -> Any:
    return process.stdout


def _send(url: str, unit: int, patience: float) -> None:
    """Send standard input in multiples of ``unit`` bytes; end without a word at a peer that hangs."""
    given: Any = sys.stdin.buffer
    with Path(os.devnull).open("w") as nowhere, contextlib.ExitStack() as opened:

        def watch() -> None:
            faulthandler.dump_traceback_later(patience, exit=True, file=nowhere)

        watch()
        if host := urlsplit(url).hostname:
            socket.getaddrinfo(host, None)  # FFmpeg does not say that it is the name that is wrong
        target = av.open(url, "w", format="data", options={"flush_packets": "1"})
        opened.callback(target.close)
        stream = target.add_data_stream()
        target.start_encoding()
        faulthandler.cancel_dump_traceback_later()
        print(_CONNECTED, flush=True)
        held = b""
        while data := given.read1(2**16):
            held += data
            whole = len(held) - len(held) % unit
            packet = av.Packet(held[:whole])
            packet.stream, packet.pts, packet.dts = stream, 0, 0
            held = held[whole:]
            watch()
            target.mux(packet)
            faulthandler.cancel_dump_traceback_later()
        watch()
        opened.close()
        faulthandler.cancel_dump_traceback_later()


def main() -> None:
    """Send standard input, behind two lines: the address, and unit and patience; for the other process."""
    given = sys.stdin.buffer
    url = given.readline().decode().strip()
    unit, patience = given.readline().split()
    try:
        _send(url, int(unit), float(patience))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        print(reason(error), flush=True)
        os._exit(1)  # the connection is gone: nobody waits for what closing it would send


if __name__ == "__main__":
    main()
