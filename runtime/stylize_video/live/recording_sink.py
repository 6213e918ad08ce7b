"""Writes a video whose frames come once only: while it grows it is a playable part."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import av.error

from stylize_video.files import for_ffmpeg
from stylize_video.video.encoding import Codec, Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.sink import Track, VideoSink, free_name

_MOV = {"movflags": "+hybrid_fragmented+delay_moov", "frag_duration": "1000000"}
"""Playable but for its last second while it is written, and in the end a plain file whose index is
behind the frames. The delay is for edit lists, without which nothing begins at 0."""

_MATROSKA = {"cluster_time_limit": "1000"}
_MUXING = {".mp4": _MOV, ".mov": _MOV, ".mkv": _MATROSKA, ".webm": _MATROSKA}


class RecordingSink(VideoSink):
    """A :class:`VideoSink` that leaves a playable part after a crash or on a full disk.

    ``sound`` makes a track of sound that arrives beside the frames.
    """

    def __init__(
        self,
        output: Path,
        info: VideoInfo,
        *,
        overwrite: bool = False,
        encoding: Encoding = Encoding(),
        sound: Callable[[av.container.OutputContainer], Track] | None = None,
    ) -> None:
        self._sound = sound
        self._over: Fraction | None = None
        super().__init__(output, info, overwrite=overwrite, encoding=encoding, copy_streams=False)

    def stay_until(self, seconds: float) -> None:
        """The last picture stays until then; else, or where it came later, as long as the one before."""
        self._over = Fraction(seconds)

    def _make_temporary(self) -> Path:
        while True:
            part = free_name(self.output, "part")
            with contextlib.suppress(FileExistsError):  # another program was faster
                part.touch(exist_ok=False)  # it may stay, and has the permissions of any file
                return part

    def _muxing(self) -> dict[str, str]:
        return {**super()._muxing(), **_MUXING.get(self.output.suffix.lower(), {}), "flush_packets": "1"}

    def _open(self, codec: Codec, options: Mapping[str, str], bitrate: int | None) -> None:
        # Of frames out of order MP4 would leave the last one beyond its end. Threads that took a frame
        # each would hold back as many, which a crash would lose.
        super()._open(codec, {**options, "bf": "0", "thread_type": "slice"}, bitrate)

    def _flush(self, end: Fraction | None) -> None:
        super()._flush(end or self._over)

    def _end(self) -> Fraction:
        if self._over is not None and self._over > self._last_pts[-1] * self._info.time_base:
            return self._over
        return super()._end()

    def _make_track(self) -> Track | None:
        return self._sound(self._container) if self._sound else None

    def _renamed(self, path: Path) -> None:
        """What comes once only is not lost under another name: whoever finishes it reports it."""

    def _kept(self) -> str:
        if not self._is_unfinished or not self._is_playable():
            return super()._kept()
        self._move_to(self._temporary)  # it stays where it is
        return f"; what came before is in {self._temporary}"

    def _is_playable(self) -> bool:
        """Whether there are frames in what could be written."""
        self._close()
        with contextlib.suppress(av.error.FFmpegError, OSError), av.open(for_ffmpeg(self._temporary)) as part:
            return next(part.decode(video=0), None) is not None
        return False
