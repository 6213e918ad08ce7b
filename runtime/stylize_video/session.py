"""ONNX Runtime sessions that run where they say they run.

``onnxruntime-gpu`` lists the CUDA provider even where its libraries cannot be loaded,
and then computes on the CPU without a word. Here the device is checked after the
session exists: asking for CUDA and not getting it is an error that names what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnxruntime as ort
from google.protobuf.message import EncodeError
from numpy.typing import NDArray

from stylize_video.adapter import FRAMES, STYLIZED
from stylize_video.cache import key_of, recall, remember
from stylize_video.contract import MIN_SIDE, PRECISIONS, Precision
from stylize_video.cuda import RECORD_AFTER, CudaRunner, provider_options
from stylize_video.errors import DeviceError, StyleError, first_line
from stylize_video.frame import AnyFrame, Frame, as_frame, psnr
from stylize_video.ladder import Ladder, OutOfMemoryError, Step, is_out_of_memory
from stylize_video.machine import cores, granted_cores, processor
from stylize_video.neighbourhood import Neighbourhood, find_neighbourhood
from stylize_video.quiet import quiet_stderr
from stylize_video.style import Style, find_style, find_variants, read_metadata, read_model, variant_path
from stylize_video.tiles import plan_tiles, stylize_tiles
from stylize_video.working_size import done_at, stylize_at

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"

MAX_PIXELS = {"cpu": 1_250_000, "cuda": 10_000_000}
"""Larger frames are stylized in tiles of at most this many pixels: memory does not grow further."""

_SMALLER_TILES = ((4, "a quarter"), (16, "a sixteenth"), (64, "a sixty-fourth"))
_LEAST_TILE = 40_000
"""Pixels; where margins are most of a tile, smaller ones spare nothing."""

_WORTH_IT = 0.95
"""Of the time of fp32: what int8 must stay below, as it is a little coarser."""

_MEASURED_RUNS = 4
_TRIAL_SIZE = (64, 96)

MAX_WHOLE_PIXELS = 2_200_000
"""Larger frames than that are stylized at a smaller size by networks that cannot be tiled."""

_log = logging.getLogger(__name__)


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
        match = re.fullmatch(r"cuda(?::(\d+))?", str(text))
        if not match:
            raise DeviceError(f"unknown device {text!r}; there are auto, cpu, cuda and cuda:INDEX")
        return cls("cuda", int(match[1] or 0))


def open_session(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    input_range: int | None = None,
    threads: int = 0,
    at_once: int = 1,
    check: Callable[[Path], None] = lambda _: None,
) -> StyleSession:
    """Open a style in the variant that suits the device.

    Args:
        name_or_path: a style file, or the name of a bundled style.
        device: as for :class:`StyleSession`.
        precision: ``auto`` takes the variant that is fastest here, if its golden pair comes
            out right: fp16 on GPUs; on CPUs int8 and fp32 are measured once and the answer
            is remembered in the user's cache folder. A variant that is damaged, or of another
            training, is left out with a warning. The others insist. A file that is named and
            is what is asked for is taken, whatever lies beside it.
        input_range: as for :class:`StyleSession`.
        threads: as for :class:`StyleSession`.
        at_once: as for :class:`StyleSession`.
        check: called with each file before it is read, to raise a StyleError where it should not
            be; commands try files from anywhere out in another process first.

    Raises:
        StyleError: the style or the variant does not exist, or cannot run.
        DeviceError: the device asked for cannot be had.
    """
    path = find_style(name_or_path)

    def session(chosen: Path) -> StyleSession:
        check(chosen)
        return StyleSession(
            Style.load(chosen), device, input_range=input_range, threads=threads, at_once=at_once
        )

    wanted = parse_precision(precision)
    if wanted != "auto":
        return session(_of_precision(path, wanted, check))
    variants = find_variants(path)
    if path != variants.get("fp32"):
        return session(path)  # the user named one variant, or a file of another maker
    on_gpu = resolve_device(device).kind == "cuda"
    faster = variants.get("fp16" if on_gpu else "int8")
    if faster is None or not _belongs_to(faster, path, check):
        return session(path)
    if on_gpu:  # what half precision gains is sure on any
        return _if_right(session, faster) or session(path)
    return _faster_on_cpu(session, path, faster, threads=threads, at_once=at_once)


def _of_precision(path: Path, precision: Precision, check: Callable[[Path], None]) -> Path:
    """The file named, if it is what is asked for, else the variant beside it.

    Raises:
        StyleError: there is none.
    """
    variants = find_variants(path)
    if path not in (variants.get(precision), variant_path(path, "fp32")):
        # By its name it is another variant, or none: only the file itself knows.
        check(path)
        metadata = read_metadata(read_model(path), path)
        if precision == (metadata.precision if metadata else "fp32"):
            return path
    if precision not in variants:
        raise StyleError(
            f"{path} has no {precision} variant; it has {', '.join(variants) or 'none'}"
            f" (export-onnx --precision {precision} makes one)"
        )
    return variants[precision]


def _belongs_to(variant: Path, fp32: Path, check: Callable[[Path], None]) -> bool:
    """Whether a variant can be read and is not one that an earlier export left beside the style.

    Such a one would look like the style looked then.
    """
    check(fp32)
    weights = _weights_of(fp32)
    try:
        check(variant)
        belongs = _weights_of(variant) == weights
    except StyleError as error:
        _log.warning("%s is not used: %s", variant.name, error)
        return False
    if not belongs:
        _log.warning("%s is of another training than %s and is not used", variant, fp32)
    return belongs


def _weights_of(path: Path) -> str:
    """The hash of the checkpoint that a style was exported from."""
    metadata = read_metadata(read_model(path), path)
    return metadata.checkpoint_sha256 if metadata else ""


def _if_right(session: Callable[[Path], StyleSession], variant: Path) -> StyleSession | None:
    """The session of a variant that can run and whose golden pair comes out right here."""
    try:
        opened = session(variant)
        return opened if golden_problem(opened) is None else None
    except StyleError as error:
        _log.warning("%s is not used: %s", variant.name, error)
        return None


def _faster_on_cpu(
    session: Callable[[Path], StyleSession], fp32: Path, int8: Path, *, threads: int, at_once: int
) -> StyleSession:
    """Of two variants the one that is faster on this processor.

    What int8 gains depends on the network and on the processor's instructions (with VNNI two
    to three times, without often nothing), so it is measured: once for each style, processor
    and version, in about a tenth of a second.
    """
    circumstances = (
        processor(),
        str(cores()),
        f"{threads} {at_once}",
        ort.__version__,
        version("stylize-video"),
    )
    key = key_of([*circumstances, fp32.read_bytes(), int8.read_bytes()])
    known = recall(key)
    if known == "fp32":
        return session(fp32)
    quantized = _if_right(session, int8)
    if quantized is None:
        return session(fp32)
    if known == "int8":
        return quantized
    plain = session(fp32)
    seconds = cpu_seconds([quantized, plain])
    _log.info("a small frame took %.1f ms in int8 and %.1f ms in fp32", *(1000 * s for s in seconds))
    gains = seconds[0] < _WORTH_IT * seconds[1]
    remember(key, "int8" if gains else "fp32")
    return quantized if gains else plain


def cpu_seconds(sessions: Sequence[StyleSession], *, size: tuple[int, int] = (192, 256)) -> list[float]:
    """What one frame costs each session, in seconds of processor time.

    They take turns and the least of a few runs counts, so that a busy machine does not matter.
    """
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    seconds: list[list[float]] = [[] for _ in sessions]
    for _ in range(_MEASURED_RUNS):
        for session, measured in zip(sessions, seconds, strict=True):
            start = time.process_time()
            session.stylize(frame)
            measured.append(time.process_time() - start)
    return [min(measured) for measured in seconds]


def most_at_once() -> int:
    """How many frames to stylize at a time for the most frames a second: more than a few only take memory."""
    return min(cores(), 4)


def parse_precision(text: str) -> Precision | Literal["auto"]:
    """Check a ``--precision``.

    Raises:
        StyleError: it is none of auto, fp32, fp16 and int8.
    """
    if text == "auto":
        return "auto"
    for known in PRECISIONS:
        if text == known:
            return known
    raise StyleError(f"unknown precision {text!r}; there are auto, {', '.join(PRECISIONS)}")


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


class StyleSession:
    """One style on one device, stylizing frame after frame. Threads may share it.

    Args:
        style: what to run.
        device: ``auto`` takes CUDA where it works and the CPU elsewhere; ``cpu``,
            ``cuda`` and ``cuda:1`` insist.
        input_range: what white is in the graph, 1 or 255; by default it is 1 for files
            that keep the contract, and found out by trying for others.
        threads: CPU threads of ONNX Runtime for one frame; by default one for each core,
            divided by ``at_once``.
        at_once: how many frames will be stylized at a time. One is for the least delay; a
            frame for each core has the most frames a second, as no core waits for another.

    Raises:
        DeviceError: the device asked for cannot be had.
        StyleError: ONNX Runtime cannot run the graph, or a number is out of range.
    """

    at_once: int = 1

    def __init__(
        self,
        style: Style,
        device: str = "auto",
        *,
        input_range: int | None = None,
        threads: int = 0,
        at_once: int = 1,
    ) -> None:
        if input_range not in (None, 1, 255):
            raise StyleError(f"the input range is 1 or 255, got {input_range}")
        if at_once < 1 or threads < 0:
            raise StyleError(
                f"at_once is at least 1 and threads at least 0 (for all), got {at_once} and {threads}"
            )
        self.style = style
        self._told: set[tuple[int, int]] = set()
        self._not_in_tiles: set[tuple[int, int, int]] = set()
        self.device = resolve_device(device)
        with _memory_for(style):
            self.input_range = input_range or (1 if style.metadata else probe_range(style))
        if not threads and (at_once > 1 or granted_cores()):
            threads = max(1, cores() // at_once)
        self._threads = threads
        self._opening = threading.Lock()
        self._computation: _OnCpu | CudaRunner | None = None
        try:
            self._opened()
        except (DeviceError, OutOfMemoryError):
            if device != "auto" or self.device.kind == "cpu":
                raise
            self.device = Device("cpu")
            self._opened()
        # A GPU computes one frame after the other: its buffers are there once.
        self.at_once = at_once if self.device.kind == "cpu" else 1
        self._max_pixels = MAX_PIXELS[self.device.kind]
        self._ladder = Ladder(self._steps(may_leave=device == "auto"))

    def _opened(self) -> _OnCpu | CudaRunner:
        with self._opening, _memory_for(self.style):
            if self._computation is None:
                self._computation = _open(self.style, self.device, self.input_range, self._threads)
            return self._computation

    def _close(self, device: Device | None = None) -> None:
        """Give back what was taken; the next frame opens it again, on ``device`` from then on."""
        with self._opening:
            self._computation = None
            self.device = device or self.device
            self._max_pixels = MAX_PIXELS[self.device.kind]

    def stylize(self, frame: AnyFrame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out.

        A graph that insists on one size gets the frame resized to it and its result
        brought back; frames above :data:`MAX_PIXELS` are stylized in tiles. Where memory
        does not suffice nevertheless, fewer frames at a time, smaller tiles, and at last the
        CPU (unless a device was insisted on) are tried, each told in one line.

        Raises:
            StyleError: the frame is too small, or the graph fails on this size.
            StylizeError: it is no such frame.
        """
        frame = as_frame(frame)
        height, width = frame.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise StyleError(
                f"frames of {width}x{height} are too small; styles need at least {MIN_SIDE}x{MIN_SIDE}"
            )
        fixed_size = self.style.fixed_size
        if fixed_size and fixed_size != (height, width):
            return stylize_at(self, frame, fixed_size)
        return self._ladder.stylize(frame)

    def _steps(self, *, may_leave: bool) -> Iterator[Step]:
        """Ways to stylize a frame, from the fastest to the most frugal.

        Between two the session is closed: what it took hold of in vain is free again, and
        the frame that comes next opens it. Where that fails, there is the step after it.
        """
        yield Step("as ever", self._stylize_sized)
        yield from self._frugal_steps()
        if self.device.kind != "cpu" and may_leave:
            self._close(Device("cpu"))
            yield Step("on the CPU", self._stylize_sized)
            yield from self._frugal_steps()

    def _frugal_steps(self) -> Iterator[Step]:
        alone = threading.Lock()
        try:
            tiled = self._neighbourhood is not None and not self.style.fixed_size
        except MemoryError:
            tiled = False
        if self.at_once > 1:

            def one_at_a_time(frame: Frame) -> Frame:
                with alone:
                    return self._stylize_sized(frame)

            self._close()
            yield Step("with one frame at a time", one_at_a_time)
        if tiled:
            for part, name in _SMALLER_TILES:

                def in_tiles(frame: Frame, part: int = part) -> Frame:
                    pixels = min(self._max_pixels, frame.shape[0] * frame.shape[1])
                    with alone:
                        return self._stylize_sized(frame, max_pixels=max(_LEAST_TILE, pixels // part))

                self._close()
                yield Step(f"in tiles of {name} of the size", in_tiles)

    def _stylize_sized(self, frame: Frame, *, max_pixels: int = 0) -> Frame:
        limit = max_pixels or self._max_pixels
        if self.style.fixed_size or frame.shape[0] * frame.shape[1] <= limit:
            return self._stylize_whole(frame)
        return self._stylize_large(frame, limit)

    def _stylize_whole(self, frame: Frame) -> Frame:
        stylized = self._run(frame)
        if stylized.shape == frame.shape:
            return stylized
        if self.style.metadata:
            raise self._changes_sizes(frame, stylized)
        height, width = frame.shape[:2]
        return _resized(stylized, (height, width))

    def _changes_sizes(self, frame: Frame, stylized: Frame) -> StyleError:
        """What is wrong with a style of ours then: the contract promises the same size for every size."""
        size, got = (f"{picture.shape[1]}x{picture.shape[0]}" for picture in (frame, stylized))
        return StyleError(f"{self.style.path} turned a {size} frame into {got}; export it again")

    def _stylize_large(self, frame: Frame, limit: int) -> Frame:
        """In tiles; smaller and enlarged again where the network looks at the whole picture."""
        height, width = frame.shape[:2]
        if self._neighbourhood and (height, width, limit) not in self._not_in_tiles:
            tiles = plan_tiles(height, width, self._neighbourhood, max_pixels=limit)
            with contextlib.suppress(_TileOfAnotherSizeError):
                return stylize_tiles(self._stylize_tile, frame, tiles)
            self._not_in_tiles.add((height, width, limit))
        if height * width <= MAX_WHOLE_PIXELS:
            return self._stylize_whole(frame)
        shrink = (MAX_WHOLE_PIXELS / (height * width)) ** 0.5
        size = max(MIN_SIDE, int(height * shrink)), max(MIN_SIDE, int(width * shrink))
        if size not in self._told:
            self._told.add(size)
            _log.warning(
                "%s %s, so %dx%d is stylized at %dx%d to spare memory; strokes come out larger",
                self.style.path.name,
                "changes the size of its pictures" if self._neighbourhood else "looks at the whole picture",
                width, height, size[1], size[0],
            )  # fmt: skip
        return done_at(self._stylize_whole, frame, size)

    def _stylize_tile(self, tile: Frame) -> Frame:
        """One that is a little smaller or larger than its part of the frame would not meet the others."""
        stylized = self._run(tile)
        if stylized.shape == tile.shape:
            return stylized
        if self.style.metadata:
            raise self._changes_sizes(tile, stylized)
        raise _TileOfAnotherSizeError

    @cached_property
    def _neighbourhood(self) -> Neighbourhood | None:
        found = find_neighbourhood(self.style.model)
        told = self.style.metadata.neighbourhood if self.style.metadata else None
        # int8 graphs that move bytes about do not show it.
        return found or (Neighbourhood(*told) if told else None)

    def _run(self, frame: Frame) -> Frame:
        batch = np.ascontiguousarray(frame)[None]
        try:
            computation = self._opened()
        except (StyleError, DeviceError) as error:  # it could be opened before: what is missing is memory
            raise OutOfMemoryError(first_line(error)) from error
        try:
            result: Frame = computation.run(batch)[0]
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            kind = OutOfMemoryError if is_out_of_memory(error) else StyleError
            raise kind(
                f"the style {self.style.path} failed on a {size} frame: {first_line(error)}"
            ) from error
        if result.ndim != 3 or result.shape[2] != 3:
            raise StyleError(f"{self.style.path} is no style: a frame came out with shape {result.shape}")
        return result

    def prepare(self, height: int, width: int) -> None:
        """Make all ready now that makes frames of this size as fast as they get, not as they come.

        On a GPU that takes as long as a hundred frames.
        """
        for _ in range(RECORD_AFTER if self.device.kind == "cuda" else 1):
            self.stylize(np.zeros((height, width, 3), np.uint8))

    def measure(self, height: int, width: int, *, runs: int = 5) -> float:
        """Median seconds for one frame of this size, after :meth:`prepare`."""
        frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        self.prepare(height, width)
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            self.stylize(frame)
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds))


