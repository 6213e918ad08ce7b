"""Memory does not grow with the length of a video."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from stylize_video.jobs.pipeline import Hooks, stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from support import MakeClip

FRAMES = 1600
MEBIBYTE = 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_many_frames_in_constant_memory(make_clip: MakeClip, invert_style: Path, tmp_path: Path) -> None:
    """A frame kept by mistake is 37 kB; from the early ones to the late ones 26 MB."""
    if not sys.platform.startswith("linux"):
        pytest.skip("what is resident is read from /proc")
    source = make_clip(tmp_path / "long.mp4", frames=FRAMES, width=128, height=96)
    session = StyleSession(Style.load(invert_style), "cpu")
    seen: list[int] = []

    def measure() -> None:
        if len(seen) % 100 == 0:
            gc.collect()
            seen.append(resident_bytes())
        else:
            seen.append(0)

    result = stylize_file(source, tmp_path / "out.mp4", session, hooks=Hooks(on_frame=measure))
    assert result.frames == FRAMES
    measured = np.array([n for n in seen if n])
    early, late = measured[5:10].mean(), measured[-5:].mean()
    assert late - early < 10 * MEBIBYTE, f"{(late - early) / MEBIBYTE:.1f} MiB more after {FRAMES} frames"
    # The end joins what was encoded, and copies the sound.
    assert resident_bytes() - early < 20 * MEBIBYTE
