"""The newest frame wins; what is lost comes back; threads end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from live_support import (
    ManualClock,
    MjpegServer,
    SteppedReader,
    live_threads,
    number_of,
    numbered_frame,
    serving,
    wait_until,
)
from stylize_video.errors import SourceError
from stylize_video.frame import Frame
from stylize_video.live.capture import Capture, CapturedFrame, Read, _Pace
from stylize_video.live.readers import FileReader, reader_opener
from stylize_video.video.source import VideoSource
from support import MakeClip


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    yield
    assert not live_threads()


class FastReader:
    """A source far faster than anybody: a frame a millisecond."""

    live = True
    fps: float | None = 1000.0
    end: float | None = None

    def __init__(self) -> None:
        self.number = 0

    def read(self) -> Read | None:
        time.sleep(0.001)
        self.number += 1
        return Read(numbered_frame(self.number))

    def close(self) -> None:
        pass


def next_frame(capture: Capture, after: int) -> CapturedFrame:
    frame = capture.newest(after=after, timeout=20)
    assert frame is not None
    return frame


def test_whoever_is_slower_gets_the_newest_frame_and_never_falls_behind() -> None:
    with Capture(FastReader) as capture:
        index = 0
        for _ in range(5):
            frame = next_frame(capture, index)
            assert frame.index > index
            index = frame.index
            time.sleep(0.05)
            # However long we slept: what we get next is what came last.
            behind = capture.captured - next_frame(capture, index).index
            assert behind <= 1
        assert capture.captured > 3 * 5


def test_whoever_is_faster_waits_and_gets_every_frame_once() -> None:
    reader = SteppedReader(numbered_frame(n) for n in range(50))
    with Capture(lambda: reader) as capture:
        seen: list[tuple[int, int]] = []
        while (frame := capture.newest(after=len(seen), timeout=20)) is not None:
            seen.append((frame.index, number_of(frame.image)))
            assert capture.newest(after=len(seen), timeout=0.001) is None
            reader.step()
        assert seen == [(n + 1, n) for n in range(50)]
        assert capture.state == "ended"
    assert reader.closed


def test_a_file_is_played_at_its_own_speed_to_its_end(make_clip: MakeClip, tmp_path: Path) -> None:
    pts = [0, 3, 6, 15, 18, 21]  # a pause in the middle
    path = make_clip(tmp_path / "clip.mp4", frames=6, pts=pts, sound=False)
    with VideoSource(path) as video:
        pictures = [frame.image for frame in video]
    with Capture(lambda: FileReader(path)) as capture:
        assert capture.source_fps
        frames: list[CapturedFrame] = []
        while (frame := capture.newest(after=len(frames), timeout=20)) is not None:
            frames.append(frame)
    assert [bool((f.image == p).all()) for f, p in zip(frames, pictures, strict=True)] == [True] * 6
    assert frames[-1].captured_at - frames[0].captured_at >= (21 - 0.5) / 30


def test_what_a_machine_slept_through_is_not_caught_up_with() -> None:
    """After it the frames of a file come at their own speed again, and not as fast as can be."""
    clock, waits = ManualClock(), []

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            clock.now += timeout or 0
            return False

    pace = _Pace(clock, Waits())
    for due in (0.0, 0.5, 1.0):
        pace.wait_until(due)
    clock.now += 60
    for due in (1.5, 2.0):
        pace.wait_until(due)
    assert waits == pytest.approx([0, 0.5, 0.5, 0, 0.5])


def test_a_looped_file_begins_again(make_clip: MakeClip, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=3, sound=False)
    with Capture(lambda: FileReader(path), loop=True) as capture:
        assert next_frame(capture, 8).index > 8
        assert capture.state == "live"


def test_a_source_that_is_back_says_anew_how_fast_it_is() -> None:
    readers = [SteppedReader([numbered_frame(1)]) for _ in range(2)]
    for reader, rate in zip(readers, (30.0, 15.0), strict=True):
        reader.live, reader.fps = True, rate
    waiting = iter(readers)
    with Capture(lambda: next(waiting), retry_seconds=0) as capture:
        assert capture.source_fps == 30
        readers[0].step()  # beyond its one frame it is lost
        wait_until(lambda: capture.source_fps == 15)
        readers[1].close()


def test_a_source_that_gives_nothing_any_more_has_a_rate() -> None:
    """Which others divide by."""
    clock = ManualClock()
    reader = SteppedReader(numbered_frame(number) for number in range(9))
    reader.live, reader.fps = True, 30.0
    with Capture(lambda: reader, clock=clock) as capture:
        next_frame(capture, 0)
        reader.step()
        next_frame(capture, 1)
        clock.now += 100
        assert capture.given_fps == 0.5
        reader.close()


def test_a_stream_that_stalls_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(MjpegServer(fps=60)) as server, Capture(reader_opener(server.url)) as capture:
        index = next_frame(capture, 5).index
        server.pause.set()
        wait_until(lambda: capture.newest(after=capture.captured, timeout=0.2) is None)
        server.pause.clear()
        assert next_frame(capture, capture.captured).index > index


def test_a_stream_that_dies_comes_back_when_it_does() -> None:
    with (
        serving(MjpegServer(fps=60)) as server,
        Capture(reader_opener(server.url), retry_seconds=0.05) as capture,
    ):
        next_frame(capture, 5)
        server.stop()
        wait_until(lambda: capture.state == "lost")
        before = capture.captured
        assert capture.newest(after=before, timeout=0.2) is None
        server.start()
        assert next_frame(capture, before).index > before
        assert capture.state == "live"


def test_a_stall_that_is_too_long_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.live.readers._READ_SECONDS", 0.3)
    with (
        serving(MjpegServer(fps=60)) as server,
        Capture(reader_opener(server.url), retry_seconds=0.05) as capture,
    ):
        next_frame(capture, 5)
        server.pause.set()
        wait_until(lambda: capture.state == "lost")
        before = capture.captured
        server.pause.clear()
        assert next_frame(capture, before).index > before


def test_a_source_slower_than_the_network_gives_no_frame_twice() -> None:
    with serving(MjpegServer(fps=10, plain=True)) as server, Capture(reader_opener(server.url)) as capture:
        indices = [0]
        for _ in range(5):
            indices.append(next_frame(capture, indices[-1]).index)
        assert indices == sorted(set(indices))


@pytest.mark.parametrize(
    ("promised", "seconds", "given"), [(None, 0.1, 10), (30, 0.1, 10), (12, 0.1, 12), (None, 20, 0.5)]
)
def test_the_rate_of_a_live_source_is_what_arrives_where_that_is_far_less(
    promised: float | None, seconds: float, given: float
) -> None:
    """But for one so slow that it has none that could be measured."""
    clock = ManualClock()

    def tick() -> None:
        clock.now += seconds

    reader = SteppedReader((numbered_frame(n) for n in range(30)), on_read=tick)
    reader.live, reader.fps = True, promised
    with Capture(lambda: reader, clock=clock) as capture:
        for index in range(25):
            next_frame(capture, index)
            assert index or capture.given_fps == promised
            reader.step()
        assert capture.given_fps == pytest.approx(given)
        reader.close()


def test_a_frame_is_as_old_as_its_source_says_and_those_left_out_have_numbers() -> None:
    clock = ManualClock()

    class Late(FastReader):
        """Frames that come half a second late, two of three left out undecoded."""

        def read(self) -> Read | None:
            if self.number == 2:
                return None
            self.number += 1
            return Read(numbered_frame(self.number), age=0.5, frames=3)

    with Capture(Late, clock=clock, retry_seconds=60) as capture:
        wait_until(lambda: capture.state == "lost")
        frame = next_frame(capture, 0)
        assert (frame.index, frame.captured_at) == (6, clock.now - 0.5)
        assert capture.captured == 6


def test_a_source_that_is_away_is_not_asked_for_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    class Pauses(threading.Event):
        """That are over at once; the fourth ends it."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if len(waits) == 4:
                self.set()
            return self.is_set()

    opened: list[SteppedReader] = []

    def opens_once() -> SteppedReader:
        opened.append(SteppedReader([]))
        if len(opened) > 1:
            raise SourceError("gone")
        opened[0].live = True
        return opened[0]

    capture = Capture(opens_once, retry_seconds=7)
    monkeypatch.setattr(capture, "_stop", Pauses())
    with capture:
        wait_until(lambda: capture.state == "ended")
    assert waits == [7] * 4
    assert len(opened) == 4  # the first time, and after each pause but the last


