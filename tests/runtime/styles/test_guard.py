"""A style that crashes ONNX Runtime crashes another process, and this one tells it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import spawn
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from stylize_video import open_session, try_out
from stylize_video.errors import StyleError
from stylize_video.styles import guard
from stylize_video.styles.style import Style
from stylize_video_assets.catalog import bundled_styles
from support import ROOT, Command


@pytest.fixture(autouse=True)
def _nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLIZE_VIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(guard, "_sound_here", set())


@pytest.fixture
def crashing(tmp_path: Path) -> Path:
    """A block size that overflows to a division by zero inside ONNX Runtime 1.31."""
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["frames", "w"], ["many"], pads=[1, 1, 1, 1]),
            helper.make_node("DepthToSpace", ["many"], ["stylized"], blocksize=2**62),
        ],
        "crash",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.zeros((12, 3, 3, 3), np.float32), "w")],
    )
    path = tmp_path / "crash.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_such_block_sizes_are_refused_at_once(crashing: Path) -> None:
    with pytest.raises(StyleError, match="blocksize of a DepthToSpace is 4611686018427387904"):
        Style.load(crashing)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import os; os.kill(os.getpid(), 8)", "it crashes ONNX Runtime .SIGFPE"),
        ("import os; os.abort()", "it crashes ONNX Runtime .SIGABRT"),
        ("import time; time.sleep(60)", "a small picture took more than 0.3 s"),
        ("raise RuntimeError('odd')", "trying it out failed .RuntimeError: odd"),
    ],
)
def test_every_bad_end_is_a_sentence(
    program: str, sentence: str, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes that really end so take the place of one that tries a style."""
    run = subprocess.run
    if "sleep" in program:
        monkeypatch.setattr(guard, "_SECONDS", 0.3)
    monkeypatch.setattr(subprocess, "run", lambda command, **how: run([command[0], "-c", program], **how))
    for _ in range(2):  # what failed is not remembered as sound
        with pytest.raises(StyleError, match=sentence):
            guard.try_out(invert_style)


@pytest.fixture
def set_python() -> Iterator[Callable[[Path], None]]:
    """Have another program take the place of Python."""
    before = spawn.get_executable()
    yield lambda program: multiprocessing.set_executable(str(program))
    multiprocessing.set_executable(os.fsdecode(before))


def _script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="programs are written for sh")
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("exit 0", "does not answer as a Python with stylize_video does"),
        ('printf "%s\\n" "$@"', "does not answer as a Python with stylize_video does"),
        ("echo usage; exit 2", "trying it out failed .no reason given"),
        (None, "cannot be started, No such file or directory"),
    ],
)
def test_a_program_that_is_no_python_proves_nothing(
    line: str | None, sentence: str, set_python: Callable[[Path], None], invert_style: Path, tmp_path: Path
) -> None:
    """``sys.executable`` may be the program that Python is embedded in."""
    set_python(_script(tmp_path / "host", line) if line else tmp_path / "missing")
    for _ in range(2):
        with pytest.raises(StyleError, match=sentence):
            guard.try_out(invert_style)
    assert not (tmp_path / "cache").exists()


