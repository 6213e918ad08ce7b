"""What is kept of a live picture: recordings and snapshots, written beside the loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path

from stylize_video.errors import SinkError, StylizeError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.live.controls import Controls, Notice
from stylize_video.live.frame_queue import USUAL_FPS, FrameQueue, TimeLine, live_info
from stylize_video.live.microphone import Microphone
from stylize_video.live.picture import LivePicture
from stylize_video.live.recording_sink import RecordingSink
from stylize_video.live.statistics import Clock
from stylize_video.text import counted
from stylize_video.threads import WriteBehind
from stylize_video.video.encoding import Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.pictures import write_picture
from stylize_video.video.sink import check_output

_log = logging.getLogger(__name__)

_GIF_STEP = 1800
"""Players take frames of GIFs that follow sooner, within 1/50 s, for ones that last 1/10 s."""
_STILL_SECONDS = 1.0
"""A picture that stays is written again after so long: the file grows, and takes its sound."""
_QUEUED_SNAPSHOTS = 8

RECORDABLE = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".gif")
"""Endings of files that are playable while they grow."""


class Recorder:
    """Writes a video while ``record`` is on, through the sink that files are written with.

    Frames carry the times of their capture, so a recording plays as fast as things were.
    The live picture never waits: files are opened, written and finished in threads, and where encoder or
    disk are too slow, frames are left out, which is reported.
    A recording that fails is reported and ended; the live picture goes on, and so does the next recording.

    Args:
        controls: ``record`` is switched off there when a recording fails.
        folder: where recordings go that have no name.
        first: the name of the first one, see :func:`check_recording`.
        source: the file that is played, which must not be written over; None for cameras.
        encoding: codec and quality.
        overwrite: replace ``first`` where it exists.
        fps: a hint for the file's header.
        microphone: gives recordings their sound; closed too.
        clock: seconds; that of the pictures.
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
        self._controls, self._folder, self._first, self._source = controls, folder, first, source
        self._encoding, self._overwrite = encoding, overwrite
        self._fps, self._microphone = fps or USUAL_FPS, microphone
        self._clock = clock
        self._recording: _Recording | None = None
        self._finishing: list[threading.Thread] = []
        self._shown = 0
        self._written_at = self._seen_at = 0.0
        self._failures: list[Exception] = []  # also those of threads that finish recordings

    def show(self, picture: LivePicture) -> None:
        """Begin, go on, or end, as ``record`` says."""
        is_new, self._shown = picture.number != self._shown, picture.number
        now = self._seen_at = self._clock()
        try:
            if not picture.settings.record:
                self._end()
            elif self._recording is None:
                self._begin(picture, now)
                self._written_at = now
            elif is_new or now - self._written_at >= _STILL_SECONDS:
                self._write(self._recording, picture, now)
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

    def _begin(self, picture: LivePicture, now: float) -> None:
        height, width = picture.image.shape[:2]
        info = live_info(width, height, self._fps, path=self._source or self._folder)
        first, self._first = self._first, None
        step = _GIF_STEP if first and first.suffix.lower() == ".gif" else 1
        opened = partial(self._opened, first, info, picture.at)
        self._recording = _Recording(opened, info, at=picture.at, step=step)
        self._recording.write(picture, now)

    def _opened(self, first: Path | None, info: VideoInfo, at: float) -> RecordingSink:
        """The file of a recording, in the thread that writes it: folders may be slow."""
        sink = RecordingSink(
            first or _free_path(self._folder, ".mp4"),
            info,
            overwrite=self._overwrite and first is not None,
            encoding=self._encoding,
            sound=partial(self._microphone.track, at=at) if self._microphone else None,
        )
        self._controls.say(f"recording {sink.output.name}")
        return sink

    def _write(self, recording: _Recording, picture: LivePicture, now: float) -> None:
        if not recording.write(picture, now) and recording.left_out == 1:
            self._controls.warn("the recording is written too slowly: frames are left out of it")

    def _end(self) -> None:
        """Finish in a thread: the last frames and the index of a long file take a while."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.stay_until(self._seen_at)
            thread = threading.Thread(target=self._finish, args=(recording,), name="finish-recording")
            thread.start()
            self._finishing = [t for t in self._finishing if t.is_alive()] + [thread]

    def _finish(self, recording: _Recording) -> None:
        try:
            path, wanted = recording.finish()
        except Exception as error:  # raised again in close; meanwhile another recording may go on
            self._note(error)
            return
        number = recording.left_out
        left_out = f", without {counted(number, 'frame')} that came too fast" * bool(number)
        taken = f": {wanted.name} was taken meanwhile" * (path != wanted)
        self._controls.report(
            Notice(f"recorded {path}{left_out}{taken}", is_essential=bool(left_out + taken))
        )

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
    """One file, which is opened and written in a thread of its own.

    Attributes:
        left_out: frames that there was no room for.

    Args:
        at: when its pictures begin, in seconds.
        step: ticks of the time base between two pictures, at least.
    """

    def __init__(
        self, open_sink: Callable[[], RecordingSink], info: VideoInfo, *, at: float, step: int
    ) -> None:
        self.left_out = 0
        self._open_sink = open_sink
        self._sink: RecordingSink | None = None
        self._queue = FrameQueue(self._write, info, at=at, step=step)
        self._times = TimeLine()
        self._at = self._over = at

    def stay_until(self, now: float) -> None:
        """The last picture was seen until then."""
        self._over = self._times.at(now)

    def write(self, picture: LivePicture, now: float) -> bool:
        """Hand a picture to the encoder; False where that is behind and the picture is left out."""
        taken = self._queue.offer(picture.image, self._times.place(picture.at, now))
        self.left_out += not taken
        return taken

    def finish(self) -> tuple[Path, Path]:
        """Where the file is, and where it should be.

        Raises:
            SinkError: it could not be opened or written.
        """
        try:
            self._queue.close()
            assert self._sink  # for the type checker: a picture was written
            self._sink.stay_until(self._over - self._at)
            return self._sink.finish(whole=False), self._sink.output
        except BaseException:
            self._discard()
            raise
        finally:
            self._release()

    def discard(self) -> None:
        try:
            self._queue.close()
        except StylizeError as error:
            _log.debug("while giving up a recording: %s", error)
        self._discard()
        self._release()

    def _write(self, frame: TimedFrame) -> None:
        if self._sink is None:
            self._sink = self._open_sink()
        self._sink.write(frame)

    def _discard(self) -> None:
        if self._sink:
            self._sink.discard()

    def _release(self) -> None:
        """Let go of the encoder and its pictures: the queue holds this object, a cycle that lives on."""
        self._sink = None
        del self._queue


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
        try:
            path = _new_file(self._folder, ".png")
            try:
                write_picture(path, image)
            except SinkError:
                path.unlink(missing_ok=True)
                raise
        except SinkError as error:
            self._controls.warn(f"the snapshot was not saved: {error}")
        else:
            self._controls.say(f"saved {path}")


def _names(folder: Path, suffix: str) -> Iterator[Path]:
    """``camera-20261231-235959.mp4`` in ``folder``, and the same with numbers."""
    stem = f"camera-{datetime.now():%Y%m%d-%H%M%S}"
    yield folder / f"{stem}{suffix}"
    for number in count(2):
        yield folder / f"{stem}-{number}{suffix}"


def _free_path(folder: Path, suffix: str) -> Path:
    """A name that no recording has, nor one that is being written."""
    return next(
        path
        for path in _names(folder, suffix)
        # In this order: one that is finished meanwhile goes from the second name to the first.
        if not (path.with_stem(f"{path.stem}.part").exists() or path.exists())
    )


def _new_file(folder: Path, suffix: str) -> Path:
    """An empty file of a new name, which no other program that saves in this second gets.

    Raises:
        SinkError: the folder is missing or cannot be written.
    """
    names = _names(folder, suffix)
    while True:
        path = next(names)
        try:
            with suppress(FileExistsError):
                path.touch(exist_ok=False)
                return path
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}") from error


def check_recording(
    path: Path, *, source: Path | None, encoding: Encoding, overwrite: bool, sound: bool
) -> None:
    """Look at what is to be recorded before anything starts.

    Args:
        path: of the recording.
        source: the file that is played; None for cameras.
        encoding: codec and quality.
        overwrite: whether ``path`` may exist.
        sound: whether it gets sound.

    Raises:
        SinkError: it cannot be written, or not while it grows, or holds no sound.
    """
    suffix = path.suffix.lower()
    if suffix == ".webp":
        raise SinkError(
            f"{path} cannot be recorded: WebP is in memory to its end, and a crash would lose all of it;"
            " record an .mp4, of which stylize-video --strength 0 makes a .webp"
        )
    if suffix not in RECORDABLE:
        raise SinkError(f"cannot write {path}: recordings end in {', '.join(RECORDABLE)}")
    if sound and suffix == ".gif":
        raise SinkError(f"{path} holds no sound: name an .mp4, or leave out --microphone")
    check_output(path, source or path.parent, overwrite=overwrite)
    encoding.resolved(path)
