"""Fixtures of all tests; what they are made of stands in support.py."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

# One thread of numpy, here and in the commands: toy networks are fastest so, also on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest

import stylize_video  # noqa: F401  # before any test imports ONNX Runtime, which would report the run
from stylize_video import interrupts
from support import ROOT, Command, MakeClip, command_line, save_style, write_clip

SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture(scope="session")
def command() -> Command:
    """Run one of the project's commands in a process of its own: ``command("stylize-video", "--help")``."""

    def run(
        name: str, *arguments: object, cwd: Path | str | None = None, timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command_line(SCRIPTS[name]), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=timeout,
            env={**os.environ, "COLUMNS": "200"},
            check=False,
        )

    return run


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """As ``command``, in this process: for tests that would spend their time on imports."""
    monkeypatch.setenv("COLUMNS", "200")
    threads = set(threading.enumerate())

    def run(name: str, *arguments: object, cwd: Path | str | None = None) -> subprocess.CompletedProcess[str]:
        module, function = SCRIPTS[name].split(":")
        line = [name, *map(str, arguments)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", line)
            patch.setattr(logging.root, "handlers", [])  # of pytest: warnings go where a command's go
            patch.chdir(cwd or Path.cwd())
            with pytest.raises(SystemExit) as ended:
                getattr(import_module(module), function)()
        left = [thread for thread in threading.enumerate() if thread not in threads and not thread.daemon]
        assert not left, "the process would wait for them for ever"
        printed, said = capfd.readouterr()
        return subprocess.CompletedProcess(line, int(ended.value.code or 0), printed, said)

    return run


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and with it all that is started by that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As numpy's, for torch, which may have been imported before."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests and the commands they start remember nothing in the folder of whoever runs them."""
    os.environ["STYLIZE_VIDEO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _no_command() -> Iterator[None]:
    """A command that runs in this process leaves it as it was: signals would end it in later tests."""
    yield
    interrupts._is_command = False


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    return write_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 12 frames, 96x64, 30 fps, with sound. Do not write beside it: copy it first."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def invert_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style with a known answer: 255 minus the source, channel by channel."""
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[range(3), range(3), 1, 1] = -1
    return save_style(tmp_path_factory.mktemp("style") / "invert.onnx", weight, np.ones(3, np.float32))


@pytest.fixture(scope="session")
def swap_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style with a known answer: red becomes blue and blue red, so that channel mix-ups show."""
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[range(3), [2, 1, 0], 1, 1] = 1
    return save_style(tmp_path_factory.mktemp("style") / "swap.onnx", weight)


def pytest_collection_finish() -> None:
    """What is imported by now stays: garbage is not looked for in it, again and again."""
    gc.collect()
    gc.freeze()