class _TileOfAnotherSizeError(Exception):  # never leaves this module
    """The network made a tile smaller or larger."""


class _OnCpu:
    """ONNX Runtime on arrays as they are."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize ``frames``, uint8 ``[1, H, W, 3]`` BGR."""
        result: NDArray[np.uint8] = self._session.run([STYLIZED], {FRAMES: frames})[0]
        return result


class _OnCpuInBytes(_OnCpu):
    """The same for a graph by :func:`adapt_to_bytes`: OpenCV reorders colours faster than a graph."""

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        stylized = super().run(cv2.cvtColor(frames[0], cv2.COLOR_BGR2RGB)[None])
        if stylized.ndim != 4 or stylized.shape[3] not in (3, 4):
            return stylized  # no picture: told by the caller
        method = cv2.COLOR_RGB2BGR if stylized.shape[3] == 3 else cv2.COLOR_RGBA2BGR
        return np.asarray(cv2.cvtColor(stylized[0], method), np.uint8)[None]


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


def probe_range(style: Style) -> int:
    """Find out whether white is 1 or 255 in a graph that does not say.

    The graph is run on one picture in both scalings. Values far above 1 for a picture
    in 0..1 can only come from a 0..255 graph. So can a flat grey for 0..1 where 0..255
    gives contrast: such a graph took the picture for nearly black.
    """
    size = style.fixed_size or (64, 64)
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    waves = [0.5 + 0.5 * np.sin(x / (7 + c) + y / (11 - c)) for c in range(3)]
    picture = np.stack(waves)[None].astype(np.float32)
    session = _create_session(style, style.model.SerializeToString(), Device("cpu"), 0)
    name = session.get_inputs()[0].name
    try:
        small, large = (session.run(None, {name: picture * scale})[0] for scale in (1, 255))
    except Exception as error:  # as above
        raise StyleError(f"{style.path} cannot run: {first_line(error)}") from error
    if small.ndim != 4 or not 0 < small.size <= _MAX_GROWN * picture.size:
        raise StyleError(f"{style.path} is no style: a picture came out with shape {list(small.shape)}")
    if not (np.isfinite(small).all() or np.isfinite(large).all()):
        _log.warning(
            "%s gives values that are no numbers, and so black or white; it may be damaged", style.path
        )
    if np.percentile(np.abs(small), 99) > 4:
        return 255
    return 255 if small.std() < 0.02 and large.std() > 10 else 1


