"""Frames on their way into an encoder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from media import Coding, bar_middles, colour_bars, write_video
from stylize_video.frame import TimedFrame
from stylize_video.video.colors import ColorTags
from stylize_video.video.encoding import Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource

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
from stylize_video.video.encoding import Encoding

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


def test_frames_of_prores_have_the_tags_of_the_file(tmp_path: Path) -> None:
    """Its encoder writes what the frame says, not what the stream does."""
    info = VideoInfo.of(64, 48)
    with VideoSink(tmp_path / "out.mov", info, encoding=Encoding(codec="prores")) as sink:
        sink.write(TimedFrame(0, np.full((48, 64, 3), 100, np.uint8)))
    with av.open(str(tmp_path / "out.mov")) as container:
        frame = next(container.decode(video=0))
    colors = info.colors
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (
        colors.matrix,
        colors.primaries,
        colors.transfer,
    )


@pytest.mark.parametrize("color_range", [1, 2], ids=["limited", "full"])
def test_colours_are_coded_and_tagged_as_those_of_the_source(color_range: int, tmp_path: Path) -> None:
    greys = [(level, level, level) for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
    coding = Coding(colorspace=1, color_range=color_range, color_primaries=9, color_trc=13)
    tags = ColorTags(matrix=1, primaries=9, transfer=13, range=color_range)
    path = write_video(tmp_path / "in.mp4", [colour_bars(greys)] * 3, coding)
    with VideoSource(path) as source, VideoSink(tmp_path / "out.mp4", source.info) as sink:
        for frame in source:
            sink.write(frame)
    with VideoSource(tmp_path / "out.mp4") as result:
        assert result.info.colors == source.info.colors == tags
        for frame in result:
            assert np.abs(bar_middles(frame.image) - 255 * np.array(greys)).max() <= 3


@pytest.mark.skipif(sys.platform == "win32", reason="pages are protected in another way there")
def test_nothing_is_read_beyond_a_frame(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GUARDED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
