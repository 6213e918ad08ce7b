"""What a video's pictures carry beside their pixels: captions, stereo, panoramas."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
import av.error
from av.sidedata.sidedata import SideDataContainer, Type

from stylize_video.files import for_ffmpeg

FLAT = "mono"

_STEREO_MODES = {
    (0, 0): FLAT,
    (1, 0): "left_right",
    (1, 1): "right_left",
    (2, 0): "top_bottom",
    (2, 1): "bottom_top",
}
"""Matroska's names by FFmpeg's numbers: the arrangement, and whether the right eye comes first."""


def side_data_of(name: Path | str, index: int) -> dict[Type, bytes]:
    """What the first picture of stream ``index`` carries; nothing where it cannot be decoded."""
    try:
        with av.open(for_ffmpeg(name)) as container:
            frame: Any = next(container.decode(container.streams[index]), None)
            return {data.type: bytes(data) for data in carried_by(frame)} if frame else {}
    except (av.error.FFmpegError, ValueError, IndexError):  # the last is PyAV's, of streams that begin late
        return {}


def carried_by(frame: av.VideoFrame) -> Any:
    """What a decoded frame carries, as PyAV's mapping by :class:`Type`.

    ``frame.side_data`` would be the same, and each would keep the other in memory, with all its pixels,
    until Python happens to look for cycles.
    """
    container: Any = SideDataContainer  # typed as if it could not be made
    return container(frame)


def stereo_mode(content: bytes) -> str | None:
    """Matroska's name of a stereo arrangement; None where it has none that is common."""
    return _STEREO_MODES.get(struct.unpack_from("=ii", content)) if len(content) >= 8 else None
