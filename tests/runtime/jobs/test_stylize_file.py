"""From file to file: time stamps, sound, pictures, and what happens when it goes wrong."""

from __future__ import annotations

import asyncio
import errno
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stylize_video.effects.look import Look
from stylize_video.errors import JobInterrupted, JobStopped, SinkError, SourceError, StyleError, StylizeError
from stylize_video.frame import TimedFrame
from stylize_video.interrupts import Terminated
from stylize_video.jobs.picture import stylize_picture
from stylize_video.jobs.pipeline import Hooks, stylize_file, stylize_frames
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.info import VideoInfo
from stylize_video.video.sink import VideoSink, check_output
from stylize_video.video.source import VideoSource
from support import ROOT, MakeClip, file_size_limit


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def times(path: Path) -> list[Fraction]:
    """Time stamps in seconds of the frames, in order of presentation, from the first one's on."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        return sorted(p.pts * stream.time_base for p in container.demux(stream) if p.pts is not None)


def sound(path: Path) -> list[tuple[float, bytes]]:
    """Start in seconds and content of every audio packet."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.audio[0]) if p.pts is not None]
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None]


def pictures(path: Path) -> list[np.ndarray]:
    with VideoSource(path) as source:
        return [frame.image.astype(int) for frame in source]


def assert_nothing_left_but(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# --- what is kept -------------------------------------------------------------------------


def test_frames_times_and_sound_are_kept(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    result = stylize_file(clip, tmp_path / "out.mp4", invert)
    assert result.frames == 12
    assert times(result.output) == pytest.approx(times(clip), abs=1e-3)
    assert sound(result.output) == sound(clip)
    with av.open(str(result.output)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
    for source, stylized in zip(pictures(clip), pictures(result.output), strict=True):
        assert np.abs(255 - source - stylized).mean() < 6  # 4:2:0 and the encoder's own loss


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.integers(1, 4000), min_size=4, max_size=9),
    start=st.integers(0, 50_000),
    base=st.sampled_from([Fraction(1, 1000), Fraction(1001, 24000), Fraction(1, 90_000)]),
)
def test_any_time_stamps_are_kept(
    gaps: list[int], start: int, base: Fraction, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """Variable frame rates, 23.976, late starts: each frame keeps its source frame's time."""
    pts = [start + sum(gaps[:i]) for i in range(len(gaps) + 1)]
    source = make_clip(tmp_path / "in.mp4", frames=len(pts), pts=pts, time_base=base, sound=False)
    stylize_file(source, tmp_path / "out.mp4", invert, overwrite=True)
    assert times(tmp_path / "out.mp4") == pytest.approx(times(source), abs=1e-3)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (50, 90), (97, 61), (64, 31)])
def test_any_size(width: int, height: int, invert: StyleSession, tmp_path: Path) -> None:
    """Odd sides grow by the one pixel that 4:2:0 needs."""
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for _ in range(3):
            grey = np.full((height, width, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="bgr24")))
        container.mux(stream.encode(None))
    stylize_file(source, tmp_path / "out.mp4", invert)
    got = pictures(tmp_path / "out.mp4")
    assert len(got) == 3
    assert got[0].shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(got[0] - 165).max() <= 6


