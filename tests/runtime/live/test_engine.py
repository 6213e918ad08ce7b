"""The loop: the same pictures as files get, settings that count at once, an hour without growing."""

from __future__ import annotations

import gc
import json
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from live_support import Collector, ManualClock, SteppedReader, live_threads, number_of, numbered_frame
from stylize_video.effects.look import Look
from stylize_video.errors import SinkError, SourceError, StyleError
from stylize_video.frame import Frame
from stylize_video.jobs.pipeline import stylize_frames
from stylize_video.live.capture import Capture
from stylize_video.live.controls import Controls, Settings
from stylize_video.live.engine import Engine
from stylize_video.live.governor import Governor
from stylize_video.live.picture import AWAY, LivePicture, Output
from stylize_video.live.recorder import Recorder, Snapshots
from stylize_video.live.statistics import Clock, Statistics, StatisticsFile
from stylize_video.live.stylist import Stylist
from stylize_video.styles.network import Network
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.source import VideoSource
from support import draw_picture


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    yield
    assert not live_threads()


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


class Stage:
    """A live picture of frames that come one by one, and what a test does after each of them."""

    def __init__(
        self,
        frames: Iterator[Frame] | Sequence[Frame],
        networks: dict[str, Network],
        folder: Path,
        *,
        clock: Clock | None = None,
        on_read: Callable[[], None] = lambda: None,
        **settings: object,
    ) -> None:
        self.clock = clock or ManualClock()
        self.reader = SteppedReader(frames, on_read=on_read)
        self.controls = Controls(Settings(style=next(iter(networks)), **settings), list(networks))  # type: ignore[arg-type]
        self.networks, self.folder = networks, folder
        self.script: dict[int, Callable[[], None]] = {}
        self.seen = Collector(self._shown)
        self._calls = self._last = 0

    @property
    def pictures(self) -> list[LivePicture]:
        return self.seen.pictures

    def _shown(self, picture: LivePicture) -> None:
        self._calls += 1
        self.script.get(self._calls, lambda: None)()
        if picture.number != self._last or picture.settings.freeze:
            self._last = picture.number
            self.reader.step()

    def run(
        self,
        *,
        governor: Governor | None = None,
        while_waiting: Callable[[], None] = lambda: None,
        outputs: Sequence[Output] = (),
        statistics_file: StatisticsFile | None = None,
    ) -> Statistics:
        style = self.controls.settings.style

        def open_style(name: str) -> Network:
            if name not in self.networks or self.networks[name] is None:
                raise StyleError(f"{name} is damaged")
            return self.networks[name]

        with (
            Capture(lambda: self.reader, clock=self.clock) as capture,
            Stylist(style, self.networks[style], open_style, clock=self.clock, fade_seconds=0) as stylist,
        ):
            engine = Engine(
                capture,
                stylist,
                self.controls,
                outputs=[*outputs, self.seen],
                snapshots=Snapshots(self.controls, self.folder),
                governor=governor,
                while_waiting=while_waiting,
                statistics_file=statistics_file,
                clock=self.clock,
            )
            try:
                return engine.run()
            finally:
                self.reader.close()


@pytest.mark.parametrize("freeze", [False, True])
def test_keys_are_looked_for_more_often_than_outputs_are_called(
    freeze: bool, invert: StyleSession, tmp_path: Path
) -> None:
    """While a source gives nothing, and behind its end, where a frozen picture stays."""
    looks: list[int] = []  # how many pictures had been shown at each
    more = threading.Event()

    def look() -> None:
        looks.append(stage.seen.calls)
        if looks[-1] and looks.count(looks[-1]) > 2:
            stage.controls.set("freeze", False)
            more.set()

    def wait_after_the_first() -> None:
        if stage.seen.calls and not freeze:
            more.wait(20)

    stage = Stage(
        [numbered_frame(60)], {"invert": invert}, tmp_path, on_read=wait_after_the_first, freeze=freeze
    )
    stage.run(while_waiting=look)
    assert more.is_set()


@pytest.mark.parametrize(
    ("look", "smooth"),
    [(Look(), 0.0), (Look(0.6), 0.0), (Look(0.7, True), 0.0), (Look(0.8, True), 0.7)],
)
def test_the_same_pictures_as_files_get(
    look: Look, smooth: float, invert: StyleSession, clip: Path, tmp_path: Path
) -> None:
    with VideoSource(clip) as video:
        frames = list(video)
    expected = [f.image for f in stylize_frames(frames, invert, look=look, smooth=smooth)]
    stage = Stage(
        [f.image for f in frames],
        {"invert": invert},
        tmp_path,
        strength=look.strength,
        keep_colors=look.keep_colors,
        smooth=smooth,
    )
    statistics = stage.run()
    assert len(stage.pictures) == len(expected) == 12
    for picture, wanted in zip(stage.pictures, expected, strict=True):
        np.testing.assert_array_equal(picture.image, wanted)
    assert (statistics.captured, statistics.shown, statistics.dropped) == (12, 12, 0)
    assert stage.seen.closed


