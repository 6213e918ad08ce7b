"""When memory does not suffice: other ways to the same frame, each with less of it.

A night of work is not lost because another program took the GPU's memory for a moment, and
a frame is never left out. What a step costs is time, and it is told in one line.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from google.protobuf.message import EncodeError

from stylize_video.errors import StyleError
from stylize_video.frame import Frame

_log = logging.getLogger(__name__)

# Of ONNX Runtime's arena, C++ and Windows, CUDA, cuBLAS and cuDNN.
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
    """One way to stylize a frame.

    Attributes:
        name: completes the sentence "going on ...".
        alone: with no other frame at the same time.
        tile_divisor: in tiles that have the pixels of the usual ones, divided by this.
        on_cpu: on the CPU, whatever the device was.
    """

    name: str
    alone: bool = False
    tile_divisor: int = 1
    on_cpu: bool = False


_SMALLER_TILES = tuple(
    Step(f"in tiles of {share} of the size", alone=True, tile_divisor=number)
    for number, share in ((4, "a quarter"), (16, "a sixteenth"), (64, "a sixty-fourth"))
)


def steps_for(*, at_once: int, may_leave: bool) -> list[Step]:
    """All steps from the fastest to the most frugal.

    Args:
        at_once: how many frames are stylized at the same time as long as memory suffices.
        may_leave: the device is a GPU that was not insisted on.
    """
    slower = [*([Step("with one frame at a time", alone=True)] if at_once > 1 else ()), *_SMALLER_TILES]
    steps = [Step("normally"), *slower]
    if may_leave:
        steps += [Step("on the CPU", on_cpu=True), *(replace(step, on_cpu=True) for step in slower)]
    return steps


class Ladder:
    """Stylizes on the highest step that memory suffices for, and stays on it. Threads may share it.

    It holds nothing of what it stylizes with, so that a session is freed with the last reference to it.

    Args:
        steps: from the fastest to the most frugal.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._index = 0
        self._changed = threading.Condition()
        self._in_the_works = 0
        self._going_down = False

    def stylize(
        self, frame: Frame, run: Callable[[Step, Frame], Frame], prepare: Callable[[Step], bool]
    ) -> Frame:
        """Return ``frame`` in the style: uint8 ``[H, W, 3]`` BGR in, the same shape out.

        Args:
            frame: what to stylize.
            run: stylizes a frame in the way of a step.
            prepare: called before a step is taken for the first time, while no frame is in the works:
                gives back what the one before took hold of. False: there is no such step here.

        Raises:
            OutOfMemoryError: there is not enough for the last step either. It is tried again with
                the next frame, as memory may have come back.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._going_down)
                index = self._index
                self._in_the_works += 1
            try:
                return run(self._steps[index], frame)
            except (OutOfMemoryError, MemoryError) as error:
                reason = str(error) or "not enough memory"
            finally:
                with self._changed:
                    self._in_the_works -= 1
                    self._changed.notify_all()
            # Out here, where no traceback holds what has to be free for the next step.
            self._go_down(index, reason, frame, prepare)

    def _go_down(self, failed: int, reason: str, frame: Frame, prepare: Callable[[Step], bool]) -> None:
        with self._changed:
            if self._going_down or self._index != failed:  # another thread saw to it
                return
            self._going_down = True
            try:
                self._changed.wait_for(lambda: not self._in_the_works)
                below = range(failed + 1, len(self._steps))
                self._index = next((index for index in below if prepare(self._steps[index])), failed)
            finally:
                self._going_down = False
                self._changed.notify_all()
            index = self._index
        if index == failed:
            advice = "close other programs, or let the network work at a smaller size (--style-scale 2)"
            raise OutOfMemoryError(f"{reason}; {advice}")
        height, width = frame.shape[:2]
        name = self._steps[index].name
        _log.warning("not enough memory for a frame of %dx%d: going on %s", width, height, name)
