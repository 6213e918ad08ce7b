"""Runs workers, watches each file's time, and goes on behind a file that killed its worker."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from stylize_video.errors import StyleError
from stylize_video.styles.guard import try_out
from support import ROOT

SECONDS = 10
"""Longest that one file may take; starting a worker may take longer, on a busy machine."""

_START_SECONDS = 60


@dataclass
class Report:
    """How many files ended how, and what nobody wants to see."""

    states: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def fuzz(kind: str, seeds: Path, folder: Path, style: Path, *, first: int, count: int) -> Report:
    """Run ``count`` damaged files; their numbers are their seeds, so that any can be run again."""
    report = Report()
    number, last = first, first + count
    while number < last:
        number = _run_worker(kind, seeds, folder, style, number, last, report)
    return report


def _run_worker(
    kind: str, seeds: Path, folder: Path, style: Path, first: int, last: int, report: Report
) -> int:
    """The number to go on with."""
    command = [sys.executable, "-m", "fuzzing.worker", kind, *map(str, (seeds, folder, first, last, style))]
    errors = folder.parent / f"{folder.name}.stderr"
    with errors.open("wb") as stderr:
        worker = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT / "tests", env=_environment()
        )
    lines: queue.Queue[str] = queue.Queue()
    assert worker.stdout is not None
    reader = threading.Thread(target=_read, args=(worker.stdout, lines))
    reader.start()
    number, seconds = first, float(_START_SECONDS)
    try:
        while True:
            try:
                line = lines.get(timeout=seconds)
            except queue.Empty:
                report.states["hang"] += 1
                report.problems.append(f"{kind} {number}: took longer than {seconds:.0f} s")
                _clear(folder, worker)
                return number + 1
            if not line:
                break
            facts = json.loads(line)
            number, seconds = facts["number"], float(SECONDS)
            if facts["state"] == "begins":
                continue
            report.states[facts["state"]] += 1
            if facts["state"] == "bug":
                report.problems.append(f"{kind} {number}: {facts['detail']}")
            if facts["left"] and "--resume" not in facts["detail"]:
                report.problems.append(f"{kind} {number}: left {facts['left']} ({facts['detail']})")
            number += 1
        worker.wait(timeout=_START_SECONDS)
        if number < last:
            if kind == "onnx" and _is_told(folder, number, seeds):
                report.states["crash told"] += 1
                _clear(folder, worker)
                return number + 1
            report.states["crash"] += 1
            said = errors.read_text(errors="replace").strip().splitlines()[-3:]
            report.problems.append(f"{kind} {number}: the process ended with {worker.returncode}; {said}")
            _clear(folder, worker)
        return number + 1 if number < last else last
    finally:
        worker.kill()
        worker.wait()
        reader.join()
        worker.stdout.close()


def _is_told(folder: Path, number: int, seeds: Path) -> bool:
    """Whether the command, which tries styles out in another process, tells the crash in a sentence."""
    suffix = sorted(seeds.iterdir())[number % len(list(seeds.iterdir()))].suffix
    try:
        try_out(folder / f"{number}{suffix}")
    except StyleError:
        return True
    return False


def _clear(folder: Path, worker: subprocess.Popen[str]) -> None:
    """What a worker that did not come to it would have removed."""
    worker.kill()
    worker.wait()
    for path in folder.iterdir():
        path.unlink()


def _read(stream: object, lines: queue.Queue[str]) -> None:
    for line in stream:  # type: ignore[attr-defined]  # a text stream
        lines.put(line)
    lines.put("")


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OPENCV_FFMPEG_LOGLEVEL": "-8", "PYTHONFAULTHANDLER": "1"}
