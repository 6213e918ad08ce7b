"""One function a topic; each finds out by trying, not by asking."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import av
import av.codec
import av.error
import numpy as np
import onnxruntime as ort

from stylize_video.errors import StylizeError
from stylize_video.live.cameras import list_cameras
from stylize_video.live.display import display_problem
from stylize_video.machine import cores, processor
from stylize_video.quiet import quiet_stderr
from stylize_video.session import cuda_problem, golden_problem, missing_library, open_session
from stylize_video.style import find_variants
from stylize_video_assets.catalog import BundledStyle, bundled_styles

State = Literal["ok", "missing", "broken"]

_PACKAGES = (
    "stylize-video",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnx",
    "openvino",
    "opencv-python",
    "av",
    "numpy",
)
_ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1")
_HARDWARE_ENCODERS = ("h264_nvenc", "hevc_nvenc", "h264_qsv", "h264_vaapi", "h264_videotoolbox", "h264_amf")
_SIZE = (360, 640)
_INT8_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_int8": "AMX",
    "asimddp": "dot product",
    "i8mm": "matrix product",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``advice`` says what to do where something is missing or broken."""

    topic: str
    state: State
    fact: str
    advice: str = ""


def versions() -> Iterator[Finding]:
    """Python, the machine, and the packages that matter."""
    yield Finding("machine", "ok", f"{platform.system()} {platform.machine()}, {cores()} cores")
    name, _, instructions = processor().partition("; ")
    known = [label for flag, label in _INT8_INSTRUCTIONS.items() if flag in instructions.split()]
    yield Finding("processor", "ok", f"{name}; for int8: {', '.join(known) or 'nothing special'}")
    yield Finding("python", "ok", platform.python_version())
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    for package, number in found.items():
        yield Finding(package, "ok", number)
    if {"onnxruntime", "onnxruntime-gpu"} <= found.keys():
        yield Finding(
            "onnxruntime",
            "broken",
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu",
        )


def providers() -> Iterator[Finding]:
    """The execution providers, and whether the ones in use here load."""
    problem = cuda_problem()
    yield Finding("CPU provider", "ok", "always there")
    if problem is None:
        yield Finding("CUDA provider", "ok", "loads")
    else:
        yield Finding("CUDA provider", "missing", problem, "only needed for a GPU; see --device cuda")
    others = set(ort.get_available_providers()) - {"CPUExecutionProvider", "CUDAExecutionProvider"}
    for name in sorted(others):
        kind = name.removesuffix("ExecutionProvider")
        library = missing_library(kind.lower())
        fact = f"{library} could not be loaded" if library else "in this ONNX Runtime"
        yield Finding(
            f"{kind} provider", "missing" if library else "ok", f"{fact}; stylize-video does not use it"
        )


def runs(device: str) -> Iterator[Finding]:
    """A real run of every variant of a bundled style on each device that loads."""
    gpu = device if device.startswith("cuda") else "cuda"
    devices = ["cpu"] if device == "cpu" or cuda_problem() else ["cpu", gpu]
    style = next(iter(bundled_styles()), None)
    if style is None:
        yield Finding("styles", "broken", "no bundled style is there", "install stylize-video again")
        return
    for kind in devices:
        for precision in find_variants(style.path):
            label = f"{style.name} {precision} on {kind}"
            try:
                session = open_session(style.path, device=kind, precision=precision)
                problem = golden_problem(session)
                milliseconds = 1000 * session.measure(*_SIZE)
            except StylizeError as error:
                yield Finding(label, "broken", str(error))
                continue
            fact = (
                f"{milliseconds:.1f} ms, {1000 / milliseconds:.0f} fps at {_SIZE[1]}x{_SIZE[0]}, golden pair"
            )
            if problem:
                yield Finding(label, "broken", f"{fact} wrong: {problem}", "install stylize-video again")
            else:
                yield Finding(label, "ok", f"{fact} right")
        yield _choice(style, kind)


def _choice(style: BundledStyle, device: str) -> Finding:
    """What ``--precision auto`` takes."""
    topic = f"--precision auto on {device}"
    try:
        return Finding(topic, "ok", f"takes {open_session(style.path, device=device).style.precision}")
    except StylizeError as error:
        return Finding(topic, "broken", str(error))


def codecs() -> Iterator[Finding]:
    """The encoders, tried out on a small picture."""
    for name in _ENCODERS:
        works = _encodes(name)
        advice = "" if works else "pip install --force-reinstall av (its wheels bring the encoders)"
        yield Finding(
            name, "ok" if works else "missing", "encodes" if works else "cannot encode here", advice
        )
    hardware = [name for name in _HARDWARE_ENCODERS if _encodes(name)]
    yield Finding("hardware encoders", "ok", ", ".join(hardware) or "none that work here")


def display() -> Iterator[Finding]:
    """Whether windows can be shown, and which cameras there are."""
    problem = display_problem()
    advice = "only needed for the window of stylize-camera" if problem else ""
    yield Finding("display", "missing" if problem else "ok", problem or "windows can be shown", advice)
    cameras = ", ".join(f"{camera.index} {camera.name}" for camera in list_cameras())
    yield Finding("cameras", "ok" if cameras else "missing", cameras or "no camera is connected")


TOPICS: Sequence[tuple[str, Callable[[str], Iterator[Finding]]]] = (
    ("Versions", lambda _: versions()),
    ("Providers", lambda _: providers()),
    ("Styles", runs),
    ("Codecs", lambda _: codecs()),
    ("Windows and cameras", lambda _: display()),
)


def _encodes(name: str) -> bool:
    try:
        with quiet_stderr():  # encoders introduce themselves there, and say goodbye
            codec = av.CodecContext.create(name, "w")
            if not isinstance(codec, av.VideoCodecContext):
                return False
            codec.width, codec.height, codec.pix_fmt = 256, 144, "yuv420p"
            codec.time_base = Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(np.zeros((144, 256, 3), np.uint8), format="bgr24")
            packets = [*codec.encode(frame.reformat(format="yuv420p")), *codec.encode(None)]
            del codec
            return bool(packets)
    except (av.error.FFmpegError, ValueError, RuntimeError):
        return False
