"""A whole ``stylize-video`` command, measured from the outside: its start and its memory."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stylize_video.errors import StylizeError

_STARTS = 3


@dataclass(frozen=True)
class ProcessCost:
    """What a whole ``stylize-video`` process costs, as the operating system saw it.

    ``peak_megabytes`` is None where the system does not tell a process its own, as Windows; ``device`` and
    ``precision`` are those that the command was given.
    """

    first_frame_seconds: float
    peak_megabytes: float | None
    device: str = "auto"
    precision: str = "auto"


def measure_process(
    clip: Path,
    style: Path,
    *,
    device: str,
    precision: str = "auto",
    style_scale: str = "1",
    frames: int | None = None,
) -> ProcessCost:
    """Start ``stylize-video`` as a user would: seconds until one frame is written, and peak memory.

    Memory is that of ``frames`` frames, by default of the whole clip; it does not grow with their number.

    An installed package is compiled to bytecode. So is this one, by the first of the starts, even where
    Python is told to write none; the median of them counts.

    Raises:
        StylizeError: the command failed.
    """
    with TemporaryDirectory() as folder:
        # -P: what lies in the working folder, beside downloaded files perhaps, is not imported.
        command = [sys.executable, "-P", "-c", _RUN_AND_REPORT_MEMORY, str(clip), "--style", str(style)]
        command += ["--device", device, "--precision", precision, "--style-scale", style_scale]
        command += ["-q", "-y", "-o", str(Path(folder) / "out.mp4")]
        run = functools.partial(_output_of, env=_with_bytecode(folder))
        starts = []
        for _ in range(_STARTS):
            start = time.perf_counter()
            run([*command, "--max-frames", "1"])
            starts.append(time.perf_counter() - start)
        kilobytes = run(command if frames is None else [*command, "--max-frames", str(frames)]).strip()
    megabytes = int(kilobytes) / 1024 if kilobytes else None
    return ProcessCost(float(np.median(starts)), megabytes, device, precision)


def _output_of(command: list[str], *, env: dict[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise StylizeError(f"stylize-video failed when it was measured: {last[0].removeprefix('error: ')}")
    return done.stdout


def _with_bytecode(folder: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}


# getrusage() would count what this process held when it forked; Linux's VmHWM starts anew.
_RUN_AND_REPORT_MEMORY = """
import atexit
from pathlib import Path
from stylize_video.cli import main

def report():
    status = Path("/proc/self/status")
    if status.exists():
        print(next(line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line))
        return
    try:
        import resource
    except ImportError:
        return
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

atexit.register(report)
main()
"""
