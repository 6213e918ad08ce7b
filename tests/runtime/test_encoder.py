"""Frames on their way into an encoder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GUARDED = '''
import ctypes, mmap, sys
from pathlib import Path
import numpy as np

libc = ctypes.CDLL(None)
whole_pages = []

def empty(shape, dtype=np.uint8):
    """As np.empty, right before a page that nobody may read."""
    size = int(np.prod(shape))
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, room + mmap.PAGESIZE)
    whole_pages.append(pages)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    assert libc.mprotect(ctypes.c_void_p(start + room), mmap.PAGESIZE, 0) == 0
    return np.frombuffer(pages, np.uint8, size, room - size).reshape(shape)

from stylize_video import TimedFrame, VideoInfo, VideoSink
from stylize_video.encoding import Encoding

np.empty = empty
for name in ("o.mp4", "o.gif", "o.mkv", "o.mov"):
    alpha = name in ("o.mkv", "o.mov")
    for width in (102, 101, 854, 406, 64, 750):
        image, opaque = empty((20, width, 3)), empty((20, width)) if alpha else None
        image[:], image[-1] = 100, 200
        output, encoding = Path(sys.argv[1]) / name, Encoding(alpha=alpha)
        with VideoSink(output, VideoInfo.of(width, 20), overwrite=True, encoding=encoding) as sink:
            for pts in range(2):
                sink.write(TimedFrame(pts, image, opaque))
'''
"""Widths whose lines are no whole vectors of a processor, and pictures that end where memory does."""


@pytest.mark.skipif(sys.platform == "win32", reason="pages are protected in another way there")
def test_nothing_is_read_beyond_a_frame(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GUARDED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
