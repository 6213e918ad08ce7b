"""Frames through a session on an NVIDIA GPU, with as little between them as can be.

For each frame size there are buffers on the GPU that stay where they are. A size that keeps
coming gets a session of its own besides: with the size known, ONNX Runtime computes all that
depends on it beforehand and captures the rest as a CUDA graph, replayed with a single launch.
Frames cross the bus as bytes, three a pixel, once in each direction. (Pinned memory would be
filled by a copy on the CPU that takes as long as it saves.)
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from stylize_video.errors import first_line
from stylize_video.frame import psnr
from stylize_video.styles.adapter import FRAMES, STYLIZED

_SHAPES_KEPT = 12
"""Sizes whose buffers stay on the GPU; of more, the one not used for longest goes."""

CAPTURE_AFTER = 8
"""Frames of one size before it is captured, which takes as long as a hundred of them."""

_MOST_CAPTURED = 4
"""Each has a session, and with it memory, of its own."""

_IDLE = 100
"""A captured graph gives way to another size once this many frames of others have passed."""

_LIKENESS = 40.0
"""Least PSNR in dB between what a captured graph gives and what the session it replaces gives."""

_log = logging.getLogger(__name__)


def provider_options(index: int, *, graphs: bool) -> dict[str, str]:
    """Options of ONNX Runtime's CUDA provider.

    Args:
        index: which GPU.
        graphs: capture CUDA graphs; the whole model must be on the GPU for it.
    """
    return {
        "device_id": str(index),
        # An exhaustive search takes 0.3 s more for each new size, and finds a hundredth.
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        # Padding is so slow there that it takes two thirds of a frame's time.
        "prefer_nhwc": "0",
        "enable_cuda_graph": "1" if graphs else "0",
    }


@dataclass
class _Binding:
    """Buffers of one shape, and how to run on them."""

    session: Any
    source: Any
    result: Any
    binding: Any
    options: Any
    captured: bool = False
    runs: int = 0
    last_run: int = 0

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.source.update_inplace(frames)
        self.session.run_with_iobinding(self.binding, self.options)
        result: NDArray[np.uint8] = self.result.numpy()
        return result


class CudaRunner:
    """Runs frames on a session whose buffers on the GPU are reused while sizes repeat.

    Threads may share it; they take turns.

    Args:
        session: an ONNX Runtime session of an adapted style, for frames of any size.
        index: the GPU that it runs on.
        open_capturing: opens a session of the same style for (height, width) alone that
            captures a CUDA graph; it may raise anything. None: nothing is captured.
    """

    def __init__(
        self,
        session: Any,
        index: int,
        *,
        open_capturing: Callable[[int, int], Any] | None = None,
    ) -> None:
        self._session, self._index = session, index
        self._open_capturing = open_capturing
        self._bindings: OrderedDict[tuple[int, ...], _Binding] = OrderedDict()
        self._runs = 0
        self._lock = threading.Lock()

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize ``frames``, uint8 ``[N, H, W, 3]`` BGR; the result is the caller's own."""
        with self._lock:
            binding = self._bindings.get(frames.shape)
            if binding is None:
                binding = self._bindings[frames.shape] = self._bind(self._session, frames.shape)
                if len(self._bindings) > _SHAPES_KEPT:
                    self._bindings.popitem(last=False)
            self._bindings.move_to_end(frames.shape)
            self._runs += 1
            binding.runs += 1
            binding.last_run = self._runs
            if binding.runs % CAPTURE_AFTER == 0:
                binding = self._capture(frames.shape)
            try:
                return binding.run(frames)
            except Exception:
                if not binding.captured:
                    raise
            # Another thread's work on the GPU can spoil a captured graph, and would again.
            self._open_capturing = None
            binding = self._bindings[frames.shape] = self._bind(self._session, frames.shape)
            return binding.run(frames)

    @property
    def captured(self) -> list[tuple[int, ...]]:
        """The shapes that have a captured graph, the one not used for longest first."""
        return [shape for shape, binding in self._bindings.items() if binding.captured]

    def _capture(self, shape: tuple[int, ...]) -> _Binding:
        """What runs this shape from now on: a captured graph, if one gives the same pictures."""
        plain = self._bindings[shape]
        if plain.captured or self._open_capturing is None or shape[0] != 1 or not self._make_room():
            return plain
        try:
            replayed = self._bind(self._open_capturing(*shape[1:3]), shape, captured=True)
            works = _replays(replayed, plain, shape)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            _log.debug("no CUDA graph for %s: %s", shape, first_line(error))
            works = False
        if not works:
            self._open_capturing = None  # nor would it work for other sizes
            return plain
        replayed.runs, replayed.last_run = plain.runs, plain.last_run
        self._bindings[shape] = replayed
        return replayed

    def _make_room(self) -> bool:
        """Whether one more graph may be captured; the one not used for longest goes, if it lies idle."""
        captured = self.captured
        if len(captured) < _MOST_CAPTURED:
            return True
        if self._runs - self._bindings[captured[0]].last_run <= _IDLE:
            return False
        del self._bindings[captured[0]]
        return True

    def _bind(self, session: Any, shape: tuple[int, ...], *, captured: bool = False) -> _Binding:
        source, result = (
            ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, "cuda", self._index) for _ in range(2)
        )
        binding = session.io_binding()
        binding.bind_ortvalue_input(FRAMES, source)
        binding.bind_ortvalue_output(STYLIZED, result)
        options = ort.RunOptions()
        if captured:  # the graph holds the addresses of these buffers
            options.add_run_config_entry("gpu_graph_id", "0")
        return _Binding(session, source, result, binding, options, captured)


def _replays(replayed: _Binding, plain: _Binding, shape: tuple[int, ...]) -> bool:
    """Whether a graph gives what its first run gave, and what ``plain`` gives; raises what they raise."""
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    first, other, again = (replayed.run(f) for f in (frames, 255 - frames, frames))
    # A graph that reads from a wrong address gives the same result whatever comes in.
    return (
        bool((other != first).any())
        and int(np.abs(again.astype(int) - first).max()) <= 1
        and psnr(first, plain.run(frames)) >= _LIKENESS
    )
