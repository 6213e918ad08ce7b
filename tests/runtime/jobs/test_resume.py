"""A job that is killed goes on: every frame once, the same times, the same sound."""

from __future__ import annotations

import inspect
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media import Coding, write_video
from stylize_video.effects.look import Look
from stylize_video.errors import SinkError, StyleError
from stylize_video.frame import Frame
from stylize_video.jobs.options import Options
from stylize_video.jobs.pipeline import Hooks, stylize_file
from stylize_video.jobs.resume import fingerprint, job_facts
from stylize_video.resuming.journal import Journal, StaleJournalError, journal_path
from stylize_video.resuming.journal_format import MAGIC
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.styles.working_size import WorkingSize
from stylize_video.video.decoding import OpenCvReader, PyAvReader
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import ANIMATIONS, CODECS, Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.probe import probe
from stylize_video.video.source import VideoSource
from support import Command, MakeClip, command_line, draw_picture, file_size_limit, interrupted_run


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


class StoppingSession(StyleSession):
    """Stylizes some frames, then fails as a driver may."""

    def __init__(self, session: StyleSession, *, after: int) -> None:
        self.style, self.input_range, self.at_once = session.style, session.input_range, 1
        self._inner, self._left = session, after

    def stylize(self, frame: Frame) -> Frame:
        self._left -= 1
        if self._left < 0:
            raise StyleError("the driver is gone")
        return self._inner.stylize(frame)


def video_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [
            Fraction(f.pts) * f.time_base
            for f in container.decode(video=0)
            if f.pts is not None and f.time_base
        ]


def sound(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        if not container.streams.audio:  # some containers hold none
            return []
        packets = [p for p in container.demux(*container.streams.audio) if p.pts is not None]
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None]


def pictures(path: Path) -> list[np.ndarray]:
    with VideoSource(path) as source:
        return [frame.image.astype(int) for frame in source]


