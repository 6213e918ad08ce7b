"""When memory does not suffice: other ways to the same frame, each with less of it.

A night of work is not lost because another program took the GPU's memory for a moment, and
a frame is never left out. What a step costs is time, and it is told in one line.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.protobuf.message import EncodeError

from stylize_video.errors import StyleError
from stylize_video.frame import Frame

_log = logging.getLogger(__name__)

_OUT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate|bad_?alloc|bad allocation|CUDA_ERROR_OUT_OF_MEMORY"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|memory allocation (failure|failed)",
    re.IGNORECASE,
)


class OutOfMemoryError(StyleError):
    """The device has not enough memory for a frame done in this way; another way may do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of ONNX Runtime, CUDA, numpy or protobuf says that memory did not suffice."""
    # A graph that was read can be written, if there is room for it.
    return isinstance(error, MemoryError | EncodeError) or bool(_OUT_OF_MEMORY.search(str(error)))


@dataclass(frozen=True)
class Step:
    """One way to stylize a frame; ``name`` completes the sentence "going on ..."."""

    name: str
    stylize: Callable[[Frame], Frame]


class Ladder:
    """Stylizes on the highest step that memory suffices for, and stays on it. Threads may share it.

    Args:
        steps: from the fastest to the most frugal. Each is made when it is needed, while no frame is
            in the works, so that what the one before took can be given back between them.
    """

    def __init__(self, steps: Iterator[Step]) -> None:
        self._steps = steps
        self._step = next(steps)
        self._changed = threading.Condition()
        self._in_the_works = 0
        self._going_down = False

    def stylize(self, frame: Frame) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out.

        Raises:
            OutOfMemoryError: there is not enough for the last step either. It is tried again with
                the next frame, as memory may have come back.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._going_down)
                step = self._step
                self._in_the_works += 1
            try:
                return step.stylize(frame)
            except (OutOfMemoryError, MemoryError) as error:
                reason = str(error) or "not enough memory"
            finally:
                with self._changed:
                    self._in_the_works -= 1
                    self._changed.notify_all()
            # Out here, where no traceback holds what has to be free for the next step.
            self._go_down(step, reason, frame)

    def _go_down(self, failed: Step, reason: str, frame: Frame) -> None:
        with self._changed:
            if self._going_down or self._step is not failed:  # another thread saw to it
                return
            self._going_down = True
            try:
                self._changed.wait_for(lambda: not self._in_the_works)
                step = next(self._steps, None)
                if step is not None:
                    self._step = step
            finally:
                self._going_down = False
                self._changed.notify_all()
        if step is None:
            advice = "close other programs, or let the network work at a smaller size (--style-scale 2)"
            raise OutOfMemoryError(f"{reason}; {advice}")
        height, width = frame.shape[:2]
        _log.warning("not enough memory for a frame of %dx%d: going on %s", width, height, step.name)
