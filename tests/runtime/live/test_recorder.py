"""Recordings and snapshots: whole files, right times, nothing lost when it goes wrong."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import suppress
from datetime import datetime, tzinfo
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from live_support import ManualClock, SteppedReader, live_threads, numbered_frame, wait_until
from stylize_video.errors import SinkError
from stylize_video.frame import Frame, TimedFrame
from stylize_video.live.capture import Capture
from stylize_video.live.controls import Controls, Notice, Settings
from stylize_video.live.engine import Engine
from stylize_video.live.microphone import Microphone
from stylize_video.live.picture import LivePicture
from stylize_video.live.recorder import Recorder, Snapshots, _free_path, check_recording
from stylize_video.live.recording_sink import RecordingSink
from stylize_video.live.statistics import Monitor
from stylize_video.live.stylist import Stylist
from stylize_video.video.colors import BT709
from stylize_video.video.encoding import Encoding
from stylize_video.video.pictures import write_picture
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource
from support import draw_picture


def picture(number: int, at: float, frame: Frame, settings: Settings) -> LivePicture:
    statistics = Monitor(lambda: 0.0).report(0, 0.0, (0, 0), (0, 0))
    return LivePicture(number, frame, frame, at, settings, "ink", "live", statistics)


@pytest.fixture
def controls() -> Controls:
    return Controls(Settings(style="ink"), ["ink"])


def show(recorder: Recorder, controls: Controls, number: int, at: float, frame: Frame) -> None:
    recorder.show(picture(number, at, frame, controls.settings))


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def test_frames_keep_the_times_of_their_capture(controls: Controls, tmp_path: Path) -> None:
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4", fps=30, clock=ManualClock())
    times = [5.0, 5.033, 5.07, 5.5, 5.53, 5.53, 6.0]
    for number, at in enumerate(times):
        controls.set("record", 1 <= number <= 5)
        show(recorder, controls, number + 1, at, draw_picture(number, 65, 49))
        show(recorder, controls, number + 1, at, draw_picture(number, 65, 49))  # nothing new meanwhile
    recorder.close()
    assert not live_threads()
    assert times_of(tmp_path / "live.mp4") == pytest.approx(
        [0, 0.037, 0.467, 0.497, 0.497], abs=float(Fraction(2, 90_000))
    )
    with VideoSource(tmp_path / "live.mp4") as video:
        first = next(iter(video)).image
        assert video.info.colors == BT709
    assert np.abs(first[:49, :65].astype(int) - draw_picture(1, 65, 49)).mean() < 4


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".gif"])
def test_frames_may_come_close_upon_each_other(suffix: str, controls: Controls, tmp_path: Path) -> None:
    """As they do after a computer was busy, closer than some files can tell."""
    recorder = Recorder(controls, tmp_path, first=tmp_path / f"live{suffix}", clock=ManualClock())
    controls.set("record", True)
    for number, at in enumerate([5, 5.002, 5.004, 5.006, 5.3]):
        show(recorder, controls, number + 1, at, draw_picture(number, 64, 48))
    recorder.close()
    times = times_of(tmp_path / f"live{suffix}")
    assert times[-1] - times[0] == pytest.approx(0.3, abs=0.04)


def test_a_recording_that_is_finished_meanwhile_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = _free_path(tmp_path, ".mp4")
    growing = taken.with_stem(f"{taken.stem}.part")
    growing.touch()
    exists = Path.exists

    def finished_behind(path: Path, **how: bool) -> bool:
        answer = exists(path, **how)
        if exists(growing):
            growing.rename(taken)
        return answer

    monkeypatch.setattr("stylize_video.live.recorder._names", lambda *_: (taken, tmp_path / "next.mp4"))
    monkeypatch.setattr(Path, "exists", finished_behind)
    assert _free_path(tmp_path, ".mp4") == tmp_path / "next.mp4"


def test_every_recording_gets_a_file_of_its_own(controls: Controls, tmp_path: Path) -> None:
    recorder = Recorder(controls, tmp_path)
    for number in range(9):
        controls.set("record", number % 3 < 2)
        show(recorder, controls, number + 1, number / 30, numbered_frame(number))
    recorder.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert [len(times_of(path)) for path in files] == [2, 2, 2]


def test_a_finished_recording_keeps_nothing(controls: Controls, tmp_path: Path) -> None:
    """Not even until Python looks for cycles: encoders have threads, and pictures of their own."""
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4")
    gc.disable()
    try:
        controls.set("record", True)
        show(recorder, controls, 1, 0.0, numbered_frame(1))
        wait_until(lambda: bool(sinks()))
        recorder.close()
        assert sinks() == []
    finally:
        gc.enable()


def sinks() -> list[object]:
    return [thing for thing in gc.get_objects() if type(thing) is RecordingSink]


def test_a_picture_of_another_size_goes_into_the_same_file(controls: Controls, tmp_path: Path) -> None:
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mkv")
    controls.set("record", True)
    for number, width in enumerate((64, 32, 128)):
        show(recorder, controls, number + 1, number / 30, numbered_frame(90, width=width))
    recorder.close()
    with VideoSource(tmp_path / "live.mkv") as video:
        frames = [frame.image for frame in video]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    columns = frames[1].mean((0, 2))  # 32 of 48 pixels across fill the height
    assert columns == pytest.approx([0] * 16 + [90] * 32 + [0] * 16, abs=8)
    assert frames[2].mean((1, 2)) == pytest.approx([0] * 12 + [90] * 24 + [0] * 12, abs=8)


def test_the_picture_does_not_wait_for_a_slow_recording(
    controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, may_write = VideoSink.write, threading.Event()

    def slow(sink: VideoSink, frame: TimedFrame) -> None:
        may_write.wait(20)
        write(sink, frame)

    monkeypatch.setattr(VideoSink, "write", slow)
    notices: list[Notice] = []
    controls = Controls(controls.settings, ["ink"], on_notice=notices.append)
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4")
    controls.set("record", True)
    for number in range(40):
        show(recorder, controls, number + 1, number / 30, numbered_frame(number))
        wait_until(lambda: len(notices) > 0)
    may_write.set()
    wait_until(lambda: (tmp_path / "live.part.mp4").stat().st_size > 0)
    recorder.close()
    times = times_of(tmp_path / "live.mp4")
    assert 12 <= len(times) < 20
    assert times[:12] == pytest.approx([n / 30 for n in range(12)], abs=0.001)
    assert notices[1].text == "the recording is written too slowly: frames are left out of it"
    assert f"recorded {tmp_path / 'live.mp4'}, without {40 - len(times)} frames" in notices[2].text
    assert [notice.is_essential for notice in notices] == [False, True, True]
    assert len(notices) == 3


def test_a_recording_that_fails_is_told_and_leaves_the_picture_alone(
    controls: Controls, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    recorder = Recorder(controls, folder)
    folder.rmdir()
    controls.set("record", True)
    frames = count(1)

    def has_ended() -> bool:
        number = next(frames)
        show(recorder, controls, number, number / 30, numbered_frame(number))
        return not controls.settings.record

    wait_until(has_ended)
    assert "does not exist" in controls.notice[1]
    has_ended()
    with pytest.raises(SinkError, match="does not exist"):
        recorder.close()


def test_a_failure_in_the_end_leaves_the_next_recording_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, may_fail = VideoSink.finish, threading.Event()
    notices: list[str] = []
    controls = Controls(Settings(style="ink"), ["ink"], on_notice=lambda notice: notices.append(notice.text))

    def failing(sink: VideoSink, *, whole: bool) -> Path:
        if sink.output.name != "first.mp4":
            return finish(sink, whole=whole)
        may_fail.wait(20)
        raise SinkError("writing first.mp4 failed")

    monkeypatch.setattr(VideoSink, "finish", failing)
    recorder = Recorder(controls, tmp_path, first=tmp_path / "first.mp4")
    for number in range(6):
        controls.set("record", number != 1)
        show(recorder, controls, number + 1, number / 30, numbered_frame(number))
        if number == 3:
            may_fail.set()
            wait_until(lambda: "writing first.mp4 failed" in notices)
    assert controls.settings.record
    with pytest.raises(SinkError, match=r"first\.mp4 failed"):
        recorder.close()
    (second,) = tmp_path.iterdir()
    assert len(times_of(second)) == 4


def test_a_recording_whose_name_is_taken_meanwhile_is_kept(controls: Controls, tmp_path: Path) -> None:
    recorder = Recorder(controls, tmp_path, first=tmp_path / "two.mp4")
    controls.set("record", True)
    for number in range(4):
        show(recorder, controls, number + 1, number / 30, numbered_frame(number))
    wait_until(lambda: controls.notice[1] == "recording two.mp4")
    (tmp_path / "two.mp4").write_bytes(b"of another terminal")
    recorder.close()
    kept = tmp_path / "two.new.mp4"
    assert controls.notice[1] == f"recorded {kept}: two.mp4 was taken meanwhile"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two.mp4", "two.new.mp4"]
    assert len(times_of(tmp_path / "two.new.mp4")) == 4


def test_a_recording_that_begins_with_a_still_begins_now(controls: Controls, tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4", clock=clock)
    show(recorder, controls, 1, clock.now, numbered_frame(1))
    clock.now += 12  # frozen, or the camera is away
    controls.set("record", True)
    show(recorder, controls, 1, clock.now, numbered_frame(1))
    show(recorder, controls, 2, clock.now + 0.5, numbered_frame(2))
    recorder.close()
    assert times_of(tmp_path / "live.mp4") == pytest.approx([0, 0.5], abs=0.001)


def test_a_still_is_written_once_a_second(controls: Controls, tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4", clock=clock)
    controls.set("record", True)
    began = clock.now
    while clock.now < began + 3.2:
        show(recorder, controls, 1, clock.now, numbered_frame(1))
        clock.now += 0.125
    show(recorder, controls, 2, clock.now, numbered_frame(2))
    recorder.close()
    assert times_of(tmp_path / "live.mp4") == pytest.approx([0, 1, 2, 3, 3.25], abs=0.001)


@pytest.mark.parametrize(("suffix", "still"), [(".mp4", 0.7), (".mp4", 2.125), (".mkv", 2.125)])
def test_a_recording_that_ends_during_a_still_ends_then(
    suffix: str, still: float, controls: Controls, tmp_path: Path
) -> None:
    """As long as the step before would be up to a second too late, or too early."""
    clock = ManualClock()
    recorder = Recorder(controls, tmp_path, first=tmp_path / f"live{suffix}", clock=clock)
    controls.set("record", True)
    began = clock.now
    for number in (1, 2):
        clock.now = began + number / 10
        show(recorder, controls, number, clock.now, numbered_frame(number))
    over = clock.now + still
    while clock.now + 0.125 < over:
        clock.now += 0.125
        show(recorder, controls, 2, clock.now, numbered_frame(2))
    clock.now = over
    controls.set("record", False)
    show(recorder, controls, 2, clock.now, numbered_frame(2))
    recorder.close()
    with av.open(str(tmp_path / f"live{suffix}")) as container:
        assert (container.duration or 0) / 1e6 == pytest.approx(0.1 + still, abs=0.01)


def test_a_source_that_becomes_late_keeps_its_steps(
    controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written meanwhile is ahead of the frames that come then."""
    monkeypatch.setattr("stylize_video.live.frame_queue._QUEUED_FRAMES", 50)  # none is left out
    clock = ManualClock()
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4", clock=clock)
    controls.set("record", True)
    for number in range(10):
        clock.now += 0.04
        show(recorder, controls, number, clock.now - 0.1, numbered_frame(number))
    for _ in range(30):  # nothing comes
        clock.now += 0.1
        show(recorder, controls, 9, clock.now - 0.1, numbered_frame(9))
    for number in range(10, 20):
        clock.now += 0.04
        show(recorder, controls, number, clock.now - 3.1, numbered_frame(number))
    recorder.close()
    steps = np.diff(times_of(tmp_path / "live.mp4"))
    assert [*steps[:9], *steps[-9:]] == pytest.approx([0.04] * 18, abs=0.001)
    assert max(steps) < 1.2


