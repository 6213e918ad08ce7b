"""What is written is never lost: not to a name that is taken, a crash or a full disk."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest

from interrupting import CtrlC
from stylize_video.errors import SinkError, StylizeError
from stylize_video.files import put_in_place
from stylize_video.frame import TimedFrame
from stylize_video.jobs.pipeline import Hooks, stylize_file
from stylize_video.live.recording_sink import RecordingSink
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video import sink as sink_module
from stylize_video.video.info import VideoInfo, Window
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource
from support import ROOT, MakeClip, draw_picture, file_size_limit

TIME_BASE = Fraction(1, 90_000)


def info(folder: Path, *, width: int = 64, height: int = 48) -> VideoInfo:
    return VideoInfo(
        path=folder,
        width=width,
        height=height,
        time_base=TIME_BASE,
        start_pts=0,
        rate=Fraction(30),
    )


def live_sink(path: Path, *, width: int = 64, height: int = 48) -> VideoSink:
    return RecordingSink(path, info(path.parent, width=width, height=height))


def sink_of(live: bool, path: Path, *, overwrite: bool = False) -> VideoSink:
    if live:
        return RecordingSink(path, info(path.parent), overwrite=overwrite)
    return VideoSink(path, info(path.parent), overwrite=overwrite, copy_streams=False)


def write(sink: VideoSink, frames: range, *, width: int = 64, height: int = 48, step: int = 3000) -> None:
    for number in frames:
        sink.write(TimedFrame(number * step, draw_picture(number, width, height)))


def times_of(path: Path) -> list[float]:
    """Of the frames that there are, also where a last one is broken off."""
    times: list[float] = []
    with av.open(str(path)) as container, contextlib.suppress(av.error.InvalidDataError):
        times.extend(float(frame.time or 0) for frame in container.decode(video=0))
    return times


def boxes_of(path: Path) -> list[bytes]:
    """The kinds of an MP4's outermost boxes."""
    content, place, kinds = path.read_bytes(), 0, []
    while place < len(content):
        kinds.append(content[place + 4 : place + 8])
        place += int.from_bytes(content[place : place + 4], "big")
    return kinds


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("live", [False, True])
def test_a_name_that_is_taken_meanwhile_costs_nothing(live: bool, tmp_path: Path) -> None:
    sinks = [sink_of(live, tmp_path / "out.mp4") for _ in "ab"]
    for count, sink in enumerate(sinks, 8):
        write(sink, range(count))
    (tmp_path / "out.mp4").write_bytes(b"somebody else's")
    for sink in sinks:
        if live:  # a recording; what failed would be made again
            assert sink.finish(whole=False).name in ("out.new.mp4", "out.new2.mp4")
            continue
        with pytest.raises(SinkError, match=r"out\.mp4 was taken meanwhile; .* in .*out\.new2?\.mp4$"):
            sink.finish(whole=False)
    (tmp_path / "out.part.mp4").write_bytes(b"somebody else's")
    for sink in sinks:
        sink.discard()
    assert names_in(tmp_path) == ["out.mp4", "out.new.mp4", "out.new2.mp4", "out.part.mp4"]
    assert [len(times_of(tmp_path / f"out.new{number}.mp4")) for number in ("", "2")] == [8, 9]
    assert (tmp_path / "out.mp4").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("live", [False, True])