_MAX_GROWN = 64
"""Foreign graphs may return a larger picture than they were given, but not by more than 8x8."""

GOLDEN_PSNR = 38.0
"""Least PSNR in dB that a golden pair must reach; other machines round a little differently."""


def golden_problem(session: StyleSession) -> str | None:
    """Run the golden pair in the style's metadata: None where it comes out right, else what is wrong."""
    golden = session.style.metadata.golden if session.style.metadata else None
    if golden is None:
        return f"{session.style.path} has no golden pair; export it with export-onnx"
    stylized = session.stylize(golden.frame[..., ::-1])[..., ::-1]
    likeness = psnr(stylized, golden.stylized)
    if likeness < GOLDEN_PSNR:
        return (
            f"{session.style.path} gives other pixels than when it was exported:"
            f" {likeness:.1f} dB on its golden pair, at least {GOLDEN_PSNR:.0f} expected"
        )
    return None


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """``frame`` at (height, width), itself where it has that size already."""
    if frame.shape[:2] == size:
        return frame
    shrinking = size[0] * size[1] < frame.shape[0] * frame.shape[1]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=method), np.uint8)


def _open(style: Style, device: Device, input_range: int, threads: int) -> _OnCpu | CudaRunner:
    """What runs frames, tried out where it is on a GPU."""
    if device.kind == "cpu":
        in_bytes = style.bytes_model() if input_range == 1 else None
        if in_bytes is not None:
            return _OnCpuInBytes(_create_session(style, in_bytes, device, threads))
        model = style.frames_model(pixel_range=input_range, round_early=True)
        return _OnCpu(_create_session(style, model, device, threads))
    session = _create_session(style, style.frames_model(pixel_range=input_range), device, threads)

    def open_recording(height: int, width: int) -> ort.InferenceSession:
        model = style.frames_model(pixel_range=input_range, size=(height, width))
        return _create_session(style, model, device, threads, graphs=True)

    runner = CudaRunner(session, device.index, open_recording=open_recording)
    try:
        runner.run(np.zeros((1, *(style.fixed_size or _TRIAL_SIZE), 3), np.uint8))
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise DeviceError(f"{style.path} cannot run on {device}: {first_line(error)}") from error
    return runner


@contextlib.contextmanager
def _memory_for(style: Style) -> Iterator[None]:
    """Where there is not enough memory to open a style, that is what is told."""
    try:
        yield
    except (MemoryError, EncodeError) as error:
        raise OutOfMemoryError(f"there is not enough memory to open {style.path}") from error


def _create_session(
    style: Style, model: bytes, device: Device, threads: int, *, graphs: bool = False
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is told in one sentence by us
    # Waiting threads that spin would take the cores that decode and encode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Planning memory ahead takes twice as much of it here, and no less time.
    options.enable_mem_pattern = False
    providers: list[Any] = [_CPU]
    if device.kind == "cuda":
        providers = [(_CUDA, provider_options(device.index, graphs=graphs)), _CPU]
    try:
        with quiet_stderr() if device.kind == "cuda" else contextlib.nullcontext():
            session = ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        told = f"{style.path} cannot run on {device}: {first_line(error)}"
        if device.kind == "cuda":
            raise DeviceError(told) from error
        raise (OutOfMemoryError if is_out_of_memory(error) else StyleError)(told) from error
    if device.kind == "cuda" and _CUDA not in session.get_providers():
        raise DeviceError(f"--device {device} cannot be used: ONNX Runtime fell back to the CPU")
    return session
