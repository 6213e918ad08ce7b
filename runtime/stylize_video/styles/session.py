"""ONNX Runtime sessions that run where they say they run.

``onnxruntime-gpu`` lists the CUDA provider even where its libraries cannot be loaded,
and then computes on the CPU without a word. Here the device is checked after the
session exists: asking for CUDA and not getting it is an error that names what is missing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from functools import cached_property
from numbers import Integral
from typing import Any, Protocol

import cv2
import numpy as np
import onnxruntime as ort
from google.protobuf.message import EncodeError
from numpy.typing import NDArray

from stylize_video.bounds import TRIAL_SIZE
from stylize_video.errors import DeviceError, StyleError, first_line
from stylize_video.frame import AnyFrame, Frame, as_frame, resized
from stylize_video.machine import cores, granted_cores
from stylize_video.quiet import quiet_stderr
from stylize_video.styles.adapter import FRAMES, STYLIZED
from stylize_video.styles.contract import MIN_SIDE, Precision
from stylize_video.styles.cuda import CAPTURE_AFTER, CudaRunner, provider_options
from stylize_video.styles.device import PROVIDERS, Device, resolve_device
from stylize_video.styles.ladder import Ladder, OutOfMemoryError, Step, is_out_of_memory, steps_for
from stylize_video.styles.receptive_field import ReceptiveField, find_receptive_field
from stylize_video.styles.style import Style
from stylize_video.styles.tiles import plan_tiles, stylize_tiles
from stylize_video.styles.working_size import done_at, stylize_at

MAX_PIXELS = {"cpu": 1_250_000, "cuda": 10_000_000}
"""Larger frames are stylized in tiles of at most this many pixels: memory does not grow further."""

_LEAST_TILE = 40_000
"""Pixels; where margins are most of a tile, smaller ones spare nothing."""

_MOST_THREADS = 1024
"""Of one frame, and frames at a time: no processor has more cores, and each takes memory."""

MAX_WHOLE_PIXELS = 2_200_000
"""Larger frames than that are stylized at a smaller size by networks that cannot be tiled."""

_MULTIPLES = (2, 4, 8, 16, 32)
"""What networks of other makers may need a frame's sides to be multiples of."""

_log = logging.getLogger(__name__)


