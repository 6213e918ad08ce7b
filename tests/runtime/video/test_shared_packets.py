"""A source that can be read only once: what waits while its pictures are decoded."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import pytest

from media import standard_input
from stylize_video.video import shared_packets
from stylize_video.video.edit import Edit
from stylize_video.video.pipes import StreamSource
from stylize_video.video.shared_packets import SharedPackets
from support import MakeClip


def broadcast(whole: Path, path: Path) -> Path:
    """A transport stream in which sound comes in larger pieces, behind its pictures."""
    options = {"max_delay": "700000"}  # microseconds; as the ffmpeg command has it
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return path


def with_silent_sound(path: Path) -> Path:
    """Nine seconds of pictures, and sound that is announced and never comes."""
    with av.open(str(path), "w") as target:
        video, sound = target.add_stream("ffv1", rate=10), target.add_stream("pcm_s16le", rate=48_000)
        video.width = video.height = 16
        sound.layout = "mono"
        for number in range(90):
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.pts = number
            target.mux(video.encode(frame))
        target.mux(video.encode())
    return path


@pytest.mark.parametrize("patience", [0, 100])
def test_a_part_waits_for_silent_sound_for_a_moment_alone(
    patience: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live stream gives ten seconds in ten."""
    monkeypatch.setattr(shared_packets, "_PATIENCE_SECONDS", patience)
    packets = SharedPackets(av.open(str(with_silent_sound(tmp_path / "in.nut"))))
    packets.read_until(Fraction(1))
    left = len(list(packets.demux(packets.container.streams.video[0])))
    assert left == (90 if patience == 0 else 0)
    packets.container.close()


def seconds_of_sound(source: StreamSource) -> list[float]:
    times = []
    while (packet := source.others.next()) is not None:
        assert packet.pts is not None
        times.append(float(packet.pts * packet.time_base))
    return times


@pytest.mark.parametrize("start", [None, 1, 2])
def test_sound_before_a_part_is_not_kept(start: int | None, make_clip: MakeClip, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "in.nut", frames=90)
    edit = Edit(start=None if start is None else Fraction(start))
    with standard_input(path):
        source = StreamSource("-", edit=edit)
    with source:
        count = sum(1 for _ in source)
        times = seconds_of_sound(source)
    assert count == 90 - 30 * (start or 0)
    assert min(times) == pytest.approx(float(source.info.window.start or 0), abs=0.03)
    assert max(times) > 2.9


@pytest.mark.parametrize("seconds", [0.8, 1.0, 1.2])
def test_sound_of_a_part_that_comes_behind_its_pictures(
    seconds: float, make_clip: MakeClip, tmp_path: Path
) -> None:
    path = broadcast(make_clip(tmp_path / "in.mp4", frames=90), tmp_path / "in.ts")
    with av.open(str(path)) as container:
        packets = list(container.demux(audio=0))
        every = [float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None]
    with standard_input(path):
        source = StreamSource("-", edit=Edit(end=seconds))
        with source:
            count = sum(1 for _ in source)
            times = seconds_of_sound(source)
        while os.read(0, 2**16):  # the rest, which nobody wants
            pass
    assert count == 30 * seconds
    end = float(source.info.window.end or 0)
    wanted = [time for time in every if time < end]
    assert [time for time in times if time < end] == pytest.approx(wanted, abs=1e-3)
    assert max(times) < max(every)  # and no more than that is read