def test_settings_count_from_the_next_frame_on(invert: StyleSession, tmp_path: Path) -> None:
    frame = draw_picture(3, 64, 48)
    stage = Stage([frame] * 4, {"invert": invert}, tmp_path)

    def full_and_split() -> None:
        stage.controls.set("strength", 1.0)
        stage.controls.set("split", True)

    stage.script = {
        1: lambda: stage.controls.set("strength", 0.0),
        2: lambda: stage.controls.set("mirror", True),
        3: full_and_split,
    }
    stage.run()
    mirrored = frame[:, ::-1]
    half = np.hstack([mirrored[:, :32], 255 - mirrored[:, 32:]])
    for picture, wanted in zip(stage.pictures, [255 - frame, frame, mirrored, half], strict=True):
        np.testing.assert_array_equal(picture.image, wanted)


def test_a_frozen_picture_stays_and_still_follows_the_settings(invert: StyleSession, tmp_path: Path) -> None:
    stage = Stage((numbered_frame(n) for n in range(8)), {"invert": invert}, tmp_path)
    stage.script = {
        2: lambda: stage.controls.set("freeze", True),
        4: lambda: stage.controls.set("strength", 0.0),
        6: lambda: stage.controls.set("freeze", False),
    }
    stage.run()
    values = [number_of(picture.image) for picture in stage.pictures]
    assert values[:3] == [255, 254, 1]  # the second stays, then at no strength
    assert values[3:] == list(range(values[3], 8))  # and goes on with what comes then
    assert values[3] > 3


def test_a_picture_that_stays_is_as_old_as_it_was(invert: StyleSession, tmp_path: Path) -> None:
    """Outputs take new pictures and those that stay in one line of time."""
    clock = ManualClock()

    class Slow:
        def stylize(self, frame: Frame) -> Frame:
            clock.now += 0.3
            return invert.stylize(frame)

    shown: list[tuple[float, float]] = []

    def note(picture: LivePicture) -> None:
        shown.append((picture.at, clock.now))
        clock.now += 0.04

    stage = Stage((numbered_frame(n) for n in range(9)), {"slow": Slow()}, tmp_path, clock=clock)
    stage.script = {
        2: lambda: stage.controls.set("freeze", True),
        5: lambda: stage.controls.set("split", True),
        7: lambda: stage.controls.set("strength", 0.5),
        9: lambda: stage.controls.press("quit"),
    }
    stage.run(outputs=[Collector(note)])
    assert len(shown) == 9
    assert [at for at, _ in shown] == sorted(at for at, _ in shown)
    assert all(now - at == pytest.approx(0.3, abs=0.05) for at, now in shown[:6])


def test_frames_that_came_while_the_picture_was_frozen_are_not_dropped(
    invert: StyleSession, tmp_path: Path
) -> None:
    stage = Stage((numbered_frame(n) for n in range(8)), {"invert": invert}, tmp_path)
    stage.script = {
        2: lambda: stage.controls.set("freeze", True),
        6: lambda: stage.controls.set("freeze", False),
    }
    statistics = stage.run()
    assert statistics.captured == 8
    assert statistics.shown < 7
    assert statistics.dropped == 0


def test_a_slow_live_source_is_stylized_at_full_size(invert: StyleSession, tmp_path: Path) -> None:
    """5 fps, which the style can hold; it cannot hold the 30 that are asked for."""
    clock = ManualClock()

    class Slow:
        def stylize(self, frame: Frame) -> Frame:
            clock.now += 0.12
            return invert.stylize(frame)

    def tick() -> None:
        clock.now += 0.08

    stage = Stage(
        [numbered_frame(n) for n in range(60)], {"slow": Slow()}, tmp_path, clock=clock, on_read=tick
    )
    stage.reader.live = True
    stage.script = {60: lambda: stage.controls.press("quit")}
    assert stage.run(governor=Governor(30, clock)).working_size == (64, 48)


