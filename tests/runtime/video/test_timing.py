"""Every frame at its source's time, and the sound in step, whatever the container and the rate.

What ffprobe says is compared where it is present; PyAV reads always.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import HEVC10, Coding, write_video
from stylize_video.errors import SourceError
from stylize_video.frame import TimedFrame
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import Encoding
from stylize_video.video.info import Ending, VideoInfo
from stylize_video.video.source import VideoSource
from stylize_video.video.timing import at_rate, for_avi, repeated
from support import draw_picture

SOUND_RATE = 48_000


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def clip_with_sound(
    path: Path, *, rate: Fraction, pts: list[int], b_frames: int = 3, sound_start: int = 0
) -> Path:
    """H.264 with reordered frames, a key frame each 8, and AAC that starts at ``sound_start`` samples."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.time_base = 1 / rate
        video.options = {"g": "8", "x264-params": f"bframes={b_frames}:b-adapt=0"}
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        assert isinstance(sound, av.AudioStream)
        packets = []
        for index, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(draw_picture(index, 96, 64), format="rgb24")
            frame.pts, frame.time_base = stamp, 1 / rate
            packets += video.encode(frame)
        packets += video.encode(None)
        tone = (np.sin(np.arange(SOUND_RATE) * 0.05) * 8000).astype(np.int16)
        samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts = SOUND_RATE, sound_start
        samples.time_base = Fraction(1, SOUND_RATE)
        packets += [*sound.encode(samples), *sound.encode(None)]
        container.mux(packets)
    return path


def shown_at(path: Path) -> list[Fraction]:
    """Seconds at which PyAV shows each frame."""
    with av.open(str(path)) as container:
        return [
            frame.pts * frame.time_base
            for frame in container.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]


def heard_at(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [
            packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.pts is not None
        ]


def probed(path: Path) -> list[float]:
    """Seconds at which ffprobe shows each frame."""
    if not shutil.which("ffprobe"):
        pytest.skip("there is no ffprobe here")
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "frame=best_effort_timestamp_time",
        "-of",
        "json",
    ]
    result = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    return [float(frame["best_effort_timestamp_time"]) for frame in json.loads(result.stdout)["frames"]]


REGULAR = list(range(25))
VARIABLE = [0, 1, 2, 5, 6, 11, 12, 13, 14, 20, 21, 30, 31, 32, 33, 34]
CASES = {
    "23.976": (Fraction(24000, 1001), REGULAR, 0),
    "29.97": (Fraction(30000, 1001), REGULAR, 0),
    "59.94": (Fraction(60000, 1001), REGULAR, 0),
    "variable": (Fraction(30), VARIABLE, 0),
    "video starts late": (Fraction(25), [10 + i for i in REGULAR], 0),
    "sound starts late": (Fraction(25), REGULAR, 12_345),
}


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
@pytest.mark.parametrize("case", CASES)
def test_frames_and_sound_keep_their_times(
    case: str, suffix: str, target: str, invert: StyleSession, tmp_path: Path
) -> None:
    rate, pts, sound_start = CASES[case]
    source = clip_with_sound(tmp_path / f"in{suffix}", rate=rate, pts=pts, sound_start=sound_start)
    result = stylize_file(source, tmp_path / f"out{target}", invert).output
    seen, heard = shown_at(source), heard_at(source)
    assert len(shown_at(result)) == len(seen) == len(pts)
    # Matroska has no negative times: there all begins later, by as much for all.
    moved = heard_at(result)[0] - heard[0]
    rounding = 1e-3 if target == ".mkv" else 2e-5
    assert [float(t - moved) for t in heard_at(result)] == pytest.approx(
        [float(t) for t in heard], abs=rounding
    )
    assert [float(t - moved) for t in shown_at(result)] == pytest.approx(
        [float(t) for t in seen], abs=rounding
    )


@pytest.mark.parametrize("case", CASES)
def test_ffprobe_agrees(case: str, invert: StyleSession, tmp_path: Path) -> None:
    rate, pts, sound_start = CASES[case]
    source = clip_with_sound(tmp_path / "in.mp4", rate=rate, pts=pts, sound_start=sound_start)
    result = stylize_file(source, tmp_path / "out.mp4", invert).output
    assert probed(result) == pytest.approx(probed(source), abs=1e-3)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_avi_counts_frames(b_frames: int, invert: StyleSession, tmp_path: Path) -> None:
    """AVI stores an order and a rate; the first frame is at 0, however much the decoder looks ahead."""
    source = clip_with_sound(
        tmp_path / "in.avi", rate=Fraction(25), pts=REGULAR, b_frames=b_frames, sound_start=1024
    )
    with VideoSource(source) as video:
        assert [frame.pts * video.info.time_base for frame in video] == [Fraction(i, 25) for i in REGULAR]
    result = stylize_file(source, tmp_path / "out.mp4", invert).output
    assert shown_at(result) == [Fraction(i, 25) for i in REGULAR]
    assert heard_at(result) == heard_at(source)


