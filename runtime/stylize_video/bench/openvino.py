"""The same files on OpenVINO: a bar for inference on Intel's and AMD's processors."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from stylize_video.errors import StylizeError
from stylize_video.frame import Frame
from stylize_video.styles.adapter import FRAMES
from stylize_video.styles.device import Device
from stylize_video.styles.session import probe_range
from stylize_video.styles.style import Style
from stylize_video.styles.working_size import done_at


class OpenVinoNetwork:
    """A style on OpenVINO's CPU plugin, with the arithmetic that it thinks fastest.

    Args:
        style: an ONNX style.
        at_once: how many threads will ask; with one, all cores work on each frame.

    Raises:
        StylizeError: OpenVINO is not installed, or cannot run the style.
    """

    def __init__(self, style: Style, *, at_once: int = 1) -> None:
        try:
            import openvino
        except ImportError as error:
            raise StylizeError("OpenVINO is not installed (pip install openvino)") from error
        self.at_once = at_once
        self.device = Device("cpu")
        self._size = style.fixed_size
        pixel_range = 1 if style.metadata else probe_range(style)
        hint = {"PERFORMANCE_HINT": "LATENCY" if at_once == 1 else "THROUGHPUT"}
        try:
            core = openvino.Core()
            model = core.read_model(style.bgr_model(pixel_range=pixel_range, round_early=True))
            self._compiled: Any = core.compile_model(model, "CPU", hint)
        except RuntimeError as error:
            reason = [type(error).__name__, *str(error).strip().splitlines()][-1]
            raise StylizeError(f"OpenVINO cannot run {style.path}: {reason}") from error
        # Where the processor has bf16, OpenVINO computes in it what is fp32 or fp16 in the file.
        inside = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        inside = {"f32": "fp32", "f16": "fp16"}.get(inside, inside)
        self.precision = "int8" if style.precision == "int8" else inside
        self._of_thread = threading.local()

    def stylize(self, frame: Frame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out.

        As in :class:`~stylize_video.styles.session.StyleSession` a graph that insists on one size gets it.
        """
        height, width = frame.shape[:2]
        return done_at(self._infer, frame, self._size or (height, width))

    def prepare(self, height: int, width: int) -> None:
        """Stylize one frame of this size."""
        self.stylize(np.zeros((height, width, 3), np.uint8))

    def _infer(self, frame: Frame) -> Frame:
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        return np.array(request.infer({FRAMES: frame[None]})[0][0], np.uint8)