def test_a_frozen_program_is_not_started_again(invert_style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(StyleError, match=r"cannot be tried out: this program has no Python.*set_executable"):
        guard.try_out(invert_style)


@pytest.mark.skipif(os.name == "nt", reason="the program is written for sh")
def test_the_package_is_found_where_this_process_found_it(
    set_python: Callable[[Path], None], invert_style: Path, tmp_path: Path
) -> None:
    """As in programs that carry it along: the Python started knows no installed packages by itself."""
    set_python(_script(tmp_path / "bare", f'exec "{sys.executable}" -S "$@"'))
    guard.try_out(invert_style)
    assert [file.read_text() for file in (tmp_path / "cache").iterdir()] == ["sound"]


@pytest.mark.skipif(os.name == "nt", reason="the program is written for sh")
def test_a_package_that_is_found_from_the_working_folder_is_too(
    set_python: Callable[[Path], None], invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a checkout, or a wheel, that a program names in ``sys.path`` as it stands."""
    set_python(_script(tmp_path / "bare", f'exec "{sys.executable}" -S "$@"'))
    monkeypatch.chdir(ROOT / "runtime")
    monkeypatch.setattr(sys, "path", [os.path.relpath(folder) for folder in sys.path])
    guard.try_out(invert_style)


@pytest.mark.skipif(sys.platform != "linux", reason="the system allows no such names")
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_of_every_kind_are_told(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    path = tmp_path / os.fsdecode(b"b\xff \xe6\x97\xa5.onnx")
    path.write_text("no onnx")
    with pytest.raises(StyleError, match=r"b\\udcff \u65e5\.onnx is not an ONNX file, or is damaged$"):
        guard.try_out(path)


def test_programs_in_python_may_try_styles_out(invert_style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run
    abort = "import os; os.abort()"
    monkeypatch.setattr(subprocess, "run", lambda command, **how: run([command[0], "-c", abort], **how))
    with pytest.raises(StyleError, match=r"it crashes ONNX Runtime .SIGABRT"):
        open_session(invert_style, device="cpu", check=try_out)
    with pytest.raises(StyleError, match=r"it crashes ONNX Runtime .SIGABRT"):
        try_out(str(invert_style))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (0xC0000005, r"it crashes ONNX Runtime .0xC0000005"),
        (0xC0000094, r"it crashes ONNX Runtime .0xC0000094"),
        (-77, r"it crashes ONNX Runtime .signal 77"),
        (1, r"trying it out failed .no reason given"),
    ],
)
def test_a_crash_is_one_on_every_system(
    code: int, sentence: str, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows it has a large exit code instead of a signal."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(StyleError, match=sentence):
        guard.try_out(invert_style)


def test_what_is_no_style_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("I am a text file")
    with pytest.raises(StyleError, match=r"text\.onnx is not an ONNX file, or is damaged$"):
        guard.try_out(tmp_path / "text.onnx")


def test_a_trial_is_made_once(invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard.try_out(invert_style)

    def fail(*args: object, **how: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(subprocess, "run", fail)
    copy = tmp_path / "other name.onnx"
    copy.write_bytes(invert_style.read_bytes())
    for path in (invert_style, copy, tmp_path / "missing.onnx", *(style.path for style in bundled_styles())):
        guard.try_out(path)
    model = onnx.load_model(str(invert_style))
    model.producer_name = "somebody else"
    copy.write_bytes(model.SerializeToString())
    with pytest.raises(AssertionError, match="tried again"):
        guard.try_out(copy)


def test_the_working_folder_is_not_imported(
    invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of downloads may hold a numpy.py."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('owned')")
    (tmp_path / "style.onnx").write_bytes(invert_style.read_bytes())
    monkeypatch.chdir(tmp_path)
    guard.try_out(Path("style.onnx"))


@pytest.mark.skipif(os.name == "nt", reason="the program is written for sh")
def test_the_working_folder_of_this_process_is_not_handed_on(
    set_python: Callable[[Path], None], invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interactive Python looks there first; the one started finds NumPy where this one does."""
    set_python(_script(tmp_path / "bare", f'exec "{sys.executable}" -S "$@"'))
    (tmp_path / "numpy.py").write_text("raise SystemExit('owned')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    guard.try_out(invert_style)


def test_a_trial_takes_no_more_memory_than_there_is(
    invert_style: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource", reason="this system limits no process's memory")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(sys, "argv", ["-c", str(invert_style), "question"])
    try:
        guard.main()
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert capsys.readouterr().out.endswith(" sound\n")


def test_another_onnx_runtime_tries_a_style_anew(invert_style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    monkeypatch.setattr(guard, "_try_one", tried.append)
    for version in ("1.20.0", "1.20.0", "1.31.0"):
        monkeypatch.setattr(ort, "__version__", version)
        guard.try_out(invert_style)
    assert tried == [invert_style] * 2


@pytest.mark.parametrize("name", ["stylize-video", "stylize-camera", "export-onnx"])
def test_commands_try_styles_out(
    name: str, command: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    arguments = {
        "stylize-video": [clip, "-s", invert_style, "-o", tmp_path / "o.mp4"],
        "stylize-camera": [clip, "-s", invert_style, "--no-window", "--record", tmp_path / "o.mp4"],
        "export-onnx": ["--show", invert_style],
    }
    done = command(name, *arguments[name])
    assert done.returncode == 0, done.stderr
    assert any(file.read_text() == "sound" for file in (tmp_path / "cache").iterdir())


@pytest.mark.parametrize("place", ["cache", "a file"])
def test_a_trial_is_known_in_the_next_process_or_at_least_in_this(
    place: str, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("STYLIZE_VIDEO_CACHE", str(tmp_path / place))
    tried: list[Path] = []
    monkeypatch.setattr(guard, "_try_one", tried.append)
    guard.try_out(invert_style)
    guard.try_out(invert_style)
    assert tried == [invert_style]
    monkeypatch.setattr(guard, "_sound_here", set())  # as in another process
    guard.try_out(invert_style)
    assert tried == [invert_style] * (1 if place == "cache" else 2)
