"""What the machine is, with and without /proc."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import stylize_video.styles.session as session_module
from stylize_video import machine
from stylize_video.styles.device import Device
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style


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
    assert machine.cores() == min(len(allowed), machine.granted_cores() or len(allowed))


@pytest.mark.parametrize(
    ("files", "granted"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "odd\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "0\n"}, None),
    ],
)
def test_a_containers_share_counts(
    files: dict[str, str], granted: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    all_of_them = machine.cores()
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert machine.granted_cores() == granted
    assert machine.cores() == min(all_of_them, granted or all_of_them)


def test_sessions_have_no_more_threads_than_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    create = session_module._create_session

    def created(style: Style, model: bytes, device: Device, count: int) -> object:
        threads.append(count)
        return create(style, model, device, count)

    monkeypatch.setattr(session_module, "_create_session", created)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    StyleSession(Style.load("photo"), "cpu")
    (tmp_path / "cpu.max").write_text("100000 100000")
    StyleSession(Style.load("photo"), "cpu")
    assert threads == [0, 1]
    monkeypatch.setattr(session_module, "cores", lambda: 9)
    for at_once in (2, 4, 16):
        StyleSession(Style.load("photo"), "cpu", at_once=at_once)
    assert threads[2:] == [4, 2, 1]
