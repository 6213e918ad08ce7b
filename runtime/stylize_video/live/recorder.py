"""What is kept of a live picture: recordings and snapshots, written beside the loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from datetime import datetime
from fractions import Fraction
from functools import partial
from pathlib import Path

from stylize_video.encoding import Encoding
from stylize_video.errors import SinkError, StylizeError
from stylize_video.frame import Frame, TimedFrame, letterboxed
from stylize_video.live.controls import Controls, Notice
from stylize_video.live.microphone import Microphone
from stylize_video.live.picture import LivePicture
from stylize_video.live.recording_sink import RecordingSink
from stylize_video.live.statistics import Clock
from stylize_video.pictures import write_picture
from stylize_video.sink import check_output
from stylize_video.threads import WriteBehind
from stylize_video.video_info import VideoInfo

_log = logging.getLogger(__name__)

_TIME_BASE = Fraction(1, 90_000)
_GIF_STEP = 1800
"""Players take frames of GIFs that follow sooner, within 1/50 s, for ones that last 1/10 s."""
_USUAL_FPS = 30
_STILL_SECONDS = 1.0
"""A picture that stays is written again after so long: the file grows, and takes its sound."""
_QUEUED_FRAMES = 15
_QUEUED_BYTES = 64 * 2**20
"""Frames that wait for the encoder, half a second or so; beyond that they are left out."""
_QUEUED_SNAPSHOTS = 8


class Recorder:
    """Writes a video while ``record`` is on, through the sink that files are written with.

    Frames carry the times of their capture, so a recording plays as fast as things were.
    The live picture never waits: where encoder or disk are too slow, frames are left out, which is told.
    A recording that fails is told and ended; the live picture goes on, and so does the next recording.

    Args:
        controls: ``record`` is switched off there when a recording fails.
        folder: where recordings go that have no name.
        first: the name of the first one.
        source: the file that is played, which must not be written over; None for cameras.
        encoding: codec and quality.
        overwrite: replace ``first`` where it exists.
        fps: a hint for the file's header.
        microphone: gives recordings their sound; closed too.
        clock: seconds; that of the pictures.

    Raises:
        SinkError: ``first`` cannot be written, or not while it grows, or holds no sound.
    """

    def __init__(
        self,
        controls: Controls,
        folder: Path,
        *,
        first: Path | None = None,
        source: Path | None = None,
        encoding: Encoding = Encoding(),
        overwrite: bool = False,
        fps: float | None = None,
        microphone: Microphone | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        if first:
            check_output(first, source or first.parent, overwrite=overwrite)
            encoding.resolved(first)
            _check_is_recordable(first, sound=microphone is not None)
        self._controls, self._folder, self._first, self._source = controls, folder, first, source
        self._encoding, self._overwrite = encoding, overwrite
        self._fps, self._microphone = fps or _USUAL_FPS, microphone
        self._clock = clock
        self._recording: _Recording | None = None
        self._finishing: list[threading.Thread] = []
        self._begun: set[Path] = set()  # one that is not finished has no file of its name yet
        self._shown = 0
        self._written_at = 0.0
        self._failures: list[Exception] = []  # also those of threads that finish recordings

    def show(self, picture: LivePicture) -> None:
        """Begin, go on, or end, as ``record`` says."""
        is_new, self._shown = picture.number != self._shown, picture.number
        now = self._clock()
        at = picture.at if is_new else now
        try:
            if not picture.settings.record:
                self._end()
            elif self._recording is None:
                self._begin(picture.image, at)
                self._written_at = now
            elif is_new or now - self._written_at >= _STILL_SECONDS:
                self._write(self._recording, picture.image, at)
                self._written_at = now
        except StylizeError as error:
            self._failed(error)

    def close(self) -> None:
        """Finish what is being recorded.

        Raises:
            SinkError: a recording failed, now or before.
        """
        self._end()
        for thread in self._finishing:
            thread.join()
        if self._microphone:
            self._microphone.close()
        if self._failures:
            raise self._failures[0]

    def _begin(self, image: Frame, at: float) -> None:
        path = self._first or free_path(self._folder, ".mp4", taken=self._begun)
        overwrite = self._overwrite and path == self._first
        self._first = None
        self._begun.add(path)
        height, width = image.shape[:2]
        info = _live_info(self._source or path.parent, width, height, self._fps)
        self._recording = _Recording(
            path, info, self._encoding, at=at, overwrite=overwrite, microphone=self._microphone
        )
        self._recording.write(image, at)
        self._controls.say(f"recording {path.name}")

    def _write(self, recording: _Recording, image: Frame, at: float) -> None:
        if not recording.write(image, at) and recording.left_out == 1:
            self._controls.warn(f"{recording.name} is written too slowly: frames are left out of it")

    def _end(self) -> None:
        """Finish in a thread: the last frames and the index of a long file take a while."""
        recording, self._recording = self._recording, None
        if recording is not None:
            thread = threading.Thread(target=self._finish, args=(recording,), name="finish-recording")
            thread.start()
            self._finishing = [t for t in self._finishing if t.is_alive()] + [thread]

    def _finish(self, recording: _Recording) -> None:
        try:
            path = recording.finish()
        except Exception as error:  # raised again in close; meanwhile another recording may go on
            self._note(error)
        else:
            left_out = f", without {recording.left_out} frames that came too fast" * bool(recording.left_out)
            self._controls.report(Notice(f"recorded {path}{left_out}", is_essential=bool(left_out)))

    def _failed(self, error: StylizeError) -> None:
        """End what is being recorded."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.discard()
        self._controls.set("record", False)
        self._note(error)

    def _note(self, error: Exception) -> None:
        self._failures.append(error)
        self._controls.warn(str(error))


