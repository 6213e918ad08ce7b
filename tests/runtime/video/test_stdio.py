"""Pipes whose other end stalls: a job can be stopped all the same, and what stopped it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from media import standard_input, standard_output
from stylize_video.video.decoding import PyAvReader
from stylize_video.video.pipes import StreamSource
from stylize_video.video.probe import probe
from stylize_video.video.stdio import StandardInput, StandardOutput
from support import MakeClip, command_line

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no waiting for pipes elsewhere")

Start = Callable[..., "subprocess.Popen[bytes]"]
STOPPING = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture
def start(invert_style: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def started(*arguments: object, **pipes: int) -> subprocess.Popen[bytes]:
        command = [
            *command_line("stylize_video.cli:main"),
            *map(str, arguments),
            "--style",
            str(invert_style),
        ]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, **pipes))  # type: ignore[call-overload]
        return running[-1]

    yield started
    for process in running:
        process.kill()
        process.communicate()


def told(stderr: IO[bytes] | None, words: bytes) -> bytes:
    """What a command said up to the line with these words."""
    assert stderr is not None
    said = b""
    while words not in said:
        line = stderr.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize(("number", "code"), STOPPING)
def test_a_source_that_stalls(
    number: signal.Signals, code: int, make_clip: MakeClip, start: Start, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "in.ts", frames=60).read_bytes()
    process = start("-", "-o", tmp_path / "out.mp4", stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(clip)
    process.stdin.flush()
    told(process.stderr, b"in the style")
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert b"interrupted" in told(process.stderr, b"interrupted")


def test_a_source_that_stalls_once_all_that_came_is_read(start: Start, tmp_path: Path) -> None:
    """With nothing else to do, a thread waits for more."""
    process = start("-", "-o", tmp_path / "out.mp4", stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(b"YUV4MPEG2 W96 H64 F25:1\n" + 4 * (b"FRAME\n" + bytes(96 * 64 * 3 // 2)))
    process.stdin.flush()
    told(process.stderr, b"in the style")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


@pytest.mark.parametrize(("frames", "number", "code"), [(12, *STOPPING[0]), (400, *STOPPING[1])])
def test_a_reader_that_stalls(
    frames: int, number: signal.Signals, code: int, make_clip: MakeClip, start: Start, tmp_path: Path
) -> None:
    """Be it that frames are still to come, or that all of them wait to be written."""
    clip = make_clip(tmp_path / "in.mp4", frames=frames)
    process = start(clip, "-o", "-", stdout=subprocess.PIPE)
    told(process.stderr, b"in the style")
    assert process.stdout
    assert process.stdout.read(20_000)  # and no more
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert told(process.stderr, b"interrupted").endswith(
        b"interrupted: what was done went to standard output\n"
    )


def test_ctrl_c_while_standard_input_is_looked_at(tmp_path: Path) -> None:
    """FFmpeg calls what reads, and knows nothing of Ctrl-C."""
    reading, writing = os.pipe()
    saved = os.dup(0)
    os.dup2(reading, 0)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            StreamSource("-")
    finally:
        timer.join()
        os.dup2(saved, 0)
        for descriptor in (reading, writing, saved):
            os.close(descriptor)


def test_what_is_read_and_written(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "in").write_bytes(content)
    with standard_input(tmp_path / "in"):
        pieces = list(iter(lambda: StandardInput().read(1000), b""))
    assert b"".join(pieces) == content
    with standard_output(tmp_path / "out"):
        assert StandardOutput().write(content) == len(content)
    assert (tmp_path / "out").read_bytes() == content


def test_a_reader_in_use_is_not_closed(clip: Path) -> None:
    """Where a thread waits for a network's data, closing would be an error of the interpreter's."""
    reader = PyAvReader(str(clip), probe(str(clip)))

    def pictures() -> Iterator[object]:
        reader.close()
        yield from ()

    reader._pictures = pictures()  # type: ignore[assignment]
    assert reader.read() is None
    reader.close()
