"""ONNX Runtime sessions that run where they say they run.

``onnxruntime-gpu`` lists the CUDA provider even where its libraries cannot be loaded,
and then computes on the CPU without a word. Here the device is checked after the
session exists: asking for CUDA and not getting it is an error that names what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from stylize_video.adapter import FRAMES, STYLIZED
from stylize_video.contract import MIN_SIDE
from stylize_video.errors import DeviceError, StyleError
from stylize_video.frame import Frame
from stylize_video.style import Style

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


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
        match = re.fullmatch(r"cuda(?::(\d+))?", text)
        if not match:
            raise DeviceError(f"unknown device {text!r}; there are auto, cpu, cuda and cuda:INDEX")
        return cls("cuda", int(match[1] or 0))


class StyleSession:
    """One style on one device, stylizing frame after frame.

    Args:
        style: what to run.
        device: ``auto`` takes CUDA where it works and the CPU elsewhere; ``cpu``,
            ``cuda`` and ``cuda:1`` insist.
        threads: CPU threads of ONNX Runtime; by default one for each core.

    Raises:
        DeviceError: the device asked for cannot be had.
        StyleError: ONNX Runtime cannot run the graph.
    """

    def __init__(self, style: Style, device: str = "auto", *, threads: int = 0) -> None:
        self.style = style
        wanted = Device.parse(device)
        problem = None if wanted == Device("cpu") else cuda_problem()
        if wanted and wanted.kind == "cuda" and problem:
            raise DeviceError(
                f"--device {wanted} cannot be used: {problem}; run with --device cpu or install it"
            )
        self.device = wanted or (Device("cpu") if problem else Device("cuda"))
        try:
            self._session = _create_session(style, self.device, threads)
        except DeviceError:
            if wanted:
                raise
            self.device = Device("cpu")
            self._session = _create_session(style, self.device, threads)
        self._cuda = _CudaBuffers(self._session, self.device.index) if self.device.kind == "cuda" else None

    def stylize(self, frame: Frame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out.

        Raises:
            StyleError: the frame is too small, or the graph fails on this size.
        """
        height, width = frame.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise StyleError(
                f"frames of {width}x{height} are too small; styles need at least {MIN_SIDE}x{MIN_SIDE}"
            )
        batch = np.ascontiguousarray(frame)[None]
        try:
            result = (
                self._cuda.run(batch) if self._cuda else self._session.run([STYLIZED], {FRAMES: batch})[0]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise StyleError(
                f"the style {self.style.path} failed on a {width}x{height} frame: {_first_line(error)}"
            ) from error
        stylized: Frame = result[0]
        if stylized.shape != frame.shape:
            got = "x".join(str(side) for side in reversed(stylized.shape[:2]))
            raise StyleError(f"{self.style.path} turned a {width}x{height} frame into {got}; export it again")
        return stylized

    def measure(self, height: int, width: int, *, runs: int = 5) -> float:
        """Median seconds for one frame of this size, after one run to warm up."""
        frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        self.stylize(frame)
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            self.stylize(frame)
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds))


class _CudaBuffers:
    """IO binding with device buffers that are reused while the frame's size stays."""

    def __init__(self, session: ort.InferenceSession, index: int) -> None:
        self._session = session
        self._index = index
        self._shape: tuple[int, ...] = ()
        self._input: Any = None
        self._output: Any = None
        self._binding: Any = None

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if batch.shape != self._shape:
            self._allocate(batch.shape)
        self._input.update_inplace(batch)
        self._session.run_with_iobinding(self._binding)
        result: NDArray[np.uint8] = self._output.numpy()
        return result

    def _allocate(self, shape: tuple[int, ...]) -> None:
        device = ("cuda", self._index)
        self._input = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, *device)
        self._output = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, *device)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(FRAMES, self._input)
        self._binding.bind_ortvalue_output(STYLIZED, self._output)
        self._shape = shape


def cuda_problem() -> str | None:
    """Why CUDA cannot be used here, naming the missing library; None where nothing is known to be wrong."""
    if _CUDA not in ort.get_available_providers():
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
    provider = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        # Its symbols come from a library that ONNX Runtime loads first.
        ctypes.CDLL(str(provider.with_name("libonnxruntime_providers_shared.so")), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(provider))
    except OSError as error:
        library = str(error).split(":")[0]
        return f"{library} could not be loaded (pip install 'stylize-video[cuda]' brings CUDA's libraries)"
    return None


def _create_session(style: Style, device: Device, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is told in one sentence by us
    # Waiting threads that spin would take the cores that decode and encode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = [_CPU]
    if device.kind == "cuda":
        cuda = {"device_id": device.index, "cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": 1}
        providers = [(_CUDA, cuda), _CPU]
    try:
        with _quiet_stderr() if device.kind == "cuda" else contextlib.nullcontext():
            session = ort.InferenceSession(style.frames_model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        kind = DeviceError if device.kind == "cuda" else StyleError
        raise kind(f"{style.path} cannot run on {device}: {_first_line(error)}") from error
    if device.kind == "cuda" and _CUDA not in session.get_providers():
        raise DeviceError(f"--device {device} cannot be used: ONNX Runtime fell back to the CPU")
    return session


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """ONNX Runtime prints provider failures to file descriptor 2, past Python."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
