"""Video files as frames with their presentation time stamps (PTS).

OpenCV decodes (upright, whatever the rotation metadata says); PyAV reads what OpenCV
does not tell: the time base, colour tags, and whether the file is a video at all. PyAV
decodes too where OpenCV would be wrong: interlaced and mirrored videos, HDR, deep and wide colours,
and containers whose time stamps are missing or jump.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType

import av.error
import cv2
import numpy as np

from stylize_video.errors import SourceError
from stylize_video.frame import Alpha, Frame, TimedFrame
from stylize_video.quiet import quiet_stderr
from stylize_video.video.colors import BT709
from stylize_video.video.damage import WHOLE, Damage, breaks_off, goes_on_after
from stylize_video.video.decoding import OpenCvReader, PyAvReader, Reader
from stylize_video.video.edit import Edit
from stylize_video.video.filters import Filter, ten_bits, tone_mapping
from stylize_video.video.info import Ending, VideoInfo, Window
from stylize_video.video.joins import is_joined
from stylize_video.video.probe import Probe, probe
from stylize_video.video.shared_packets import SharedPackets
from stylize_video.video.timing import ROUNDING
from stylize_video.video.tonemap import TRANSFERS

_log = logging.getLogger(__name__)

_SEEK_SECONDS = (2, 12, 60)
"""How much earlier a seek aims: containers and decoders are not exact about it. Some, as MPEG's transport
streams, go to any frame, behind which the next keyframe may be far."""

_NARROW = range(8)
"""FFmpeg's numbers of primaries near BT.709's; of all others OpenCV makes BT.709."""


class VideoSource:
    """Iterates over the frames of a video file, in order of presentation.

    Interlaced frames are made whole, and HDR is tone-mapped to SDR. A part begins with the frame
    that is on screen at its start. Time stamps are the file's, but for parts, broadcasts and what begins
    before 0: ``info.window.shift`` is off theirs.

    Args:
        path: the file.
        edit: which part is taken; its rate and size are not this class's.
        alpha: give transparency too, where there is some.

    Raises:
        SourceError: the file is missing, is no video, or holds no frame that decodes, or none
            in the part asked for.
    """

    _is_closed = False
    _threaded: Damage | None = None
    """What a reader with threads found, where another one reads its last frames again."""
    _read_twice: int | None = None

    def __init__(self, path: str | Path, *, edit: Edit = Edit(), alpha: bool = False) -> None:
        path = Path(path)
        if not path.exists():
            raise SourceError(f"the video {path} does not exist")
        if not path.is_file():
            raise SourceError(f"{path} is not a file; name one video")
        self._begin(path, probe(str(path)), edit=edit, alpha=alpha)

    def _begin(
        self,
        path: Path,
        facts: Probe,
        *,
        edit: Edit,
        alpha: bool,
        shared: SharedPackets | None = None,
        live: bool = False,
    ) -> None:
        """Open the reader; a ``live`` source has begun long before, and so begins at 0 here."""
        if alpha and not facts.alpha:
            _log.warning("%s has no transparency to keep", path)
        self._name, self._facts, self._shared = str(path), facts, shared
        openers = _openers(self._name, facts, alpha=alpha and facts.alpha, shared=shared)
        self._open_by_pyav: Callable[..., Reader] = openers[-1]
        opened = _first_that_decodes(openers)
        if opened is None:
            raise SourceError(self._why_no_frames())
        self._reader, first = opened
        if live:
            edit = replace(edit, start=edit.start or Fraction(0))
            window = edit.window(first.pts * facts.time_base, facts.time_base)
        else:
            window = edit.window(facts.start_pts * facts.time_base, facts.time_base)
        if window.start is None:
            window = replace(window, shift=facts.clock)
        self._shift = round(window.shift / facts.time_base)
        self.info = _info(path, facts, first.image, is_turned=self._reader.is_turned, window=window)
        self._begin_with(first)
        if window.start is not None and window.start > facts.start_pts * facts.time_base:
            if shared:
                shared.drop_before(window.start)
            self._skip_to(window.start)
            if shared:
                shared.drop_before(None)
            if not self._ahead:
                self.close()
                start = float(edit.start or 0)
                raise SourceError(f"{path} ends before {start:g} s, where the part should start")
        if window.end is not None and self._ahead[0].pts * facts.time_base >= window.end:
            self.close()
            raise SourceError(f"{path} has no frame in the part asked for")

    def _why_no_frames(self) -> str:
        return f"{self._name} has no video frames that can be decoded"

    def __iter__(self) -> Iterator[TimedFrame]:
        time_base, end = self.info.time_base, self.info.window.end
        while (frame := self._next()) is not None:
            if end is not None and frame.pts * time_base >= end:
                self.info.ending.seconds = end
                if self._shared:
                    self._shared.read_until(end)
                return
            yield replace(frame, pts=frame.pts - self._shift)
        if self._shared and self.info.ending.seconds is None and self._shared.end_pts is not None:
            over = self._shared.end_pts * time_base
            self.info.ending.seconds = over if end is None else min(over, end)

    def _begin_with(self, first: TimedFrame | None) -> None:
        """Forget what was read, and take ``first`` as the first frame."""
        self._previous: int | None = None
        self._ahead: deque[TimedFrame] = deque()  # read already, and not yet given
        if first is not None:
            self._ahead.append(self._placed(first))

    def _next(self) -> TimedFrame | None:
        """The next frame in the file's own time, None at the end."""
        if self._is_closed:
            raise SourceError(f"{self._name} is closed; open it again to read on")
        if self._ahead:
            return self._ahead.popleft()
        frame = self._reader.read()
        return self._past_damage() if frame is None else self._placed(frame)

    def _placed(self, frame: TimedFrame) -> TimedFrame:
        """A frame as decoded, in one size and after the one before."""
        # Damaged files repeat time stamps; no frame may be lost for it.
        pts = frame.pts if self._previous is None else max(frame.pts, self._previous + 1)
        self._previous = pts
        return TimedFrame(pts, *_of_size((self.info.width, self.info.height), frame.image, frame.alpha))

    def _past_damage(self) -> TimedFrame | None:
        """What a reader at its end left out: OpenCV ends at what it cannot decode or convert, PyAV does not,
        but threads that decode a frame each lose those behind a damaged one at the end."""
        done, reader = self._previous, self._reader
        if done is not None and isinstance(reader, OpenCvReader):
            if reader.gave_up or goes_on_after(self._name, done):
                self._reopen_by_pyav()
                self._skip_past(done)
                return self._ahead.popleft() if self._ahead else None
        elif done is not None and isinstance(reader, PyAvReader) and self._may_have_lost_frames(reader):
            self._threaded = reader.damage
            self._open_by_pyav = partial(self._open_by_pyav, low_delay=True)
            self._reopen_by_pyav()
            self._skip_past(done)
            self._read_twice = self._damage().frames - len(self._ahead)
            return self._ahead.popleft() if self._ahead else None
        self._tell_damage()
        return None

    def _may_have_lost_frames(self, reader: PyAvReader) -> bool:
        return self._threaded is None and not self._shared and reader.damage.is_in_last_frames

    def _damage(self) -> Damage:
        return self._reader.damage if isinstance(self._reader, PyAvReader) else Damage()

    def _tell_damage(self) -> None:
        damage = self._damage()
        if before := self._threaded:
            new = 0 if self._read_twice is None else damage.frames - self._read_twice
            damage = Damage(min(before.refused + damage.refused, 1), before.read, before.frames + new)
        if damage.lost:
            _log.warning(
                "%s is damaged: %d of its frames cannot be decoded and are left out", self._name, damage.lost
            )
        facts = self._facts
        if facts.frame_count and self._previous is not None:
            reached = (self._previous - facts.start_pts) * facts.time_base * facts.rate + 1
            if reached < facts.frame_count * WHOLE and not self._shared and breaks_off(self._name):
                _log.warning(
                    "%s breaks off: %d of its %d frames are there", self._name, reached, facts.frame_count
                )

    def skip_past(self, pts: int, *, but: int = 0) -> None:
        """Go on with the first frame after this time, as if all but the last ones before it had been read.

        Seeking goes to a keyframe a little before; what lies between is decoded. Where a
        container has no index to seek by, that is everything from the start on.

        Args:
            pts: the time, in the stamps of the frames that this gives.
            but: how many frames before it are given all the same.
        """
        if not self._ahead or self._ahead[0].pts <= pts + self._shift:
            self._skip_past(pts + self._shift, but=but)

    def _skip_past(self, pts: int, *, but: int = 0) -> None:
        kept: deque[TimedFrame] = deque(maxlen=but)
        has_sought = self._seek_before(pts)
        while True:
            while (frame := self._next()) is not None and frame.pts <= pts:
                kept.append(frame)
            if len(kept) == but or not has_sought:
                break
            # A keyframe at which a long still begins has too few before it.
            has_sought = self._seek_before(kept[0].pts - 1)
            if not has_sought:
                self._reopen_by_pyav()
            kept.clear()
        self._ahead.extend(kept if frame is None else [*kept, frame])

    def _skip_to(self, start: Fraction) -> None:
        """Go on with the frame that is on screen at this second, as if it began there."""
        time_base = self.info.time_base
        latest = max(start + ROUNDING, self._shift * time_base)
        self._seek_before(math.floor(start / time_base))
        shown: TimedFrame | None = None
        while (frame := self._next()) is not None:
            if frame.pts * time_base > latest:
                self._ahead.appendleft(frame)
                break
            shown = frame
            if frame.pts * time_base >= start:
                break
        if shown is None:
            return
        over = shown.pts * time_base + 1 / self.info.rate
        if self._ahead or start < over or start < (self._facts.end_pts or 0) * time_base:
            self._ahead.appendleft(replace(shown, pts=max(shown.pts, self._shift)))

    def _seek_before(self, pts: int) -> bool:
        """Seek to at most a minute before ``pts``; where no seek gets there, start over with PyAV.

        Does nothing, and says so, close to the start, and with sources that can be read only once.
        """
        aims = [pts - round(seconds / self.info.time_base) for seconds in _SEEK_SECONDS]
        aims = [aim for aim in aims if aim > self._facts.start_pts]
        if not aims or self._shared or (self._facts.jumps and is_joined(self._name)):
            return False
        found = self._reader.seek(aims[0])
        if isinstance(self._reader, OpenCvReader) and (found is None or found.pts > pts):
            self._reopen_by_pyav()
            found = self._reader.seek(aims[0])
        for aim in aims[1:]:
            if found is not None and found.pts <= pts:
                break
            found = self._reader.seek(aim)
        if found is None or found.pts > pts:
            self._reopen_by_pyav()
            found = self._reader.read()
        self._begin_with(found)
        return True

    def _reopen_by_pyav(self) -> None:
        self._reader.close()
        self._reader = self._open_by_pyav()
        self._begin_with(None)

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; what iterates over it then gets a SourceError."""
        self._is_closed = True
        self._reader.close()


def _openers(
    name: str, facts: Probe, *, alpha: bool, shared: SharedPackets | None
) -> list[Callable[[], Reader]]:
    """Ways to open a reader, the best first: OpenCV's where it does all that is needed, else PyAV's."""
    filters = filters_for(name, facts)
    by_pyav = partial(PyAvReader, name, facts, filters, alpha=alpha, shared=shared)
    # OpenCV converts deep pixels slowly and to slightly different colours than PyAV. A damaged file switches
    # to PyAV midway, so such files are read by PyAV from the start. Where anything is before 0, OpenCV counts
    # the pictures' times from that.
    is_plain = not (facts.interlaced or facts.mirrored or facts.deep) and facts.colors.primaries in _NARROW
    has_times = facts.timed and not (facts.jumps or facts.clock)
    if is_plain and has_times and _is_text(name) and not (filters or alpha or shared):
        return [partial(OpenCvReader, name, facts), by_pyav]
    return [by_pyav]


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8: at any other OpenCV crashes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_that_decodes(openers: list[Callable[[], Reader]]) -> tuple[Reader, TimedFrame] | None:
    """An open reader, and its first frame; None where no reader finds one."""
    for opener in openers:
        reader = opener()
        try:
            with quiet_stderr():  # a decoder that is missing complains there
                first = reader.read()
        except av.error.FFmpegError:
            first = None
        if first is not None:
            return reader, first
        reader.close()
    return None


def _of_size(size: tuple[int, int], image: Frame, alpha: Alpha | None) -> tuple[Frame, Alpha | None]:
    """Frames of one size, also where a broadcast changes it on the way."""
    if image.shape[1::-1] != size:
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if alpha is not None:
            alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image, alpha


def filters_for(name: str, facts: Probe) -> list[Filter]:
    """What frames go through to be shown rightly, besides deinterlacing; a warning says so."""
    if facts.colors.transfer in TRANSFERS:
        _log.warning("%s is HDR (%s); it is tone-mapped to SDR", name, TRANSFERS[facts.colors.transfer])
        return [ten_bits, tone_mapping(facts.colors.transfer)]
    return []


def _info(path: Path, facts: Probe, image: Frame, *, is_turned: bool, window: Window) -> VideoInfo:
    """What of ``facts`` is true of the frames, which are SDR and upright as ``image`` is."""
    height, width = image.shape[:2]
    # RGB needs a matrix to become YUV, and a name for it, or else players guess one.
    standard = facts.colors.transfer in TRANSFERS or facts.rgb
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=facts.time_base,
        start_pts=0 if window.start is not None else facts.start_pts - round(window.shift / facts.time_base),
        rate=facts.rate,
        base_rate=facts.base_rate,
        frame_count=_frames_in(facts, window),
        colors=BT709 if standard else facts.colors,
        pixel_aspect=1 / facts.pixel_aspect if is_turned else facts.pixel_aspect,
        window=window,
        ending=Ending(find=partial(_end, facts, window)),
    )


def _end(facts: Probe, window: Window) -> Fraction | None:
    if facts.end_pts is None:
        return None
    end = facts.end_pts * facts.time_base
    return end if window.end is None else min(end, window.end)


def _frames_in(facts: Probe, window: Window) -> int | None:
    count = facts.frame_count
    first = facts.start_pts * facts.time_base
    if window.end is not None:
        before_end = math.ceil((window.end - first) * facts.rate)
        count = before_end if count is None else min(count, before_end)
    if window.start is not None and count is not None:
        count = max(1, count - math.floor((window.start - first) * facts.rate))
    return count
