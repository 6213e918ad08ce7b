"""What packets say of how long their pictures are shown."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import Coding, standard_input, write_video
from stylize_video.frame import TimedFrame
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.durations import PacketDurations
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import CODECS, Encoding
from stylize_video.video.info import Ending, VideoInfo
from stylize_video.video.probe import probe
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource
from support import draw_picture


def packet_of(pts: int, dts: int) -> av.Packet[Any]:
    packet: av.Packet[Any] = av.Packet(b"x")
    packet.pts, packet.dts, packet.duration = pts, dts, 777
    return packet


def durations(
    decoded: list[int], end: int | None, *, leading: int = 0, adds_up: bool = False
) -> list[tuple[int, int]]:
    """Time stamp and duration of packets in this order of decoding, ``leading`` frames ahead of it."""
    timed, shown = PacketDurations(40), sorted(decoded)
    out: list[av.Packet[Any]] = []
    for index, pts in enumerate(decoded):
        for frame in shown[index + leading if index else 0 : index + leading + 1]:
            timed.add(frame)
        out += timed.ready([packet_of(pts, index)])
    out += timed.finish(end, adds_up=adds_up)
    assert [packet.pts for packet in out] == decoded
    return [(packet.pts or 0, packet.duration or 0) for packet in out]


@pytest.mark.parametrize(("end", "last"), [(100, 30), (None, 60), (60, 60)])
def test_packets_last_until_the_next_and_the_last_until_the_end(end: int | None, last: int) -> None:
    assert durations([0, 10, 70], end) == [(0, 10), (10, 60), (70, last)]
    assert durations([0, 70, 10], end, leading=2) == [(0, 10), (70, last), (10, 60)]


def test_a_single_frame_is_shown_as_long_as_one_usually_is() -> None:
    assert durations([5], None) == [(5, 40)]
    assert durations([5], 12) == [(5, 7)]


@given(st.lists(st.integers(1, 50), min_size=2, max_size=60), st.integers(1, 4), st.integers(1, 500))
def test_decoding_ends_with_the_last_frame_or_later(steps: list[int], depth: int, rest: int) -> None:
    """And no packet says that its own frame is shown beyond the end."""
    shown = [sum(steps[:index]) for index in range(len(steps))]
    decoded = [shown[0]]
    for first in range(1, len(shown), depth):  # a frame, then all that are shown before it
        decoded += [shown[min(first + depth, len(shown)) - 1], *shown[first : first + depth - 1]]
    decoded = list(dict.fromkeys(decoded))
    end, lead = shown[-1] + rest, depth * steps[0]
    timed = PacketDurations(1, shown)
    out: list[av.Packet[Any]] = []
    for index, pts in enumerate(decoded):
        dts = shown[index - depth] if index >= depth else shown[0] - lead + index * steps[0]
        out += timed.ready([packet_of(pts, min(dts, pts))])
    out += timed.finish(end, adds_up=True)
    last = out[-1]
    assert last.dts is not None
    assert last.duration is not None
    assert last.dts >= max(packet.dts or 0 for packet in out)
    assert last.dts + last.duration + lead >= end - shown[0]
    assert all((packet.pts or 0) >= (packet.dts or 0) for packet in out)
    assert max((packet.pts or 0) + (packet.duration or 0) for packet in out) == end


def test_an_endless_recording_takes_no_memory() -> None:
    timed = PacketDurations(1)
    for pts in range(0, 20_000, 2):
        timed.add(pts)
        for packet in timed.ready([packet_of(pts, pts)]):
            assert packet.duration == 2
    assert len(timed._shown) <= 2002


TOLD = (".mp4", ".mov", ".mkv", ".webm")
"""Files that say when the last frame is over."""

VARIABLE = [0, 40, 80, 120, 160, 1000, 2000, 2040, 2080, 2120, 3000, 3040, 3080]


def clip_that_ends(path: Path, pts: list[int], last: int) -> Path:
    """The same frame at these milliseconds, at last for ``last``: nearly all of them are between others."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for stamp in pts:
            frame = av.VideoFrame.from_ndarray(draw_picture(0, 64, 48), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        packets[-1].duration = last
        container.mux(packets)
    return path


@pytest.mark.parametrize(
    ("codec", "target"),
    [(codec, t) for codec in ("h264", "vp9", "ffv1", "prores") for t in CODECS[codec].suffixes if t in TOLD],
)
@pytest.mark.parametrize("source", ["in.mp4", "in.mkv"])
@pytest.mark.parametrize("frames", [10, 13])
@pytest.mark.parametrize("last", [40, 3000])
def test_a_video_of_variable_rate_ends_when_its_source_does(
    last: int, frames: int, source: str, target: str, codec: str, invert_style: Path, tmp_path: Path
) -> None:
    """Also where the frame that is shown last is not decoded last, and where encoders hold none back."""
    pts = VARIABLE[:frames]
    clip = clip_that_ends(tmp_path / source, pts, last)
    session = StyleSession(Style.load(invert_style), "cpu")
    result = stylize_file(clip, tmp_path / f"out{target}", session, encoding=Encoding(codec))
    with av.open(str(result.output)) as container:
        video = container.streams.video[0]
        end = max(
            (video.duration or 0) * (video.time_base or 0), Fraction(container.duration or 0, av.time_base)
        )
        assert float(end) == pytest.approx((pts[-1] + last) / 1000, abs=0.001)


def test_a_last_frame_that_stays_for_days_is_damage(tmp_path: Path) -> None:
    for last, end in ((80_000_000, 80_003_080), (90_000_000, None), (2**62, None)):
        path = clip_that_ends(tmp_path / "in.mkv", VARIABLE, last)
        assert probe(str(path)).end_pts == end


def test_a_short_matroska_file_tells_its_end_too(tmp_path: Path) -> None:
    path = clip_that_ends(tmp_path / "in.mkv", [0, 2000], 40)
    assert probe(str(path)).end_pts == 2040


@pytest.mark.parametrize(
    ("name", "options"), [("in.mkv", {}), ("in.mp4", {"movflags": "frag_keyframe+empty_moov"})]
)
def test_the_last_frame_of_a_pipe_stays_where_its_packet_tells(
    name: str, options: dict[str, str], invert_style: Path, tmp_path: Path
) -> None:
    """It stayed as long as the one before."""
    clip_that_ends(tmp_path / "whole.mp4", VARIABLE, 3000)
    with (
        av.open(str(tmp_path / "whole.mp4")) as whole,
        av.open(str(tmp_path / name), "w", options=options) as pipe,
    ):
        stream = pipe.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux():
            if packet.dts is not None:
                packet.stream = stream
                pipe.mux(packet)
    session = StyleSession(Style.load(invert_style), "cpu")
    for edit, end in ((Edit(), 3.08 + 3), (Edit(end=5), 5)):
        with standard_input(tmp_path / name):
            stylize_file("-", tmp_path / "out.mp4", session, edit=edit, overwrite=True)
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert float(Fraction(container.duration or 0, av.time_base)) == pytest.approx(end, abs=0.01)


def bytes_read() -> int:
    """By this process so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this system does not say what is read")
def test_the_end_of_a_matroska_file_is_read_where_it_is_wanted(tmp_path: Path) -> None:
    """All behind the last keyframe, a third of some files, was read wherever one was opened."""
    path = write_video(tmp_path / "in.mkv", np.random.default_rng(0).random((20, 120, 160, 3)))
    with VideoSource(path) as video:
        before = bytes_read()
        assert video.info.end == Fraction(20, 25)
        assert bytes_read() - before > path.stat().st_size
    path.unlink()
    assert video.info.end == Fraction(20, 25)


@pytest.mark.parametrize("name", ["in.mkv", "in.mp4", "in.ts"])
def test_what_is_known_of_a_video_goes_into_another_process(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, [draw_picture(index, 64, 48) / 255 for index in range(5)])
    with VideoSource(path) as video:
        sent = pickle.loads(pickle.dumps(video.info))
        assert (sent, sent.end) == (video.info, video.info.end)


def test_the_header_of_a_wmv_file_counts_from_0(tmp_path: Path) -> None:
    drawn = [draw_picture(index, 64, 48) / 255 for index in range(20)]
    path = write_video(tmp_path / "in.wmv", drawn, Coding("wmv2", options={}), pts=range(25, 45))
    facts = probe(str(path))
    assert (facts.start_pts, facts.end_pts, facts.frame_count) == (1000, 1800, 20)


@pytest.mark.parametrize("end", [3120, 6080])
def test_the_last_frame_of_a_webp_stays(end: int, tmp_path: Path) -> None:
    """FFmpeg's encoder of them knows when frames begin, and gives the last one the average of all before."""
    info = VideoInfo(tmp_path, 64, 48, Fraction(1, 1000), 0, Fraction(25), ending=Ending(Fraction(end, 1000)))
    with VideoSink(tmp_path / "out.webp", info) as sink:
        for index, pts in enumerate(VARIABLE):
            sink.write(TimedFrame(pts, draw_picture(index, 64, 48)))
    _, animation = cv2.imreadanimation(str(tmp_path / "out.webp"))
    assert len(animation.frames) == len(VARIABLE)
    stays = max(end - VARIABLE[-1], VARIABLE[-1] // len(VARIABLE))
    assert animation.durations[-1] == pytest.approx(stays, abs=20)
    assert sum(animation.durations[:-1]) == VARIABLE[-1]
