"""Frames through a session on an NVIDIA GPU, with as little between them as can be.

For each frame size there are buffers on the GPU that stay where they are, so that ONNX
Runtime can record the work once as a CUDA graph and replay it with a single launch. Frames
cross the bus as bytes, three a pixel, once in each direction. (Pinned memory would be
filled by a copy on the CPU that takes as long as it saves.)
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from stylize_video.adapter import FRAMES, STYLIZED

_TRIAL_SIZE = (64, 96)
_SHAPES_KEPT = 12
_MOST_GRAPHS = 32
_NO_GRAPH = -1

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
        # An exhaustive search takes half a second for each new size, and finds little more.
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "prefer_nhwc": "1",
        "enable_cuda_graph": "1" if graphs else "0",
    }


@dataclass(frozen=True)
class _Bound:
    """Buffers of one shape, and how to run on them."""

    source: Any
    result: Any
    binding: Any
    options: Any


class CudaRunner:
    """Runs frames on a session whose buffers on the GPU are reused while sizes repeat.

    Threads may share it; they take turns.

    Args:
        session: an ONNX Runtime session of an adapted style.
        index: the GPU that it runs on.
        graphs: the session records CUDA graphs.
        new_value: makes tensors on the GPU.
    """

    def __init__(
        self,
        session: Any,
        index: int,
        *,
        graphs: bool,
        new_value: NewValue = ort.OrtValue.ortvalue_from_shape_and_type,
    ) -> None:
        self._session, self._index, self._graphs, self._new_value = session, index, graphs, new_value
        self._bound: OrderedDict[tuple[int, ...], _Bound] = OrderedDict()
        self._recorded = 0
        self._lock = threading.Lock()

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize ``frames``, uint8 ``[N, H, W, 3]`` BGR; the result is the caller's own."""
        with self._lock:
            bound = self._bound.get(frames.shape)
            if bound is None:
                bound = self._bound[frames.shape] = self._bind(frames.shape)
                if len(self._bound) > _SHAPES_KEPT:
                    self._bound.popitem(last=False)
            self._bound.move_to_end(frames.shape)
            bound.source.update_inplace(frames)
            self._session.run_with_iobinding(bound.binding, bound.options)
            result: NDArray[np.uint8] = bound.result.numpy()
            return result

    def replays_right(self, *, size: tuple[int, int] | None = None) -> bool:
        """Whether a recorded graph gives what the first run gave; raises what ONNX Runtime raises.

        ``size`` is the height and width that the model insists on, if it does.
        """
        frames = np.random.default_rng(0).integers(0, 256, (1, *(size or _TRIAL_SIZE), 3), np.uint8)
        first, other, again = (self.run(f).astype(int) for f in (frames, 255 - frames, frames))
        # A graph that reads from a wrong address gives the same result whatever comes in.
        return bool((other != first).any()) and int(np.abs(again - first).max()) <= 1

    def _bind(self, shape: tuple[int, ...]) -> _Bound:
        source, result = (self._new_value(shape, np.uint8, "cuda", self._index) for _ in range(2))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(FRAMES, source)
        binding.bind_ortvalue_output(STYLIZED, result)
        options = ort.RunOptions()
        if self._graphs:
            # A graph holds the addresses of its buffers: every binding has one of its own. They stay
            # in memory as long as the session, so that sizes without end (a governed camera) get none.
            graph = self._recorded if self._recorded < _MOST_GRAPHS else _NO_GRAPH
            self._recorded += 1
            options.add_run_config_entry("gpu_graph_id", str(graph))
        return _Bound(source, result, binding, options)
