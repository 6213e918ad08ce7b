"""Streams that go out: what peers get, and what happens where they are slow, hang, end or come back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from live_support import ManualClock, live_threads, wait_until
from stylize_video.errors import SinkError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.live import broadcast as module
from stylize_video.live.broadcast import Broadcast, usual_bitrate
from stylize_video.live.controls import Controls, Settings
from stylize_video.live.microphone import Microphone, SoundTrack
from stylize_video.live.picture import LivePicture
from stylize_video.live.statistics import Clock, Monitor, StreamState
from stylize_video.live.uplink import Uplink
from stylize_video.video.info import VideoInfo
from support import Command, MakeClip, draw_picture

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="there is no ffmpeg to take a stream by RTMP")


class Peer:
    """Takes streams by TCP into a folder, one file a connection, until it is told otherwise."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.may_read = threading.Event()
        self.may_read.set()
        self.files: list[Path] = []
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._stopped = threading.Event()
        self._server = socket.create_server(("127.0.0.1", self._port))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Hang up and be gone."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        with self._server:
            while not self._stopped.is_set():
                self._server.settimeout(0.05)
                try:
                    connection = self._server.accept()[0]
                except TimeoutError:
                    continue
                with connection:
                    self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        path = self._folder / f"{len(self.files)}.ts"
        self.files.append(path)
        connection.settimeout(0.05)
        with path.open("wb") as file:
            while not self._stopped.is_set():
                if not self.may_read.wait(0.05):
                    continue
                try:
                    data = connection.recv(2**16)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                file.write(data)
                file.flush()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    folder = tmp_path / "peer"
    folder.mkdir()
    peer = Peer(folder)
    yield peer
    peer.stop()


