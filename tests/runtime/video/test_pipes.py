"""Pipes and addresses of the network: what comes of them when the other end, or Ctrl-C, has its say."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from media import standard_output
from stylize_video.errors import SourceError
from stylize_video.frame import TimedFrame
from stylize_video.video import pipes
from stylize_video.video.encoding import PIPE_FORMATS
from stylize_video.video.info import VideoInfo
from stylize_video.video.pipes import PipeSink, StreamSource
from stylize_video.video.source import VideoSource
from stylize_video.video.stdio import StandardOutput
from support import MakeClip, draw_picture

INFO = VideoInfo.of(64, 48)

SESSION = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
SESSION += b"a=rtpmap:96 H264/90000\r\na=control:1\r\n"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_camera_is_asked_for_a_stream_that_loses_nothing(server: socket.socket) -> None:
    """Over UDP packets are lost, which shows as grey."""
    asked: list[bytes] = []

    def answer() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rwb") as stream:
            while not asked or not asked[-1].startswith(b"SETUP"):
                asked.append(b"".join(iter(stream.readline, b"\r\n")))
                number = asked[-1].partition(b"CSeq: ")[2].split()[0]
                body = SESSION if asked[-1].startswith(b"DESCRIBE") else b""
                stream.write(b"RTSP/1.0 200 OK\r\nCSeq: %b\r\nContent-Length: %d\r\n" % (number, len(body)))
                stream.write(b"Content-Type: application/sdp\r\n\r\n" + body)
                stream.flush()

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(SourceError, match="is not a video that can be read"):
        StreamSource(f"rtsp://127.0.0.1:{server.getsockname()[1]}/1")
    thread.join()
    assert b"Transport: RTP/AVP/TCP;" in asked[-1]


def test_an_address_that_takes_a_call_and_says_nothing(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "_SECONDS_TO_OPEN", 0.2)
    hanging_up = threading.Timer(5, server.shutdown, [socket.SHUT_RDWR])
    hanging_up.start()
    try:
        with pytest.raises(SourceError, match=r"in\.mp4 gives no answer within 0\.2 seconds"):
            StreamSource(f"http://127.0.0.1:{server.getsockname()[1]}/in.mp4")
        assert hanging_up.is_alive(), "it was not left after a time, but hung up"
    finally:
        hanging_up.cancel()


@contextmanager
def standard_output_file(path: Path) -> Iterator[None]:
    """File descriptor 1 is a file, whose size tells what was written by now."""
    saved = os.dup(1)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


@pytest.mark.parametrize("kind", PIPE_FORMATS)
def test_each_frame_is_in_the_pipe_once_it_is_written(kind: str, tmp_path: Path) -> None:
    sizes = [0]
    with standard_output_file(tmp_path / "out"):
        sink = PipeSink(kind, INFO)
        for pts in range(4):
            sink.write(TimedFrame(pts, draw_picture(pts, 64, 48)))
            sizes.append((tmp_path / "out").stat().st_size)
        sink.finish()
    assert len(sizes) == 5
    assert np.diff(sizes).min() > 500


def test_ctrl_c_while_the_end_is_written_to_a_pipe_is_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg calls what writes, and makes an error of its own of it."""
    with standard_output(tmp_path / "out"):
        sink = PipeSink("nut", INFO)
        sink.write(TimedFrame(0, draw_picture(0, 64, 48)))
        monkeypatch.setattr(StandardOutput, "_room", lambda self: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            sink.finish()
        sink.discard()


def test_sound_of_a_part_of_a_pipe_ends_with_its_last_frame(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=60)
    with standard_output(tmp_path / "out"), VideoSource(source) as video:
        sink = PipeSink("nut", video.info, others=source)
        for _, frame in zip(range(30), video, strict=False):
            sink.write(frame)
        sink.keep_part()
    with av.open(str(tmp_path / "out")) as container:
        sound = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
    assert max(sound) == pytest.approx(1, abs=0.05)
