"""Damage in the middle of a video: frames are concealed or skipped and counted, times are kept."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error
import pytest

from media import Coding, write_video
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.damage import goes_on_after
from stylize_video.video.edit import Edit
from stylize_video.video.probe import probe
from stylize_video.video.source import VideoSource
from support import MakeClip, draw_picture, half_of

FRAMES = 120
BROKEN = (40, 41, 60, 61, 62)


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Position and size of every video packet."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos is not None]


@pytest.fixture
def whole(make_clip: MakeClip, tmp_path: Path) -> Path:
    return make_clip(tmp_path / "whole.mp4", frames=FRAMES, width=160, height=96)


def times_of(path: Path) -> list[int]:
    with VideoSource(path) as source:
        return [frame.pts for frame in source]


def test_packets_that_no_decoder_takes(whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(whole.read_bytes())
    for index in BROKEN:
        position, size = packets_of(whole)[index]
        data[position + 4 : position + size] = bytes(size - 4)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    expected = [pts for index, pts in enumerate(times_of(whole)) if index not in BROKEN]
    assert times_of(damaged) == expected
    assert [m for m in caplog.messages if "damaged" in m] == [
        f"{damaged} is damaged: {len(BROKEN)} of its frames cannot be decoded and are left out"
    ]


def test_damage_inside_packets_is_concealed(whole: Path, tmp_path: Path) -> None:
    data, rng = bytearray(whole.read_bytes()), random.Random(1)
    for index in BROKEN:
        position, size = packets_of(whole)[index]
        for _ in range(6):
            data[position + rng.randrange(6, size)] ^= rng.randrange(1, 256)
    (tmp_path / "damaged.mp4").write_bytes(data)
    got = times_of(tmp_path / "damaged.mp4")
    assert set(got) <= set(times_of(whole))
    assert len(got) >= FRAMES - len(BROKEN)
    assert got[-1] == times_of(whole)[-1]


def test_a_file_that_breaks_off(
    whole: Path, invert_style: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = half_of(whole, tmp_path / "cut.mp4")
    result = stylize_file(cut, tmp_path / "o.mp4", StyleSession(Style.load(invert_style), "cpu"))
    assert FRAMES // 4 < result.frames < FRAMES
    assert times_of(tmp_path / "o.mp4") == times_of(whole)[: result.frames]
    assert f"{cut} breaks off: {result.frames} of its {FRAMES} frames are there" in caplog.messages


def times_by_one_thread(path: Path) -> list[int]:
    """Of all frames that FFmpeg decodes."""
    times: list[int] = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "SLICE"
        for packet in container.demux(video=0):
            with suppress(av.error.InvalidDataError):
                times += [frame.pts for frame in packet.decode() if frame.pts is not None]
    return times


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])  # the second is read by PyAV from the start
@pytest.mark.parametrize("lost", ["end", "two packets", "the last packet"])
def test_a_damaged_end_takes_no_frame_along(
    lost: str, pixels: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever decodes several at once holds some when it meets the damage."""
    drawn = [draw_picture(index, 160, 96) / 255 for index in range(60)]
    coding = Coding(pixels=pixels, options={"crf": "4", "bf": "3", "b-adapt": "0", "threads": "1"})
    whole = write_video(tmp_path / "whole.mp4", drawn, coding)
    damaged, packets = tmp_path / "damaged.mp4", packets_of(whole)
    if lost == "end":
        half_of(whole, damaged)
    else:
        data = bytearray(whole.read_bytes())
        for index in (-3, -2) if lost == "two packets" else (-1,):
            position, size = packets[index]
            data[position + 4 : position + size] = bytes(size - 4)
        damaged.write_bytes(data)
    wanted = times_by_one_thread(damaged)
    assert len(wanted) < 60
    assert times_of(damaged) == wanted
    assert len([m for m in caplog.messages if "damaged:" in m]) <= 1
    if lost != "end":
        told = f"damaged: {60 - len(wanted)} of its frames cannot be decoded and are left out"
        assert any(told in message for message in caplog.messages)


