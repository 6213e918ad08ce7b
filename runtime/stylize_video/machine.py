"""What this machine is: its processor, the cores this process may use, and what is installed."""

from __future__ import annotations

import math
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "stylize-video",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnx",
    "openvino",
    "opencv-python",
    "opencv-python-headless",
    "av",
    "numpy",
)
"""Installed packages that speed and results depend on."""

_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """How many cores this process may use."""
    there = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(there, granted_cores() or there)


def most_at_once() -> int:
    """How many frames to stylize at a time for the most frames a second: more than a few only take memory."""
    return min(cores(), 4)


def granted_cores() -> int | None:
    """The share of the processor that a container has, in cores, rounded up; None without a limit.

    The system shows such a process all cores, and lets none of its threads run once the share
    of a tenth of a second is used up: more threads than that would only wait for each other.
    """
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # the first version of control groups
            quota, period = (
                (_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return math.ceil(share) if share > 0 else None


def processor() -> str:
    """The processor's name and, where the system tells, its instruction sets: what speed depends on."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip().lower(), value.strip())
    told = [facts[name] for name in ("model name", "flags", "features") if name in facts]
    return "; ".join(told) or platform.machine()


def package_versions() -> dict[str, str]:
    """The versions of those of :data:`PACKAGES` that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
