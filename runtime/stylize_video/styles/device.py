"""Where a style can run, found out before a session is opened.

``onnxruntime-gpu`` lists the CUDA provider even where its libraries cannot be loaded. Here they
are loaded, and the one that is missing is named.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy  # noqa: F401  # first: ONNX Runtime, importing it, would print what Ctrl-C interrupts there
import onnxruntime as ort

from stylize_video.errors import DeviceError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What ONNX Runtime calls the kinds of devices."""


@dataclass(frozen=True)
class Device:
    """Where a style runs: ``cpu``, or ``cuda`` with the index of the GPU."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    @classmethod
    def parse(cls, text: str) -> Device | None:
        """``cpu``, ``cuda``, ``cuda:1``; None for ``auto``.

        Raises:
            DeviceError: ``text`` is none of these.
        """
        if text == "auto":
            return None
        if text == "cpu":
            return cls("cpu")
        match = re.fullmatch(r"cuda(?::(\d{1,9}))?", str(text))
        if not match:
            raise DeviceError(f"unknown device {text!r}; there are auto, cpu, cuda and cuda:INDEX")
        return cls("cuda", int(match[1] or 0))


def resolve_device(device: str) -> Device:
    """The device that a ``--device`` means here.

    Raises:
        DeviceError: ``device`` is unknown, or CUDA was asked for and cannot be used.
    """
    wanted = Device.parse(device)
    if wanted == Device("cpu"):
        return wanted
    problem = cuda_problem()
    if wanted and problem:
        raise DeviceError(f"--device {wanted} cannot be used: {problem}; mend that, or run with --device cpu")
    return wanted or Device("cpu" if problem else "cuda")


def cuda_problem() -> str | None:
    """Why CUDA cannot be used here, naming the missing library; None where nothing is known to be wrong."""
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return "this ONNX Runtime has no CUDA provider (pip install onnxruntime-gpu)"
    driver = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return f"{driver} was not found: no NVIDIA driver is installed"
    with contextlib.suppress(Exception):  # best effort; what is still missing is named below
        ort.preload_dlls()
    if os.name == "nt":
        return None
    library = missing_library("cuda")
    if library:
        return f"{library} could not be loaded (pip install 'stylize-video[cuda]' brings CUDA's libraries)"
    return None


def missing_library(provider: str) -> str | None:
    """The library that keeps one of ONNX Runtime's providers (``cuda``, ``tensorrt``) from loading.

    None where it loads, or is part of ONNX Runtime itself; on Linux.
    """
    path = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{provider}.so"
    if not path.exists():
        return None
    try:
        # Its symbols come from a library that ONNX Runtime loads first.
        ctypes.CDLL(str(path.with_name("libonnxruntime_providers_shared.so")), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error).split(":")[0]
    return None