class _Recording:
    """One file that is being written.

    Attributes:
        name: of the file in the end.
        left_out: frames that there was no room for.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        encoding: Encoding,
        *,
        at: float,
        overwrite: bool,
        microphone: Microphone | None,
    ) -> None:
        self.name, self.left_out = path.name, 0
        self._shape = (info.height, info.width)
        self._started = at
        self._step = _GIF_STEP if path.suffix.lower() == ".gif" else 1
        self._last_pts = -self._step
        self._sink = RecordingSink(
            path,
            info,
            overwrite=overwrite,
            encoding=encoding,
            sound=partial(microphone.track, at=at) if microphone else None,
        )
        self._threads = ExitStack()
        depth = min(_QUEUED_FRAMES, max(4, _QUEUED_BYTES // (3 * info.width * info.height)))
        self._writer = self._threads.enter_context(WriteBehind(self._sink.write, depth=depth))

    def write(self, image: Frame, at: float) -> bool:
        """Hand a picture to the encoder; False where that is behind and the picture is left out."""
        image = letterboxed(image, *self._shape)  # the camera may have come back with another size
        pts = max(int((at - self._started) / _TIME_BASE), self._last_pts + self._step)
        taken = self._writer.offer(TimedFrame(pts, image))
        if taken:
            self._last_pts = pts
        else:
            self.left_out += 1
        return taken

    def finish(self) -> Path:
        try:
            self._threads.close()
            return self._sink.finish(whole=False)
        except BaseException:
            self._sink.discard()
            raise

    def discard(self) -> None:
        try:
            self._threads.close()
        except StylizeError as error:
            _log.debug("while giving up a recording: %s", error)
        self._sink.discard()


class Snapshots:
    """Saves single pictures as PNG, in a thread of its own."""

    def __init__(self, controls: Controls, folder: Path) -> None:
        self._controls, self._folder = controls, folder
        self._threads = ExitStack()
        self._writer = self._threads.enter_context(WriteBehind(self._save, depth=_QUEUED_SNAPSHOTS))

    def take(self, image: Frame) -> None:
        """Save ``image`` beside what goes on, unless too many wait already."""
        if not self._writer.offer(image.copy()):
            self._controls.warn("no snapshot was taken: the last ones are still being saved")

    def close(self) -> None:
        self._threads.close()

    def _save(self, image: Frame) -> None:
        path = free_path(self._folder, ".png")
        try:
            write_picture(path, image)
        except SinkError as error:
            self._controls.warn(f"the snapshot was not saved: {error}")
        else:
            self._controls.say(f"saved {path}")


def free_path(folder: Path, suffix: str, *, taken: Collection[Path] = ()) -> Path:
    """``camera-20261231-235959.mp4`` in ``folder``, numbered where that exists or is ``taken``."""
    stem = f"camera-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = folder / f"{stem}{suffix}", 2
    while path.exists() or path in taken:
        path, number = folder / f"{stem}-{number}{suffix}", number + 1
    return path


def _check_is_recordable(path: Path, *, sound: bool) -> None:
    suffix = path.suffix.lower()
    if suffix == ".webp":
        raise SinkError(
            f"{path} cannot be recorded: WebP is in memory to its end, and a crash would lose all of it;"
            " record an .mp4, of which stylize-video --strength 0 makes a .webp"
        )
    if sound and suffix == ".gif":
        raise SinkError(f"{path} holds no sound: name an .mp4, or leave out --microphone")


def _live_info(path: Path, width: int, height: int, fps: float) -> VideoInfo:
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=_TIME_BASE,
        start_pts=0,
        rate=Fraction(fps).limit_denominator(1001),
    )