def test_a_silent_video(make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", sound=False)
    stylize_file(source, tmp_path / "out.mp4", invert)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [s.type for s in container.streams] == ["video"]


def test_no_strength_is_the_source_but_for_the_encoder(
    clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    stylize_file(clip, tmp_path / "out.mp4", invert, look=Look(0))
    with VideoSource(clip) as source:
        sink = VideoSink(tmp_path / "again.mp4", source.info)
        for frame in source:
            sink.write(frame)
        sink.finish()
    for one, other in zip(pictures(tmp_path / "out.mp4"), pictures(tmp_path / "again.mp4"), strict=True):
        # The colour converter rounds by how its memory happens to be aligned, and the encoder
        # goes on from there: the same picture, not the same bytes.
        assert np.abs(one - other).mean() < 0.5
    for one, other in zip(pictures(tmp_path / "out.mp4"), pictures(clip), strict=True):
        assert np.abs(one - other).mean() < 5


def test_kept_colours_reach_the_file(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    stylize_file(clip, tmp_path / "out.mp4", invert, look=Look(keep_colors=True))
    one, other = (
        cv2.cvtColor(pictures(p)[0].astype(np.uint8), cv2.COLOR_BGR2YCrCb).astype(int)
        for p in (tmp_path / "out.mp4", clip)
    )
    assert np.abs(one[..., 0] - (255 - other[..., 0])).mean() < 25  # lightness is the style's
    assert np.abs(one[..., 1:] - other[..., 1:]).mean() < 25  # chroma the source's


@pytest.mark.parametrize("space", ["bt709", "smpte170m", "unspecified"])
def test_colours_come_back_whatever_their_matrix(space: str, invert: StyleSession, tmp_path: Path) -> None:
    """Primary colours go through a file of each matrix and come out as they went in."""
    from av.video.reformatter import Colorspace

    source = tmp_path / "in.mp4"
    number, matrix = {
        "bt709": (1, Colorspace.ITU709),
        "smpte170m": (6, Colorspace.ITU601),
        "unspecified": (2, Colorspace.ITU601),
    }[space]
    bars = np.zeros((64, 96, 3), np.uint8)
    for index, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200)]):
        bars[:, index * 32 : index * 32 + 32] = colour
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.colorspace = number
        stream.options = {"crf": "4"}
        frame = av.VideoFrame.from_ndarray(bars, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=matrix)
        frame.colorspace = number
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    stylize_file(source, tmp_path / "out.mp4", invert, look=Look(0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == number
    got = pictures(tmp_path / "out.mp4")[0]
    for x in (16, 48, 80):
        assert np.abs(got[32, x, ::-1] - bars[32, x]).max() <= 6


def test_the_first_frames_only(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    result = stylize_file(clip, tmp_path / "out.mp4", invert, max_frames=5)
    assert result.frames == 5
    assert len(times(result.output)) == 5
    assert max(start for start, _ in sound(result.output)) < 5 / 30
    assert set(sound(result.output)) <= set(sound(clip))
    with pytest.raises(SourceError, match="at least 1"):
        stylize_file(clip, tmp_path / "none.mp4", invert, max_frames=0)


def test_hooks_see_every_frame(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    seen: list[str] = []
    hooks = Hooks(on_start=lambda info: seen.append(f"{info.frame_count}"), on_frame=lambda: seen.append("f"))
    stylize_file(clip, tmp_path / "out.mp4", invert, hooks=hooks)
    assert seen == ["12"] + ["f"] * 12


def test_another_thread_stops_a_job(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    stop = threading.Event()
    stopper = threading.Thread(target=stop.set)

    def on_start(_: VideoInfo) -> None:
        stopper.start()
        stopper.join()

    with pytest.raises(JobStopped, match=r"^stopped: what was done is in .*; 1 frame is kept in ") as stopped:
        stylize_file(clip, tmp_path / "o.mkv", invert, hooks=Hooks(on_start), stop=stop)
    assert stopped.value.part == tmp_path / "o.part.mkv"
    assert 1 <= len(times(tmp_path / "o.part.mkv")) < 12
    with pytest.raises(JobStopped, match=r"^stopped: nothing was written$"):
        stylize_file(clip, tmp_path / "p.mkv", invert, stop=stop)
    assert not list(tmp_path.glob("*p.mkv*"))
    assert stylize_file(clip, tmp_path / "o.mkv", invert, resume=True).frames == 12


def test_a_job_that_is_stopped_leaves_the_loop_it_is_awaited_in(
    clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()

    async def awaited() -> str:
        try:
            await asyncio.to_thread(stylize_file, clip, tmp_path / "o.mkv", invert, stop=stop)
        except StylizeError as error:
            return str(error)
        return ""

    assert asyncio.run(awaited()) == "stopped: nothing was written"


def test_what_is_no_session_or_number_is_told(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    with pytest.raises(StylizeError, match=r"^a session is what open_session returns, got str$"):
        stylize_file(clip, tmp_path / "o.mp4", "photo")  # type: ignore[arg-type]  # as mypy says, too
    with pytest.raises(StylizeError, match=r"^a session is what open_session returns, got str$"):
        stylize_frames([], "photo")  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"the number of frames must be at least 1, got 1\.5"):
        stylize_file(clip, tmp_path / "o.mp4", invert, max_frames=1.5)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"the number of frames must be at least 1, got '2'$"):
        stylize_file(clip, tmp_path / "o.mp4", invert, max_frames="2")  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(Hooks())) == Hooks()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"look": {"strength": 0.5}}, "look must be of the type Look, got {'strength': 0.5}"),
        ({"smooth": None}, "smooth must be between 0 (off) and 1, got None"),
        ({"working_size": 2}, "working_size must be of the type WorkingSize, got 2"),
        ({"edit": (1, 2)}, "edit must be of the type Edit, got (1, 2)"),
        ({"encoding": "hevc"}, "encoding must be of the type Encoding, got 'hevc'"),
        ({"raw": "64x48"}, "raw must be of the type RawFormat, got '64x48'"),
        ({"hooks": None}, "hooks must be of the type Hooks, got None"),
        ({"stop": 3}, "stop must be a threading.Event, got 3"),
    ],
)
def test_settings_of_another_type_are_told(
    given: dict[str, Any], sentence: str, clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    with pytest.raises(StylizeError) as told:
        stylize_file(clip, tmp_path / "o.mp4", invert, **given)
    assert str(told.value) == sentence
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_told_before_the_first_frame(invert: StyleSession) -> None:
    with pytest.raises(StylizeError, match="look must be of the type Look, got 0"):
        stylize_frames([], invert, 0)  # type: ignore[arg-type]
    with pytest.raises(StylizeError, match="3"):
        stylize_frames([], invert, smooth=3)
    with pytest.raises(StylizeError, match=r"scale must be of the type Scale, got '64x48'"):
        stylize_picture("in.png", "out.png", invert, scale="64x48")  # type: ignore[arg-type]


def test_the_bundled_clip_in_the_bundled_style(tmp_path: Path) -> None:
    demo = ROOT / "assets" / "demo.mp4"
    session = StyleSession(Style.load("photo"), "cpu")
    stylize_file(demo, tmp_path / "out.mp4", session, max_frames=3)
    source, stylized = pictures(demo)[0], pictures(tmp_path / "out.mp4")[0]
    assert np.abs(stylized - source).mean() > 15
    one, other = (cv2.cvtColor(p.astype(np.uint8), cv2.COLOR_BGR2GRAY).ravel() for p in (source, stylized))
    assert np.corrcoef(one, other)[0, 1] > 0.5  # the content is still there


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("text.mp4", b"I am a text file.\n" * 50, "not a video"),
        ("empty.mp4", b"", "not a video"),
    ],
)
def test_files_that_are_no_video(
    name: str, content: bytes, sentence: str, invert: StyleSession, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        stylize_file(tmp_path / name, tmp_path / "out.mp4", invert)
    assert_nothing_left_but(tmp_path, name)


def test_sound_without_pictures(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(tmp_path / "sound.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    with pytest.raises(SourceError, match="no video in it"):
        stylize_file(tmp_path / "sound.mp4", tmp_path / "out.mp4", invert)


def test_a_video_without_frames(make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "in.mkv", sound=False).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[:700])  # the header, and nothing of a picture
    with pytest.raises(SourceError, match=r"cut\.mkv"):
        stylize_file(tmp_path / "cut.mkv", tmp_path / "out.mp4", invert)
    assert_nothing_left_but(tmp_path, "in.mkv", "cut.mkv")


def test_a_job_without_frames_leaves_nothing(
    clip: Path, invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VideoSource, "__iter__", lambda _: iter(()))
    with pytest.raises(SourceError, match=r"clip\.mp4 has no frame in the part asked for"):
        stylize_file(clip, tmp_path / "out.mp4", invert)
    assert_nothing_left_but(tmp_path)


def test_missing_sources_and_folders(invert: StyleSession, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        stylize_file(tmp_path / "none.mp4", tmp_path / "out.mp4", invert)
    with pytest.raises(SourceError, match="not a file"):
        stylize_file(tmp_path, tmp_path / "out.mp4", invert)


def test_outputs_that_must_not_be_written(clip: Path, tmp_path: Path) -> None:
    existing = tmp_path / "old.mp4"
    existing.write_bytes(b"precious")
    with pytest.raises(SinkError, match="already exists; pass -y"):
        check_output(existing, clip, overwrite=False)
    check_output(existing, clip, overwrite=True)
    with pytest.raises(SinkError, match="is one of the inputs"):
        check_output(clip, clip, overwrite=True)
    with pytest.raises(SinkError, match="is a folder"):
        check_output(tmp_path, clip, overwrite=True)
    with pytest.raises(SinkError, match="does not exist"):
        check_output(tmp_path / "no" / "out.mp4", clip, overwrite=True)


class FailingSession(StyleSession):
    """Stylizes a few frames, then raises."""

    def __init__(self, error: BaseException, *, after: int) -> None:
        self._error, self._left = error, after
        self.failed = False
        self.style, self.input_range, self.at_once = Style.load("photo"), 1, 1

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left < 0:
            self.failed = True
            raise self._error
        return frame


def test_an_existing_file_survives_a_failure(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(StyleError, match=r"broken; 4 frames are kept in .*\.out\.mp4\.resume"):
        stylize_file(
            clip, tmp_path / "out.mp4", FailingSession(StyleError("broken"), after=4), overwrite=True
        )
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert_nothing_left_but(tmp_path, "out.mp4", ".out.mp4.resume")


def test_an_interruption_leaves_a_playable_part(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    session = FailingSession(KeyboardInterrupt(), after=7)
    with pytest.raises(JobInterrupted, match=r"what was done is in .*out\.part\.mp4") as caught:
        stylize_file(clip, tmp_path / "out.mp4", session, overwrite=True)
    assert caught.value.part == tmp_path / "out.part.mp4"
    assert len(pictures(tmp_path / "out.part.mp4")) == 7
    assert sound(tmp_path / "out.part.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert_nothing_left_but(tmp_path, "out.mp4", "out.part.mp4", ".out.mp4.resume")


def test_ctrl_c_pressed_again_and_again_leaves_the_same_part(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete, write = VideoSink._complete, VideoSink.write
    session = FailingSession(KeyboardInterrupt(), after=7)
    presses: list[bool] = []

    def press() -> None:
        presses.append(True)
        signal.raise_signal(signal.SIGINT)

    def slow_write(sink: VideoSink, frame: TimedFrame) -> None:
        time.sleep(0.05)
        if session.failed:
            press()
        write(sink, frame)

    def impatient_complete(sink: VideoSink, *, whole: bool) -> None:
        press()
        complete(sink, whole=whole)

    monkeypatch.setattr(VideoSink, "write", slow_write)
    monkeypatch.setattr(VideoSink, "_complete", impatient_complete)
    with pytest.raises(JobInterrupted, match=r"what was done is in .*out\.part\.mp4"):
        stylize_file(clip, tmp_path / "out.mp4", session)
    assert len(presses) > 1
    assert len(pictures(tmp_path / "out.part.mp4")) == 7
    assert_nothing_left_but(tmp_path, "out.part.mp4", ".out.mp4.resume")


def test_ctrl_c_anywhere_leaves_a_whole_file_or_a_part_or_nothing(
    clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    session = StyleSession(Style.load(invert_style), "cpu", at_once=2)
    events, left = 0, 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal events, left
        events, left = events + 1, left - 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)
        return trace

    def ends_by(folder: Path) -> type[BaseException] | None:
        try:
            sys.settrace(trace)
            stylize_file(clip, folder / "out.mp4", session, smooth=0.5)
        except KeyboardInterrupt as interruption:
            return type(interruption)
        finally:
            sys.settrace(None)
        return None

    stylize_file(clip, tmp_path / "warm.mp4", session, smooth=0.5)
    events = 0
    folder = tmp_path / "whole"
    folder.mkdir()
    assert ends_by(folder) is None
    threads, ends = threading.active_count(), set()
    for place in range(events // 40, events, events // 20):
        folder = tmp_path / str(place)
        folder.mkdir()
        left = place
        ends.add(ends_by(folder))
        assert threading.active_count() == threads
        kept = sorted(path.name for path in folder.iterdir())
        assert kept in ([], ["out.mp4"], [".out.mp4.resume", "out.part.mp4"])
    assert {KeyboardInterrupt, JobInterrupted} <= ends


def test_ctrl_c_while_a_file_is_completed_does_not_undo_it(
    clip: Path, invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = VideoSink._complete

    def interrupted(sink: VideoSink, *, whole: bool) -> None:
        signal.raise_signal(signal.SIGINT)
        complete(sink, whole=whole)

    monkeypatch.setattr(VideoSink, "_complete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stylize_file(clip, tmp_path / "out.mp4", invert)
    assert len(pictures(tmp_path / "out.mp4")) == 12
    assert_nothing_left_but(tmp_path, "out.mp4")


@pytest.mark.parametrize("name", ["out.mp4", "out.webp"])
@pytest.mark.parametrize(
    "slow", ["stylize_video.video.sink.VideoSink._end", "stylize_video.video.sink.put_in_place"]
)
def test_a_part_that_nobody_waits_for_any_more_is_none(
    slow: str, name: str, clip: Path, invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first Ctrl-C stops the job at once, the second its part: no error, no part, no half file."""

    def press(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("stylize_video.interrupts._PATIENCE_SECONDS", 0)
    monkeypatch.setattr(slow, press)
    with pytest.raises(JobInterrupted, match="what was done was not completed") as caught:
        stylize_file(clip, tmp_path / name, invert, hooks=Hooks(on_frame=press))
    assert caught.value.part is None
    assert_nothing_left_but(tmp_path, *[".out.mp4.resume"] * (name == "out.mp4"))


def test_a_file_that_nobody_waits_for_any_more_is_discarded(
    clip: Path, invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_twice(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("stylize_video.interrupts._PATIENCE_SECONDS", 0)
    monkeypatch.setattr("stylize_video.video.sink.put_in_place", press_twice)
    with pytest.raises(JobInterrupted, match="what was done was not completed; 12 frames are kept"):
        stylize_file(clip, tmp_path / "out.mp4", invert)
    assert_nothing_left_but(tmp_path, ".out.mp4.resume")


def test_an_interruption_whose_part_cannot_be_kept_is_no_error(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stylize_video.video.sink.put_in_place", full)
    with pytest.raises(JobInterrupted, match=r"interrupted: writing .* failed: No space left") as caught:
        stylize_file(clip, tmp_path / "out.mp4", FailingSession(Terminated(), after=7))
    assert (caught.value.part, caught.value.signal_number) == (None, signal.SIGTERM)
    assert_nothing_left_but(tmp_path, ".out.mp4.resume")


def test_ctrl_c_while_a_file_is_opened_leaves_nothing(
    clip: Path, invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, container: object, *, window: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stylize_video.video.sink.StreamCopier", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stylize_file(clip, tmp_path / "out.mp4", invert)
    assert_nothing_left_but(tmp_path)


def test_an_interruption_before_the_first_frame_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(JobInterrupted, match="nothing was written"):
        stylize_file(clip, tmp_path / "out.mp4", FailingSession(KeyboardInterrupt(), after=0))
    assert_nothing_left_but(tmp_path)


@pytest.mark.parametrize("size", [0, 2000, 20_000])
def test_a_full_disk(size: int, make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=40, width=320, height=240)
    with pytest.raises(SinkError, match=r"out\.mp4.*(large|space)"), file_size_limit(size):
        stylize_file(source, tmp_path / "out.mp4", invert)
    kept = [".out.mp4.resume"] if size == 20_000 else []  # where some frames went onto the disk
    assert_nothing_left_but(tmp_path, "in.mp4", *kept)


def test_a_truncated_source_gives_what_it_has(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "in.mp4")
    with av.open(str(clip)) as source, av.open(str(tmp_path / "in.ts"), "w", format="mpegts") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole = (tmp_path / "in.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) // 2])
    result = stylize_file(tmp_path / "cut.ts", tmp_path / "out.mp4", invert)
    assert 1 <= result.frames < 12
    assert len(pictures(result.output)) == result.frames


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_videos_come_out_upright(
    degrees: int, clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    """Phones write sideways pictures and say so in the metadata."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed, and makes the turned video")
    turned = tmp_path / "turned.mp4"
    tag = f"rotate={degrees}"
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-c", "copy", "-metadata:s:v", tag, str(turned)]
    subprocess.run(command, check=True)
    with av.open(str(turned)) as container:
        rotation = next(container.decode(video=0)).rotation
    if rotation == 0:
        pytest.skip("this ffmpeg writes no rotation this way")
    stylize_file(turned, tmp_path / "out.mp4", invert)
    upright = np.rot90(pictures(clip)[0], rotation // 90)
    assert np.abs(255 - upright - pictures(tmp_path / "out.mp4")[0]).mean() < 8
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0