def numbered_clip(path: Path, count: int) -> Path:
    """Every frame shows its own number as its brightness, so that none can be taken for another."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "8", "g": "30", "bf": "3"}
        for index in range(count):
            image = np.full((96, 160, 3), 40 + index % 180, np.uint8)
            image[:, : 1 + index % 150] //= 2
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index * 40 + index % 3 * 7, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, codec in CODECS.items() if codec.suffixes[0] not in ANIMATIONS])
def test_a_failed_job_goes_on(name: str, make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    """With every codec, twice in a row: the result is as if nothing had happened."""
    pts = [500 + 33 * i + i % 3 * 5 for i in range(40)]
    source = make_clip(tmp_path / "in.mp4", frames=40, pts=pts, time_base=Fraction(1, 1000))
    output, whole = (tmp_path / f"{n}{CODECS[name].suffixes[0]}" for n in ("out", "whole"))
    stylize_file(source, whole, invert, encoding=Encoding(name))
    for stop in (13, 9):
        with pytest.raises(StyleError, match=r"driver is gone; \d+ frames are kept in .*--resume"):
            stylize_file(
                source, output, StoppingSession(invert, after=stop), encoding=Encoding(name), resume=True
            )
        assert not output.exists()
    resumed: list[int] = []
    result = stylize_file(
        source, output, invert, encoding=Encoding(name), resume=True, hooks=Hooks(on_resume=resumed.append)
    )
    assert resumed == [22]
    assert result.frames == 40
    assert video_times(output) == video_times(whole)
    assert sound(output) == sound(whole)
    for one, other in zip(pictures(output), pictures(whole), strict=True):
        assert np.abs(one - other).mean() < 8
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.mp4", output.name, whole.name])


def test_a_resumed_run_of_so_many_frames_has_no_more(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    source, output = make_clip(tmp_path / "in.mp4", frames=20), tmp_path / "out.mp4"
    with pytest.raises(StyleError, match="driver is gone"):
        stylize_file(source, output, StoppingSession(invert, after=3), max_frames=7)
    assert stylize_file(source, output, invert, resume=True, max_frames=7).frames == 7
    assert len(video_times(output)) == 7


def test_frames_that_avi_shows_late_are_in_a_resumed_run(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """A burst is shown until long after the frames behind it were due."""
    pts = [*range(0, 120, 4), *range(200, 2200, 100)]
    source = make_clip(tmp_path / "in.mp4", frames=len(pts), pts=pts, time_base=Fraction(1, 1000))
    whole, output = tmp_path / "whole.avi", tmp_path / "out.avi"
    stylize_file(source, whole, invert)
    for stop in (25, 9):
        with pytest.raises(StyleError):
            stylize_file(source, output, StoppingSession(invert, after=stop), resume=True)
    assert stylize_file(source, output, invert, resume=True).frames == len(pts)
    assert video_times(output) == video_times(whole)
    for one, other in zip(pictures(output), pictures(whole), strict=True):
        assert np.abs(one - other).mean() < 8


class FlickeringSession(StoppingSession):
    """Gets a little brighter and darker with the least noise of the source."""

    def stylize(self, frame: Frame) -> Frame:
        return np.asarray(super().stylize(frame) // 2 + int(frame.sum()) % 5 * 4, np.uint8)


def test_smoothing_has_its_past_in_a_resumed_run(invert: StyleSession, tmp_path: Path) -> None:
    still, noise = draw_picture(0, 64, 48), np.random.default_rng(0).normal(0, 1, (40, 48, 64, 1))
    noisy = np.clip((still + noise) / 255, 0, 1)
    source = write_video(tmp_path / "in.mkv", noisy, Coding("ffv1", options={}))
    plain, whole, output = (tmp_path / f"{name}.mkv" for name in ("plain", "whole", "output"))
    flickering, lossless = FlickeringSession(invert, after=1000), Encoding("ffv1")
    stylize_file(source, plain, flickering, encoding=lossless)
    stylize_file(source, whole, flickering, smooth=1, encoding=lossless)
    interrupted_run(source, output, flickering, after=30, smooth=1, encoding=lossless)
    stylize_file(source, output, flickering, smooth=1, encoding=lossless, resume=True)
    for one, other in zip(pictures(output), pictures(whole), strict=True):
        assert np.abs(one - other).max() <= 2  # where a trace stops
    assert np.abs(pictures(whole)[30] - pictures(plain)[30]).mean() > 2


@pytest.mark.parametrize(
    ("pts", "start"),
    [
        ([*range(6), *range(150, 156)], None),  # 30 a second
        ([*range(6), *range(600, 606)], None),
        ([*range(6), *range(600, 606)], Fraction(2)),
        ([*range(6), *range(300, 306), 900], None),  # the last one stays as long as the one before it
    ],
    ids=["within seconds", "longer than a seek", "begun before the part", "the last one"],
)
def test_a_run_at_another_rate_goes_on_within_a_still(
    pts: list[int], start: Fraction | None, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """The frame that is shown for so long is read again."""
    source = make_clip(tmp_path / "in.mkv", frames=len(pts), pts=pts, sound=False)
    whole, output = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    how: dict[str, Any] = {"edit": Edit(start, fps=Fraction(10)), "encoding": Encoding("ffv1")}
    stylize_file(source, whole, invert, **how)
    count = len(video_times(whole))
    interrupted_run(source, output, invert, after=count - 12, **how)
    stylize_file(source, output, invert, resume=True, **how)
    assert video_times(output) == video_times(whole)
    for one, other in zip(pictures(output), pictures(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_at_another_rate_stylizes_little_again(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=150, sound=False)
    how: dict[str, Any] = {"edit": Edit(fps=Fraction(10)), "encoding": Encoding("ffv1")}
    interrupted_run(source, tmp_path / "out.mkv", invert, after=40, **how)
    stylize_file(source, tmp_path / "out.mkv", StoppingSession(invert, after=12), resume=True, **how)
    assert len(video_times(tmp_path / "out.mkv")) == 50


def test_a_still_in_avi_is_as_long_in_a_resumed_run(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """Longer than what is read again."""
    pts = [*range(6), *range(600, 606)]
    source = make_clip(tmp_path / "in.mp4", frames=12, pts=pts, sound=False)
    whole, output = tmp_path / "whole.avi", tmp_path / "out.avi"
    edit = Edit(fps=Fraction(5))
    stylize_file(source, whole, invert, edit=edit)
    interrupted_run(source, output, invert, after=80, edit=edit)
    stylize_file(source, output, invert, edit=edit, resume=True)
    assert video_times(output) == video_times(whole)


def test_a_resumed_avi_stylizes_little_again(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    source, output = make_clip(tmp_path / "in.mp4", frames=100, sound=False), tmp_path / "out.avi"
    interrupted_run(source, output, invert, after=80)
    stylize_file(source, output, StoppingSession(invert, after=70), resume=True)
    assert len(video_times(output)) == 100


def test_transparency_is_in_every_run(invert: StyleSession, tmp_path: Path) -> None:
    """Of VP9 it lies beside the packets."""
    source, output = tmp_path / "in.mkv", tmp_path / "out.webm"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgra"
        for index in range(20):
            picture = np.full((48, 64, 4), 90, np.uint8)
            picture[:, : 8 + index, 3] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgra")))
        container.mux(stream.encode(None))
    encoding = Encoding(alpha=True, bitrate=2_000_000)
    with pytest.raises(StyleError):
        stylize_file(source, output, StoppingSession(invert, after=9), encoding=encoding)
    stylize_file(source, output, invert, encoding=encoding, resume=True)
    with VideoSource(source, alpha=True) as before, VideoSource(output, alpha=True) as after:
        for one, other in zip(before, after, strict=True):
            assert one.alpha is not None
            assert other.alpha is not None
            assert np.abs(one.alpha.astype(int) - other.alpha).mean() < 6


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), smooth=st.sampled_from([0.0, 0.5]))
def test_a_journal_cut_anywhere_gives_every_frame_once(
    cut: float, smooth: float, invert: StyleSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A kill or a power cut leaves any prefix of what was written, or damages its end."""
    folder = tmp_path_factory.mktemp("cut")
    source = numbered_clip(folder / "in.mp4", 70)
    output = folder / "out.mp4"
    with pytest.raises(StyleError):
        stylize_file(source, output, StoppingSession(invert, after=60), smooth=smooth)
    journal = journal_path(output)
    content = bytearray(journal.read_bytes())
    keep = round(len(content) * cut)
    journal.write_bytes(content[:keep] + os.urandom(50))
    stylize_file(source, output, invert, smooth=smooth, resume=True)
    assert len(video_times(output)) == 70
    for one, other in zip(pictures(output), pictures(source), strict=True):
        assert np.abs(255 - other - one).mean() < 3