@pytest.mark.parametrize("late", [0.0, 0.6])
def test_sound_begins_with_the_pictures(late: float, controls: Controls, tmp_path: Path) -> None:
    """Also where style and encoder took a while after the first frame was captured."""
    microphone = Microphone("lavfi:sine=frequency=440:sample_rate=48000,arealtime")
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4", microphone=microphone)
    controls.set("record", True)
    captured_at = time.perf_counter() - late
    show(recorder, controls, 1, captured_at, numbered_frame(1))
    wait_until(lambda: controls.notice[1] == "recording live.mp4")
    opened = time.perf_counter() - captured_at
    while time.perf_counter() < captured_at + opened + 0.5:
        time.sleep(0.05)
        show(recorder, controls, 1, captured_at, numbered_frame(1))
    show(recorder, controls, 2, time.perf_counter(), numbered_frame(2))
    recorder.close()
    with av.open(str(tmp_path / "live.mp4")) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    silent = int(np.argmax(np.abs(sound) > 0.05)) / 48_000
    assert late - 0.05 <= silent <= opened + 0.05


def test_a_dead_microphone_keeps_no_picture_from_the_file(
    controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crash would leave of eight seconds."""
    monkeypatch.setattr("stylize_video.live.microphone._RETRY_SECONDS", 60)
    clock = ManualClock()
    microphone = Microphone("lavfi:sine=duration=0.1", clock=clock)
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4", microphone=microphone, clock=clock)
    controls.set("record", True)
    began = clock.now
    for number in range(160):
        clock.now = began + number / 20
        show(recorder, controls, number + 1, clock.now, draw_picture(number, 64, 48))
        time.sleep(0.002)  # few are left out

    def is_kept() -> bool:
        with suppress(av.error.FFmpegError):
            return max(times_of(tmp_path / "live.part.mp4"), default=0) > 5
        return False

    wait_until(is_kept)
    recorder.close()


class Broken:
    """An output that fails in the end, in a way that nobody expects."""

    def show(self, picture: LivePicture) -> None:
        pass

    def close(self) -> None:
        raise RuntimeError("the window is gone")


class Plain:
    """A network that changes nothing."""

    def stylize(self, frame: Frame) -> Frame:
        return frame


def test_a_recording_is_finished_whatever_other_outputs_do(controls: Controls, tmp_path: Path) -> None:
    clock = ManualClock()
    reader = SteppedReader([numbered_frame(1)])
    controls.set("record", True)
    recorder = Recorder(controls, tmp_path, first=tmp_path / "live.mp4", clock=clock)
    with (
        Capture(lambda: reader, clock=clock) as capture,
        Stylist("ink", Plain(), lambda _: Plain(), clock=clock) as stylist,
    ):
        engine = Engine(
            capture,
            stylist,
            controls,
            outputs=[Broken(), recorder],
            snapshots=Snapshots(controls, tmp_path),
            clock=clock,
        )
        controls.press("quit")
        with pytest.raises(RuntimeError, match="the window is gone"):
            engine.run()
        reader.close()
    assert not live_threads()
    assert len(times_of(tmp_path / "live.mp4")) == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("there.mp4", r"there\.mp4 already exists"),
        ("in.mp4", r"in\.mp4 is one of the inputs"),
        ("live.xyz", r"recordings end in \.mp4, \.mov, \.mkv, \.webm, \.avi, \.ts, \.gif$"),
        ("%05d.png", r"recordings end in \.mp4"),
        ("live.webp", "WebP is in memory to its end"),
        ("live.gif", r"live\.gif holds no sound"),
        ("nowhere/live.mp4", "nowhere does not exist"),
    ],
)
def test_what_cannot_be_recorded(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "there.mp4").touch()
    (tmp_path / "in.mp4").touch()
    with pytest.raises(SinkError, match=sentence):
        check_recording(
            tmp_path / name,
            source=tmp_path / "in.mp4",
            encoding=Encoding(),
            overwrite=name != "there.mp4",
            sound=True,
        )


def test_snapshots_are_exact_and_never_replaced(controls: Controls, tmp_path: Path) -> None:
    snapshots = Snapshots(controls, tmp_path)
    frames = [draw_picture(n, 40, 30) for n in range(3)]
    for frame in frames:
        snapshots.take(frame)
    snapshots.close()
    saved = [cv2.imread(str(path)) for path in sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)]
    assert len(saved) == 3
    for frame, read in zip(frames, saved, strict=True):
        np.testing.assert_array_equal(read, frame)


def test_a_snapshot_is_of_its_moment(
    controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture's memory is another one's by the time that it is written."""
    may_write = threading.Event()

    def late(path: Path, image: Frame) -> None:
        assert may_write.wait(20)
        write_picture(path, image)

    monkeypatch.setattr("stylize_video.live.recorder.write_picture", late)
    snapshots, frame = Snapshots(controls, tmp_path), draw_picture(1, 40, 30)
    expected = frame.copy()
    snapshots.take(frame)
    frame[:] = 0
    may_write.set()
    snapshots.close()
    (path,) = tmp_path.iterdir()
    np.testing.assert_array_equal(cv2.imread(str(path)), expected)


def test_half_a_snapshot_is_none(controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, image: Frame) -> None:
        path.write_bytes(b"half")
        raise SinkError("the disk is full")

    monkeypatch.setattr("stylize_video.live.recorder.write_picture", full)
    snapshots = Snapshots(controls, tmp_path)
    snapshots.take(draw_picture(1, 40, 30))
    snapshots.close()
    assert controls.notice[1] == "the snapshot was not saved: the disk is full"
    assert not list(tmp_path.iterdir())


def test_a_snapshot_that_cannot_be_saved_is_told(controls: Controls, tmp_path: Path) -> None:
    snapshots = Snapshots(controls, tmp_path / "gone")
    snapshots.take(numbered_frame(1))
    wait_until(lambda: controls.notice[0] > 0)
    snapshots.close()
    assert "was not saved" in controls.notice[1]


def test_snapshots_keep_nobody_waiting(
    controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    monkeypatch.setattr(
        "stylize_video.live.recorder.write_picture", lambda path, image: may_write.wait(20) and path.touch()
    )
    snapshots = Snapshots(controls, tmp_path)
    for number in range(30):
        snapshots.take(numbered_frame(number))
    assert "no snapshot was taken" in controls.notice[1]
    may_write.set()
    snapshots.close()
    assert 4 <= len(list(tmp_path.iterdir())) < 15


def test_the_picture_does_not_wait_for_a_file_to_open(
    controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_sink, may_open = RecordingSink._open, threading.Event()

    def slow(sink: RecordingSink, *given: Any) -> None:
        assert may_open.wait(20)
        open_sink(sink, *given)

    monkeypatch.setattr(RecordingSink, "_open", slow)
    recorder = Recorder(controls, tmp_path)
    controls.set("record", True)
    for number in range(4):
        show(recorder, controls, number + 1, number / 30, numbered_frame(number))
    may_open.set()
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert times_of(path) == pytest.approx([n / 30 for n in range(4)], abs=0.001)


def test_programs_in_one_folder_take_nothing_from_each_other(
    controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshots and recordings of the same second."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Noon:
            return cls(2026, 12, 31, 12)

    monkeypatch.setattr("stylize_video.live.recorder.datetime", Noon)
    both = threading.Barrier(2)

    def write_together(path: Path, image: Frame) -> None:
        both.wait(20)
        write_picture(path, image)

    monkeypatch.setattr("stylize_video.live.recorder.write_picture", write_together)
    programs = [(Recorder(controls, tmp_path), Snapshots(controls, tmp_path)) for _ in range(2)]
    controls.set("record", True)
    for number, (recorder, snapshots) in enumerate(programs, 1):
        snapshots.take(numbered_frame(100 * number))
        show(recorder, controls, 1, 0.0, numbered_frame(100 * number))
        wait_until(lambda: len(list(tmp_path.glob("*.part.mp4"))) == number)  # noqa: B023  # called here
    for recorder, snapshots in programs:
        snapshots.close()
        recorder.close()
    stem = "camera-20261231-120000"
    names = [f"{stem}{number}{suffix}" for number in ("", "-2") for suffix in (".mp4", ".png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    pictures = [int(np.mean(np.asarray(cv2.imread(str(path))))) for path in tmp_path.glob("*.png")]
    assert sorted(pictures) == [100, 200]
