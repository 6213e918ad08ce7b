"""One function a topic; each finds out by trying, not by asking.

What a check needs is imported inside it: where a package cannot be loaded, that is what is to be told.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from stylize_video.errors import StylizeError, first_line
from stylize_video.machine import cores, package_versions, processor
from stylize_video_assets.catalog import BundledStyle, bundled_styles, catalog_problem, find_bundled

if TYPE_CHECKING:
    from stylize_video.styles.contract import Precision

State = Literal["ok", "missing", "broken"]

_DEFAULT_STYLE = "photo"
_DEFAULT_ENCODER = "libx264"
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

_MODULES = {
    "numpy": "numpy",
    "cv2": "opencv-python",
    "av": "av",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
}
"""What nothing runs without, by what it is imported as, and what is installed for it."""

_OF_THE_DESKTOP = ("libGL", "libEGL", "libglib", "libgthread", "libSM", "libX", "libxcb")
"""Libraries that OpenCV's windows need and servers lack."""

_EXTRAS = (
    (
        "torch",
        ("torch", "torchvision", "onnxscript", "PIL", "tensorboard"),
        "train and to export",
        "pip install 'stylize-video[train]'",
    ),
    ("ray", ("ray",), "share work on a cluster (--ray)", "pip install 'stylize-video[cluster]'"),
    ("pyvirtualcam", ("pyvirtualcam",), "be a --virtual-camera", "pip install 'stylize-video[live]'"),
    ("openvino", ("openvino",), "compare with it (stylize-bench --openvino)", "pip install openvino"),
)
"""Each a name, what it is imported as, what it is needed to do, and how to get it."""

