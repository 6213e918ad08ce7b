"""Addresses that a stream is sent to, and peers that refuse, hang or end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stylize_video.errors import SinkError
from stylize_video.live.uplink import Uplink


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "shown", "container"),
    [
        ("rtmp://live.example/app/secret?also=secret", "rtmp://live.example", "flv"),
        ("rtmps://user:secret@live.example:443/app/secret", "rtmps://live.example:443", "flv"),
        ("srt://live.example:9000?passphrase=secret", "srt://live.example:9000", "mpegts"),
        ("udp://[::1]:9000", "udp://[::1]:9000", "mpegts"),
        ("TCP://127.0.0.1:9000", "tcp://127.0.0.1:9000", "mpegts"),
    ],
)
def test_what_everybody_may_see_of_an_address(url: str, shown: str, container: str) -> None:
    uplink = Uplink(url)
    assert (uplink.shown, uplink.container) == (shown, container)


@pytest.mark.parametrize(
    "url",
    ["", "secret", "http://a/secret", "rtsp://a/secret", "rtmp://a", "rtmp:///secret", "udp://a", "tcp://:1",
     "srt://a?streamid=secret", "udp://a:secret", "rtmp://a/app/secret\nmore"],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(SinkError) as refused:
        Uplink(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["rtmp", "tcp"])
def test_nobody_listens(scheme: str) -> None:
    uplink = Uplink(f"{scheme}://127.0.0.1:{free_port()}/app/secret")
    with pytest.raises(SinkError, match="Connection refused") as refused:
        uplink.connect()
    assert "secret" not in str(refused.value)
    assert not uplink.is_connected


def test_a_peer_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uplink = Uplink(f"rtmp://127.0.0.1:{server.getsockname()[1]}/app/key", patience=1)
        with pytest.raises(SinkError, match="no answer for 1 s"):
            uplink.connect()


def test_waiting_for_a_peer_can_be_stopped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uplink = Uplink(f"rtmp://127.0.0.1:{server.getsockname()[1]}/app/key")
        failed: list[SinkError] = []

        def connect() -> None:
            try:
                uplink.connect()
            except SinkError as error:
                failed.append(error)

        thread = threading.Thread(target=connect)
        thread.start()
        with server.accept()[0]:
            uplink.stop()
            thread.join(5)
    assert not thread.is_alive()
    assert failed
    with pytest.raises(SinkError, match="ended"):
        uplink.connect()


def test_bytes_arrive_in_whole_packets_and_in_order() -> None:
    sent = bytes(range(256)) * 188
    with socket.create_server(("127.0.0.1", 0)) as server, Uplink(f"tcp://{_address(server)}") as uplink:
        uplink.connect()
        with server.accept()[0] as peer:
            for start in range(0, len(sent), 1000):
                uplink.write(sent[start : start + 1000])
            uplink.finish()
            received = b"".join(iter(lambda: peer.recv(2**16), b""))
    assert received == sent
    assert uplink.sent == len(sent)


def test_a_peer_that_hangs_is_lost_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with Uplink(f"tcp://{_address(server)}", patience=1) as uplink:
            uplink.connect()
            with server.accept()[0], pytest.raises(BrokenPipeError):
                uplink.write(bytes(100_000_000))
            assert uplink.disconnect() == "no answer for 1 s"


def test_the_address_is_in_no_list_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLIZE_VIDEO_STREAM", "rtmp://host/app/secret-key")
    if not sys.platform.startswith("linux"):
        pytest.skip("there is no /proc to look into")
    with socket.create_server(("127.0.0.1", 0)) as server, Uplink(f"tcp://{_address(server)}") as uplink:
        uplink.connect()
        address = _address(server)
        with server.accept()[0]:
            shown = subprocess.run(
                ["ps", "-Aww", "-o", "args="], capture_output=True, text=True, check=True
            ).stdout
            running = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
            children = [Path(f"/proc/{child}/environ") for child in Path(running).read_text().split()]
            environments = [child.read_bytes() for child in children]
    assert "stylize_video.live.uplink" in shown
    assert address not in shown
    assert environments
    assert not any(b"secret-key" in environment for environment in environments)


def test_the_process_ends_with_ours() -> None:
    """Also where ours is killed, and has no time to end it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = f"""
from stylize_video.live.uplink import Uplink
uplink = Uplink("tcp://{_address(server)}")
uplink.connect()
input()
"""
        with (
            subprocess.Popen([sys.executable, "-c", ours], stdin=subprocess.PIPE) as process,
            server.accept()[0] as peer,
        ):
            peer.settimeout(10)
            process.kill()
            assert peer.recv(1) == b""


def _address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"
