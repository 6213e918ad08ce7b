"""Limits that hostile or broken files run into before anything large is allocated."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MAX_SIDE = 2**14
"""Pixels of a video's or a style's longer side."""

MAX_VIDEO_PIXELS = 2**26
"""Twice an 8K frame; some ten frames are in memory at the same time."""

MAX_PICTURE_PIXELS = 2**28
"""Of a picture: 0.8 GB of BGR."""

TRIAL_SIZE = (64, 96)
"""Height and width of the picture that a style is tried with, where it takes any."""

MAX_FIXED_PIXELS = 2**24
"""Of the one size that a foreign graph may insist on."""

_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # the first version of control groups
)
"""Where Linux tells a container how many bytes it may have."""


def limit_libraries() -> None:
    """Tell libraries, before they are imported, how large a picture may be, and not to talk.

    For commands; a library leaves such choices to its process.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PICTURE_PIXELS))
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder introduces itself in twenty lines


def keep_numpy_from_spinning() -> None:
    """Give NumPy one thread, before it is imported, where it multiplies no large matrices.

    Its threads would wait for some by spinning: a third of the processor time that the first frame takes.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def limit_memory() -> None:
    """Let this process have as much memory as the machine has, and no more.

    What asks for more fails with an error that can be told; without the limit Linux
    grants it, and then ends whichever process it likes. For commands on a CPU: drivers of
    GPUs reserve more than there is as a matter of course.
    """
    try:
        import resource

        limit = _installed_memory()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft == resource.RLIM_INFINITY or soft > limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    except (ImportError, ValueError, OSError, AttributeError):  # Windows, or a system that knows none
        return


def _installed_memory() -> int:
    """Bytes that this process can have: the machine's, or its container's."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" is none
            return min(installed, int(limit.read_text()))
    return installed
