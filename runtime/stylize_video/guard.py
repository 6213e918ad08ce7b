"""Styles from anywhere are tried out in a process of their own before a command opens them.

A graph that was made to, or damaged so, can crash ONNX Runtime itself (an overflow that
ends in a division by zero, say), and no look at it beforehand finds everything. It crashes
the other process; this one tells it in a sentence. What passed is remembered by its
content, so that a style costs the trial once.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

from stylize_video.bounds import TRIAL_SIZE, limit_memory
from stylize_video.cache import key_of, recall, remember
from stylize_video.contract import MAX_FILE_BYTES
from stylize_video.errors import StyleError, StylizeError
from stylize_video_assets.catalog import bundled_styles

_SECONDS = 120
"""Enough for imports and a small picture on a slow machine; a graph that computes for ever ends there."""

_REFUSED = 2
"""Exit code of the other process for what it can say in a sentence."""

_FIRST_EXCEPTION = 0xC0000000
"""Exit codes of Windows from there on are errors that no program survives, such as 0xC0000005."""

_SOUND = "sound"

_sound_here: set[str] = set()
"""What passed in this process, which may have no folder to remember it in, and opens a file several times."""


def try_out(path: Path) -> None:
    """Try a style file, unless it is bundled or known from before.

    Raises:
        StyleError: it is no style, or crashes ONNX Runtime, or takes minutes for a small picture.
    """
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
    if not sys.executable:  # inside another program there is nobody to ask
        return
    # -P: what lies in the working folder, beside downloaded files perhaps, is not imported.
    command = [sys.executable, "-P", "-m", "stylize_video.guard", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise StyleError(
            f"{path} is no style that can be trusted: a small picture took more than {_SECONDS} s"
        ) from error
    if done.returncode == _REFUSED:
        raise StyleError(done.stdout.strip())
    if crash := _crash_of(done.returncode):
        raise StyleError(f"{path} is no style that can be trusted: it crashes ONNX Runtime ({crash})")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise StyleError(f"{path} is no style that can be trusted: trying it out failed ({last[0]})")


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
    from stylize_video.session import StyleSession
    from stylize_video.style import Style

    limit_memory()
    try:
        session = StyleSession(Style.load(sys.argv[1]), "cpu", threads=1)
        session.stylize(np.random.default_rng(0).integers(0, 256, (*TRIAL_SIZE, 3), np.uint8))
    except StylizeError as error:
        print(error)
        raise SystemExit(_REFUSED) from None


if __name__ == "__main__":
    main()
