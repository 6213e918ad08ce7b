"""Recordings one behind the other: one time for pictures and sound, and no join where one pauses."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from copy import copy
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from media import Coding, write_video
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.edit import Edit
from stylize_video.video.joins import Joins, is_joined
from stylize_video.video.probe import all_packets
from stylize_video.video.shared_packets import SharedPackets
from support import draw_picture

Lacks = Callable[[str, float], bool]
"""Of a stream's kind and a packet's second, whether a recording is without it."""


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def record(path: Path, *, seconds: float, lacks: Lacks = lambda kind, at: False) -> Path:
    """Pictures, all of them keyframes, and sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg2video", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt, video.gop_size = 96, 64, "yuv420p", 1
        audio = container.add_stream("mp2", rate=48000, layout="mono")
        assert isinstance(audio, av.AudioStream)
        packets = []
        for index in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(draw_picture(index, 96, 64), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            packets += video.encode(frame)
        samples = np.zeros((1, round(seconds * 48000)), np.int16)
        silence = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        silence.sample_rate, silence.pts, silence.time_base = 48000, 0, Fraction(1, 48000)
        packets += [*video.encode(None), *audio.encode(silence), *audio.encode(None)]
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            if not lacks(packet.stream.type, float((packet.dts or 0) * packet.time_base)):
                container.mux(packet)
    return path


def times(path: Path, kind: str) -> list[float]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux() if p.stream.type == kind and p.size]
        return sorted(float(p.pts * p.time_base) for p in packets if p.pts is not None)


def pause(path: Path, kind: str) -> float:
    return max(later - earlier for earlier, later in pairwise(times(path, kind)))


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize("pauses", ["video", "audio"])
def test_a_pause_of_one_stream_is_no_join(
    pauses: str, suffix: str, invert: StyleSession, tmp_path: Path
) -> None:
    source = record(
        tmp_path / f"in{suffix}", seconds=18, lacks=lambda kind, at: kind == pauses and 2 < at < 16
    )
    assert max(later - earlier for earlier, later in pairwise(times(source, pauses))) > 13
    assert not is_joined(str(source))
    assert_in_step(stylize_file(source, tmp_path / "out.mkv", invert).output, [source])


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize("shorter", ["video", "audio", ""])
def test_a_join_moves_all_streams_alike(
    shorter: str, suffix: str, invert: StyleSession, tmp_path: Path
) -> None:
    """Also where a recording has twice as much sound as pictures, or the other way round."""
    one = record(tmp_path / f"one{suffix}", seconds=4, lacks=lambda kind, at: kind == shorter and at >= 2)
    other = record(tmp_path / f"other{suffix}", seconds=3)
    source = joined(tmp_path / f"in{suffix}", [one, other, one])
    assert is_joined(str(source))
    assert_in_step(stylize_file(source, tmp_path / "out.mkv", invert).output, [one, other, one])


def test_both_streams_leap_ahead(invert: StyleSession, tmp_path: Path) -> None:
    one = record(tmp_path / "one.ts", seconds=3)
    late = record(tmp_path / "late.ts", seconds=60, lacks=lambda kind, at: at < 57)
    source = joined(tmp_path / "in.ts", [one, late])
    assert_in_step(stylize_file(source, tmp_path / "out.mkv", invert).output, [one, late])


def test_a_part_of_joined_recordings(invert: StyleSession, tmp_path: Path) -> None:
    one = record(tmp_path / "one.ts", seconds=12, lacks=lambda kind, at: kind == "video" and at >= 9)
    source = joined(tmp_path / "in.ts", [one, one])
    edit = Edit(start=Fraction(17))
    result = stylize_file(source, tmp_path / "out.mkv", invert, edit=edit).output
    assert len(times(result, "video")) in (99, 100, 101)  # the second recording's from its sixth second on
    assert times(result, "video")[0] == 0
    assert times(result, "audio")[0] < 0.03
    assert 6.9 < times(result, "audio")[-1] < 7.1


def test_streams_that_begin_on_the_way(tmp_path: Path) -> None:
    """Another broadcaster's have other numbers, which are not known when a pipe is opened."""
    one = record(tmp_path / "one.ts", seconds=2)
    with (
        av.open(str(one)) as plain,
        av.open(str(tmp_path / "other.ts"), "w", options={"mpegts_start_pid": "700"}) as target,
    ):
        copies = [target.add_stream_from_template(stream) for stream in plain.streams]
        for packet in plain.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    source = joined(tmp_path / "in.ts", [one, tmp_path / "other.ts"])
    pipe: Any = SimpleNamespace(read=io.BytesIO(source.read_bytes()).read)
    with av.open(pipe, options={"probesize": "30000", "analyzeduration": "100000"}) as container:
        assert len(container.streams) == 2
        read = [packet.stream.type for packet in Joins().in_one_time(all_packets(container))]
    assert read.count("video") == 50 + 1  # the last one is empty
    assert read.count("audio") == len(times(one, "audio")) + 1


