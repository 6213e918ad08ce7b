"""Packets of a stream on their way to its decoder: in order, or of a live one only what is in time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error

from stylize_video.live.statistics import Clock
from stylize_video.video.probe import Probe

_log = logging.getLogger(__name__)

_BEHIND_SECONDS = 0.15
"""With so much waiting, frames that no others need are not decoded."""
_JUMP_SECONDS = 0.4
"""With so much waiting, decoding goes on at the next keyframe that comes."""
_LATE_SECONDS = 1.0
_PATIENCE_SECONDS = 0.5
"""Where packets wait longer than the first of these for longer than the second, all are let go, and the
picture stays until a keyframe comes."""
_LONGEST_GROUP_SECONDS = 15.0
"""Where no keyframe came for so long, the stream has none, and heals in another way."""
_MOST_WITHOUT_FRAME = 300
_LONGEST_WITHOUT_FRAME = 20.0
"""Where more packets in a row than the first of these give no frame, for more seconds than the second, it is
tried whether the stream is better when it is opened again. Waiting for a keyframe takes no longer."""
_MOST_IN_DECODER = 64
_JOIN_SECONDS = 1.0
"""A thread that waits for data longer than that ends by itself."""

_FORGOTTEN = 0.005
"""Of a second each second: by so much a stream's clock may be slower than ours without being late."""
_PAUSE_SECONDS = 0.3
_PAUSE_IS_SURE_SECONDS = 2.0
"""A stream that was silent for longer than the first of these, though its time stamps go on as if nothing had
been, and that made up for less than half of it within the second, was not sent meanwhile: it is not late."""
_OTHER_CLOCK_SECONDS = 10.0
"""A stream that is that late has begun to count time anew."""
_MOST_AHEAD_SECONDS = 2.0
"""Frames that are sent sooner before they are shown than that have damaged time stamps."""


class AllPackets:
    """Every packet in order, read when it is asked for."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self.container, self.failed = container, False

    def demux(self, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
        try:
            yield from self.container.demux(stream)
        except (av.error.FFmpegError, OSError) as error:
            _log.debug("the stream is lost: %s", error)
            self.failed = True

    def close(self) -> None:
        self.container.close()


@dataclass
class _Pause:
    """What came behind a gap: since when, the offset of the first packet, and the least of all since."""

    over_at: float
    first: float
    least: float

    def lasts(self, on_time: float) -> bool:
        """Whether most of the lateness is still there: packets that were held up come the sooner then."""
        return self.least - on_time > (self.first - on_time) / 2


class StreamClock:
    """When packets were sent and frames captured, by our clock: on time is what took the shortest way of all.

    Frames are sent in the order of decoding. A frame that is sent before others that are shown before it was
    captured by then, and all others as much before they are shown.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._ahead = self._last = self._last_stamp = 0.0
        self._pause: _Pause | None = None

    def note(self, stamp: float, now: float, *, ahead: float = 0.0) -> None:
        """A packet with the time stamp ``stamp``, of decoding, came ``now``, and is shown ``ahead`` seconds
        behind its decoding; all in seconds."""
        offset = now - stamp
        is_late = self._offset is not None and offset - self._offset < _OTHER_CLOCK_SECONDS
        if self._offset is None or not is_late or stamp < self._last_stamp:
            self._offset, self._ahead, self._pause = offset, 0.0, None  # of another time line
        else:
            on_time = min(offset, self._offset + _FORGOTTEN * (now - self._last))
            silent = now - self._last - (stamp - self._last_stamp)
            self._offset = self._since_pause(on_time, offset, now, silent)
        if ahead < _MOST_AHEAD_SECONDS:
            self._ahead = max(self._ahead, ahead)
        self._last, self._last_stamp = now, stamp

    def _since_pause(self, on_time: float, offset: float, now: float, silent: float) -> float:
        """``on_time``, the offset of what is not late; that of all since the sender paused, where it did.

        ``silent`` is for how long more than the time stamps say nothing came.
        """
        if silent > _PAUSE_SECONDS:
            self._pause = _Pause(now, offset, offset)
        elif self._pause is not None:
            self._pause.least = min(self._pause.least, offset)
        if self._pause is None or now - self._pause.over_at < _PAUSE_IS_SURE_SECONDS:
            return on_time
        pause, self._pause = self._pause, None
        return max(on_time, pause.least) if pause.lasts(on_time) else on_time

    def sent_at(self, stamp: float, came_at: float) -> float:
        """When the packet with this time stamp was sent, as far as is known by now."""
        sent_at = stamp + (self._offset or 0.0)
        return sent_at if came_at - _OTHER_CLOCK_SECONDS < sent_at < came_at else came_at

    def captured_at(self, shown: float, came_at: float) -> float:
        """When the frame was captured that is ``shown`` then by its time stamp, as far as is known."""
        return self.sent_at(shown - self._ahead, came_at)


@dataclass
class Waiting:
    """A packet that waits: when it came, the seconds of its decoding and its showing by its time stamps,
    None where it has none, and whether it follows a gap."""

    packet: av.Packet[av.VideoStream]
    came_at: float
    stamp: float | None = None
    shown: float | None = None
    follows_gap: bool = False