def test_a_name_that_is_taken_at_the_last_moment_is_left_alone(
    live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recordings that were finished at once had one name: one took the place of the other."""
    sink = sink_of(live, tmp_path / "out.mp4")
    write(sink, range(8))
    check = sink_module.check_output

    def taken_behind(output: Path, source: Path, *, overwrite: bool) -> None:
        check(output, source, overwrite=overwrite)
        output.write_bytes(b"somebody else's")

    monkeypatch.setattr(sink_module, "check_output", taken_behind)
    with contextlib.suppress(SinkError):  # which a recording does not raise
        sink.finish(whole=False)
    assert names_in(tmp_path) == ["out.mp4", "out.new.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"somebody else's"
    assert len(times_of(tmp_path / "out.new.mp4")) == 8


@pytest.mark.parametrize("live", [False, True])
def test_a_part_takes_no_place_of_one_that_came_at_the_last_moment(
    live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C reaches all that were started together."""
    sink = sink_of(live, tmp_path / "out.mp4")
    write(sink, range(8))
    free_name = sink_module.free_name
    taken: list[Path] = []

    def taken_behind(output: Path, word: str) -> Path:
        path = free_name(output, word)
        if not taken:
            path.write_bytes(b"somebody else's")
            taken.append(path)
        return path

    monkeypatch.setattr(sink_module, "free_name", taken_behind)
    part = sink.keep_part()
    assert part is not None
    assert len(times_of(part)) == 8
    assert taken[0].read_bytes() == b"somebody else's"


def test_a_link_that_leads_to_no_file_yet_stays_one(tmp_path: Path) -> None:
    """Its name was taken for somebody else's file, once all frames were encoded."""
    (tmp_path / "out.mp4").symlink_to(tmp_path / "disk" / "real.mp4")
    (tmp_path / "disk").mkdir()
    with sink_of(False, tmp_path / "out.mp4") as sink:
        write(sink, range(3))
    assert (tmp_path / "out.mp4").is_symlink()
    assert names_in(tmp_path) == ["disk", "out.mp4"]
    assert len(times_of(tmp_path / "disk" / "real.mp4")) == 3


def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    sink = sink_of(False, tmp_path / "gone" / "out.mp4")
    write(sink, range(3))
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(SinkError, match=r"writing .*out\.mp4 failed: No such file or directory; nothing was"):
        sink.finish()
    assert not names_in(tmp_path)


def test_a_job_whose_name_is_taken_meanwhile_says_where_the_result_is(
    clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    session = StyleSession(Style.load(invert_style), "cpu")
    with pytest.raises(SinkError, match=r"the whole video is in .*out\.new\.mp4$"):
        stylize_file(clip, output, session, hooks=Hooks(on_frame=lambda: output.mkdir(exist_ok=True)))
    assert names_in(tmp_path) == ["out.mp4", "out.new.mp4"]
    assert len(times_of(tmp_path / "out.new.mp4")) == 12


def test_sound_of_a_part_ends_with_its_last_frame(make_clip: MakeClip, tmp_path: Path) -> None:
    """Which was shown as long as the one before, where frames come slower and slower."""
    pts = [*range(0, 300, 30), 400, 700, 1000, 1300]
    source = make_clip(tmp_path / "in.mp4", frames=len(pts), pts=pts, time_base=Fraction(1, 1000))
    with VideoSource(source) as video:
        sink = VideoSink(tmp_path / "out.mp4", video.info)
        for frame in islice(video, 12):
            sink.write(frame)
    part = sink.keep_part()
    assert part is not None
    with av.open(str(part)) as container:
        sound = [
            float((p.pts + (p.duration or 0)) * p.time_base)
            for p in container.demux(audio=0)
            if p.pts is not None
        ]
    assert max(sound) == pytest.approx(1.0, abs=0.05)


def test_pictures_and_sound_before_0_are_in_an_mp4(make_clip: MakeClip, tmp_path: Path) -> None:
    """All begins later by as much."""
    source = make_clip(tmp_path / "in.mp4", frames=30)
    with VideoSource(source) as video:
        before, length = Fraction(1, 2), video.info.end
        early = replace(video.info, window=Window(shift=before))
        with VideoSink(tmp_path / "out.mp4", early) as sink:
            for frame in video:
                sink.write(replace(frame, pts=frame.pts - round(before / early.time_base)))
    assert length is not None
    assert times_of(tmp_path / "out.mp4") == pytest.approx(times_of(source))
    with av.open(str(tmp_path / "out.mp4")) as container, av.open(str(source)) as original:
        heard, known = (
            [float(p.pts * p.time_base) for p in file.demux(audio=0) if p.pts is not None]
            for file in (container, original)
        )
        assert heard == pytest.approx(known, abs=1e-3)
        assert container.duration == original.duration


def test_another_name_of_the_source_is_the_source(clip: Path, tmp_path: Path) -> None:
    source, link = tmp_path / "in.mp4", tmp_path / "out.mp4"
    source.write_bytes(clip.read_bytes())
    os.link(source, link)
    with VideoSource(source) as video, pytest.raises(SinkError, match="is one of the inputs"):
        VideoSink(link, video.info, overwrite=True)
    assert link.read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("step", [3000, 90_000])
@pytest.mark.parametrize("count", [1, 2, 30, 31, 32, 33])
def test_a_live_file_is_a_plain_one_in_the_end(step: int, count: int, tmp_path: Path) -> None:
    for live in (False, True):
        sink = sink_of(live, tmp_path / f"{live}.mp4")
        write(sink, range(count), step=step)
        sink.finish(whole=False)
    assert names_in(tmp_path) == ["False.mp4", "True.mp4"]
    assert times_of(tmp_path / "True.mp4") == times_of(tmp_path / "False.mp4")
    assert len(times_of(tmp_path / "True.mp4")) == count
    assert sorted(boxes_of(tmp_path / "True.mp4")) == [b"free", b"ftyp", b"mdat", b"moov"]
    # x264 says how many frames wait for each other in it: none where a thread takes a slice.
    content = (tmp_path / "True.mp4").read_bytes()
    assert b"sliced_threads=1" in content or b" threads=1 " in content
    assert (tmp_path / "True.mp4").stat().st_mode == (tmp_path / "False.mp4").stat().st_mode


def test_what_a_crash_would_leave_has_the_permissions_of_any_file(tmp_path: Path) -> None:
    sink = live_sink(tmp_path / "out.mp4")
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.part.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode
    sink.discard()


@pytest.mark.parametrize("live", [False, True])
def test_the_longest_name_that_a_file_may_have(live: bool, tmp_path: Path) -> None:
    output = tmp_path / f"{'n' * 251}.mp4"
    sink = sink_of(live, output)
    write(sink, range(3))
    assert sink.finish(whole=False) == output
    sink = sink_of(live, output, overwrite=True)
    write(sink, range(3))
    part = sink.keep_part()
    assert part is not None
    assert part.name.startswith("nnn")
    assert ".part" in part.name
    assert names_in(tmp_path) == sorted([output.name, part.name])


CRASHED = [".mp4", ".mov", ".mkv", ".webm", ".ts", ".avi"]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one for each container, where a process was killed after 400 frames."""
    folder = tmp_path_factory.mktemp("crashed")
    for suffix in CRASHED:
        (folder / suffix).mkdir()
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from test_sink import CRASHED, live_sink, write\n"
        "sinks = [live_sink(Path(sys.argv[1]) / suffix / f'out{suffix}') for suffix in CRASHED]\n"
        "for index in range(400):\n"
        "    for sink in sinks:\n"
        "        write(sink, range(index, index + 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folders = f"{ROOT / 'tests'}:{Path(__file__).parent}"
    killed = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={**os.environ, "PYTHONPATH": folders},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("suffix", CRASHED)
def test_a_crash_leaves_a_playable_part(suffix: str, crashed: Path) -> None:
    assert names_in(crashed / suffix) == [f"out.part{suffix}"]
    assert len(times_of(crashed / suffix / f"out.part{suffix}")) > 150


def test_a_full_disk_leaves_what_came_before(tmp_path: Path) -> None:
    sink = live_sink(tmp_path / "out.mp4", width=320, height=240)
    with file_size_limit(100_000):
        with pytest.raises(SinkError, match=r"what came before is in .*out\.part\.mp4$"):
            write(sink, range(400), width=320, height=240)
        sink.discard()
    assert names_in(tmp_path) == ["out.part.mp4"]
    assert len(times_of(tmp_path / "out.part.mp4")) > 30


def test_a_disk_that_is_full_from_the_start_leaves_nothing(tmp_path: Path) -> None:
    with file_size_limit(0), pytest.raises(SinkError, match="nothing was kept"):
        write(live_sink(tmp_path / "out.mp4"), range(400))
    assert not names_in(tmp_path)


def test_a_block_finishes_the_file_and_an_error_in_it_leaves_nothing(tmp_path: Path) -> None:
    with VideoSink(str(tmp_path / "out.mp4"), info(tmp_path), copy_streams=False) as sink:
        write(sink, range(3))
    with VideoSink(tmp_path / "finished.mp4", info(tmp_path), copy_streams=False) as sink:
        write(sink, range(3))
        sink.finish(whole=False)
    with (
        pytest.raises(ZeroDivisionError),
        VideoSink(tmp_path / "failed.mp4", info(tmp_path), copy_streams=False) as sink,
    ):
        write(sink, range(1 // 0))
    assert names_in(tmp_path) == ["finished.mp4", "out.mp4"]
    assert len(times_of(tmp_path / "out.mp4")) == 3


@pytest.mark.parametrize("live", [False, True])
def test_without_a_frame_a_file_that_is_there_stays(live: bool, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"good")
    with (
        pytest.raises(SinkError, match=r"no frame was written to .*out\.mp4"),
        sink_of(live, tmp_path / "out.mp4", overwrite=True),
    ):
        pass
    assert (tmp_path / "out.mp4").read_bytes() == b"good"
    assert names_in(tmp_path) == ["out.mp4"]


def test_what_is_no_frame_of_the_video_is_told_at_once(tmp_path: Path) -> None:
    sink = sink_of(False, tmp_path / "out.mp4")
    write(sink, range(2))
    picture = draw_picture(2, 64, 48)
    with pytest.raises(StylizeError, match=r"are TimedFrame\(pts, image\), got ndarray"):
        sink.write(picture)  # type: ignore[arg-type]  # as mypy says, too
    with pytest.raises(SinkError, match=r"are \[48, 64, 3\], got \[64, 48, 3\]"):
        sink.write(TimedFrame(6000, draw_picture(2, 48, 64)))
    for pts in (0, 3000):
        with pytest.raises(SinkError, match=rf"rise from frame to frame, got {pts} after 3000"):
            sink.write(TimedFrame(pts, picture))
    sink.write(TimedFrame(6000, picture))
    assert len(times_of(sink.finish())) == 3
    for once_more in (sink.finish, lambda: sink.write(TimedFrame(9000, picture))):
        with pytest.raises(SinkError, match="was finished or given up already"):
            once_more()
    assert names_in(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("name", ["av.open", "VideoEncoder", "StreamCopier"])
def test_what_cannot_be_opened_leaves_nothing_and_is_told(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(f"stylize_video.video.sink.{name}", fail)
    with pytest.raises(SinkError, match=r"cannot write .*out\.mp4: no space left"):
        VideoSink(tmp_path / "out.mp4", replace(info(tmp_path), path=clip))
    assert not names_in(tmp_path)


def test_ctrl_c_at_any_moment_of_keeping_a_part_is_harmless(tmp_path: Path) -> None:
    kept = place = 0
    has_come = True
    while has_come:
        sink = VideoSink(tmp_path / "out.mp4", info(tmp_path), copy_streams=False)
        write(sink, range(3))
        place += 7
        ctrl_c = CtrlC(place)
        part: Path | None = None
        try:
            with ctrl_c.coming():
                part = sink.keep_part()
        except KeyboardInterrupt:  # before it began, or after it ended
            part = None
        has_come = ctrl_c.left <= 0
        for path in tmp_path.glob("*.part*.mp4"):
            kept += 1
            assert len(times_of(path)) == 3
            path.unlink()
        if part is None:
            sink.discard()
        assert not names_in(tmp_path)
    assert kept > 5


@pytest.mark.parametrize("pts", [0.4, None, "1", 2**70])
def test_time_stamps_are_whole_numbers(pts: Any, tmp_path: Path) -> None:
    """Seconds, say, would be cut off to 0, 0, 0 and 1."""
    with VideoSink(tmp_path / "o.mp4", info(tmp_path), copy_streams=False) as sink:
        with pytest.raises(SinkError, match=r"time stamps of .*o\.mp4 are whole numbers of 1/\d+ s, got "):
            sink.write(TimedFrame(pts, draw_picture(0, 64, 48)))
        with pytest.raises(StylizeError, match=r"frames are uint8 \[H, W, 3\] BGR, got list"):
            sink.write(TimedFrame(0, draw_picture(0, 64, 48).tolist()))
        sink.write(TimedFrame(np.int64(0), draw_picture(0, 64, 48)))  # type: ignore[arg-type]  # a whole number all the same


def test_a_sink_that_nobody_finishes_leaves_nothing(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.mp4", info(tmp_path), copy_streams=False)
    sink.write(TimedFrame(0, draw_picture(0, 64, 48)))
    assert list(tmp_path.iterdir())
    del sink
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_forked_process_leaves_the_file_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with a copy of the sink that the other one still writes with."""
    sink = sink_of(False, tmp_path / "o.mp4")
    write(sink, range(3))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    del sink
    gc.collect()
    assert len(names_in(tmp_path)) == 1


def test_a_finished_file_has_let_go_of_its_source(clip: Path, tmp_path: Path) -> None:
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("this system does not say which files are open")
    with VideoSource(clip) as video:
        sink = VideoSink(tmp_path / "out.mp4", video.info)
        for frame in video:
            sink.write(frame)
    sink.finish()
    assert clip.resolve() not in [link.resolve() for link in open_files.iterdir()]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"no file can be called '.*o\\x00\.mp4'"):
        VideoSink(tmp_path / "o\0.mp4", info(tmp_path), copy_streams=False)


def test_ctrl_c_waits_until_the_file_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(temporary: Path, path: Path, *, replace: bool) -> None:
        signal.raise_signal(signal.SIGINT)
        put_in_place(temporary, path, replace=replace)

    monkeypatch.setattr("stylize_video.video.sink.put_in_place", interrupted)
    sink = sink_of(False, tmp_path / "out.mp4")
    write(sink, range(3))
    with pytest.raises(KeyboardInterrupt):
        sink.finish()
    assert len(times_of(tmp_path / "out.mp4")) == 3
    assert os.listdir(tmp_path) == ["out.mp4"]