BURST = [*range(60), *range(60, 240, 6)]
"""As a screen is recorded: two seconds of all frames, then every sixth."""


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("pts", [VARIABLE, BURST], ids=["variable", "burst"])
@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_an_avi_result_has_every_frame_in_its_place(
    codec: str,
    pts: list[int],
    suffix: str,
    invert: StyleSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = clip_with_sound(tmp_path / f"in{suffix}", rate=Fraction(30), pts=pts)
    result = stylize_file(source, tmp_path / "out.avi", invert, encoding=Encoding(codec)).output
    with av.open(str(result)) as container:
        packets = [p for p in container.demux(video=0) if p.size and p.dts is not None]
        assert [float(p.dts * p.time_base) for p in packets if p.dts is not None] == pytest.approx(
            [stamp / 30 for stamp in pts], abs=1 / 60
        )
    assert not caplog.records


def test_frames_that_avi_shows_late_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Two are at one tick, three more follow at once."""
    info = replace(VideoInfo.of(16, 16, 10), time_base=Fraction(1, 1000))
    black = np.zeros((16, 16, 3), np.uint8)
    frames, info = for_avi([TimedFrame(pts, black) for pts in (0, 10, 20, 30, 1000)], info)
    assert [frame.pts for frame in frames] == [0, 1, 2, 3, 10]
    assert [record.message for record in caplog.records] == [
        "AVI stores no time stamps, but 10 frames a second: some are up to 0.27 s late"
    ]


def test_frames_half_way_between_ticks_stay_even_in_avi() -> None:
    """round() would go to the even one, up and down in turn."""
    info = replace(VideoInfo.of(16, 16, 10), time_base=Fraction(1, 20))
    frames, _ = for_avi([TimedFrame(pts, np.zeros((16, 16, 3), np.uint8)) for pts in (0, 3, 9, 15)], info)
    assert [frame.pts for frame in frames] == [0, 2, 5, 8]


@pytest.mark.parametrize("start", [0, 20, 23, 30, 1013])
def test_avi_has_repeated_frames_at_every_tick(start: int, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever the first one is: at a tick, half way or between."""
    base = Fraction(1, 1000)
    frames = [TimedFrame(start + i * 40, np.zeros((16, 16, 3), np.uint8)) for i in range(6)]
    resampled, info = for_avi(*at_rate(frames, info_of(base, Fraction(25), start), Fraction(50)))
    stamps = [frame.pts for frame in repeated(resampled)]
    assert stamps == list(range(12))
    assert info.start_pts == 0
    assert abs(info.window.shift - start * base) <= Fraction(1, 100)
    assert not caplog.records


def test_pictures_and_sound_that_begin_late_begin_together_in_avi(
    invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = [50 + i for i in REGULAR]
    source = clip_with_sound(tmp_path / "in.mkv", rate=Fraction(25), pts=late, sound_start=96_000)
    result = stylize_file(source, tmp_path / "out.avi", invert).output
    for stream in (0, 1):
        with av.open(str(result)) as container:
            packets = [p for p in container.demux(container.streams[stream]) if p.size and p.dts is not None]
            times = [float(p.dts * p.time_base) for p in packets if p.dts is not None]
        assert [times[0], times[-1]] == pytest.approx([0, 1], abs=0.05)
    assert not caplog.records


LATER, WRAPPING = 20_000, 95_443
"""Seconds: MPEG's clock begins anew after 95,443.7, and FFmpeg gives what is before that negative times."""


@pytest.mark.parametrize("clock", [LATER, WRAPPING])
@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".avi", ".ts"])
def test_the_clock_of_a_broadcast(clock: int, target: str, invert: StyleSession, tmp_path: Path) -> None:
    """Other files begin at 0, with the sound or the pictures, whichever is first."""
    pts, sound_start = [25 * clock + 3 + i for i in REGULAR], SOUND_RATE * clock
    source = clip_with_sound(tmp_path / "in.ts", rate=Fraction(25), pts=pts, sound_start=sound_start)
    result = stylize_file(source, tmp_path / f"out{target}", invert).output
    seen, heard = shown_at(source), heard_at(source)
    assert (seen[0] < 0) == (clock == WRAPPING)
    if target == ".avi":  # which begins with the pictures
        assert probed(result) == pytest.approx([i / 25 for i in REGULAR])
        return
    start = 0 if (clock, target) == (LATER, ".ts") else min(seen[0], heard[0])
    rounding = 1e-3 if target == ".mkv" else 2e-5
    if (clock, target) == (WRAPPING, ".ts"):  # its first decoding time is at 0
        start = seen[0] - shown_at(result)[0]
    assert [float(t) for t in shown_at(result)] == pytest.approx(
        [float(t - start) for t in seen], abs=rounding
    )
    assert [float(t) for t in heard_at(result)] == pytest.approx(
        [float(t - start) for t in heard], abs=rounding
    )


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_sound_that_begins_before_0_stays_in_step(target: str, invert: StyleSession, tmp_path: Path) -> None:
    whole, source = tmp_path / "whole.mkv", tmp_path / "in.mkv"
    clip_with_sound(whole, rate=Fraction(25), pts=[i + 20 for i in REGULAR], b_frames=0)
    with av.open(str(whole)) as old, av.open(str(source), "w", options={"avoid_negative_ts": "0"}) as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        for packet in old.demux():
            if packet.pts is not None:
                packet.pts = packet.dts = packet.pts - 800
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    seen, heard = shown_at(source), heard_at(source)
    assert (seen[0] >= 0, heard[0] < 0) == (True, True)
    result = stylize_file(source, tmp_path / f"out{target}", invert).output
    assert [float(t) for t in shown_at(result)] == pytest.approx(
        [float(t - heard[0]) for t in seen], abs=1e-3
    )
    assert [float(t) for t in heard_at(result)] == pytest.approx(
        [float(t - heard[0]) for t in heard], abs=1e-3
    )