@pytest.mark.parametrize("opener", [OpenCvReader, PyAvReader])
@pytest.mark.parametrize("index", [0, 3, 29, 30, 61, 100, 118])
def test_a_source_goes_on_exactly_behind_a_time(
    opener: type[OpenCvReader | PyAvReader], index: int, tmp_path: Path
) -> None:
    path = numbered_clip(tmp_path / "in.mp4", 120)
    with VideoSource(path) as source:
        everything = list(source)
    with VideoSource(path) as source:
        source._reader.close()
        source._reader = opener(str(path), probe(str(path)))
        source._begin_with(None)
        source.skip_past(everything[index].pts)
        rest = list(source)
    assert [f.pts for f in rest] == [f.pts for f in everything[index + 1 :]]
    for one, other in zip(rest, everything[index + 1 :], strict=True):
        assert np.abs(one.image.astype(int) - other.image).mean() < 1


def start_job(source: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command_line("stylize_video.cli:main"), str(source), "--device", "cpu", *options],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_size(path: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.02)


def test_killed_twice_and_resumed(command_here: Command, make_clip: MakeClip, tmp_path: Path) -> None:
    """kill -9 at two moments: the result has every frame once, the source's times and its sound."""
    source = make_clip(tmp_path / "long.mp4", frames=400, width=320, height=240)
    output, journal = tmp_path / "long.photo.mp4", tmp_path / ".long.photo.mp4.resume"
    for size in (60_000, 160_000):
        job = start_job(source, "--resume")
        wait_for_size(journal, size)
        job.send_signal(signal.SIGKILL)
        job.communicate(timeout=30)
        assert job.returncode == -signal.SIGKILL
        assert not output.exists()
        if size == 60_000:
            refused = command_here("stylize-video", source)
            assert refused.returncode == 2
            assert "pass --resume to go on with it, or -y to start again" in refused.stderr
            other = command_here("stylize-video", source, "--resume", "--strength", 0.5)
            assert other.returncode == 2
            assert "interrupted run with another look" in other.stderr
    done = command_here("stylize-video", source, "--resume")
    assert done.returncode == 0, done.stderr
    assert "going on after " in done.stderr
    assert video_times(output) == pytest.approx(video_times(source), abs=1e-3)
    assert sound(output) == sound(source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.mp4", "long.photo.mp4"]


def test_a_batch_goes_on_where_it_was(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clip, tmp_path / name)
    (tmp_path / "a.invert.mp4").write_bytes(b"done before")
    done = command_here(
        "stylize-video", tmp_path / "a.mp4", tmp_path / "b.mp4", "-s", invert_style, "--resume"
    )
    assert done.returncode == 0, done.stderr
    assert "a.invert.mp4 is there already" in done.stderr
    assert (tmp_path / "a.invert.mp4").read_bytes() == b"done before"
    assert len(video_times(tmp_path / "b.invert.mp4")) == 12


@pytest.mark.parametrize("names", [["a.mp4"], ["a.mp4", "b.mp4"]])
@pytest.mark.parametrize("ray", [[], ["--ray", "local"]], ids=["here", "cluster"])
def test_what_is_done_opens_no_style(
    names: list[str],
    ray: list[str],
    command_here: Command,
    invert_style: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kill may come after the last file is in its place; a loop around --resume ends all the same."""
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).write_bytes(b"a video")
        Path(name).with_suffix(".invert.mp4").write_bytes(b"done before")
    monkeypatch.setattr("stylize_video.styles.variants.open_session", pytest.fail)
    done = command_here("stylize-video", *names, "-s", invert_style, "--resume", *ray)
    there = [f"{Path(name).with_suffix('.invert.mp4')} is there already" for name in names]
    assert (done.returncode, done.stderr.splitlines()) == (0, there)


def test_a_run_that_was_to_replace_a_result_is_not_forgotten(
    command_here: Command, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("a.mp4"), Path("a.invert.mp4"), journal_path(Path("a.invert.mp4"))):
        path.write_bytes(b"content")
    done = command_here("stylize-video", "a.mp4", "-s", invert_style, "--resume")
    there = "a.invert.mp4 is there already; -y --resume goes on with the run that was to replace it"
    assert (done.returncode, done.stderr.splitlines()) == (0, [there])


def test_the_source_is_no_result_that_is_done(command_here: Command, clip: Path, invert_style: Path) -> None:
    refused = command_here("stylize-video", clip, "-s", invert_style, "-o", clip, "--resume")
    assert refused.returncode == 2
    assert "is one of the inputs" in refused.stderr


# --- what is noticed ---------------------------------------------------------------------------


def interrupted(source: Path, output: Path, session: StyleSession) -> Path:
    with pytest.raises(StyleError):
        stylize_file(source, output, StoppingSession(session, after=5))
    return journal_path(output)


def test_stale_journals_are_told(
    clip: Path, make_clip: MakeClip, invert: StyleSession, swap_style: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    source = tmp_path / "in.mp4"
    shutil.copy(clip, source)
    output = tmp_path / "out.mp4"
    journal = interrupted(source, output, invert)
    before = journal.read_bytes()
    swap = StyleSession(Style.load(swap_style), "cpu")
    with pytest.raises(StaleJournalError, match="with another style"):
        stylize_file(source, output, swap, resume=True)
    with pytest.raises(StaleJournalError, match="with another look"):
        stylize_file(source, output, invert, resume=True, look=Look(0.3))
    with pytest.raises(StaleJournalError, match="with another encoding and another number of frames"):
        stylize_file(source, output, invert, resume=True, encoding=Encoding(crf=9), max_frames=7)
    with pytest.raises(StaleJournalError, match=r"5 frames in .*pass --resume"):
        stylize_file(source, output, invert)
    make_clip(source, frames=12, width=98)
    with pytest.raises(StaleJournalError, match="with another source"):
        stylize_file(source, output, invert, resume=True)
    assert journal.read_bytes() == before
    assert not caplog.messages
    stylize_file(source, output, swap)  # nobody asked to go on, and it is another job
    assert any("another source and another style is replaced" in m for m in caplog.messages)
    assert len(video_times(output)) == 12
    assert not journal.exists()


def test_starting_again(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    interrupted(clip, tmp_path / "out.mp4", invert)
    stylize_file(clip, tmp_path / "out.mp4", invert, overwrite=True)
    assert len(video_times(tmp_path / "out.mp4")) == 12
    assert not journal_path(tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("anew", [False, True])
def test_parts_of_interrupted_runs_go_when_the_whole_is_there(
    anew: bool, invert: StyleSession, tmp_path: Path
) -> None:
    source, output = numbered_clip(tmp_path / "in.mp4", 120), tmp_path / "out.mp4"
    parts = [interrupted_run(source, output, invert, after=50)]
    parts += [interrupted_run(source, output, invert, after=30, resume=True)]
    assert [part.name for part in parts] == ["out.part.mp4", "out.part2.mp4"]
    stylize_file(source, output, invert, resume=not anew, overwrite=anew)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("anew", [False, True])
def test_parts_are_known_after_a_kill_too(anew: bool, invert: StyleSession, tmp_path: Path) -> None:
    source, output = numbered_clip(tmp_path / "in.mp4", 120), tmp_path / "out.mp4"
    interrupted_run(source, output, invert, after=50)

    def as_if_killed(_: VideoInfo) -> None:
        shutil.copy(journal_path(output), tmp_path / "left")
        raise StyleError("killed")

    with pytest.raises(StyleError, match="killed"):
        stylize_file(
            source, output, invert, resume=not anew, overwrite=anew, hooks=Hooks(on_start=as_if_killed)
        )
    (tmp_path / "left").replace(journal_path(output))
    stylize_file(source, output, invert, resume=True)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]


def test_a_part_that_somebody_touched_stays(invert: StyleSession, tmp_path: Path) -> None:
    source, output = numbered_clip(tmp_path / "in.mp4", 120), tmp_path / "out.mp4"
    (tmp_path / "out.part.mp4").write_bytes(b"somebody else's")
    ours = interrupted_run(source, output, invert, after=50)
    assert ours.name == "out.part2.mp4"
    with ours.open("ab") as file:
        file.write(b"\0")
    stylize_file(source, output, invert, resume=True)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4", "out.part.mp4", "out.part2.mp4"]


def test_every_option_of_a_job_is_part_of_what_it_is(clip: Path, invert: StyleSession) -> None:
    """Whoever adds an option decides here whether it changes pixels."""
    how = {"overwrite", "resume"}
    how |= {"raw"}  # of standard input, which no later run can read again
    others: dict[str, Any] = {
        "look": Look(0.5),
        "smooth": 0.5,
        "working_size": WorkingSize(2),
        "edit": Edit(fps=Fraction(10)),
        "encoding": Encoding(crf=30),
        "max_frames": 7,
    }
    assert {f.name for f in fields(Options)} == how | set(others)
    usual = job_facts(clip, invert, Options())
    for name, value in others.items():
        assert job_facts(clip, invert, replace(Options(), **{name: value})) != usual


def test_a_style_of_another_range_is_another_job(clip: Path, invert_style: Path) -> None:
    sessions = [StyleSession(Style.load(invert_style), "cpu", input_range=top) for top in (1, 255)]
    one, other = (job_facts(clip, session, Options()) for session in sessions)
    assert {name for name in one if one[name] != other[name]} == {"style"}


def test_a_source_that_changed_anywhere_is_another_one(tmp_path: Path) -> None:
    path, size = tmp_path / "in.mp4", 500_000
    prints = set()
    for place in (None, 0, size // 2, size - 1):
        content = bytearray(size)
        if place is not None:
            content[place] = 1
        path.write_bytes(content)
        prints.add(fingerprint(path))
    assert len(prints) == 4


def test_settings_that_later_versions_add_make_no_other_job(clip: Path, invert: StyleSession) -> None:
    @dataclass(frozen=True)
    class LaterLook(Look):
        gloss: float = 0.0

    before = job_facts(clip, invert, Options(look=Look(0.5)))
    assert job_facts(clip, invert, Options(look=LaterLook(0.5))) == before
    assert job_facts(clip, invert, Options(look=LaterLook(0.5, gloss=1.0))) != before


def test_the_keywords_of_a_job_are_its_options() -> None:
    keywords = set(inspect.signature(stylize_file).parameters) - {
        "source",
        "output",
        "session",
        "hooks",
        "stop",
    }
    assert keywords == {f.name for f in fields(Options)}


def test_a_journal_of_another_version_is_kept(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    journal = interrupted(clip, output, invert)
    content = journal.read_bytes().replace(MAGIC, b"stylize-video journal 1\n", 1)
    journal.write_bytes(content)
    for resume in (True, False):
        with pytest.raises(StaleJournalError, match=r"left by another version of .*; pass -y to start again"):
            stylize_file(clip, output, invert, resume=resume)
        assert journal.read_bytes() == content
    assert stylize_file(clip, output, invert, overwrite=True).frames == 12
    assert not journal.exists()


def test_a_damaged_journal_is_no_journal(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    for content in (b"", b"junk" * 100, MAGIC + bytes(500)):
        journal_path(tmp_path / "out.mp4").write_bytes(content)
        stylize_file(clip, tmp_path / "out.mp4", invert, resume=True, overwrite=True)
        assert len(video_times(tmp_path / "out.mp4")) == 12


@pytest.fixture(params=["this system", "Windows"])
def locks_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks as this system has them, and as Windows does, by a stand-in for its module."""
    if request.param == "Windows":
        fcntl = pytest.importorskip("fcntl", reason="this system is Windows")
        places: set[int] = set()

        def locking(descriptor: int, mode: int, count: int) -> None:
            places.add(os.lseek(descriptor, 0, os.SEEK_CUR))
            assert len(places) == 1  # other bytes would be locked beside each other
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PermissionError(13, "Permission denied") from None

        monkeypatch.setitem(sys.modules, "fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(LK_NBLCK=2, locking=locking))


@pytest.mark.usefixtures("locks_of")
def test_one_process_at_a_time(tmp_path: Path) -> None:
    facts = {"source": "a"}
    first = Journal(tmp_path / "j", facts, time_base=Fraction(1, 25))
    with pytest.raises(SinkError, match="another process is writing"):
        Journal(tmp_path / "j", facts, time_base=Fraction(1, 25))
    first.remove()
    Journal(tmp_path / "j", facts, time_base=Fraction(1, 25)).remove()


def test_locks_are_missed_by_nobody_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    Journal(tmp_path / "j", {"source": "a"}, time_base=Fraction(1, 25)).remove()
    assert not (tmp_path / "j").exists()


def test_it_is_removed_while_it_is_locked_where_that_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another process could take it up in between, and lose it."""
    unlink = Path.unlink
    refused: list[str] = []

    def try_to_take_it(path: Path, missing_ok: bool = False) -> None:
        with pytest.raises(SinkError, match="another process is writing") as caught:
            Journal(path, {}, time_base=Fraction(1, 25), replace=True)
        refused.append(str(caught.value))
        unlink(path, missing_ok)

    journal = Journal(tmp_path / "j", {}, time_base=Fraction(1, 25))
    monkeypatch.setattr(Path, "unlink", try_to_take_it)
    journal.remove()
    assert refused
    assert not (tmp_path / "j").exists()


def test_one_that_somebody_holds_open_stays_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A virus scanner on Windows, say: the job is done all the same."""

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "it is being used by another process", str(path))

    journal = Journal(tmp_path / "j", {}, time_base=Fraction(1, 25))
    monkeypatch.setattr(Path, "unlink", refuse)
    journal.remove()
    assert caplog.messages == [f"{tmp_path / 'j'} could not be removed: it is being used by another process"]


def journal_of_frames(path: Path, count: int, content: bytes = b"x") -> Journal:
    journal = Journal(path, {"source": "a"}, time_base=Fraction(1, 25))
    journal.begin_run(None)
    for pts in range(count):
        journal.add_frame(pts)
        packet: av.Packet[Any] = av.Packet(content)
        packet.pts = packet.dts = pts
        packet.time_base = Fraction(1, 25)
        journal.add_packet(packet)
    return journal


def test_a_journal_that_cannot_be_read_for_a_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network's disk that fails is no empty journal."""

    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    facts, path = {"source": "a"}, tmp_path / "j"
    with journal_of_frames(path, 3) as journal, monkeypatch.context() as failing:
        failing.setattr("stylize_video.resuming.journal.read_contents", fail)
        assert journal.settle().endswith("j, which cannot be read just now (Input/output error)")
        with pytest.raises(OSError, match="Input/output error"):
            Journal(path, facts, time_base=Fraction(1, 25), resume=True)
    with Journal(path, facts, time_base=Fraction(1, 25), resume=True) as again:
        assert again.frames == 3


def test_a_journal_that_was_replaced_leaves_the_other_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with journal_of_frames(path, 3) as lost:
        path.unlink()
        with journal_of_frames(path, 2, b"other") as other:
            before = path.read_bytes()
            assert lost.settle() == f"what was done is lost: {path} was removed or replaced meanwhile"
            assert path.read_bytes() == before
            other.settle()
    with Journal(path, {"source": "a"}, time_base=Fraction(1, 25), resume=True) as again:
        assert [bytes(packet) for packet in again.packets()] == [b"other"] * 2


def test_nobody_goes_on_with_a_journal_that_is_just_put_back(tmp_path: Path) -> None:
    """A run that begins there would cut off what is not copied yet."""
    path, refusals = tmp_path / "j", []

    class Read(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if path.exists():
                with pytest.raises(SinkError, match="another process is writing") as refused:
                    Journal(path, {"source": "a"}, time_base=Fraction(1, 25), resume=True)
                refusals.append(refused)
            return super().read(size) or b""

    with journal_of_frames(path, 3) as journal:
        with journal._file as file:
            journal._file = Read(os.dup(file.fileno()), "r+b")
        path.unlink()
        assert journal.settle().startswith(f"3 frames are kept in {path}")
    assert refusals
    with Journal(path, {"source": "a"}, time_base=Fraction(1, 25), resume=True) as again:
        assert again.frames == 3


def test_what_comes_from_elsewhere_is_on_disk_within_seconds_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a folder that is gone is noticed."""
    monkeypatch.setattr("stylize_video.resuming.journal._SYNC_SECONDS", 0.0)
    with journal_of_frames(tmp_path / "a", 3) as run:
        content = run.content()
    with Journal(tmp_path / "j", {}, time_base=Fraction(1, 25)) as journal:
        assert journal.add_run(content) == 3
        (tmp_path / "j").unlink()
        with pytest.raises(FileNotFoundError):
            journal.add_run(content)


def test_what_comes_from_elsewhere_is_whole_and_gone_on_with(tmp_path: Path) -> None:
    with journal_of_frames(tmp_path / "a", 3) as run:
        content = run.content()
    with Journal(tmp_path / "j", {}, time_base=Fraction(1, 25)) as journal:
        for damaged in (content[:-3], content + b"junk", content[:20]):
            with pytest.raises(ValueError, match="came back damaged"):
                journal.add_run(damaged)
        assert (journal.frames, journal.last_pts) == (0, None)
        journal.add_run(content)
        assert (journal.frames, journal.last_pts) == (3, 2)
        journal.remove()


def test_packets_come_back_as_they_went_in(tmp_path: Path) -> None:
    """Players seek by the flag of keyframes, and some containers store nothing else of it."""
    packets = [(0, True), (2, False), (3, True)]
    with Journal(tmp_path / "j", {}, time_base=Fraction(1, 25)) as journal:
        journal.begin_run(None)
        for pts, is_keyframe in packets:
            packet: av.Packet[Any] = av.Packet(b"x" * (1 + pts))
            packet.pts = packet.dts = 10 * pts
            packet.time_base, packet.is_keyframe = Fraction(1, 250), is_keyframe
            journal.add_frame(pts)
            journal.add_packet(packet)
        found = [(p.pts, p.dts, p.is_keyframe, bytes(p)) for p in journal.packets()]
    assert found == [(pts, pts, is_key, b"x" * (1 + pts)) for pts, is_key in packets]


def test_a_job_that_is_done_removes_no_journal_but_its_own(tmp_path: Path) -> None:
    path = tmp_path / "j"
    done = journal_of_frames(path, 3)
    path.unlink()
    with journal_of_frames(path, 2):
        done.remove()
        assert path.exists()


def test_runs_of_two_versions_of_an_encoder_are_not_joined(tmp_path: Path) -> None:
    """Players read the packets of both by the header of one."""
    with journal_of_frames(tmp_path / "a", 3) as run:
        content = run.content()
    with Journal(tmp_path / "j", {}, time_base=Fraction(1, 25)) as journal:
        journal.begin_run(b"header")
        journal.add_frame(0)
        with pytest.raises(StaleJournalError, match="another machine encoded with another version"):
            journal.add_run(content)
    with Journal(tmp_path / "j", {}, time_base=Fraction(1, 25), resume=True) as journal:
        journal.begin_run(b"header")
        with pytest.raises(StaleJournalError, match="another version of the encoder; pass -y to start again"):
            journal.begin_run(b"other header")


def test_the_part_of_another_job_stays(tmp_path: Path) -> None:
    """What is in it is not in the result."""
    part = tmp_path / "out.part.mp4"
    part.write_bytes(b"of another style")
    with journal_of_frames(tmp_path / "j", 3) as journal:
        journal.add_part(part)
    with Journal(tmp_path / "j", {"source": "b"}, time_base=Fraction(1, 25), replace=True) as journal:
        journal.remove_parts()
    assert part.exists()


def test_a_journal_is_private_and_never_a_link(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", {"source": "a"}, time_base=Fraction(1, 25))
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600
    assert json.dumps({"source": "a"}).encode() in (tmp_path / "j").read_bytes()
    journal.remove()
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "j").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(tmp_path / "j", {}, time_base=Fraction(1, 25), replace=True)
    assert (tmp_path / "precious").read_bytes() == b"precious"


# --- disks and folders ---------------------------------------------------------------------------


def test_a_full_disk_loses_nothing(make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=120, width=160, height=120)
    output = tmp_path / "out.mp4"
    with (
        pytest.raises(SinkError, match=r"out\.mp4 failed: .*(large|space); \d+ frames are kept in"),
        file_size_limit(20_000),
    ):
        stylize_file(source, output, invert)
    resumed: list[int] = []
    stylize_file(source, output, invert, resume=True, hooks=Hooks(on_resume=resumed.append))
    assert 10 < resumed[0] < 120
    assert video_times(output) == pytest.approx(video_times(source), abs=1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk(
    command_here: Command, make_clip: MakeClip, invert_style: Path, small_disk: Path, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=120, width=320, height=240)
    done = command_here("stylize-video", source, "-s", invert_style, "-o", small_disk / "out.mp4", "-q")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "frames are kept in" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p.name for p in small_disk.iterdir()] == [".out.mp4.resume"]


def test_a_disk_without_room_for_the_completion(
    make_clip: MakeClip, invert: StyleSession, small_disk: Path, tmp_path: Path
) -> None:
    """The packets are in the journal and in the result for a moment."""
    source = make_clip(tmp_path / "in.mp4", frames=30, width=160, height=120)
    size = stylize_file(source, tmp_path / "whole.mp4", invert).output.stat().st_size
    filler = small_disk / "filler"
    filler.write_bytes(bytes(80_000 - size * 3 // 2))
    sentence = r"No space left on device; .*, 1 MB must be free to complete it; 30 frames are kept in"
    with pytest.raises(SinkError, match=sentence):
        stylize_file(source, small_disk / "out.mp4", invert)
    filler.unlink()
    stylize_file(source, small_disk / "out.mp4", invert, resume=True)
    with VideoSource(small_disk / "out.mp4") as video:
        assert len(list(video)) == 30
    # x264's threads decide a little differently each time: of one input come 22,376 to 22,534 bytes.
    assert (small_disk / "out.mp4").stat().st_size == pytest.approx(size, rel=0.01)


def test_the_folder_is_removed_while_running(
    clip: Path, invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed within seconds, and what was done is put back for --resume."""
    monkeypatch.setattr("stylize_video.resuming.journal._SYNC_SECONDS", 0.0)
    folder = tmp_path / "results"
    folder.mkdir()
    seen = 0

    def remove_folder() -> None:
        nonlocal seen
        seen += 1
        if seen == 8:
            shutil.rmtree(folder)

    with pytest.raises(SinkError, match=r"the folder was removed.*frames are kept in .*--resume"):
        stylize_file(clip, folder / "out.mp4", invert, hooks=Hooks(on_frame=remove_folder))
    assert [p.name for p in folder.iterdir()] == [".out.mp4.resume"]
    stylize_file(clip, folder / "out.mp4", invert, resume=True)
    assert video_times(folder / "out.mp4") == pytest.approx(video_times(clip), abs=1e-3)