def test_frames_missing_at_the_start_are_no_reason_to_read_the_end_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording begins between keyframes; of joined ones all would be decoded again."""
    drawn = [draw_picture(index, 160, 96) / 255 for index in range(60)]
    whole = write_video(tmp_path / "whole.ts", drawn, Coding(options={"crf": "4", "bf": "3", "g": "25"}))
    tail = whole.read_bytes()[188 * (whole.stat().st_size // 188 // 3) :]
    recording = tmp_path / "joined.ts"
    recording.write_bytes(tail + tail)
    with VideoSource(recording) as source:
        reopened = []
        monkeypatch.setattr(source, "_reopen_by_pyav", lambda: reopened.append(True))
        frames = len(list(source))
        damage = source._damage()
    assert (damage.frames, damage.read > frames, reopened) == (frames, True, [])


def test_the_last_frame_of_what_breaks_off_is_not_held(
    whole: Path, invert_style: Path, tmp_path: Path
) -> None:
    """The header still says when the missing frames would be over."""
    cut = half_of(whole, tmp_path / "cut.mp4")
    with VideoSource(whole) as source:
        assert source.info.end == Fraction(FRAMES, 30)
    with VideoSource(cut) as source:
        assert source.info.end is None
        frames = len(list(source))
    session = StyleSession(Style.load(invert_style), "cpu")
    result = stylize_file(cut, tmp_path / "out.mp4", session, edit=Edit(fps=Fraction(30)))
    assert abs(result.frames - frames) <= 1


def test_whole_files_are_not_called_damaged(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    times = times_of(whole)
    assert not caplog.messages
    assert goes_on_after(str(whole), times[-2])
    assert not goes_on_after(str(whole), times[-1])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts", ".mov"])
def test_a_late_start_is_no_damage(
    suffix: str, make_clip: MakeClip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = make_clip(tmp_path / f"in{suffix}", frames=30, pts=[150 + i for i in range(30)], sound=False)
    assert len(times_of(late)) == 30
    assert not caplog.messages
    count = probe(str(late)).frame_count
    assert count is not None
    assert abs(count - 30) <= 1


def test_a_late_start_that_breaks_off(
    make_clip: MakeClip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = make_clip(tmp_path / "in.mkv", frames=60, pts=[300 + i for i in range(60)], sound=False)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(late.read_bytes()[: late.stat().st_size // 2])
    count = len(times_of(cut))
    assert f"{cut} breaks off: {count} of its 60 frames are there" in caplog.messages


def test_sound_that_is_longer_than_the_pictures_is_no_damage(
    make_clip: MakeClip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short, long = (make_clip(tmp_path / f"{n}.mp4", frames=n) for n in (20, 90))
    source = tmp_path / "in.mkv"
    with av.open(str(short)) as pictures, av.open(str(long)) as sound, av.open(str(source), "w") as container:
        streams = (pictures.streams.video[0], sound.streams.audio[0])
        copies = [container.add_stream_from_template(stream) for stream in streams]
        for stream, copy in zip(streams, copies, strict=True):
            for packet in stream.container.demux(stream):  # type: ignore[attr-defined]
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
    assert len(times_of(source)) == 20
    assert not caplog.messages


@pytest.mark.parametrize("there", [1.0, 0.6])
def test_a_last_frame_of_which_the_header_alone_says_that_it_stays(
    there: float, make_clip: MakeClip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where FFmpeg copies such a file; what is cut off has the same header."""
    clip = make_clip(tmp_path / "clip.mkv", frames=60, sound=False)
    source = tmp_path / "in.mkv"
    with av.open(str(clip)) as old, av.open(str(source), "w") as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux() if packet.size]
        packets[-1].duration = 5000
        for packet in packets:
            packet.stream = copy
            new.mux(packet)
    content, duration = source.read_bytes(), b"\x82" + (5000).to_bytes(2)
    assert content.count(b"\x9b" + duration) == 1
    content = content.replace(b"\x9b" + duration, b"\xec" + duration)  # what counts for nothing
    source.write_bytes(content[: round(len(content) * there)])
    frames = len(times_of(source))
    if there == 1:
        assert (frames, caplog.messages) == (60, [])
        assert probe(str(source)).end_pts == pytest.approx(60 * 1000 / 30 + 5000, abs=50)
    else:
        assert ["breaks off" in message for message in caplog.messages] == [True]
        assert probe(str(source)).end_pts == pytest.approx(frames * 1000 / 30, abs=100)


def test_damage_is_no_noise_in_a_program(whole: Path, tmp_path: Path) -> None:
    """What OpenCV's FFmpeg would print is told in a sentence."""
    cut = half_of(whole, tmp_path / "cut.mp4")
    count = "import sys, stylize_video as s; print(len(list(s.VideoSource(sys.argv[1]))))"
    environment = {key: value for key, value in os.environ.items() if key != "OPENCV_FFMPEG_LOGLEVEL"}
    command = [sys.executable, "-c", count, str(cut)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert 0 < int(done.stdout) < FRAMES
    assert "breaks off" in done.stderr.splitlines()[-1]
    assert all(line.startswith(str(cut)) for line in done.stderr.splitlines())