class StyleSession:
    """One style on one device, stylizing frame after frame.

    Threads may share it; it is freed with the last reference to it. A process that is forked opens
    sessions of its own: the threads of this one stay behind.

    Args:
        style: what to run.
        device: ``auto`` takes CUDA where it works and the CPU elsewhere; ``cpu``,
            ``cuda`` and ``cuda:1`` insist.
        input_range: what white is in the graph, 1 or 255; by default it is 1 for files
            that keep the contract, and found out by trying for others.
        threads: CPU threads of ONNX Runtime for one frame, at most 1024; by default (0) one for each
            core, divided by ``at_once``.
        at_once: how many frames will be stylized at a time. One is for the least delay; a
            frame for each core has the most frames a second, as no core waits for another.

    Raises:
        DeviceError: the device asked for cannot be had.
        StyleError: ONNX Runtime cannot run the graph, or a number is out of range.
    """

    def __init__(
        self,
        style: Style,
        device: str = "auto",
        *,
        input_range: int | None = None,
        threads: int = 0,
        at_once: int = 1,
    ) -> None:
        if not isinstance(style, Style):
            raise StyleError(f"a style is what Style.load returns, got {type(style).__name__}")
        check_numbers(input_range, threads=threads, at_once=at_once)
        if style.metadata and input_range not in (None, 1):
            raise StyleError(f"in {style.path} white is 1, as the file says; leave out the input range")
        self.style = style
        self._process = os.getpid()
        self._told: set[tuple[int, int]] = set()
        self._not_in_tiles: set[tuple[int, int, int]] = set()
        self._multiple = 1
        self.device = resolve_device(device)
        with _memory_for(style):
            self.input_range = input_range or (1 if style.metadata else probe_range(style))
        if not threads and (at_once > 1 or granted_cores()):
            threads = max(1, cores() // at_once)
        self._threads = threads
        self._runner_lock = threading.Lock()
        self._runner: _Runner | None = None
        try:
            self._runner_or_new()
        except (DeviceError, OutOfMemoryError):
            if device != "auto" or self.device.kind == "cpu":
                raise
            self.device = Device("cpu")
            self._runner_or_new()
        # A GPU computes one frame after the other: its buffers are there once.
        self.at_once = at_once if self.device.kind == "cpu" else 1
        self._max_pixels = MAX_PIXELS[self.device.kind]
        self._alone = threading.Lock()
        may_leave = device == "auto" and self.device.kind != "cpu"
        self._ladder = Ladder(steps_for(at_once=self.at_once, may_leave=may_leave))

    def __repr__(self) -> str:
        return f"<StyleSession {self.style.name} ({self.precision}) on {self.device}>"

    @property
    def precision(self) -> Precision:
        """The arithmetic of the style that runs."""
        return self.style.precision

    def _runner_or_new(self) -> _Runner:
        with self._runner_lock, _memory_for(self.style):
            if self._runner is None:
                self._runner = _create_runner(self.style, self.device, self.input_range, self._threads)
            return self._runner

    def stylize(self, frame: AnyFrame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out.

        A graph that insists on one size gets the frame resized to it and its result
        brought back; one of another maker that fails on a size gets the frame padded to multiples of
        2 to 32, as far as it needs them; frames above :data:`MAX_PIXELS` are stylized in tiles. Where memory
        does not suffice nevertheless, fewer frames at a time, smaller tiles, and at last the
        CPU (unless a device was insisted on) are tried, each told in one line.

        Raises:
            StyleError: the frame is too small, or the graph fails on this size.
            StylizeError: it is no such frame.
        """
        frame = as_frame(frame)
        height, width = frame.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise _too_small(height, width)
        fixed_size = self.style.fixed_size
        if fixed_size and fixed_size != (height, width):
            return stylize_at(self, frame, fixed_size)
        return self._ladder.stylize(frame, self._stylize_by, self._prepare_step)

    def _prepare_step(self, step: Step) -> bool:
        """Close the runner to free its memory; the next frame opens it again, on the device of ``step``.

        False where the step needs tiles, and this network cannot have any.
        """
        if step.tile_divisor > 1 and not self._can_be_tiled():
            return False
        with self._runner_lock:
            self._runner = None
            if step.on_cpu:
                self.device = Device("cpu")
            self._max_pixels = MAX_PIXELS[self.device.kind]
        return True

    def _can_be_tiled(self) -> bool:
        try:
            return self._receptive_field is not None and not self.style.fixed_size
        except MemoryError:
            return False

    def _stylize_by(self, step: Step, frame: Frame) -> Frame:
        pixels, limit = frame.shape[0] * frame.shape[1], self._max_pixels
        if step.tile_divisor > 1:
            limit = max(_LEAST_TILE, min(limit, pixels) // step.tile_divisor)
        with self._alone if step.alone else contextlib.nullcontext():
            if self.style.fixed_size or pixels <= limit:
                return self._stylize_whole(frame)
            return self._stylize_large(frame, limit)

    def _stylize_whole(self, frame: Frame) -> Frame:
        stylized = self._run(frame)
        if stylized.shape == frame.shape:
            return stylized
        if self.style.metadata:
            raise self._changes_sizes(frame, stylized)
        height, width = frame.shape[:2]
        return resized(stylized, height, width)

    def _changes_sizes(self, frame: Frame, stylized: Frame) -> StyleError:
        """What is wrong with a style of ours then: the contract promises the same size for every size."""
        size, got = (f"{picture.shape[1]}x{picture.shape[0]}" for picture in (frame, stylized))
        return StyleError(f"{self.style.path} turned a {size} frame into {got}; export it again")

    def _stylize_large(self, frame: Frame, limit: int) -> Frame:
        """In tiles; smaller and enlarged again where the network looks at the whole picture."""
        height, width = frame.shape[:2]
        if self._receptive_field and (height, width, limit) not in self._not_in_tiles:
            tiles = plan_tiles(height, width, self._receptive_field, max_pixels=limit)
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
                "changes the size of its pictures" if self._receptive_field else "looks at the whole picture",
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
    def _receptive_field(self) -> ReceptiveField | None:
        found = find_receptive_field(self.style.model)
        told = self.style.metadata.receptive_field if self.style.metadata else None
        # int8 graphs that move bytes about do not show it.
        return found or (ReceptiveField(*told) if told else None)

    def _run(self, frame: Frame) -> Frame:
        """What the network makes of a frame, or of a padded one where it takes only some sizes."""
        if os.getpid() != self._process and self._threads != 1:  # it would wait for threads for ever
            raise StyleError(
                "this session was opened before its process was forked; open one in each process"
                " (multiprocessing.get_context('spawn'))"
            )
        try:
            return self._run_padded(frame, self._multiple)
        except OutOfMemoryError:
            raise
        except StyleError as error:
            if self.style.metadata or self.style.fixed_size:  # ours take every size
                raise
            failure = error
        for multiple in _MULTIPLES:
            if multiple > self._multiple and any(side % multiple for side in frame.shape[:2]):
                try:
                    stylized = self._run_padded(frame, multiple)
                except OutOfMemoryError:
                    raise
                except StyleError:
                    continue
                self._multiple = multiple
                return stylized
        raise failure

    def _run_padded(self, frame: Frame, multiple: int) -> Frame:
        """Run a frame that is mirrored at its end to sides that are multiples, and cut that off again.

        Of a network that changes sizes, what is left has another size too.
        """
        height, width = frame.shape[:2]
        bottom, right = -height % multiple, -width % multiple
        if not (bottom or right):
            return self._run_as_it_is(frame)
        padded = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REFLECT_101)
        stylized = self._run_as_it_is(np.asarray(padded, np.uint8))
        rows, columns = (
            max(1, round(kept * came_out / ran))
            for kept, came_out, ran in zip((height, width), stylized.shape, padded.shape, strict=False)
        )
        return stylized[:rows, :columns]

    def _run_as_it_is(self, frame: Frame) -> Frame:
        batch = np.ascontiguousarray(frame)[None]
        try:
            runner = self._runner_or_new()
        except (StyleError, DeviceError) as error:  # it could be opened before: what is missing is memory
            raise OutOfMemoryError(first_line(error)) from error
        try:
            result: Frame = runner.run(batch)[0]
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
        """Warm up for frames of this size (on a GPU: capture the CUDA graph), so that the first is not slow.

        On a GPU that takes as long as a hundred frames.

        Raises:
            StyleError: as :meth:`stylize`.
        """
        if min(height, width) < MIN_SIDE:
            raise _too_small(height, width)
        for _ in range(CAPTURE_AFTER if self.device.kind == "cuda" else 1):
            self.stylize(np.zeros((height, width, 3), np.uint8))

    def measure(self, height: int, width: int, *, runs: int = 5) -> float:
        """Median seconds for one frame of this size, over ``runs`` of them after :meth:`prepare`.

        Raises:
            StyleError: as :meth:`stylize`; or ``runs`` is below 1.
        """
        if runs < 1:
            raise StyleError(f"a measurement takes at least 1 run, got {runs}")
        self.prepare(height, width)
        frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            self.stylize(frame)
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds))


def check_numbers(input_range: int | None, *, threads: int, at_once: int) -> None:
    """Check what :class:`StyleSession` is given besides its style and its device.

    Raises:
        StyleError: a number is out of range, or no whole one.
    """
    if input_range not in (None, 1, 255):
        raise StyleError(f"the input range is 1 or 255, got {input_range!r}")
    whole = isinstance(at_once, Integral) and isinstance(threads, Integral)
    if not whole or not (1 <= at_once <= _MOST_THREADS and 0 <= threads <= _MOST_THREADS):
        raise StyleError(
            f"at_once is at least 1 and threads at least 0 (for all), both at most {_MOST_THREADS},"
            f" got {at_once!r} and {threads!r}"
        )


def _too_small(height: int, width: int) -> StyleError:
    return StyleError(f"frames of {width}x{height} are too small; styles need at least {MIN_SIDE}x{MIN_SIDE}")


class _TileOfAnotherSizeError(Exception):  # never leaves this module
    """The network made a tile smaller or larger."""


class _Runner(Protocol):
    """What computes frames on a device."""

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize ``frames``, uint8 ``[1, H, W, 3]`` BGR."""


class _CpuRunner:
    """ONNX Runtime on a graph by :func:`~stylize_video.styles.adapter.adapt_to_bgr`."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        result: NDArray[np.uint8] = self._session.run([STYLIZED], {FRAMES: frames})[0]
        return result


class _RgbCpuRunner:
    """The same on a model of :func:`~stylize_video.styles.adapter.adapt_to_rgb`: OpenCV reorders faster."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._on_rgb = _CpuRunner(session)

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        stylized = self._on_rgb.run(cv2.cvtColor(frames[0], cv2.COLOR_BGR2RGB)[None])
        if stylized.ndim != 4 or stylized.shape[3] not in (3, 4):
            return stylized  # no picture: told by the caller
        method = cv2.COLOR_RGB2BGR if stylized.shape[3] == 3 else cv2.COLOR_RGBA2BGR
        return np.asarray(cv2.cvtColor(stylized[0], method), np.uint8)[None]


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
"""Times the pixels that a foreign graph was given, which it may return: a superresolution of 8x8."""


def _create_runner(style: Style, device: Device, input_range: int, threads: int) -> _Runner:
    """What runs frames, tried out where it is on a GPU."""
    if device.kind == "cpu":
        on_rgb = style.rgb_model() if input_range == 1 else None
        if on_rgb is not None:
            return _RgbCpuRunner(_create_session(style, on_rgb, device, threads))
        model = style.bgr_model(pixel_range=input_range, round_early=True)
        return _CpuRunner(_create_session(style, model, device, threads))
    session = _create_session(style, style.bgr_model(pixel_range=input_range), device, threads)

    def open_capturing(height: int, width: int) -> ort.InferenceSession:
        model = style.bgr_model(pixel_range=input_range, size=(height, width))
        return _create_session(style, model, device, threads, graphs=True)

    runner = CudaRunner(session, device.index, open_capturing=open_capturing)
    try:
        runner.run(np.zeros((1, *(style.fixed_size or TRIAL_SIZE), 3), np.uint8))
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise DeviceError(f"{style.path} cannot run on {device}: {first_line(error)}") from error
    return runner


@contextlib.contextmanager
def _memory_for(style: Style) -> Iterator[None]:
    """Turn MemoryError and protobuf's EncodeError into OutOfMemoryError."""
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
    providers: list[Any] = [PROVIDERS["cpu"]]
    if device.kind == "cuda":
        providers.insert(0, (PROVIDERS["cuda"], provider_options(device.index, graphs=graphs)))
    try:
        with quiet_stderr() if device.kind == "cuda" else contextlib.nullcontext():
            session = ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        told = f"{style.path} cannot run on {device}: {first_line(error)}"
        if device.kind == "cuda":
            raise DeviceError(told) from error
        raise (OutOfMemoryError if is_out_of_memory(error) else StyleError)(told) from error
    if device.kind == "cuda" and PROVIDERS["cuda"] not in session.get_providers():
        raise DeviceError(f"--device {device} cannot be used: ONNX Runtime fell back to the CPU")
    return session