class Backlog:
    """What of a live stream waits to be decoded; it stays short, however slow the decoder is.

    Where every packet is a picture of its own, only the newest is kept. Of other codecs frames
    are left out that no others need; where that is not enough, all up to a keyframe.

    Args:
        intra_only: every packet can be decoded alone.
        timed: packets have time stamps, which show how late they are.
        clock: seconds.
    """

    def __init__(self, *, intra_only: bool, timed: bool, clock: Clock = time.perf_counter) -> None:
        self._intra_only, self._clock = intra_only, clock
        self._is_timed, self._stream_clock = timed, StreamClock()
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._has_ended = False
        self._late_since: float | None = None
        self._skips_since: float | None = None
        self.left_out = 0
        """Packets that were let go."""

    def put(self, packet: av.Packet[av.VideoStream]) -> None:
        """Add one that has just come, and let go what there is no time for."""
        with self._changed:
            now = self._clock()
            waiting = Waiting(packet, now)
            if self._is_timed and packet.dts is not None:
                shown = packet.dts if packet.pts is None else packet.pts
                waiting.stamp = float(packet.dts * packet.time_base)
                waiting.shown = float(shown * packet.time_base)
                self._stream_clock.note(waiting.stamp, now, ahead=waiting.shown - waiting.stamp)
            if self._skips_since is not None:
                if not packet.is_keyframe and now - self._skips_since < _LONGEST_GROUP_SECONDS:
                    self.left_out += 1
                    return
                self._skips_since, waiting.follows_gap = None, True
            self._waiting.append(waiting)
            self._catch_up(now)
            self._changed.notify()

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def take(self) -> Waiting | None:
        """The next to decode, as soon as there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._has_ended)
            return self._waiting.popleft() if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_behind(self) -> bool:
        """Whether what waits is more than a moment."""
        with self._changed:
            return self._seconds() > _BEHIND_SECONDS

    def captured_at(self, waiting: Waiting) -> float:
        """When its frame was captured, by our clock: before it came where it is late, or sent ahead."""
        if waiting.shown is None:
            return waiting.came_at
        return self._stream_clock.captured_at(waiting.shown, waiting.came_at)

    def _sent_at(self, waiting: Waiting) -> float:
        if waiting.stamp is None:
            return waiting.came_at
        return self._stream_clock.sent_at(waiting.stamp, waiting.came_at)

    def _seconds(self) -> float:
        """How long sending took what waits."""
        return self._sent_at(self._waiting[-1]) - self._sent_at(self._waiting[0]) if self._waiting else 0.0

    def _catch_up(self, now: float) -> None:
        if self._intra_only:
            self._let_go(len(self._waiting) - 1)
        elif self._waiting[-1].packet.is_keyframe and self._seconds() > _JUMP_SECONDS:
            self._let_go(len(self._waiting) - 1)
            self._waiting[0].follows_gap = True
        if now - self._waiting[0].came_at <= _LATE_SECONDS:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        elif now - self._late_since > _PATIENCE_SECONDS:
            self._let_go(len(self._waiting))
            self._late_since, self._skips_since = None, now

    def _let_go(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self.left_out += count


class LivePackets:
    """The packets of a live stream, read in a thread as they come, so that none waits out of sight.

    Args:
        container: open; it is closed by :meth:`close`, or where that is too early, by the thread.
        facts: what is known of it.
    """

    def __init__(self, container: av.container.InputContainer, facts: Probe) -> None:
        self.container, self.failed = container, False
        self._is_timed = facts.timed
        self._backlog = Backlog(intra_only=av.Codec(facts.codec).intra_only, timed=facts.timed)
        self._decoding: dict[int, Waiting] = {}
        self._last: Waiting | None = None
        self._over = self._without_frame = 0
        self._without_frame_since = 0.0
        self._lock = threading.Lock()
        self._is_reading = self._is_closed = False
        self._thread: threading.Thread | None = None

    def demux(self, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
        self._is_reading = True
        self._thread = threading.Thread(
            target=self._read, args=(stream,), name="capture-packets", daemon=True
        )
        self._thread.start()
        decoder = stream.codec_context
        while (taken := self._backlog.take()) is not None:
            if self._gives_nothing(taken):
                return
            if taken.follows_gap:
                decoder.flush_buffers()
            decoder.skip_frame = "NONREF" if self._backlog.is_behind else "DEFAULT"
            self._note(taken)
            yield taken.packet

    def account_for(self, pts: int) -> tuple[float, int]:
        """When a decoded frame was captured, in seconds of ``time.perf_counter``, and how many frames it
        stands for: those before it that were left out, and itself."""
        self._without_frame = 0
        taken = self._decoding.get(pts, self._last)
        assert taken is not None  # frames come of packets
        done = [stamp for stamp in self._decoding if stamp <= pts]
        for stamp in done:
            del self._decoding[stamp]
        left_out = self._backlog.left_out
        over, self._over = left_out - self._over, left_out
        return self._backlog.captured_at(taken), over + max(1, len(done))

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if not self._is_reading:
                self.container.close()
        if self._thread:
            self._thread.join(_JOIN_SECONDS)

    def _gives_nothing(self, taken: Waiting) -> bool:
        """Whether it is time to give the stream up."""
        if self._without_frame == 0:
            self._without_frame_since = taken.came_at
        self._without_frame += 1
        lasts = taken.came_at - self._without_frame_since
        return self._without_frame > _MOST_WITHOUT_FRAME and lasts > _LONGEST_WITHOUT_FRAME

    def _note(self, taken: Waiting) -> None:
        self._last = taken
        if self._is_timed and taken.packet.pts is not None:
            self._decoding[taken.packet.pts] = taken
            if len(self._decoding) > _MOST_IN_DECODER:
                del self._decoding[next(iter(self._decoding))]

    def _read(self, stream: av.VideoStream) -> None:
        try:
            for packet in self.container.demux(stream):
                if self._is_closed:
                    break
                if packet.size:  # the one at the end is empty
                    self._backlog.put(packet)
        except (av.error.FFmpegError, OSError) as error:
            _log.debug("the stream is lost: %s", error)
            self.failed = True
        finally:
            self._backlog.end()
            with self._lock:
                self._is_reading = False
                if self._is_closed:
                    self.container.close()
