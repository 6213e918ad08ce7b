"""The way into every command."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib import import_module

import pytest

from stylize_video import commands
from stylize_video.console import EXIT_INTERRUPTED


def test_ctrl_c_while_a_command_is_loaded_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> object:
        signal.raise_signal(signal.SIGINT)
        return import_module(name)

    monkeypatch.setattr(commands, "import_module", interrupted)
    with pytest.raises(SystemExit) as ended:
        commands.stylize_video()
    assert ended.value.code == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


def test_the_way_in_imports_nothing_heavy() -> None:
    program = "import sys, stylize_video.commands; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "stylize_video.commands" in loaded
    assert loaded.isdisjoint({"typer", "logging", "threading", "numpy", "av", "stylize_video.cli"})
