"""``stylize-camera`` as a command, without a window."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from live_support import MjpegServer, serving, wait_until
from media import HEVC10, write_video
from stylize_video.errors import SinkError
from stylize_video.live.cli import with_address
from stylize_video.live.engine import Engine
from support import Command, MakeClip, command_line


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_file_is_recorded_and_measured(
    command_here: Command, make_clip: MakeClip, swap_style: Path, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=30, sound=False)
    result = command_here(
        "stylize-camera", source, "-s", swap_style, "--no-window", "--record", tmp_path / "live.mp4",
        "--stats", tmp_path / "stats.jsonl", "--strength", 0.5, "--device", "cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "in the style swap (fp32) on cpu" in result.stderr
    assert "recorded" in result.stderr
    last = json.loads((tmp_path / "stats.jsonl").read_text().splitlines()[-1])
    assert last["captured"] == 30
    assert 1 <= last["shown"] == frames_of(tmp_path / "live.mp4") <= 30
    assert last["size"] == [96, 64]


def test_a_stream_for_some_seconds(command: Command, invert_style: Path, tmp_path: Path) -> None:
    with serving(MjpegServer(fps=30)) as server:
        result = command(
            "stylize-camera", server.url, "-s", invert_style, "--no-window", "--stats", tmp_path / "s",
            "--seconds", 1, "--quiet",
        )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert json.loads((tmp_path / "s").read_text().splitlines()[-1])["shown"] >= 1


def test_quiet_leaves_warnings_and_the_page_s_address(
    command_here: Command, clip: Path, invert_style: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    result = command_here(
        "stylize-camera", clip, "-s", invert_style, "--no-window", "--serve", "127.0.0.1:0",
        "--token", "open-sesame", "--stats", "/dev/full", "--quiet",
    )  # fmt: skip
    page, warning, error = result.stderr.splitlines()
    assert re.fullmatch(r"the page is at http://127\.0\.0\.1:\d+/\?token=open-sesame", page)
    assert warning == "writing the statistics /dev/full failed: No space left on device"
    assert error == f"error: {warning}"


def test_the_terminal_does_not_get_the_password_of_a_camera(command: Command, invert_style: Path) -> None:
    with serving(MjpegServer(fps=30)) as server:
        url = server.url.replace("//", "//me:hunter2@")
        result = command(
            "stylize-camera", url, "-s", invert_style, "--no-window", "--stats", "-",
            "--seconds", 0.5, "--device", "cpu",
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"{server.url} in the style invert (fp32) on cpu")
    assert "hunter2" not in result.stderr
    assert json.loads(result.stdout)["shown"] >= 1


def test_a_source_without_a_picture_is_an_error(
    command_here: Command, make_clip: MakeClip, invert_style: Path, tmp_path: Path
) -> None:
    """A video by its address of which nothing can be decoded."""
    clip = make_clip(tmp_path / "in.mp4", frames=30, sound=False)
    with av.open(str(clip)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos is not None]
    data = bytearray(clip.read_bytes())
    for position, size in packets:
        data[position + 4 : position + size] = bytes(size - 4)
    clip.write_bytes(data)
    result = command_here(
        "stylize-camera", f"file://{clip}", "-s", invert_style, "--no-window", "--stats", tmp_path / "s"
    )
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last == f"error: file://{clip} gave no frame: is it running, and can its video be decoded?"


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to other processes")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_stopping_finishes_the_recording(name: str, invert_style: Path, tmp_path: Path) -> None:
    number = signal.Signals[name]
    with serving(MjpegServer(fps=30)) as server:
        process = subprocess.Popen(
            [
                *command_line("stylize_video.live.cli:main"),
                *(server.url, "-s", str(invert_style), "--no-window", "--record", "live.mp4"),
                *("--stats", "stats.jsonl", "--device", "cpu"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ},
            preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # nohup ignores SIGHUP
        )
        stats = tmp_path / "stats.jsonl"
        wait_until(lambda: stats.exists() and stats.stat().st_size > 0, seconds=60)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "recorded live.mp4" in errors
    assert errors.splitlines()[-1].endswith("ms)")  # how it went, and no error
    assert "error" not in errors
    assert "Traceback" not in errors
    assert frames_of(tmp_path / "live.mp4") >= 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["live.mp4", "stats.jsonl"]


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to other processes")
def test_a_thread_that_waits_for_a_stalled_stream_ends_with_the_command(
    invert_style: Path, tmp_path: Path
) -> None:
    """The interpreter is not taken down beneath it, which now and then ended in a crash."""
    program = (
        "import os\n"
        "class Noticing:\n"
        "    def __del__(self, write=os.write): write(1, b'taken down')\n"
        "noticing = Noticing()\n"
        "from stylize_video.live.cli import main; main()"
    )
    with serving(MjpegServer(fps=30)) as server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", program, server.url, "-s", str(invert_style), "--no-window"),
                *("--record", "live.mp4", "--stats", "stats.jsonl", "--device", "cpu"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        stats = tmp_path / "stats.jsonl"
        wait_until(lambda: stats.exists() and stats.stat().st_size > 0, seconds=60)
        server.pause.set()
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    assert "recorded live.mp4" in errors
    assert errors.splitlines()[-1].endswith("ms)")
    assert frames_of(tmp_path / "live.mp4") >= 1


def test_what_fails_while_a_signal_waits_has_its_sentence(
    command_here: Command, clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Engine._close

    def fail(engine: Engine) -> None:
        close(engine)
        signal.raise_signal(signal.SIGINT)
        raise SinkError("the disk is full")

    monkeypatch.setattr(Engine, "_close", fail)
    result = command_here(
        "stylize-camera", clip, "-s", invert_style, "--no-window", "-q", "--stats", os.devnull
    )
    assert (result.returncode, result.stderr) == (130, "error: interrupted: the disk is full\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_terminal_that_is_gone_ends_no_recording(
    make_clip: MakeClip, invert_style: Path, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=30, sound=False)
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [
            *command_line("stylize_video.live.cli:main"),
            *(str(source), "-s", str(invert_style), "--no-window", "--record", "live.mp4", "--device", "cpu"),
        ],
        stderr=write,
        cwd=tmp_path,
    )
    os.close(write)
    assert process.wait(60) == 0
    assert frames_of(tmp_path / "live.mp4") >= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["9999999999"], "there is no camera 9999999999"),
        (["IN", "--token", "12345678"], "--token is for the page: add --serve"),
        (["977"], "there is no camera 977"),
        (["missing.mp4"], "missing.mp4 is no camera, URL or file"),
        (["http://127.0.0.1:9/x"], "cannot be opened"),
        (["IN", "--style", "foto"], "no style 'foto'"),
        (["IN", "--strength", "2"], "between 0 and 1"),
        (["IN", "--smooth", "2"], "between 0"),
        (["IN", "--size", "big"], "sizes look like 640x360"),
        (["IN", "--size", "8x8"], "sizes look like 640x360 and are at least 16x16"),
        (["IN", "--size", "99999x99999"], "larger than any video that is read"),
        (["IN", "--backend", "webcam"], "unknown backend"),
        (["IN", "--pixel-format", "J"], "four letters"),
        (["IN", "--target-fps", "-1"], "0 or more"),
        (["IN", "--seconds", "0"], "above 0"),
        (["IN", "--folder", "nowhere"], "the folder nowhere"),
        (["IN", "--record", "IN", "-y"], "is one of the inputs"),
        (["IN", "--record", "out.xyz"], "cannot write out.xyz"),
        (["IN", "--stats", "nowhere/s"], "cannot write nowhere/s: the folder nowhere does not exist"),
        (["IN", "--stats", "."], ". is a folder; name a file with --stats"),
        (["IN", "--stats", "in.mp4"], "in.mp4 is one of the inputs; name another file with --stats"),
        (["IN", "--stats", "r.mp4", "--record", "r.mp4"], "--record and --stats both name r.mp4"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, command_here: Command, clip: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(clip.read_bytes())
    arguments = [str(source) if a == "IN" else a for a in arguments]
    result = command_here("stylize-camera", "--no-window", "--stats", "s", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in result.stderr
    assert source.read_bytes() == clip.read_bytes()
    assert {p.name for p in tmp_path.iterdir()} <= {"in.mp4", "s"}


def test_a_run_that_would_show_nothing(command_here: Command, clip: Path) -> None:
    result = command_here("stylize-camera", clip, "--no-window")
    assert result.returncode == 2
    assert "without a window nothing would come out" in result.stderr


def test_listing_cameras_needs_none(command_here: Command) -> None:
    result = command_here("stylize-camera", "--list-cameras")
    assert result.returncode == 0
    assert result.stdout or "no camera is connected" in result.stderr


def test_nothing_that_a_file_says_moves_the_terminal(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "\x1b]0;pwned\x07.mp4"
    hostile.write_bytes(clip.read_bytes())
    result = command_here(
        "stylize-camera", hostile, "-s", invert_style, "--no-window", "--stats", tmp_path / "s"
    )
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stderr
    assert "\\x1b]0;pwned" in result.stderr


def test_what_is_told_of_a_looped_file_is_told_once(
    command_here: Command, invert_style: Path, tmp_path: Path
) -> None:
    coding = replace(HEVC10, colorspace=9, color_primaries=9, color_trc=16)
    path = write_video(tmp_path / "hdr.mp4", [np.zeros((64, 96, 3), np.uint8)] * 3, coding)
    result = command_here(
        "stylize-camera", path, "-s", invert_style, "--no-window", "--stats", tmp_path / "s",
        "--loop", "--seconds", 2,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("is HDR") == 1


def test_where_a_stream_goes_to(command_here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_address(["--stream", "tcp://a:1", "0"]) == ["--stream", "tcp://a:1", "0"]
    assert with_address(["--stream", "0"]) == ["--stream", "", "0"]
    monkeypatch.delenv("STYLIZE_VIDEO_STREAM", raising=False)
    result = command_here("stylize-camera", "--no-window", "--stream")
    assert result.returncode == 2
    assert "--stream needs an address, or the environment variable STYLIZE_VIDEO_STREAM" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--stream-bitrate", "1M"], "--stream-bitrate is for streams: add --stream"),
        (["--stream", "rtsp://a/b"], "no stream can be sent to rtsp://"),
        (["--stream", "tcp://a:1", "--stream-bitrate", "4000"], "from 50000 to 100000000, got 4000"),
        (["--stream", "tcp://a:1", "--stream-bitrate", "0.5G"], "is written as 5M, 800k or 5000000"),
        (["--codec", "prores"], "prores does not go into .mp4 files"),
        (["--crf", "99"], "the crf of h264 must be between 0 and 51"),
    ],
)
def test_options_of_streams_and_recordings_that_make_no_sense(
    options: list[str], sentence: str, command_here: Command
) -> None:
    result = command_here("stylize-camera", "--no-window", "--stats", "-", *options)
    assert result.returncode == 2
    assert sentence in result.stderr


def test_a_recording_in_another_codec(
    command_here: Command, make_clip: MakeClip, invert_style: Path, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=10, sound=False)
    result = command_here(
        "stylize-camera", source, "-s", invert_style, "--no-window", "--record", tmp_path / "live.mp4",
        "--codec", "hevc", "--crf", 30,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with av.open(str(tmp_path / "live.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
