"""What several runs made is one video: as long, and at the same times, as if one had made it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from stylize_video.frame import TimedFrame
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.resuming.journal import Journal, journal_path
from stylize_video.resuming.resumable_sink import ResumableSink
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.encoding import Encoding
from stylize_video.video.info import Ending, VideoInfo
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource
from support import MakeClip, draw_picture, interrupted_run

VARIABLE = [0, 40, 80, 120, 160, 1000, 2000, 2040, 2080, 2120, 3000, 3040, 3080]
END = Fraction(608, 100)


def info_of(folder: Path) -> VideoInfo:
    info = VideoInfo(folder, 64, 48, Fraction(1, 1000), start_pts=0, rate=Fraction(25))
    info.ending.seconds = END
    return info


def frame_at(pts: int) -> TimedFrame:
    return TimedFrame(pts, draw_picture(0, 64, 48))


def packets_of(path: Path) -> list[tuple[int | None, int | None, int | None, bytes]]:
    """Times, durations and contents of all packets."""
    with av.open(str(path)) as container:
        return [(p.pts, p.dts, p.duration, bytes(p)) for p in container.demux()]


def length_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", ["h264", "vp9"])
@pytest.mark.parametrize("cuts", [[13], [7, 13], [13, 13]])
def test_the_last_frame_stays_whoever_encoded_it(
    cuts: list[int], codec: str, suffix: str, tmp_path: Path
) -> None:
    """An earlier run, or another machine, knows nothing of the end of the video."""
    output, encoding = tmp_path / f"out{suffix}", Encoding(codec)
    with Journal(journal_path(output), {}, time_base=Fraction(1, 1000)) as journal:
        sink = ResumableSink(output, info_of(tmp_path), journal, encoding=encoding)
        for first, last in zip([0, *cuts], cuts, strict=False):
            if first == last:
                continue
            part = tmp_path / f"part{suffix}"
            with Journal(journal_path(part), {}, time_base=Fraction(1, 1000), replace=True) as run:
                there = ResumableSink(part, info_of(tmp_path), run, encoding=encoding)
                for pts in VARIABLE[first:last]:
                    there.write(frame_at(pts))
                there.discard()
                sink.add_run(run.content())
        sink.finish()
    assert length_of(output) == pytest.approx(float(END), abs=0.001)


def test_the_sound_of_a_part_ends_with_its_pictures(make_clip: MakeClip, tmp_path: Path) -> None:
    """Of runs elsewhere the last times alone are known, which are a run apart and no frame."""
    with VideoSource(make_clip(tmp_path / "in.mp4", frames=40)) as source:
        info, frames = source.info, list(source)
    with Journal(journal_path(tmp_path / "out.mp4"), {}, time_base=info.time_base) as journal:
        sink = ResumableSink(tmp_path / "out.mp4", info, journal)
        for first in (0, 10):
            part = tmp_path / f"part{first}.mp4"
            with Journal(journal_path(part), {}, time_base=info.time_base) as run:
                there = ResumableSink(part, info, run, copy_streams=False)
                for frame in frames[first : first + 10]:
                    there.write(frame)
                there.discard()
                sink.add_run(run.content())
        kept = sink.keep_part()
    assert kept is not None
    with av.open(str(kept)) as container:
        ends = [float((s.duration or 0) * (s.time_base or 0)) for s in container.streams]
    assert ends == pytest.approx([float(20 / info.rate)] * 2, abs=0.03)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".avi", ".webm"])
@pytest.mark.parametrize("kind", [".mp4", ".ts"])
@pytest.mark.parametrize("after", [5, 13])
def test_a_resumed_video_is_as_one_that_was_not_interrupted(
    after: int, kind: str, suffix: str, invert_style: Path, tmp_path: Path
) -> None:
    session = StyleSession(Style.load(invert_style), "cpu")
    info = VideoInfo(tmp_path, 64, 48, Fraction(1, 1000), 0, Fraction(25), ending=Ending(END))
    start = 20_000_000 if kind == ".ts" else 0
    with VideoSink(tmp_path / f"in{kind}", info) as sink:
        for pts in VARIABLE:
            sink.write(frame_at(start + pts))
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    stylize_file(tmp_path / f"in{kind}", whole, session)
    interrupted_run(tmp_path / f"in{kind}", output, session, after=after)
    stylize_file(tmp_path / f"in{kind}", output, session, resume=True)
    assert length_of(output) == length_of(whole)
    shown = [sorted(times for times, *_ in packets_of(path) if times is not None) for path in (output, whole)]
    assert shown[0] == shown[1]


def test_frames_before_0_are_shown(tmp_path: Path) -> None:
    """MP4 shows nothing that is before 0."""
    output = tmp_path / "out.mp4"
    with Journal(journal_path(output), {}, time_base=Fraction(1, 1000)) as journal:
        sink = ResumableSink(output, info_of(tmp_path), journal)
        for pts in VARIABLE:
            sink.write(frame_at(pts - 2500))
        sink.finish(whole=False)
    with av.open(str(output)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert shown == pytest.approx([pts / 1000 for pts in VARIABLE])
