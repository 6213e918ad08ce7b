"""What the machine is, with and without /proc."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stylize_video import machine


def test_instruction_sets_are_part_of_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "_CPUINFO", info)
    info.write_text("processor : 0\nmodel name : Fast 1\nflags : avx2\n\nprocessor : 1\nmodel name : Other\n")
    plain = machine.processor()
    assert plain == "Fast 1; avx2"
    info.write_text("processor : 0\nmodel name : Fast 1\nflags : avx2 avx512_vnni\n")
    assert machine.processor() != plain
    info.write_text("Features : asimd dotprod\n")
    assert machine.processor() == "asimd dotprod"
    info.unlink()
    assert machine.processor()


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is a thing of Linux here")
def test_cores_are_those_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert machine.cores() == len(allowed)
