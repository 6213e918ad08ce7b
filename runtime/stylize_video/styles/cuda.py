"""Frames through a session on an NVIDIA GPU, with as little between them as can be.

For each frame size there are buffers on the GPU that stay where they are. A size that keeps
coming gets a session of its own besides: with the size known, ONNX Runtime computes all that
depends on it beforehand and records the rest as a CUDA graph, replayed with a single launch.
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

RECORD_AFTER = 8
"""Frames of one size before it is recorded, which takes as long as a hundred of them."""

_MOST_RECORDED = 4
"""Each has a session, and with it memory, of its own."""

_IDLE = 100
"""A recording gives way to another size once this many frames of others have passed."""

_LIKENESS = 40.0
"""Least PSNR in dB between what a recording gives and what the session it replaces gives."""

_log = logging.getLogger(__name__)

NewValue = Callable[[tuple[int, ...], type, str, int], Any]
"""Makes a tensor on a device: shape, type, kind of device, index; ``OrtValue``'s own by default."""


def provider_options(index: int, *, graphs: bool) -> dict[str, str]:
    """Options of ONNX Runtime's CUDA provider.

    Args:
        index: which GPU.
        graphs: record CUDA graphs; the whole model must be on the GPU for it.
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
class _Bound:
    """Buffers of one shape, and how to run on them."""

    session: Any
    source: Any
    result: Any
    binding: Any
    options: Any
    recorded: bool = False
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
        open_recording: opens a session of the same style for (height, width) alone that
            records CUDA graphs; it may raise anything. None: nothing is recorded.
        new_value: makes tensors on the GPU.
    """

    def __init__(
        self,
        session: Any,
        index: int,
        *,
        open_recording: Callable[[int, int], Any] | None = None,
        new_value: NewValue = ort.OrtValue.ortvalue_from_shape_and_type,
    ) -> None:
        self._session, self._index = session, index
        self._open_recording, self._new_value = open_recording, new_value
        self._bound: OrderedDict[tuple[int, ...], _Bound] = OrderedDict()
        self._runs = 0
        self._lock = threading.Lock()

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize ``frames``, uint8 ``[N, H, W, 3]`` BGR; the result is the caller's own."""
        with self._lock:
            bound = self._bound.get(frames.shape)
            if bound is None:
                bound = self._bound[frames.shape] = self._bind(self._session, frames.shape)
                if len(self._bound) > _SHAPES_KEPT:
                    self._bound.popitem(last=False)
            self._bound.move_to_end(frames.shape)
            self._runs += 1
            bound.runs += 1
            bound.last_run = self._runs
            if bound.runs % RECORD_AFTER == 0:
                bound = self._record(frames.shape)
            try:
                return bound.run(frames)
            except Exception:
                if not bound.recorded:
                    raise
            # Another thread's work on the GPU can spoil a recording, and would again.
            self._open_recording = None
            bound = self._bound[frames.shape] = self._bind(self._session, frames.shape)
            return bound.run(frames)

    @property
    def recorded(self) -> list[tuple[int, ...]]:
        """The shapes that are recorded, the one not used for longest first."""
        return [shape for shape, bound in self._bound.items() if bound.recorded]

    def _record(self, shape: tuple[int, ...]) -> _Bound:
        """What runs this shape from now on: a recording if one can be had and gives the same pictures."""
        plain = self._bound[shape]
        if plain.recorded or self._open_recording is None or shape[0] != 1 or not self._make_room():
            return plain
        try:
            recording = self._bind(self._open_recording(*shape[1:3]), shape, recorded=True)
            works = _replays(recording, plain, shape)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            _log.debug("no CUDA graph for %s: %s", shape, first_line(error))
            works = False
        if not works:
            self._open_recording = None  # nor would it work for other sizes
            return plain
        recording.runs, recording.last_run = plain.runs, plain.last_run
        self._bound[shape] = recording
        return recording

    def _make_room(self) -> bool:
        """Whether one more recording may be made; the one not used for longest goes, if it lies idle."""
        recorded = self.recorded
        if len(recorded) < _MOST_RECORDED:
            return True
        if self._runs - self._bound[recorded[0]].last_run <= _IDLE:
            return False
        del self._bound[recorded[0]]
        return True

    def _bind(self, session: Any, shape: tuple[int, ...], *, recorded: bool = False) -> _Bound:
        source, result = (self._new_value(shape, np.uint8, "cuda", self._index) for _ in range(2))
        binding = session.io_binding()
        binding.bind_ortvalue_input(FRAMES, source)
        binding.bind_ortvalue_output(STYLIZED, result)
        options = ort.RunOptions()
        if recorded:  # the graph holds the addresses of these buffers
            options.add_run_config_entry("gpu_graph_id", "0")
        return _Bound(session, source, result, binding, options, recorded)


def _replays(recording: _Bound, plain: _Bound, shape: tuple[int, ...]) -> bool:
    """Whether a graph gives what its first run gave, and what ``plain`` gives; raises what they raise."""
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    first, other, again = (recording.run(f) for f in (frames, 255 - frames, frames))
    # A graph that reads from a wrong address gives the same result whatever comes in.
    return (
        bool((other != first).any())
        and int(np.abs(again.astype(int) - first).max()) <= 1
        and psnr(first, plain.run(frames)) >= _LIKENESS
    )
