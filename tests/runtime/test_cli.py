"""``stylize-video`` as a command: defaults, output, bad input, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stylize_video.video.source import VideoSource
from support import Command, MakeClip, command_line


@pytest.fixture
def source(clip: Path, tmp_path: Path) -> Path:
    path = tmp_path / "holiday.mp4"
    path.write_bytes(clip.read_bytes())
    return path


def frames_of(path: Path) -> int:
    with VideoSource(path) as video:
        return sum(1 for _ in video)


def test_the_default_output_lies_beside_the_input(command: Command, source: Path) -> None:
    result = command("stylize-video", source, "--style", "photo.onnx", cwd="/")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "holiday.photo.mp4: 12 frames" in result.stderr
    assert "on cpu" in result.stderr or "on cuda" in result.stderr
    assert frames_of(source.with_name("holiday.photo.mp4")) == 12


def test_options_reach_the_job(
    command_here: Command, source: Path, invert_style: Path, tmp_path: Path
) -> None:
    result = command_here(
        "stylize-video", source, "-s", invert_style, "-o", tmp_path / "o.mp4", "--strength", 0.5,
        "--keep-colors", "--max-frames", 4, "--smooth", 0.5,
        "--device", "cpu", "--precision", "fp32", "--quiet",
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert frames_of(tmp_path / "o.mp4") == 4


def test_a_name_with_a_colon(command_here: Command, source: Path, invert_style: Path, tmp_path: Path) -> None:
    """``rec-12`` is no protocol."""
    source.rename(tmp_path / "rec-12:30.mp4")
    options = ("-s", invert_style, "-q")
    done = command_here("stylize-video", "rec-12:30.mp4", *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    again = command_here("stylize-video", "rec-12:30.mp4", *options, "-o", "a:b.gif", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert frames_of(tmp_path / "rec-12:30.invert.mp4") == frames_of(tmp_path / "a:b.gif") == 12
    refused = command_here("stylize-video", "rec-12:30.mp4", *options, cwd=tmp_path)
    assert refused.stderr.startswith("error: rec-12:30.invert.mp4 already exists")


def test_an_existing_output_needs_y(command_here: Command, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.mp4"
    target.write_bytes(b"precious")
    refused = command_here("stylize-video", source, "-o", target)
    assert refused.returncode == 2
    assert "already exists" in refused.stderr
    assert target.read_bytes() == b"precious"
    assert command_here("stylize-video", source, "-o", target, "-y", "-q").returncode == 0
    assert frames_of(target) == 12


def test_listing_styles_and_the_version(command_here: Command) -> None:
    listed = command_here("stylize-video", "--list-styles")
    assert listed.returncode == 0
    header, *rows = listed.stdout.splitlines()
    assert header.split() == ["style", "after", "licence", "flicker", "(source=1)", "variants"]
    photo = next(row for row in rows if row.startswith("photo "))
    assert "MIT" in photo
    assert photo.endswith("fp32 fp16 int8")
    assert re.search(r" \d\.\d ", photo)
    assert command_here("stylize-video", "--version").stdout.strip().count(".") == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.mp4"], "the video missing.mp4 does not exist"),
        ([""], "an input has no name"),
        (["IN", "--style", ""], "there is no style ''"),
        (["text.mp4"], "text.mp4 is not a video"),
        (["IN", "--style", "foto"], "no style 'foto': no such file, and the bundled styles are"),
        (["IN", "--style", "text.mp4"], "text.mp4 is not an ONNX file"),
        (["IN", "--device", "gpu"], "unknown device 'gpu'"),
        (["IN", "--strength", "1.5"], "between 0 and 1"),
        (["IN", "--smooth", "1.5"], "smooth must be between 0"),
        (["IN", "--precision", "int4"], "unknown precision 'int4'"),
        (["IN", "--max-frames", "0"], "at least 1"),
        (["IN", "-o", "nowhere/out.mp4"], "nowhere does not exist"),
        (["IN", "-o", "IN", "-y"], "is one of the inputs; name another file"),
        (["IN", "-o", "out.xyz"], "cannot write out.xyz"),
        (["IN", "-o", "out"], "cannot write out: name a file by its ending, or a folder by a slash, out/"),
        (["IN", "-o", "/proc/out.mp4"], "cannot write /proc/out.mp4"),
        (["IN", "--start", "soon"], "a time is written as 90"),
        (["IN", "--start", "5", "--end", "1"], "the end must be after the start"),
        (["IN", "--start", "1:00"], "ends before 60 s"),
        (["IN", "--fps", "fast"], "frames a second are written as"),
        (["IN", "--scale", "huge"], "a size is written as"),
        (["IN", "--scale", "2x2"], "from 16x16"),
        (["IN", "--alpha"], "holds no transparency"),
        (["IN", "--encoder", "abacus"], "unknown encoder 'abacus'"),
        (["IN", "--bitrate", "much"], "a bit rate is written as 5M, 800k or"),
        (["IN", "-o", "-", "--pipe-format", "mp4", "-s", "text.mp4"], "unknown format 'mp4' for a pipe"),
        (["frames/%05d.png"], "there are no pictures frames/%05d.png; the first would be"),
        (["IN", "-o", "text.mp4/%05d.png"], "cannot write text.mp4/%05d.png"),
        (["http://127.0.0.1:9/a.mp4"], "Connection refused"),
        (["-"], "standard input is not a video"),
        (["IN", "-o", "/dev/null", "-y"], "/dev/null is no ordinary file"),
        (["IN", "-o", "-", "--alpha"], "standard output holds no transparency; vp9 in"),
        (["IN", "-o", "%d.jpg", "--alpha"], "a .jpg picture holds no transparency; vp9 in"),
        (
            ["IN", "-o", "-", "--codec", "hevc", "--crf", "20"],
            "leave out --codec and --crf: standard output is",
        ),
        (["IN", "-o", "%d.png", "--encoder", "nvenc"], "leave out --encoder: a .png picture is not encoded"),
        (["IN", "--pipe-format", "y4m"], "--pipe-format is for standard output; pass -o - too"),
        (["IN", "--raw-size", "64x48"], "--raw-size is for standard input; name - as the input"),
        (["-", "--raw-fps", "30"], "are of raw frames, which need --raw-size too"),
        (["-", "--raw-size", "64x48", "--raw-fps", "1e9"], "above 0 and at most 1000, got 1e+09"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, command_here: Command, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("I am a text file.\n" * 40)
    before = sorted(tmp_path.iterdir())
    result = command_here(
        "stylize-video", *[str(source) if a == "IN" else a for a in arguments], cwd=tmp_path
    )
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ('"$@" -o - >&-', "standard output is closed; pipe it on, or name a file with -o"),
        ('"$@" - <&-', "standard input is closed; pipe a video into it, or name a file"),
    ],
)
def test_a_closed_pipe_is_one_sentence(how: str, sentence: str, source: Path) -> None:
    inputs = [] if how.endswith("<&-") else [str(source)]
    started = command_line("stylize_video.cli:main")
    result = subprocess.run(
        ["sh", "-c", how, "sh", *started, *inputs], capture_output=True, text=True, timeout=240, check=False
    )
    assert (result.returncode, result.stderr) == (2, f"error: {sentence}\n")


def test_a_file_needs_no_standard_input(source: Path) -> None:
    started = command_line("stylize_video.cli:main")
    result = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *started, str(source), "-q"], capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert frames_of(source.with_name("holiday.photo.mp4")) == 12


def test_debug_shows_the_traceback(command: Command) -> None:
    assert "Traceback" in command("stylize-video", "missing.mp4", "--debug").stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_a_playable_part(number: int, make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "long.mp4", frames=200, width=320, height=240)
    program = (
        "import itertools, os, threading\n"
        "from stylize_video.cli import main\n"
        "from stylize_video.pause import PauseKey\n"
        "frames = itertools.count(1)\n"
        "def wait(key):\n"
        "    if next(frames) == 20:\n"  # from another thread: it comes while the main one works
        f"        threading.Thread(target=os.kill, args=(os.getpid(), {int(number)})).start()\n"
        "    return 0.0\n"
        "PauseKey.wait = wait\n"
        "main()\n"
    )
    stopped = subprocess.run(
        [sys.executable, "-c", program, str(source), "--device", "cpu"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    errors = stopped.stderr
    assert stopped.returncode == 128 + number, errors
    assert "interrupted: what was done is in" in errors
    assert "Traceback" not in errors
    left = [".long.photo.mp4.resume", "long.mp4", "long.photo.part.mp4"]
    assert sorted(p.name for p in tmp_path.iterdir()) == left
    assert 1 <= frames_of(tmp_path / "long.photo.part.mp4") < 200


def test_an_interruption_ends_a_batch(
    command_here: Command, source: Path, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    (tmp_path / "other.mp4").write_bytes(source.read_bytes())
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("stylize_video.pause.PauseKey.wait", interrupted)
    ended = command_here("stylize-video", tmp_path, "-o", tmp_path / "out", "-s", invert_style, "-q")
    assert ended.returncode == 130
    assert ended.stderr.startswith("error: interrupted: what was done is in ")
    assert ended.stderr.count("\n") == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".holiday.invert.mp4.resume", "holiday.invert.part.mp4"
    ]  # fmt: skip


def test_a_terminal_gets_a_bar(source: Path, tmp_path: Path) -> None:
    shown, code = in_a_terminal([str(source), "-o", str(tmp_path / "o.mp4"), "--device", "cpu"])
    assert code == 0
    assert "12/12" in shown
    assert "fps" in shown
    assert "━" in shown
    assert re.search(r"\d:\d\d:\d\d", shown)  # the time left


def test_ctrl_c_at_any_moment_ends_in_order(make_clip: MakeClip, tmp_path: Path) -> None:
    """While libraries are imported, while the style loads, while frames are made."""
    source = make_clip(tmp_path / "in.mp4", frames=900, width=320, height=240)
    moments = ("<begun>", "<import numpy>", "<import onnxruntime>", "<import onnx>", ".onnx>", "/900")
    for moment in moments:
        shown, code = in_a_terminal([str(source), "-o", str(tmp_path / "o.mp4")], interrupt_at=moment)
        assert code == 130, shown
        assert "Traceback" not in shown
        assert not (tmp_path / "o.mp4").exists()
        (tmp_path / ".o.mp4.resume").unlink(missing_ok=True)  # there once a frame was encoded
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def in_a_terminal(arguments: list[str], *, interrupt_at: str | None = None) -> tuple[str, int]:
    """What the command shows in a terminal, and its exit code.

    Ctrl-C is pressed as soon as it has shown ``interrupt_at``; what it imports and opens is shown for that.
    """
    program = (
        "import io, sys\n"
        "from stylize_video import usage\n"
        "run, open_ = usage.run, io.open\n"
        "class Tell:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        print(f'<import {name}>', flush=True)\n"
        "def tell_and_open(path, *arguments, **options):\n"
        "    print(f'<open {path}>', flush=True)\n"
        "    return open_(path, *arguments, **options)\n"
        "def begin(command):\n"
        "    sys.meta_path.insert(0, Tell())\n"
        "    io.open = tell_and_open\n"
        "    print('<begun>', flush=True)\n"
        "    run(command)\n"
        "usage.run = begin\n"
        "from stylize_video.cli import main\n"
        "main()\n"
    )
    pty = pytest.importorskip("pty", reason="pseudo terminals are a POSIX thing")
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(COLUMNS="120", TERM="xterm")
        os.execv(sys.executable, [sys.executable, "-c", program, *arguments])
    shown = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal whose process is gone with an error
        while received := os.read(terminal, 65536):
            shown += received
            if interrupt_at is not None and interrupt_at.encode() in shown:
                os.write(terminal, b"\x03")
                interrupt_at = None
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.close(terminal)
    return shown.decode(errors="replace"), code
