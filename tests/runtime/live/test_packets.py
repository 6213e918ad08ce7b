"""What waits for a decoder stays short, and how old a frame is counts from its capture."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread
from typing import cast

import av
import numpy as np
import pytest

from live_support import ManualClock, MjpegServer, live_threads, number_of, serving, wait_until
from stylize_video.live.packets import Backlog, StreamClock
from stylize_video.live.readers import StreamReader
from stylize_video.video.damage import frames_past_damage


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    yield
    assert not live_threads()


class Stream:
    """Packets of 30 a second, a keyframe first and then every ``group``, that come when they are sent."""

    def __init__(self, *, group: int, intra_only: bool = False) -> None:
        self.clock = ManualClock()
        self.backlog = Backlog(intra_only=intra_only, timed=True, clock=self.clock)
        self._group, self._number = group, 0

    def send(self, count: int, *, at_once: bool = False) -> None:
        for _ in range(count):
            packet = cast("av.Packet[av.VideoStream]", av.Packet(8))
            packet.pts = packet.dts = self._number
            packet.time_base = Fraction(1, 30)
            packet.is_keyframe = self._number % self._group == 0
            self._number += 1
            if not at_once:
                self.clock.now += 1 / 30
            self.backlog.put(packet)

    def take(self) -> int:
        """The number of the packet that is decoded next."""
        waiting = self.backlog.take()
        assert waiting is not None
        assert waiting.packet.pts is not None
        return waiting.packet.pts


def test_of_pictures_that_stand_alone_only_the_newest_waits() -> None:
    stream = Stream(group=1, intra_only=True)
    stream.send(5)
    assert stream.take() == 4
    assert stream.backlog.left_out == 4
    stream.send(1)
    assert stream.take() == 5


def test_a_moment_is_caught_up_without_a_gap() -> None:
    stream = Stream(group=30)
    stream.send(10)
    assert stream.backlog.is_behind
    assert [stream.take() for _ in range(10)] == list(range(10))
    assert not stream.backlog.is_behind
    assert stream.backlog.left_out == 0


def test_what_is_seconds_late_goes_on_at_the_newest_keyframe() -> None:
    stream = Stream(group=30)
    stream.send(75)
    waiting = stream.backlog.take()
    assert waiting is not None
    assert (waiting.packet.pts, waiting.follows_gap, stream.backlog.left_out) == (60, True, 60)
    assert stream.take() == 61


def test_what_waited_elsewhere_counts_too() -> None:
    """As in sockets while the program was stopped: it comes all at once."""
    stream = Stream(group=30)
    stream.send(1)
    assert stream.take() == 0
    stream.clock.now += 89 / 30
    stream.send(90, at_once=True)
    assert stream.take() == 90


def test_a_decoder_that_stays_late_waits_for_a_keyframe_to_come() -> None:
    stream = Stream(group=100)
    taken = []
    for _ in range(50):  # one in three is decoded
        stream.send(3)
        if len(stream.backlog):
            taken.append(stream.take())
            assert stream.clock.now - (100 + (taken[-1] + 1) / 30) < 2
    assert 100 in taken


def test_a_decoder_that_was_kept_for_two_seconds_leaves_nothing_out_where_no_keyframe_is() -> None:
    stream = Stream(group=1000)
    stream.send(30)
    stream.clock.now += 1
    for _ in range(20):  # it is faster than the stream
        stream.send(1)
        for _ in range(min(5, len(stream.backlog))):
            stream.take()
    assert stream.backlog.left_out == len(stream.backlog) == 0


def test_a_stream_without_keyframes_goes_on_after_some_time() -> None:
    stream = Stream(group=10_000)
    stream.send(100)
    assert len(stream.backlog) == 0
    stream.send(430)
    assert len(stream.backlog) > 0


def came(clock: StreamClock, stamp: float, now: float) -> float:
    clock.note(stamp, now)
    return clock.sent_at(stamp, now)


def test_a_packet_is_late_by_what_its_time_stamp_says() -> None:
    clock = StreamClock()
    assert came(clock, 5.0, 100.0) == pytest.approx(100)
    assert came(clock, 6.0, 103.0) == pytest.approx(101, abs=0.02)
    assert came(clock, 7.0, 101.9) == pytest.approx(101.9)  # it took a shorter way than the first
    assert clock.sent_at(5.0, 100.0) == pytest.approx(99.9)  # which was late, as is known now
    assert came(clock, 900.0, 103.0) == pytest.approx(103)  # another programme
    assert came(clock, 899.0, 105.0) == pytest.approx(105)
    assert came(clock, 900.0, 107.0) == pytest.approx(106, abs=0.02)


def test_frames_that_wait_for_a_later_one_were_captured_in_even_steps() -> None:
    """I0 P3 B1 B2 P6 B4 B5: a P frame is sent before the B frames that are shown before it."""
    backlog = Backlog(intra_only=False, timed=True, clock=(clock := ManualClock()))
    for number, shown in enumerate([0, 3, 1, 2, 6, 4, 5]):
        packet = cast("av.Packet[av.VideoStream]", av.Packet(8))
        packet.dts, packet.pts, packet.time_base = number - 1, shown, Fraction(1, 25)
        clock.now = 100 + number / 25
        backlog.put(packet)
    captured = {}
    for _ in range(7):
        waiting = backlog.take()
        assert waiting is not None
        captured[waiting.packet.pts] = backlog.captured_at(waiting)
    captured_at = [captured[number] for number in range(7)]
    assert np.diff(captured_at) == pytest.approx(1 / 25, abs=0.001)
    assert captured_at[-1] == pytest.approx(100 + 4 / 25, abs=0.001)  # P6, when it was sent


def test_a_frame_that_claims_to_be_sent_long_before_it_is_shown_makes_no_other_late() -> None:
    clock = StreamClock()
    clock.note(5.0, 100.0)
    clock.note(5.1, 100.1, ahead=7.0)
    assert clock.captured_at(5.1, 100.1) == pytest.approx(100.1)
    clock.note(5.2, 100.2, ahead=0.04)
    assert clock.captured_at(5.24, 100.2) == pytest.approx(100.2)


def test_a_clock_that_is_a_little_slower_is_not_late_for_ever() -> None:
    clock = StreamClock()
    for second in range(3600):
        now = second * 1.001
        assert now - came(clock, second, now) < 0.1


@pytest.mark.parametrize("pause", [0.5, 1.0, 9.0])
def test_a_sender_that_paused_is_late_for_a_moment_at_most(pause: float) -> None:
    """Where its time stamps go on as if nothing had been."""
    clock = StreamClock()
    for number in range(60):
        came(clock, number / 30, 100 + number / 30)
    late = [
        now - came(clock, number / 30, now)
        for number in range(60, 240)
        for now in [100 + pause + number / 30 + 0.02 * (number % 3)]
    ]
    assert late[0] == pytest.approx(pause, abs=0.1)
    assert max(late[61:]) < 0.05
    assert max(late) < pause + 0.1


@pytest.mark.parametrize("speed", [2.5, 50])
def test_packets_that_were_held_up_are_late_until_they_are_made_up_for(speed: float) -> None:
    clock = StreamClock()
    for number in range(60):
        came(clock, number / 30, 100 + number / 30)
    now, stamp = 105.0, 2.0
    while 100 + stamp < now:
        assert now - came(clock, stamp, now) == pytest.approx(now - 100 - stamp, abs=0.05)
        now, stamp = now + 1 / 30 / speed, stamp + 1 / 30
    for _ in range(90):
        assert now - came(clock, stamp, now) == pytest.approx(0, abs=0.05)
        now, stamp = now + 1 / 30, stamp + 1 / 30


class SteppedServer(MjpegServer):
    """One that sends no pictures of its own accord once it is ``held``, but as many as :meth:`send` says."""

    def __init__(self) -> None:
        self.held = threading.Event()
        self._may_send = threading.Semaphore(0)
        super().__init__(fps=1000, plain=True)

    def send(self, count: int) -> None:
        wanted = self.sent + count
        self._may_send.release(count)
        wait_until(lambda: self.sent >= wanted)

    def _jpeg(self, number: int) -> bytes:
        while self.held.is_set() and not self._may_send.acquire(timeout=0.02):
            if self._stopped.is_set():
                raise OSError
        time.sleep(0 if self.held.is_set() else 0.005)
        return super()._jpeg(number)


def decode_slowly(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Let decoding a packet take as long as ``meanwhile`` does."""

    def slow(packets: Iterator[av.Packet[av.VideoStream]], *rest: object) -> Iterator[av.VideoFrame]:
        def slowly() -> Iterator[av.Packet[av.VideoStream]]:
            for packet in packets:
                meanwhile()
                yield packet

        yield from frames_past_damage(slowly(), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("stylize_video.video.decoding.frames_past_damage", slow)


def test_a_decoder_slower_than_a_camera_of_pictures_gets_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SteppedServer()
    came: list[tuple[float, float]] = []
    put = Backlog.put

    def noted(backlog: Backlog, packet: av.Packet[av.VideoStream]) -> None:
        before = time.perf_counter()
        put(backlog, packet)
        came.append((before, time.perf_counter()))

    monkeypatch.setattr(Backlog, "put", noted)
    with serving(server):
        reader = StreamReader(server.url)
        sent_at: list[float] = []

        def send_twenty() -> None:
            if not server.held.is_set():
                server.held.set()
                server.send(1)  # one more than waits for being held
            server.send(20)
            wait_until(lambda: len(came) == server.sent)
            sent_at.append(time.perf_counter())

        decode_slowly(monkeypatch, send_twenty)
        reader.read()
        for _ in range(5):
            item = reader.read()
            now = time.perf_counter()
            assert item is not None
            number = server.sent - 1 - (server.sent - 1 - number_of(item.image)) % 256
            assert server.sent - number == 21, "the newest when the one before was done"
            before, after = came[number]
            assert sent_at[-1] - after < item.age < now - before
            assert item.frames == 20
        server.held.clear()
        reader.close()


class H264Server:
    """A camera that sends H.264, with a keyframe in ``group``, from frame ``begin`` on."""

    def __init__(
        self,
        *,
        fps: int = 100,
        group: int = 20,
        frames: int = 200,
        form: str = "mpegts",
        begin: int = 0,
        b_frames: int = 0,
    ) -> None:
        self.fps, self.group, self.frames, self.form, self.begin = fps, group, frames, form, begin
        self.b_frames = b_frames
        self.sent = 0
        self.sent_at: list[float] = []
        chunks = self._encoded()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                start = time.perf_counter()
                for number, chunk in enumerate(chunks):
                    time.sleep(max(0, start + number / server.fps - time.perf_counter()))
                    try:
                        self.wfile.write(chunk)
                    except OSError:
                        return
                    server.sent_at.append(time.perf_counter())
                    server.sent = number + 1

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/live.ts"
        Thread(target=self._server.serve_forever, args=(0.02,), name="server").start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _encoded(self) -> list[bytes]:
        """Grey frames that get brighter, one each."""
        file, chunks = BytesIO(), []
        with av.open(file, "w", format=self.form, options={"flush_packets": "1"}) as container:
            options = {
                "g": str(self.group),
                "bf": str(self.b_frames),
                "crf": "10",
                "preset": "ultrafast",
                "tune": "zerolatency",
            }
            video = container.add_stream("libx264", rate=self.fps, options=options)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for number in range(self.frames):
                frame = av.VideoFrame.from_ndarray(
                    np.full((48, 64, 3), number % 256, np.uint8), format="rgb24"
                )
                frame.pts = number
                start = file.tell()
                packets = video.encode(frame)
                if number < self.begin:
                    continue
                container.mux(packets)
                chunks.append(file.getvalue()[start:])
        return chunks


def test_a_keyframe_that_comes_after_seconds_is_waited_for() -> None:
    server = H264Server(fps=500, group=400, frames=420, form="flv", begin=20)
    try:
        reader = StreamReader(server.url)
        item = reader.read()
        assert item is not None
        assert number_of(item.image) == 400 % 256
    finally:
        reader.close()
        server.stop()


def test_a_decoder_slower_than_h264_goes_on_at_keyframes(monkeypatch: pytest.MonkeyPatch) -> None:
    server = H264Server()
    try:

        def send_three() -> None:
            wanted = server.sent + 3
            wait_until(lambda: server.sent >= wanted)

        decode_slowly(monkeypatch, send_three)
        reader = StreamReader(server.url)
        total = 0
        while server.sent < 150:
            item = reader.read()
            now, sent = time.perf_counter(), server.sent
            assert item is not None
            total += item.frames
            number = number_of(item.image)
            assert sent - number <= 40 + server.group + 25
            assert item.age == pytest.approx(now - server.sent_at[number], abs=0.15)
            assert number - 1 <= total <= sent  # none is forgotten that was left out
    finally:
        reader.close()
        server.stop()


def test_frames_of_a_stream_with_b_frames_come_in_even_steps() -> None:
    server = H264Server(fps=50, group=1000, frames=90, b_frames=2)
    try:
        reader = StreamReader(server.url)
        for _ in range(20):  # what came while it was opened
            assert reader.read()
        captured_at, frames = [], []
        for _ in range(40):
            item = reader.read()
            assert item is not None
            captured_at.append(time.perf_counter() - item.age)
            frames.append(item.frames)  # more than one where this machine is too busy
        assert np.diff(captured_at) == pytest.approx(np.array(frames[1:]) / 50, abs=0.015)
    finally:
        reader.close()
        server.stop()