def test_sound_that_avi_cannot_delay_is_told(
    invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = clip_with_sound(tmp_path / "in.mkv", rate=Fraction(25), pts=REGULAR, sound_start=24_000)
    stylize_file(source, tmp_path / "out.avi", invert)
    assert [record.message for record in caplog.records] == [
        "AVI stores no time stamps: sound (stream 1) is 0.48 s early"
    ]


@pytest.mark.parametrize("start", [None, 0.2])
def test_sound_before_the_pictures_that_avi_cannot_hold_is_told(
    start: float | None, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """But not where a part was asked for."""
    source = clip_with_sound(tmp_path / "in.mkv", rate=Fraction(25), pts=[i + 10 for i in REGULAR])
    stylize_file(source, tmp_path / "out.avi", invert, edit=Edit(start=start))
    told = "AVI begins with the pictures: sound (stream 1) before them is left out"
    assert caplog.messages == ([] if start else [told])


def test_an_edit_list_that_cuts_the_beginning(invert: StyleSession, tmp_path: Path) -> None:
    """Phones cut clips by edit lists: what they hide is not shown, nor does it shift the rest."""
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        pytest.skip("there is no ffmpeg here to write an edit list")
    whole = clip_with_sound(tmp_path / "whole.mp4", rate=Fraction(25), pts=list(range(50)))
    source = tmp_path / "in.mp4"
    cut = [
        ffmpeg,
        "-v",
        "error",
        "-ss",
        "0.5",
        "-i",
        str(whole),
        "-c",
        "copy",
        "-avoid_negative_ts",
        "disabled",
    ]
    subprocess.run([*cut, str(source)], check=True)
    seen = shown_at(source)
    result = stylize_file(source, tmp_path / "out.mp4", invert)
    assert result.frames == len(seen) < 50
    assert [float(t) for t in shown_at(result.output)] == pytest.approx([float(t) for t in seen], abs=1e-3)
    assert [float(t) for t in heard_at(result.output)][5:9] == pytest.approx(
        [float(t) for t in heard_at(source)][5:9], abs=1e-3
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_frame_stays_as_long_as_in_the_source(
    suffix: str, invert: StyleSession, tmp_path: Path
) -> None:
    """Slide shows and animations end with a picture that stays."""
    source = tmp_path / "in.gif"
    with av.open(str(source), "w", options={"final_delay": "300"}) as container:
        stream = container.add_stream("gif", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for index in range(5):
            grey = np.full((48, 64), 40 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        container.mux(stream.encode(None))
    result = stylize_file(source, tmp_path / f"out{suffix}", invert).output
    with av.open(str(result)) as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(3.4, abs=0.01)


def test_ten_minutes_do_not_drift(invert: StyleSession, tmp_path: Path) -> None:
    """Time stamps as they are after ten minutes of 23.976, where sums of rounded ones would be off."""
    rate = Fraction(24000, 1001)
    pts = [int(i * 599) for i in range(25)]
    grey = [np.full((48, 64, 3), 0.5)] * len(pts)
    source = write_video(tmp_path / "in.mp4", grey, Coding(time_base=1 / rate), pts=pts)
    result = stylize_file(source, tmp_path / "out.mp4", invert).output
    assert float(shown_at(result)[-1]) == pytest.approx(float(24 * 599 / rate), abs=1e-3)


@pytest.mark.parametrize("base", [Coding(), HEVC10])
def test_both_decoders_read_the_same_times(base: Coding, tmp_path: Path) -> None:
    pts = [7, 8, 9, 15, 16, 30]
    source = write_video(tmp_path / "in.mp4", [np.full((48, 64, 3), 0.5)] * 6, base, pts=pts)
    with VideoSource(source) as video:
        stamps = [frame.pts * video.info.time_base for frame in video]
    assert stamps == shown_at(source)


def info_of(time_base: Fraction, rate: Fraction, start_pts: int) -> VideoInfo:
    return VideoInfo(Path("x"), 16, 16, time_base, start_pts, rate)


@given(
    pts=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    start=st.integers(0, 5000),
    fps=st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(12), Fraction(60)]),
)
def test_any_rate_shows_what_was_on_screen(pts: list[int], start: int, fps: Fraction) -> None:
    """At each tick the frame is the one whose time has come, give or take a rounding of 2 ms."""
    stamps = [start + sum(pts[:i]) for i in range(len(pts))]
    image = np.zeros((16, 16, 3), np.uint8)
    frames = [TimedFrame(stamp, image + index) for index, stamp in enumerate(stamps)]
    base = Fraction(1, 1000)
    resampled, info = at_rate(frames, info_of(base, Fraction(25), start), fps)
    got = list(repeated(resampled))
    assert np.diff([frame.pts for frame in got]).tolist() == [round(1 / fps / info.time_base)] * (
        len(got) - 1
    )
    for frame in got:
        seconds = frame.pts * info.time_base
        index = int(frame.image[0, 0, 0])
        assert stamps[index] * base <= seconds + Fraction(3, 1000)
        if index + 1 < len(stamps):
            assert seconds <= stamps[index + 1] * base
    last = Fraction(stamps[-1] + (pts[-2] if len(pts) > 1 else 40), 1000)
    assert abs(len(got) / fps + start * base - last) <= 1 / fps + Fraction(4, 1000)


def test_rounded_times_are_no_other_rate() -> None:
    """Matroska's milliseconds at 30 frames a second: each frame once, none more at the end."""
    stamps = [round(i * 1000 / 30) for i in range(12)]
    frames = [TimedFrame(stamp, np.full((16, 16, 3), i, np.uint8)) for i, stamp in enumerate(stamps)]
    for count in range(2, 13):
        resampled, _ = at_rate(frames[:count], info_of(Fraction(1, 1000), Fraction(30), 0), Fraction(30))
        assert [int(frame.image[0, 0, 0]) for frame in repeated(resampled)] == list(range(count))


def test_the_fastest_rate_keeps_every_frame() -> None:
    """Where a frame is on screen for less than a rounding may take."""
    frames = [TimedFrame(stamp, np.zeros((16, 16, 3), np.uint8)) for stamp in range(20)]
    resampled, _ = at_rate(frames, info_of(Fraction(1, 1000), Fraction(1000), 0), Fraction(1000))
    assert [frame.pts for frame in repeated(resampled)] == list(range(20))


def test_a_last_frame_that_stays_is_repeated() -> None:
    info = replace(info_of(Fraction(1, 100), Fraction(10), 0), ending=Ending(Fraction(2)))
    frames = [TimedFrame(stamp, np.zeros((16, 16, 3), np.uint8)) for stamp in (0, 10, 20)]
    resampled, _ = at_rate(frames, info, Fraction(10))
    assert [frame.pts for frame in repeated(resampled)] == list(range(20))


def test_a_gap_of_years_fills_no_disk() -> None:
    frames = [TimedFrame(stamp, np.zeros((16, 16, 3), np.uint8)) for stamp in (0, 10**15)]
    resampled, _ = at_rate(frames, info_of(Fraction(1, 1000), Fraction(25), 0), Fraction(60))
    with pytest.raises(SourceError, match=r"on screen for \d+ hours; leave out the frame rate"):
        list(repeated(resampled))