def test_a_pipe_of_joined_recordings(tmp_path: Path) -> None:
    one = record(tmp_path / "one.ts", seconds=4, lacks=lambda kind, at: kind == "video" and at >= 2)
    source = joined(tmp_path / "in.ts", [one, one])
    with av.open(str(source)) as container:
        shared = SharedPackets(container)
        pictures = [p.pts for p in shared.demux(container.streams.video[0]) if p.pts is not None]
        sound = [p.pts for p in iter(shared.next, None) if p.pts is not None]
    second = [pictures[len(pictures) // 2] - pictures[0], sound[len(sound) // 2] - sound[0]]
    assert second == pytest.approx([4.008 * 90_000] * 2, abs=2)
    assert sorted(pictures) == pictures
    assert sorted(sound) == sound


@pytest.mark.parametrize("wrong", [5, 10**6], ids=["back", "ahead"])
def test_one_wrong_time_stamp_is_no_join(wrong: int) -> None:
    sound, pictures = packets(1, "audio"), packets(0, "video")
    sound[20].dts = sound[20].pts = wrong
    joins = Joins()
    read = list(joins.in_one_time(in_a_file(pictures, sound)))
    assert len(joins) == 0
    assert [packet.pts for packet in read[::2]] == [20 * n for n in range(40)]
    assert [packet.pts for packet in read[1::2]] == [20 * n for n in range(40)]


def test_a_header_between_recordings_does_not_mean_that_the_first_goes_on() -> None:
    """Ogg's has the time before it, behind pictures that have that of the next recording."""
    pictures, sound = packets(0, "video") * 2, packets(1, "audio") * 2
    pictures = [copy(packet) for packet in pictures]
    sound = [copy(packet) for packet in sound]
    header = packets(1, "audio")[0]
    header.pts = header.dts = 40 * 20
    read = in_a_file(pictures, sound)
    read.insert(2 * 42, header)
    header.pos = read[2 * 42 - 1].pos
    joins = Joins()
    times = [packet.pts for packet in joins.in_one_time(read) if packet is not header]
    assert len(joins) == 1
    assert times[::2] == times[1::2] == [20 * n for n in range(80)]


def test_sound_that_begins_before_the_clock_does() -> None:
    """Less than 0 is 2 ** 33 and less in MPEG's streams, of which the other streams know nothing."""
    sound, pictures = packets(1, "audio"), packets(0, "video")
    for packet in (*sound, *pictures):
        packet.pts, packet.dts, packet.time_base = packet.pts * 90, packet.dts * 90, Fraction(1, 90_000)
    sound[0].pts = sound[0].dts = 2**33 - 1800
    joins = Joins()
    times = [packet.pts for packet in joins.in_one_time(in_a_file(pictures, sound))]
    assert len(joins) == 0
    assert times[1::2] == [-1800, *(1800 * n for n in range(1, 40))]


def test_a_clock_in_its_second_half_goes_on() -> None:
    """A broadcast's, thirteen hours after it began, and a day later at its end."""
    for first in (2**32 - 18_000, 2**33 - 80_000):
        sound, pictures = packets(1, "audio"), packets(0, "video")
        for packet in (*sound, *pictures):
            packet.pts = packet.dts = first + 90 * packet.pts
            packet.duration, packet.time_base = 1800, Fraction(1, 90_000)
        joins = Joins()
        times = [packet.pts for packet in joins.in_one_time(in_a_file(pictures, sound))]
        assert len(joins) == 0
        assert times[::2] == times[1::2] == [first + 1800 * n for n in range(40)]


def test_reordered_pictures_follow_right_behind_a_join(tmp_path: Path) -> None:
    """What is decoded before it is shown begins when it is shown."""
    greys = [np.full((48, 64, 3), 0.5)] * 25
    plain, reordered = (
        write_video(tmp_path / f"{frames}.ts", greys, Coding(options={"x264-params": f"bframes={frames}"}))
        for frames in (0, 2)
    )
    source = joined(tmp_path / "in.ts", [plain, reordered, plain])
    with av.open(str(source)) as container:
        read = [p.pts for p in Joins().in_one_time(all_packets(container)) if p.pts is not None]
    assert {later - earlier for earlier, later in pairwise(sorted(read))} == {3600}


def test_a_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = joined(tmp_path / "in.ts", [record(tmp_path / "one.ts", seconds=2)] * 2)
    assert is_joined(str(source))
    monkeypatch.setattr("stylize_video.video.joins.Joins", None)
    assert is_joined(str(source))
    monkeypatch.undo()
    source.write_bytes((tmp_path / "one.ts").read_bytes())
    assert not is_joined(str(source))
    assert not is_joined(str(tmp_path / "missing.ts"))


def packets(index: int, kind: str) -> list[Any]:
    """40 of 20 ms each."""
    stream = SimpleNamespace(index=index, type=kind, disposition=0)
    return [
        SimpleNamespace(
            stream=stream, pts=20 * n, dts=20 * n, duration=20, pos=0, time_base=Fraction(1, 1000)
        )
        for n in range(40)
    ]


def in_a_file(*streams: Sequence[Any]) -> list[Any]:
    read = [packet for together in zip(*streams, strict=True) for packet in together]
    for position, packet in enumerate(read):
        packet.pos = position
    return read


def joined(path: Path, parts: Sequence[Path]) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def assert_in_step(result: Path, parts: Sequence[Path]) -> None:
    """Pictures and sound of each part are all moved by the same, behind the part before."""
    after = {kind: times(result, kind) for kind in ("video", "audio")}
    over = -1.0
    for part in parts:
        moved = []
        for kind, times_after in after.items():
            before = times(part, kind)
            now, after[kind] = times_after[: len(before)], times_after[len(before) :]
            moved += [new - old for new, old in zip(now, before, strict=True)]
        assert moved == pytest.approx([moved[0]] * len(moved), abs=2e-3)
        begin = min(min(times(part, kind)) for kind in after) + moved[0]
        assert begin > over
        over = max(max(times(part, kind)) for kind in after) + moved[0]
    assert not any(after.values())