def test_a_source_that_does_not_open_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        Capture(reader_opener("http://127.0.0.1:9/none.mjpg")).__enter__()
    (tmp_path / "text.mp4").write_text("I am a text file.\n" * 40)
    with pytest.raises(SourceError, match="is not a video"):
        Capture(reader_opener(str(tmp_path / "text.mp4"))).__enter__()


def test_what_breaks_in_the_thread_is_raised_in_the_caller() -> None:
    def broken() -> Iterator[Frame]:
        yield numbered_frame(1)
        raise ZeroDivisionError

    reader = SteppedReader(broken())
    with Capture(lambda: reader) as capture:
        next_frame(capture, 0)
        reader.step()
        with pytest.raises(ZeroDivisionError):
            capture.newest(after=1, timeout=20)
    assert reader.closed


class Breaking(FastReader):
    """A video by URL that breaks off with its third frame."""

    live = False

    def read(self) -> Read | None:
        if self.number == 2:
            raise SourceError("it broke off")
        return super().read()


def test_a_video_that_breaks_off_is_an_error() -> None:
    with Capture(Breaking) as capture:
        wait_until(lambda: capture.state == "ended")
        with pytest.raises(SourceError, match="it broke off"):
            capture.newest(after=2, timeout=20)


def test_a_looped_video_that_breaks_off_begins_again() -> None:
    with Capture(Breaking, loop=True, retry_seconds=0.01) as capture:
        assert next_frame(capture, 6).index > 6


def test_leaving_ends_the_thread_while_the_source_is_away() -> None:
    opened = threading.Event()

    def opens_once() -> SteppedReader:
        if opened.is_set():
            raise SourceError("gone")
        opened.set()
        reader = SteppedReader([])
        reader.live = True
        return reader

    with Capture(opens_once, retry_seconds=60) as capture:
        wait_until(lambda: capture.state == "lost")


def test_the_last_frame_is_on_screen_as_long_as_it_lasts() -> None:
    class Still(FastReader):
        """One frame that lasts for a third of a second."""

        live = False
        end: float | None = 0.33

        def read(self) -> Read | None:
            self.number += 1
            return Read(numbered_frame(1), due=0.0) if self.number == 1 else None

    with Capture(Still, loop=True) as capture:
        times = []
        for index in range(3):
            times.append(next_frame(capture, index).captured_at)
    assert min(times[1] - times[0], times[2] - times[1]) >= 0.3


def test_leaving_does_not_wait_for_a_source_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.live.capture._CLOSE_SECONDS", 0.05)
    goes_on, was_closed = threading.Event(), threading.Event()

    class Hanging(FastReader):
        def read(self) -> Read | None:
            goes_on.wait()
            return None

        def close(self) -> None:
            was_closed.set()

    with Capture(Hanging):
        pass
    assert not was_closed.is_set()
    goes_on.set()
    assert was_closed.wait(20)
    wait_until(lambda: not live_threads())