_REINSTALL = "pip install --force-reinstall --no-deps stylize-video"


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``advice`` says what to do where something is missing or broken."""

    topic: str
    state: State
    fact: str
    advice: str = ""


@cache
def unloadable() -> Mapping[str, ImportError]:
    """Why packages that nothing runs without cannot be loaded, by what they are imported as.

    Each is tried once: what OpenCV says the second time is something else.
    """
    problems = {}
    for module in _MODULES:
        try:
            import_module(module)
        except ImportError as error:
            problems[module] = error
    return problems


def check_device(device: str) -> None:
    """Raise DeviceError where ``device`` is none that there can be; nothing, where nothing can run anyway."""
    if not unloadable():
        from stylize_video.styles.device import Device

        Device.parse(device)


def device_problem(device: str) -> str | None:
    """Why the device asked for does not work, None where it does."""
    if unloadable():
        return f"{', '.join(unloadable())} cannot be loaded"
    from stylize_video.styles.device import Device, cuda_problem

    wanted = Device.parse(device)
    return cuda_problem() if wanted and wanted.kind == "cuda" else None


def examine(title: str, device: str) -> Iterator[Finding]:
    """What the check of one of :data:`TOPICS` finds, also that it cannot be carried out."""
    if unloadable() and title not in _WITHOUT_PACKAGES:
        fact = f"cannot be tried, as {', '.join(unloadable())} cannot be loaded"
        yield Finding(title.lower(), "broken", fact, "mend that first")
        return
    try:
        yield from TOPICS[title](device)
    except ImportError as error:
        yield Finding(title.lower(), "broken", f"cannot be tried: {first_line(error)}", _to_load(error))
    except StylizeError as error:
        yield Finding(title.lower(), "broken", str(error), _REINSTALL)


def versions() -> Iterator[Finding]:
    """Python, the machine, and the packages that matter: which they are, and whether they load."""
    yield Finding("machine", "ok", f"{platform.system()} {platform.machine()}, {cores()} cores")
    name, _, instructions = processor().partition("; ")
    known = [label for flag, label in _INT8_INSTRUCTIONS.items() if flag in instructions.split()]
    yield Finding("processor", "ok", f"{name}; for int8: {', '.join(known) or 'nothing special'}")
    yield Finding("python", "ok", platform.python_version())
    found = package_versions()
    for package, number in found.items():
        yield Finding(package, "ok", number)
    if {"onnxruntime", "onnxruntime-gpu"} <= found.keys():
        yield Finding(
            "onnxruntime",
            "broken",
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu",
        )
    for module, error in unloadable().items():
        yield Finding(module, "broken", f"cannot be loaded: {first_line(error)}", _to_load(error, module))


def providers() -> Iterator[Finding]:
    """The execution providers, and whether the ones in use here load."""
    import onnxruntime as ort

    from stylize_video.styles.device import PROVIDERS, cuda_problem, missing_library

    problem = cuda_problem()
    yield Finding("CPU provider", "ok", "always there")
    if problem is None:
        yield Finding("CUDA provider", "ok", "loads")
    else:
        advice = "only for an NVIDIA GPU: its driver, and pip install 'stylize-video[cuda]'"
        yield Finding("CUDA provider", "missing", problem, advice)
    others = set(ort.get_available_providers()) - set(PROVIDERS.values())
    for name in sorted(others):
        kind = name.removesuffix("ExecutionProvider")
        library = missing_library(kind.lower())
        fact = f"{library} could not be loaded" if library else "in this ONNX Runtime"
        yield Finding(
            f"{kind} provider", "missing" if library else "ok", fact, "nothing: stylize-video does not use it"
        )


def styles(device: str) -> Iterator[Finding]:
    """Every file of every bundled style by its golden pair, and how fast the default one runs.

    Files are proved on the CPU; the default style on each device that loads.
    """
    from stylize_video.styles.device import cuda_problem

    if problem := catalog_problem():
        yield Finding("catalogue", "broken", problem, _REINSTALL)
    gpu = device if device.startswith("cuda") else "cuda"
    devices = ["cpu"] if device == "cpu" or cuda_problem() else ["cpu", gpu]
    default = find_bundled(_DEFAULT_STYLE)
    if default is None:
        fact = f"the style {_DEFAULT_STYLE}, which is the default, is not there"
        yield Finding(_DEFAULT_STYLE, "broken", fact, _REINSTALL)
    else:
        for kind in devices:
            yield from _timed(default, kind)
            yield _choice(default, kind)
    for style in bundled_styles():
        if style != default:
            yield from _proved(style)


def _timed(style: BundledStyle, device: str) -> Iterator[Finding]:
    """A real run of every variant."""
    from stylize_video.styles.golden import golden_problem
    from stylize_video.styles.variants import open_session

    for precision in _variants_of(style):
        label = f"{style.name} {precision} on {device}"
        try:
            session = open_session(style.path, device=device, precision=precision)
            problem = golden_problem(session)
            milliseconds = 1000 * session.measure(*_SIZE)
        except StylizeError as error:
            yield Finding(label, "broken", str(error), _REINSTALL)
            continue
        fact = f"{milliseconds:.1f} ms, {1000 / milliseconds:.0f} fps at {_SIZE[1]}x{_SIZE[0]}, golden pair"
        if problem:
            yield Finding(label, "broken", f"{fact} wrong: {problem}", _REINSTALL)
        else:
            yield Finding(label, "ok", f"{fact} right")


def _proved(style: BundledStyle) -> Iterator[Finding]:
    """Whether every variant gives the pixels that it was exported with."""
    from stylize_video.styles.golden import golden_problem
    from stylize_video.styles.variants import open_session

    right = []
    for precision in _variants_of(style):
        try:
            problem = golden_problem(open_session(style.path, device="cpu", precision=precision))
        except StylizeError as error:
            problem = str(error)
        if problem:
            yield Finding(f"{style.name} {precision}", "broken", problem, _REINSTALL)
        else:
            right.append(precision)
    if right:
        yield Finding(style.name, "ok", f"golden pairs right: {', '.join(right)}")


def _variants_of(style: BundledStyle) -> Sequence[Precision]:
    """The precisions to try: fp32 also where its file is gone, for that is to be told."""
    from stylize_video.styles.style import find_variants

    return list(dict.fromkeys(("fp32", *find_variants(style.path))))


def _choice(style: BundledStyle, device: str) -> Finding:
    """What ``--precision auto`` takes."""
    from stylize_video.styles.variants import open_session

    topic = f"--precision auto on {device}"
    try:
        return Finding(topic, "ok", f"takes {open_session(style.path, device=device).style.precision}")
    except StylizeError as error:
        return Finding(topic, "broken", str(error), _REINSTALL)


def codecs() -> Iterator[Finding]:
    """The encoders, each opened."""
    from stylize_video.video.encoding import CODECS
    from stylize_video.video.hardware import HARDWARE, why_not

    for name, codec in CODECS.items():
        problem = why_not(codec.encoder, codec.pixels)
        if problem is None:
            yield Finding(codec.encoder, "ok", f"encodes {name}")
            continue
        state: State = "broken" if codec.encoder == _DEFAULT_ENCODER else "missing"
        advice = "pip install --force-reinstall av (its wheels bring the encoders)"
        yield Finding(codec.encoder, state, f"does not encode {name}: {problem}", advice)
    working = [
        f"{codec}_{maker}"
        for maker, hardware in HARDWARE.items()
        for codec in hardware.codecs
        if why_not(f"{codec}_{maker}", hardware.pixels) is None
    ]
    yield Finding("hardware encoders", "ok", ", ".join(working) or "none that work here")


def display() -> Iterator[Finding]:
    """Whether windows can be shown, and which cameras there are."""
    from stylize_video.live.cameras import list_cameras
    from stylize_video.live.display import display_problem

    problem = display_problem()
    advice = "only needed for the window of stylize-camera; --serve shows the picture in a browser"
    yield Finding(
        "display",
        "missing" if problem else "ok",
        problem or "windows can be shown",
        advice if problem else "",
    )
    cameras = ", ".join(f"{camera.index} {camera.name}" for camera in list_cameras())
    if cameras:
        yield Finding("cameras", "ok", cameras)
    else:
        advice = "plug one in; stylize-camera takes videos and streams, too"
        yield Finding("cameras", "missing", "no camera is connected", advice)


def extras() -> Iterator[Finding]:
    """What only some things need; asked for, not loaded, for torch alone takes seconds."""
    for name, modules, purpose, advice in _EXTRAS:
        if missing := [module for module in modules if find_spec(module) is None]:
            fact = f"{', '.join(missing)} not installed: needed to {purpose}"
            yield Finding(name, "missing", fact, advice)
        else:
            yield Finding(name, "ok", f"there, to {purpose}")
    installed = package_versions().keys()
    with_windows, headless = "opencv-python" in installed, "opencv-python-headless" in installed
    if headless:
        first = "opencv-python and it overwrite each other" if with_windows else "no window can be shown"
        advice = "pip uninstall opencv-python opencv-python-headless, then pip install opencv-python"
        yield Finding("headless OpenCV", "missing", f"is installed: {first}", advice)
    else:
        yield Finding("headless OpenCV", "ok", "not installed; only machines without libGL need it")


TOPICS: dict[str, Callable[[str], Iterator[Finding]]] = {
    "Versions": lambda _: versions(),
    "Providers": lambda _: providers(),
    "Styles": styles,
    "Codecs": lambda _: codecs(),
    "Windows and cameras": lambda _: display(),
    "Extras": lambda _: extras(),
}
"""The checks by their titles, each called with the device that must work."""

_WITHOUT_PACKAGES = ("Versions", "Extras")


def _to_load(error: ImportError, module: str = "") -> str:
    """What to install so that a package can be loaded."""
    if any(library in str(error) for library in _OF_THE_DESKTOP):
        return (
            "install it with the system's packages (Debian, Ubuntu: apt install libgl1 libglib2.0-0), or"
            " pip uninstall opencv-python and pip install opencv-python-headless, which has no windows"
        )
    module = module or (error.name or "").partition(".")[0]
    package = _MODULES.get(module, "stylize-video")
    if f"{package}-gpu" in package_versions():
        package += "-gpu"  # beside it the other would be broken
    return f"pip install --force-reinstall {package}"