class Show:
    """Gives pictures to a broadcast, 30 a second of its own clock, as the loop does."""

    def __init__(self, output: Broadcast, controls: Controls, draw: Callable[[int], Frame]) -> None:
        self._output, self._controls, self._draw = output, controls, draw
        self._statistics = Monitor(lambda: 0.0).report(0, 0.0, (0, 0), (0, 0))
        self.number = 0
        self.slowest = 0.0

    def at(self, seconds: float) -> None:
        self.number += 1
        image = self._draw(self.number)
        self._output.show(
            LivePicture(
                self.number, image, image, seconds, self._controls.settings, "ink", "live", self._statistics
            )
        )

    def one(self) -> None:
        time.sleep(1 / 30)
        start = time.perf_counter()
        self.at(start)
        self.slowest = max(self.slowest, time.perf_counter() - start)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            self.one()

    def seconds(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        self.until(lambda: time.perf_counter() >= end)


@contextmanager
def broadcasting(
    url: str,
    notices: list[str],
    *,
    draw: Callable[[int], Frame] = lambda number: draw_picture(number, 160, 90),
    bitrate: int | None = None,
    patience: float = 10.0,
    microphone: Microphone | None = None,
    fps: float | None = None,
    clock: Clock = time.perf_counter,
) -> Iterator[tuple[Show, Broadcast]]:
    controls = Controls(Settings(style="ink"), ["ink"], on_notice=lambda notice: notices.append(notice.text))
    with Uplink(url, patience=patience) as uplink:
        uplink.connect()
        output = Broadcast(controls, uplink, fps=fps, bitrate=bitrate, microphone=microphone, clock=clock)
        try:
            yield Show(output, controls, draw), output
        finally:
            output.close()
    assert not live_threads() - {"microphone"}


def noise(number: int) -> Frame:
    return np.random.default_rng(number).integers(0, 256, (360, 640, 3), np.uint8)


def test_a_peer_gets_picture_and_silence(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEYFRAME_SECONDS", 0.5)
    with broadcasting(peer.url, []) as (show, output):
        show.seconds(1)
        assert output.state.connected
        show.seconds(0.7)
        assert output.state.mbit_s > 0
    wait_until(lambda: is_over(peer.files[0]))
    with av.open(str(peer.files[0])) as stream:
        video, audio = stream.streams.video[0], stream.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height, audio.codec_context.name) == (160, 90, "aac")
        packets = [
            (
                packet.stream.type,
                packet.pts,
                packet.dts,
                packet.is_keyframe,
                float(packet.pts * packet.time_base),
            )
            for packet in stream.demux()
            if packet.pts is not None
        ]
    pictures = [packet for packet in packets if packet[0] == "video"]
    assert len(pictures) == pytest.approx(show.number, abs=2)
    assert all(pts == dts for _, pts, dts, _, _ in pictures)
    keys = [at for _, _, _, is_key, at in pictures if is_key]
    assert len(keys) >= 3
    assert np.diff(keys) == pytest.approx(0.5, abs=0.2)
    ends = {kind: at for kind, _, _, _, at in packets}
    assert ends["audio"] == pytest.approx(ends["video"], abs=0.2)
    with av.open(str(peer.files[0])) as stream:
        frame = next(stream.decode(video=0)).to_ndarray(format="bgr24")
        assert np.abs(frame.astype(int) - draw_picture(1, 160, 90)).mean() < 8
        sound = next(stream.decode(audio=0)).to_ndarray()
    assert not sound.any()


def test_silence_keeps_no_picture_waiting(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is sent in the order of its times: pictures go out as far as there is sound."""
    monkeypatch.setattr("stylize_video.live.frame_queue._QUEUED_FRAMES", 200)
    clock = ManualClock()
    with broadcasting(peer.url, [], clock=clock) as (show, _output):
        for _ in range(60):
            show.at(clock.now)
            clock.now += 1 / 30
        wait_until(lambda: bool(peer.files) and is_over(peer.files[0]))
        with av.open(str(peer.files[0])) as stream:
            times = [float(packet.pts * packet.time_base) for packet in stream.demux(video=0) if packet.pts]
    assert times[-1] - times[0] > 1.5


def is_over(path: Path) -> bool:
    """Whether nothing more is written: two looks see the same."""
    before = path.stat().st_size
    time.sleep(0.2)
    return before == path.stat().st_size > 0


def test_a_still_picture_goes_on(peer: Peer) -> None:
    with broadcasting(peer.url, []) as (show, _output):
        show.one()
        still = show.number
        end = time.perf_counter() + 1.5
        while time.perf_counter() < end:
            show.number = still - 1
            show.one()
    wait_until(lambda: is_over(peer.files[0]))
    with av.open(str(peer.files[0])) as stream:
        times = [frame.time for frame in stream.decode(video=0)]
    assert len(times) > 5
    assert np.diff(times).max() < 0.6


def test_a_source_slower_than_the_stream_makes_no_pauses(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.live.frame_queue._QUEUED_FRAMES", 200)
    clock = ManualClock()
    statistics = Monitor(lambda: 0.0).report(0, 0.0, (0, 0), (0, 0))
    image, settings = draw_picture(1, 160, 90), Settings(style="ink")
    with broadcasting(peer.url, [], fps=0.25, clock=clock) as (_show, output):
        for number in range(200):
            at, clock.now = clock.now - 0.1, clock.now + 0.04
            output.show(LivePicture(1 + number // 100, image, image, at, settings, "ink", "live", statistics))
            if number == 0:
                wait_until(lambda: bool(peer.files) and peer.files[0].stat().st_size > 0)
    wait_until(lambda: is_over(peer.files[0]))
    with av.open(str(peer.files[0])) as stream:
        times = [frame.time for frame in stream.decode(video=0)]
    assert times[-1] - times[0] == pytest.approx(8, abs=0.2)
    assert np.diff(times).max() < 0.15


def test_a_source_that_becomes_late_keeps_its_rate(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent meanwhile is ahead of the frames that come then."""
    monkeypatch.setattr("stylize_video.live.frame_queue._QUEUED_FRAMES", 200)
    clock = ManualClock()
    statistics = Monitor(lambda: 0.0).report(0, 0.0, (0, 0), (0, 0))
    settings = Settings(style="ink")
    with broadcasting(peer.url, [], clock=clock) as (_show, output):

        def give(number: int, late: float) -> None:
            clock.now += 0.04
            image = draw_picture(number, 160, 90)
            at = clock.now - late
            output.show(LivePicture(number, image, image, at, settings, "ink", "live", statistics))

        give(1, 0.1)
        wait_until(lambda: bool(peer.files) and peer.files[0].stat().st_size > 0)
        for number in range(2, 11):
            give(number, 0.1)
        for _ in range(75):
            give(10, 0.1)
        for number in range(11, 41):
            give(number, 3.1)
        assert output.state.dropped == 0
    wait_until(lambda: is_over(peer.files[0]))
    with av.open(str(peer.files[0])) as stream:
        times = [frame.time for frame in stream.decode(video=0)]
    assert np.diff(times[-30:]) == pytest.approx(0.04, abs=0.002)
    assert len(times) == 10 + 25 + 30
    assert times[-1] - times[0] == pytest.approx(114 * 0.04, abs=0.1)


def test_more_frames_than_the_rate_are_left_out(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that says nothing of its rate may have 60; the bit rate is for 30."""
    monkeypatch.setattr("stylize_video.live.frame_queue._QUEUED_FRAMES", 200)
    clock = ManualClock()
    with broadcasting(peer.url, [], clock=clock) as (show, output):
        for _ in range(120):
            show.at(clock.now)
            clock.now += 1 / 60
        assert output.state.dropped == 0
        wait_until(lambda: bool(peer.files) and is_over(peer.files[0]))
    wait_until(lambda: is_over(peer.files[0]))
    with av.open(str(peer.files[0])) as stream:
        assert sum(1 for _ in stream.decode(video=0)) == pytest.approx(60, abs=3)


def test_a_peer_that_hangs_holds_nothing_up(peer: Peer) -> None:
    notices: list[str] = []
    with broadcasting(peer.url, notices, draw=noise, bitrate=50_000_000) as (show, output):
        show.until(lambda: bool(peer.files))
        peer.may_read.clear()
        show.until(lambda: output.state.dropped > 3)
        assert output.state.connected
        assert show.slowest < 1
        start = time.perf_counter()
    assert time.perf_counter() - start < 3
    assert [notice for notice in notices if "frames are left out" in notice] == notices


def test_what_hangs_or_dies_is_connected_again(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEADY_SECONDS", 0.2)
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.2)
    notices: list[str] = []
    with broadcasting(peer.url, notices, patience=2) as (show, output):
        show.seconds(0.5)
        peer.stop()
        show.until(lambda: not output.state.connected)
        show.until(lambda: len(notices) == 1)
        show.seconds(1)
        peer.start()
        show.until(lambda: len(notices) == 2)
        show.seconds(0.5)
        assert output.state == StreamState(True, output.state.mbit_s, 0)
    shown = peer.url
    assert notices[0].startswith(f"the stream to {shown} is lost (")
    assert notices[1] == f"the stream to {shown} is back"
    wait_until(lambda: is_over(peer.files[-1]))
    with av.open(str(peer.files[-1])) as stream:  # it begins anew, with a keyframe
        frames = [frame.key_frame for frame in stream.decode(video=0)]
    assert frames[0]
    assert len(frames) > 5


def test_the_microphone_is_in_the_stream_and_in_a_recording_at_once(peer: Peer, tmp_path: Path) -> None:
    recording = tmp_path / "recording.mp4"
    microphone = Microphone("lavfi:sine=frequency=440:sample_rate=48000,arealtime")
    try:
        with (
            broadcasting(peer.url, [], microphone=microphone) as (show, _),
            av.open(str(recording), "w") as file,
        ):
            track = microphone.track(file, at=time.perf_counter())
            show.seconds(2)
            track.copy_until(Fraction(2))
            track.close()
    finally:
        microphone.close()
    wait_until(lambda: is_over(peer.files[0]))
    for path in (peer.files[0], recording):
        with av.open(str(path)) as stream:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in stream.decode(audio=0)])
        spectrum = np.abs(np.fft.rfft(sound[48_000 // 2 : 48_000]))
        assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=4)


def test_a_lost_connection_takes_no_more_sound(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.live.broadcast._FIRST_WAIT", 0.1)
    microphone = Microphone("lavfi:sine=frequency=440:sample_rate=48000,arealtime")
    tracks: list[SoundTrack] = []

    def track(target: av.container.OutputContainer, *, at: float) -> SoundTrack:
        tracks.append(Microphone.track(microphone, target, at=at))
        return tracks[-1]

    monkeypatch.setattr(microphone, "track", track)
    try:
        with broadcasting(peer.url, [], microphone=microphone) as (show, _):
            show.until(lambda: bool(tracks))
            peer.stop()
            show.until(lambda: tracks[0].is_closed)
    finally:
        microphone.close()


def test_what_waits_for_a_connection_is_neither_sent_nor_too_much(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.1)
    connect, begin = Uplink.connect, module._Programme
    may_connect, may_begin = threading.Event(), threading.Event()
    connecting, beginning = threading.Event(), threading.Event()
    began: list[float] = []
    notices: list[str] = []

    def connect_slowly(uplink: Uplink) -> None:
        connecting.set()
        assert may_connect.wait(20)
        connect(uplink)

    def begin_slowly(*given: Any, start_pts: int, **named: Any) -> Any:
        began.append(start_pts / 90_000)
        beginning.set()
        assert may_begin.wait(20)
        return begin(*given, start_pts=start_pts, **named)

    with broadcasting(peer.url, notices) as (show, output):
        first = time.perf_counter()
        show.at(first)
        show.until(lambda: bool(peer.files) and peer.files[0].stat().st_size > 0)
        monkeypatch.setattr(Uplink, "connect", connect_slowly)
        monkeypatch.setattr(module, "_Programme", begin_slowly)
        peer.stop()
        show.until(connecting.is_set)
        peer.start()
        for _ in range(20):
            show.one()
        waited_until = time.perf_counter()
        may_connect.set()
        show.until(beginning.is_set)
        for _ in range(5):
            show.one()
        may_begin.set()
        show.seconds(0.1)
        assert output.state.dropped == 0
    assert began[0] >= waited_until - first - 0.04
    assert len(notices) == 1


class Gone(Uplink):
    """Whose peer is never there; ``looked`` counts the frames for which that was found out."""

    def __init__(self, clock: ManualClock) -> None:
        self.tries: list[float] = []
        self.looked = 0
        super().__init__("tcp://127.0.0.1:9")
        self._clock = clock

    def connect(self) -> None:
        self.tries.append(self._clock())
        raise SinkError("it is gone")

    @property
    def is_connected(self) -> bool:
        self.looked += threading.current_thread() is not threading.main_thread()
        return False

    @is_connected.setter
    def is_connected(self, value: bool) -> None: ...


def test_a_peer_that_stays_away_is_tried_ever_more_seldom() -> None:
    clock, controls = ManualClock(), Controls(Settings(style="ink"), ["ink"])
    uplink = Gone(clock)
    output = Broadcast(controls, uplink, clock=clock)
    show = Show(output, controls, lambda number: draw_picture(1, 32, 32))
    for _ in range(130):
        seen = uplink.looked
        show.at(clock())
        wait_until(lambda seen=seen: uplink.looked > seen)  # type: ignore[misc]
        clock.now += 1
    output.close()
    assert np.diff(uplink.tries).tolist() == [1, 2, 4, 8, 16, 30, 30, 30]


class Fickle(Uplink):
    """Whose peer is there or not, as ``is_there`` says."""

    is_there = False

    def __init__(self, clock: ManualClock) -> None:
        super().__init__("tcp://127.0.0.1:9")
        self.tries: list[float] = []
        self._clock = clock

    def connect(self) -> None:
        self.tries.append(self._clock())
        if not self.is_there:
            raise SinkError("it is gone")
        self.is_connected = True

    def write(self, data: bytes) -> int:
        if not self.is_there:
            raise BrokenPipeError
        return len(data)


class Counted(Broadcast):
    """Counts the frames that its thread is done with."""

    done = 0

    def _write(self, info: VideoInfo, frame: TimedFrame) -> None:
        super()._write(info, frame)
        self.done += 1


def test_a_connection_that_held_for_long_is_soon_tried_again_and_is_back_once_it_holds() -> None:
    clock = ManualClock()
    told: list[tuple[float, str]] = []
    controls = Controls(
        Settings(style="ink"), ["ink"], on_notice=lambda notice: told.append((clock(), notice.text))
    )
    uplink = Fickle(clock)
    output = Counted(controls, uplink, clock=clock)
    show = Show(output, controls, lambda number: draw_picture(1, 32, 32))
    for is_there, seconds in ((False, 10), (True, 60), (False, 2), (True, 12)):
        uplink.is_there = is_there
        for _ in range(seconds):
            show.at(clock())
            wait_until(lambda: output.done == show.number)
            clock.now += 1
    output.close()
    assert np.diff(uplink.tries).tolist() == [1, 2, 4, 8, 56, 2]
    (lost, _), (back, sentence) = told
    assert lost == 170
    assert uplink.tries[-2:] == [lost + 1, lost + 3]
    assert back == uplink.tries[-1] + 3
    assert sentence.endswith(" is back")


def test_the_bits_a_second_are_those_of_the_last_three_seconds() -> None:
    clock = ManualClock()
    uplink = Uplink("udp://127.0.0.1:9")
    output = Broadcast(Controls(Settings(style="ink"), ["ink"]), uplink, clock=clock)
    rates = []
    for second in range(12):
        rates.append(output.state.mbit_s)
        clock.now += 1
        uplink.sent += 125_000 if second < 6 else 0
    assert rates[1:7] == pytest.approx([1] * 6)
    assert rates[-3:] == [0] * 3


@pytest.mark.parametrize(
    ("size", "fps", "bits"),
    [((320, 180), 30, 500_000), ((1280, 720), 30, 3_300_000), ((3840, 2160), 60, 6_000_000)],
)
def test_the_usual_bit_rate(size: tuple[int, int], fps: int, bits: int) -> None:
    info = VideoInfo.of(*size, rate=fps)
    assert usual_bitrate(info) == bits


def test_bit_rates_that_make_no_sense() -> None:
    controls = Controls(Settings(style="ink"), ["ink"])
    with pytest.raises(SinkError, match="from 50000 to 100000000, got 4000"):
        Broadcast(controls, Uplink("udp://127.0.0.1:9"), bitrate=4000)


@needs_ffmpeg
def test_rtmp_from_the_command(
    command: Command, make_clip: MakeClip, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FFMPEG
    source = make_clip(tmp_path / "clip.mp4", frames=30, sound=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"rtmp://127.0.0.1:{probe.getsockname()[1]}/live/secret"
    monkeypatch.setenv("STYLIZE_VIDEO_STREAM", url)
    listening = [FFMPEG, "-loglevel", "error", "-listen", "1", "-f", "flv", "-i", url]
    listening += ["-c", "copy", "got.mkv"]
    with subprocess.Popen(listening, cwd=tmp_path, stdin=subprocess.DEVNULL) as service:
        try:
            result = command(
                "stylize-camera", source, "--loop", "--seconds", "3", "-s", invert_style, "--no-window",
                "--stream", "--stats", "stats.jsonl", "--debug",
                cwd=tmp_path,
            )  # fmt: skip
            service.wait(20)
        finally:
            service.kill()
    assert result.returncode == 0, result.stderr
    assert "streaming to rtmp://127.0.0.1" in result.stderr
    assert "secret" not in result.stdout + result.stderr + (tmp_path / "stats.jsonl").read_text()
    with av.open(str(tmp_path / "got.mkv")) as stream:
        assert sum(1 for _ in stream.decode(video=0)) > 20
        assert stream.streams.audio[0].codec_context.name == "aac"
    states = [json.loads(line)["stream"] for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert any(state["connected"] and state["mbit_s"] > 0 for state in states)


def test_a_service_that_is_not_there_ends_the_command_before_the_source_is_opened(
    command_here: Command, invert_style: Path, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    result = command_here(
        "stylize-camera", "0", "-s", invert_style, "--no-window", "--stream", f"tcp://{address}"
    )
    assert result.returncode == 2
    assert f"tcp://{address} cannot be reached (Connection refused)" in result.stderr