def test_ctrl_c_where_a_lock_was_just_taken_hangs_nothing(
    invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python may interrupt the main thread there; the lock would never be given back."""
    entered = threading.Condition.__enter__

    def enter(lock: threading.Condition) -> bool:
        is_ours = entered(lock)
        is_main = threading.get_ident() == threading.main_thread().ident
        if is_main and len(stage.pictures) == 2 and sys._getframe(1).f_code.co_name == "newest":
            monkeypatch.setattr(threading.Condition, "__enter__", entered)
            signal.raise_signal(signal.SIGINT)
        return is_ours

    stage = Stage([numbered_frame(n) for n in range(9)], {"invert": invert}, tmp_path)
    monkeypatch.setattr(threading.Condition, "__enter__", enter)
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert stage.seen.closed
    assert 2 <= len(stage.pictures) <= 3


def test_recordings_are_finished_before_other_outputs_are_closed(
    invert: StyleSession, tmp_path: Path
) -> None:
    ended: list[str] = []

    class Closing(Collector):
        def close(self) -> None:
            ended.append("page")

    class Recording(Collector):
        def close(self) -> None:
            ended.append("recording")

    stage = Stage([numbered_frame(1)], {"invert": invert}, tmp_path)
    stage.run(outputs=[Closing(), Recording()])
    assert ended == ["recording", "page"]


def test_another_style_takes_over_when_it_is_open(
    invert: StyleSession, swap_style: Path, tmp_path: Path
) -> None:
    swap = StyleSession(Style.load(swap_style), "cpu")
    frame = draw_picture(3, 64, 48)
    stage = Stage((frame for _ in count()), {"invert": invert, "swap": swap}, tmp_path)
    stage.script = {2: lambda: stage.controls.press("next_style")}

    def quit_when_swapped(picture: LivePicture) -> None:
        if picture.style == "swap":
            stage.controls.press("quit")

    stage.run(outputs=[Collector(quit_when_swapped)])
    np.testing.assert_array_equal(stage.pictures[0].image, 255 - frame)
    np.testing.assert_array_equal(stage.pictures[-1].image, frame[..., ::-1])


def test_a_style_that_is_damaged_is_told_and_the_choice_taken_back(
    invert: StyleSession, tmp_path: Path
) -> None:
    networks: dict[str, Network] = {"invert": invert, "broken": None}  # type: ignore[dict-item]
    stage = Stage((numbered_frame(0) for _ in count()), networks, tmp_path)
    stage.script = {1: lambda: stage.controls.press("next_style")}

    def quit_when_told(picture: LivePicture) -> None:
        if stage.controls.notice[0]:
            stage.controls.press("quit")

    stage.run(outputs=[Collector(quit_when_told)])
    assert stage.controls.notice == (1, "broken is damaged")
    assert stage.controls.settings.style == "invert"


def test_snapshots_are_what_is_seen(invert: StyleSession, tmp_path: Path) -> None:
    frame = draw_picture(3, 64, 48)
    stage = Stage([frame] * 3, {"invert": invert}, tmp_path, split=True)
    stage.script = {2: lambda: stage.controls.press("snapshot")}
    stage.run()
    (path,) = tmp_path.glob("camera-*.png")
    np.testing.assert_array_equal(cv2.imread(str(path)), stage.pictures[1].image)
    assert stage.controls.notice[1] == f"saved {path}"


def test_the_working_size_gives_pictures_of_full_size(invert: StyleSession, tmp_path: Path) -> None:
    clock = ManualClock()

    class Slow:
        def stylize(self, frame: Frame) -> Frame:
            clock.now += frame.shape[0] * frame.shape[1] / (192 * 108) * 0.1
            return invert.stylize(frame)

    frames = (draw_picture(n, 192, 108) for n in range(300))
    stage = Stage(frames, {"slow": Slow()}, tmp_path, clock=clock)
    statistics = stage.run(governor=Governor(30, clock))
    assert {picture.image.shape for picture in stage.pictures} == {(108, 192, 3)}
    assert statistics.size == (192, 108)
    assert statistics.working_size[0] < 120
    assert statistics.stylize_fps > 25
    # Smaller, and yet the same picture.
    last = stage.pictures[-1]
    assert np.abs(last.image.astype(int) - (255 - last.source)).mean() < 6


def test_outputs_are_closed_whatever_fails(invert: StyleSession, tmp_path: Path) -> None:
    def full(picture: LivePicture) -> None:
        raise SinkError("the disk is full")

    failing = Collector(full)
    stage = Stage([numbered_frame(0)] * 3, {"invert": invert}, tmp_path)
    with pytest.raises(SinkError, match="the disk is full"):
        stage.run(outputs=[failing])
    assert failing.closed
    assert stage.seen.closed


def test_ten_minutes_keep_their_memory_and_their_delay(invert: StyleSession, tmp_path: Path) -> None:
    """Of 5 fps, in seconds: every part runs, on a clock that jumps from frame to frame."""
    clock = ManualClock()
    frames = [draw_picture(n, 32, 24) for n in range(16)]

    def ten_minutes() -> Iterator[Frame]:
        for n in range(3000):
            yield frames[n % 16]

    def tick() -> None:
        clock.now += 0.2

    memory: list[int] = []

    def note_memory(picture: LivePicture) -> None:
        for kept in (stage.pictures, watch.pictures):
            kept.clear()
        if picture.number % 500 == 0:
            gc.collect()
            memory.append(tracemalloc.get_traced_memory()[0])
            stage.controls.press("record")

    watch = Collector(note_memory)
    stage = Stage(ten_minutes(), {"invert": invert}, tmp_path, clock=clock, on_read=tick)
    recorder = Recorder(stage.controls, tmp_path, fps=5)
    path = tmp_path / "stats.jsonl"
    tracemalloc.start()
    try:
        with StatisticsFile(path, clock) as file:
            statistics = stage.run(
                governor=Governor(30, clock), outputs=[recorder, watch], statistics_file=file
            )
    finally:
        tracemalloc.stop()
    assert statistics.shown == 3000
    assert statistics.dropped == 0
    assert statistics.seconds == pytest.approx(600, abs=1)
    # Settled after the first recording; of the 2000 frames of 2304 bytes since not one in twenty was kept.
    assert memory[-1] - memory[1] < 100 * 2304
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == pytest.approx(600 / 1.2, abs=120)
    assert max(line["latency_p95_ms"] for line in lines) <= 200
    assert len(list(tmp_path.glob("camera-*.mp4"))) == 3


def test_how_it_went_is_of_the_picture_not_of_finishing_files(invert: StyleSession, tmp_path: Path) -> None:
    clock = ManualClock()

    class Slow(Collector):
        def close(self) -> None:
            clock.now += 9

    def tick() -> None:
        clock.now += 0.1

    path = tmp_path / "stats.jsonl"
    stage = Stage([numbered_frame(1)] * 30, {"invert": invert}, tmp_path, clock=clock, on_read=tick)
    with StatisticsFile(path, clock) as file:
        told = stage.run(outputs=[Slow()], statistics_file=file)
    last = json.loads(path.read_text().splitlines()[-1])
    assert last["display_fps"] == told.display_fps == pytest.approx(10, abs=1)
    assert last["seconds"] == told.seconds == pytest.approx(3, abs=0.2)


class LiveReader(SteppedReader):
    """One that may return once it is lost."""

    live = True


@pytest.mark.parametrize("seconds", [5.0, 0.0])
def test_a_source_that_is_away_for_long_is_told_and_so_is_its_return(
    seconds: float, invert: StyleSession, tmp_path: Path
) -> None:
    clock = ManualClock()
    told: list[str] = []
    controls = Controls(
        Settings(style="invert"), ["invert"], on_notice=lambda notice: told.append(notice.text)
    )
    readers: list[LiveReader] = []
    back_at = clock.now + seconds

    def open_reader() -> LiveReader:
        if readers and clock.now < back_at:
            raise SourceError("it is away")
        readers.append(LiveReader([numbered_frame(7)] * (1 if not readers else 50)))
        return readers[-1]

    def watch(picture: LivePicture) -> None:
        if picture.state == "lost":
            clock.now += 0.5 if seconds else 0
        elif len(readers) > 1 and (not seconds or "the source is back" in told):
            controls.press("quit")
        else:
            readers[-1].step()

    with (
        Capture(open_reader, clock=clock, retry_seconds=0.01) as capture,
        Stylist("invert", invert, lambda _: invert, clock=clock) as stylist,
    ):
        outputs = [Collector(watch)]
        Engine(
            capture, stylist, controls, outputs=outputs, snapshots=Snapshots(controls, tmp_path), clock=clock
        ).run()
        for reader in readers:
            reader.close()
    assert told == ([AWAY, "the source is back"] if seconds else [])


def test_a_rate_that_cannot_be_held_is_told_once(invert: StyleSession, tmp_path: Path) -> None:
    clock = ManualClock()

    class VerySlow:
        def stylize(self, frame: Frame) -> Frame:
            clock.now += 1.0
            return invert.stylize(frame)

    stage = Stage([numbered_frame(1)] * 60, {"slow": VerySlow()}, tmp_path, clock=clock)
    stage.run(governor=Governor(30, clock))
    number, notice = stage.controls.notice
    assert number == 1
    assert notice.startswith(
        "30 fps cannot be held at any working size (the style takes 1000 of 1000 ms a frame)"
    )


def test_a_picture_that_is_frozen_past_the_end_costs_next_to_nothing(
    invert: StyleSession, tmp_path: Path
) -> None:
    stage = Stage([numbered_frame(1)], {"invert": invert}, tmp_path, clock=time.perf_counter)
    stage.script[1] = lambda: stage.controls.set("freeze", True)
    thaw = threading.Timer(0.6, lambda: stage.controls.set("freeze", False))
    thaw.start()
    stage.run()
    thaw.join()
    assert 2 <= stage.seen.calls <= 60  # some eighteen; without a pause thousands
