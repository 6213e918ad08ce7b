"""Styles from anywhere are tried out in a process of their own before a command opens them.

A graph that was made to, or damaged so, can crash ONNX Runtime itself (an overflow that
ends in a division by zero, say), and no look at it beforehand finds everything. It crashes
the other process; this one reports it in a sentence. What passed is remembered by its
content, so that a style costs the trial once.

Inside a program that is no Python, ``sys.executable`` may be that program, which would know nothing of
styles. So the other process has to answer in a way that only this module can, or the file is refused.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

from stylize_video.bounds import TRIAL_SIZE, limit_memory
from stylize_video.cache import key_of, recall, remember
from stylize_video.errors import StyleError, StylizeError, reason
from stylize_video.styles.contract import MAX_FILE_BYTES
from stylize_video_assets.catalog import bundled_styles

_SECONDS = 120
"""Enough for imports and a small picture on a slow machine; a graph that computes for ever ends there."""

_FIRST_EXCEPTION = 0xC0000000
"""Exit codes of Windows from there on are errors that no program survives, such as 0xC0000005."""

_SOUND = "sound"

_PROGRAM = "import sys; sys.path += sys.argv[3:]; from stylize_video.styles.guard import main; main()"
"""Of the other process; its arguments are the file, a question and folders of modules."""

_sound_here: set[str] = set()
"""What passed in this process, which may have no folder to remember it in, and opens a file several times."""


def try_out(path: str | Path) -> None:
    """Try a style file, unless it is bundled or known from before.

    The other process is the Python that :mod:`multiprocessing` starts, which
    ``multiprocessing.set_executable`` changes, with this one's ``sys.path`` behind its own.

    Raises:
        StyleError: it is no style, or crashes ONNX Runtime, or takes minutes for a small picture; or
            there is no Python to try it with, as in a frozen program.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES or path.parent in {s.path.parent for s in bundled_styles()}:
            return
        key = key_of([_SOUND, ort.__version__, path.read_bytes()])
    except OSError:
        return  # whoever opens it tells why it cannot
    if key not in _sound_here and recall(key) != _SOUND:
        _try_one(path)
        remember(key, _SOUND)
    _sound_here.add(key)


def _try_one(path: Path) -> None:
    question = secrets.token_hex(8)
    command = [*_python(path), "-c", _PROGRAM, str(path), question, *_folders_of_modules()]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            env={**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"},
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # of Windows
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StyleError(
            f"{path} is no style that can be trusted: a small picture took more than {_SECONDS} s"
        ) from error
    except OSError as error:
        raise _untried(path, f"{command[0]} cannot be started, {reason(error)}") from error
    answer, verdict = _answer_to(question), None
    for line in done.stdout.splitlines():
        if line.startswith(answer):
            verdict = line.removeprefix(answer).strip()
    if verdict == _SOUND:
        return
    if verdict is not None:
        raise StyleError(verdict)
    if crash := _crash_of(done.returncode):
        raise StyleError(f"{path} is no style that can be trusted: it crashes ONNX Runtime ({crash})")
    if done.returncode == 0:
        raise _untried(path, f"{command[0]} does not answer as a Python with stylize_video does")
    last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
    raise StyleError(f"{path} is no style that can be trusted: trying it out failed ({last[0]})")


def _folders_of_modules() -> list[str]:
    """Where this process finds modules, which is behind the other one's own path.

    The working folder is left out, where a numpy.py may lie beside downloads, unless this package is there.
    """
    ours, here = Path(__file__).absolute().parents[2], Path.cwd()
    folders = [Path(folder).absolute() for folder in sys.path]
    return [str(folder) for folder in folders if folder == ours or folder != here]


def _python(path: Path) -> list[str]:
    """How Python is started; without what lies in the working folder, beside downloads perhaps (``-P``).

    Raises:
        StyleError: this program has none to start.
    """
    from multiprocessing import spawn  # importing it takes longer than knowing that a file passed before

    executable = os.fsdecode(spawn.get_executable() or "")
    if not executable or (getattr(sys, "frozen", False) and executable == sys.executable):
        raise _untried(path, "this program has no Python to start")
    return [executable, "-P"]


def _untried(path: Path, why: str) -> StyleError:
    return StyleError(
        f"{path} cannot be tried out: {why}; name one by multiprocessing.set_executable,"
        " or open styles that you trust without trying them out"
    )


def _answer_to(question: str) -> str:
    """No program that merely repeats its arguments gives it."""
    return hashlib.sha256(question.encode()).hexdigest()


def _crash_of(code: int) -> str | None:
    """What ended a process with this exit code; None where it ended by itself."""
    if code >= _FIRST_EXCEPTION:
        return f"0x{code:08X}"
    if code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def main() -> None:
    """Open the style that is named and stylize a small picture with it; for the other process."""
    from stylize_video.styles.session import StyleSession
    from stylize_video.styles.style import Style

    path, question = sys.argv[1:3]
    limit_memory()
    verdict = _SOUND
    try:
        session = StyleSession(Style.load(path), "cpu", threads=1)
        session.stylize(np.random.default_rng(0).integers(0, 256, (*TRIAL_SIZE, 3), np.uint8))
    except StylizeError as error:
        verdict = " ".join(str(error).splitlines())
    print(f"\n{_answer_to(question)} {verdict}")
