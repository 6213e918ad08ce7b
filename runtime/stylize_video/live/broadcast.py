"""The live picture as a stream that goes out to a service or to another program, with sound."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import av
import av.error

from stylize_video.errors import SinkError, reason
from stylize_video.frame import Frame, TimedFrame
from stylize_video.live.controls import Controls
from stylize_video.live.frame_queue import TIME_BASE, USUAL_FPS, FrameQueue, TimeLine, live_info
from stylize_video.live.microphone import Microphone, SoundTrack
from stylize_video.live.picture import LivePicture
from stylize_video.live.statistics import Clock, StreamState
from stylize_video.live.uplink import Uplink
from stylize_video.video.encoder import VideoEncoder
from stylize_video.video.encoding import CODECS
from stylize_video.video.info import VideoInfo
from stylize_video.video.sink import FAILURES

_MOST_FPS = 60.0
_STILL_SECONDS = 0.1
"""A picture that stays is sent again after so long: services take a stream that pauses for a lost one."""
_KEYFRAME_SECONDS = 2.0
"""Services want a keyframe as often; whoever tunes in waits for one."""

_BITS_PER_PIXEL = 0.12
_BITRATES = (500_000, 6_000_000)
"""The least and the most that is chosen; services take no more than about 6 Mbit/s."""

_MUXING = {
    "flv": {"flvflags": "no_duration_filesize", "flush_packets": "1"},
    "mpegts": {"pes_payload_size": "0", "flush_packets": "1"},
}

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
"""Seconds until a lost connection is tried again; twice as long after each failure."""
_STEADY_SECONDS = 3.0
"""A connection that holds so long is back: services accept a wrong key, and hang up then."""
_CLOSE_SECONDS = 1.0
_RATE_SECONDS = 3.0


class Broadcast:
    """Sends H.264 and AAC, in FLV by RTMP and in MPEG-TS by other protocols.

    Without a microphone the sound is silence: services refuse streams that have none. The live
    picture never waits: where encoder or network are too slow, frames are left out and
    counted. A lost connection is made again.

    Args:
        controls: get the warnings.
        uplink: connected; closed too.
        fps: of the source; None where it does not say. Frames beyond it, and beyond 60, are left out.
        bitrate: bits a second of the picture; None chooses by size and rate.
        microphone: gives the sound; not closed.
        clock: seconds; that of the pictures.

    Raises:
        SinkError: the bit rate makes no sense.
    """

    def __init__(
        self,
        controls: Controls,
        uplink: Uplink,
        *,
        fps: float | None = None,
        bitrate: int | None = None,
        microphone: Microphone | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        check_bitrate(bitrate)
        self._controls, self._uplink, self._bitrate = controls, uplink, bitrate
        self._fps = max(1 / _STILL_SECONDS, min(fps or USUAL_FPS, _MOST_FPS))
        self._microphone, self._clock = microphone, clock
        self._queue: FrameQueue | None = None
        self._times = TimeLine()
        self._started = self._newest = 0.0
        self._shown, self._shown_at, self._due = 0, 0.0, 0.0
        self._dropped = 0
        self._sent: deque[tuple[float, int]] = deque()
        # Of the queue's thread:
        self._programme: _Programme | None = None
        self._connected_at = clock()
        self._begin_from = float("-inf")  # in seconds of the pictures
        self._wait, self._retry_at = _FIRST_WAIT, 0.0
        self._is_reported_lost = False

    @property
    def state(self) -> StreamState:
        """How it goes; called by one thread."""
        now = self._clock()
        self._sent.append((now, self._uplink.sent))
        while len(self._sent) > 2 and self._sent[1][0] <= now - _RATE_SECONDS:
            self._sent.popleft()
        (then, before), (_, after) = self._sent[0], self._sent[-1]
        bits = 8 * (after - before) / (now - then) if now > then else 0.0
        return StreamState(self._uplink.is_connected, round(bits / 1e6, 3), self._dropped)

    def show(self, picture: LivePicture) -> None:
        """Send a picture that is new, and one that stays now and then."""
        is_new, self._shown = picture.number != self._shown, picture.number
        now = self._clock()
        if not is_new and now - self._shown_at < _STILL_SECONDS:
            return
        self._newest = self._times.place(picture.at, now)
        if self._is_due(self._newest):
            self._shown_at = now
            self._offer(picture.image, self._newest)

    def close(self) -> None:
        """Send what is left, within a second or two; less where the connection is lost or hangs."""
        impatient = threading.Timer(
            _CLOSE_SECONDS if self._uplink.is_connected and self._programme else 0, self._uplink.stop
        )
        impatient.start()
        try:
            if self._queue:
                self._queue.close()
            if self._programme:
                self._programme.close()
            self._uplink.finish()
        finally:
            impatient.cancel()
            impatient.join()
            self._uplink.stop()

    def _is_due(self, at: float) -> bool:
        """Whether the rate lets a frame through; one that comes early may borrow from the next."""
        if at < self._due - 1 / self._fps:
            return False
        self._due = max(self._due, at) + 1 / self._fps
        return True

    def _offer(self, image: Frame, at: float) -> None:
        if self._queue is None:
            height, width = image.shape[:2]
            info = live_info(width, height, self._fps)
            self._started = at
            self._queue = FrameQueue(partial(self._write, info), info, at=at)
        # While it connects, in the queue's thread, nobody takes frames.
        if not self._queue.offer(image, at) and self._programme:
            self._dropped += 1
            if self._dropped == 1:
                self._controls.warn(
                    f"the stream to {self._uplink.shown} is too much for the network or this machine: frames"
                    " are left out of it; a lower --stream-bitrate or a smaller source may help"
                )

    # In the queue's thread:

    def _write(self, info: VideoInfo, frame: TimedFrame) -> None:
        try:
            if self._programme is None and not self._begin(info, frame):
                return
            assert self._programme is not None  # for the type checker: it has begun
            self._programme.write(frame)
        except FAILURES as error:
            self._lose(error)
            return
        if self._is_reported_lost and self._clock() - self._connected_at >= _STEADY_SECONDS:
            self._is_reported_lost = False
            self._controls.say(f"the stream to {self._uplink.shown} is back")

    def _begin(self, info: VideoInfo, frame: TimedFrame) -> bool:
        """Begin with this frame, if there is a connection and the frame did not wait for it."""
        at = self._started + float(frame.pts * TIME_BASE)
        if not self._uplink.is_connected:
            if self._clock() >= self._retry_at:
                self._reconnect()
            return False
        if at < self._begin_from:
            return False
        self._programme = _Programme(
            self._uplink,
            info,
            bitrate=self._bitrate or usual_bitrate(info),
            start_pts=frame.pts,
            sound=partial(self._sound, at),
        )
        return True

    def _sound(self, at: float, container: av.container.OutputContainer) -> SoundTrack:
        if self._microphone:
            return self._microphone.track(container, at=at)
        return SoundTrack(container, at=at, clock=self._clock, silent_seconds=0)

    def _reconnect(self) -> None:
        try:
            self._uplink.connect()
        except SinkError:
            self._back_off()
        else:
            self._connected_at, self._begin_from = self._clock(), self._newest

    def _lose(self, error: Exception) -> None:
        if self._programme:
            self._programme.discard()
            self._programme = None
        why = self._uplink.disconnect()
        if not isinstance(error, OSError):  # the encoder's fault, not the connection's
            why = reason(error)
        if self._clock() - self._connected_at > _LONGEST_WAIT:
            self._wait = _FIRST_WAIT
        self._back_off()
        if not (self._is_reported_lost or self._uplink.is_stopped):
            self._is_reported_lost = True
            self._controls.warn(f"the stream to {self._uplink.shown} is lost ({why}); it is tried again")

    def _back_off(self) -> None:
        self._retry_at = self._clock() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT)


class _Programme:
    """What is sent from the beginning of one connection to its end."""

    def __init__(
        self,
        uplink: Uplink,
        info: VideoInfo,
        *,
        bitrate: int,
        start_pts: int,
        sound: Callable[[av.container.OutputContainer], SoundTrack],
    ) -> None:
        self._start_pts, self._next_key = start_pts, Fraction(0)
        self._container = av.open(uplink, "w", format=uplink.container, options=_MUXING[uplink.container])
        self._encoder = VideoEncoder(
            self._container, info, codec=CODECS["h264"], options=_options(bitrate), bitrate=bitrate
        )
        self._sound = sound(self._container)

    def write(self, frame: TimedFrame) -> None:
        pts = frame.pts - self._start_pts
        seconds = pts * TIME_BASE
        is_key = seconds >= self._next_key
        if is_key:
            self._next_key = seconds + Fraction(_KEYFRAME_SECONDS)
        self._container.mux(self._encoder.encode(TimedFrame(pts, frame.image), key=is_key))
        self._sound.copy_until(seconds)

    def close(self) -> None:
        """Send what the encoders still hold, as far as there is a connection."""
        with contextlib.suppress(*FAILURES):
            self._container.mux(self._encoder.flush())
            self._sound.close()
        self.discard()

    def discard(self) -> None:
        self._sound.discard()
        with contextlib.suppress(*FAILURES):
            self._container.close()


def check_bitrate(bitrate: int | None) -> None:
    """Raise SinkError where ``bitrate``, bits a second, is none of a picture."""
    if bitrate is not None and not 50_000 <= bitrate <= 100_000_000:
        raise SinkError(
            f"the bit rate of a stream is given in bits a second, from 50000 to 100000000, got {bitrate}"
        )


def usual_bitrate(info: VideoInfo) -> int:
    """Bits a second for that size and rate."""
    bits = _BITS_PER_PIXEL * info.width * info.height * float(info.rate)
    return round(int(min(max(bits, _BITRATES[0]), _BITRATES[1])), -5)


def _options(bitrate: int) -> dict[str, str]:
    return {
        "preset": "superfast",
        # No frame waits for another. It also spends as much on each frame whatever their rate, so
        # that leaving out frames lightens the network's load.
        "tune": "zerolatency",
        "thread_type": "slice",
        "maxrate": str(bitrate),
        "bufsize": str(bitrate),
        "forced-idr": "1",
        "sc_threshold": "0",
        "g": "600",  # keyframes come by time
    }
