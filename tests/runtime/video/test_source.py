"""What comes out of a video file: colours, fields, aspect, and the time of each frame."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from media import DISPLAY_MATRICES, HEVC10, Coding, bar_middles, colour_bars, decode, write_video
from stylize_video.errors import SourceError
from stylize_video.video.colors import BT709
from stylize_video.video.decoding import OpenCvReader, PyAvReader
from stylize_video.video.edit import Edit
from stylize_video.video.filters import deinterlacing
from stylize_video.video.orientation import turned
from stylize_video.video.probe import probe
from stylize_video.video.source import VideoSource
from support import MakeClip

COLOURS = [
    (0.8, 0.1, 0.1),
    (0.1, 0.8, 0.1),
    (0.1, 0.1, 0.8),
    (1.0, 1.0, 1.0),
    (0.0, 0.0, 0.0),
    (0.5, 0.5, 0.5),
]


def frames_of(path: Path) -> list[np.ndarray]:
    """RGB."""
    with VideoSource(path) as source:
        return [frame.image[..., ::-1].astype(int) for frame in source]


@pytest.mark.parametrize("color_range", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("colorspace", [1, 6, 9, 2], ids=["bt709", "bt601", "bt2020", "unspecified"])
@pytest.mark.parametrize("base", [Coding(), HEVC10], ids=["8 bits", "10 bits"])
def test_colours(base: Coding, colorspace: int, color_range: int, tmp_path: Path) -> None:
    coding = replace(base, colorspace=colorspace, color_range=color_range)
    path = write_video(tmp_path / "in.mp4", [colour_bars(COLOURS)], coding)
    got = bar_middles(frames_of(path)[0])
    assert np.abs(got - 255 * np.array(COLOURS)).max() <= 4


@pytest.mark.parametrize("primaries", [1, 5, 6, 9, 11, 12])
def test_primaries_are_kept(primaries: int, tmp_path: Path) -> None:
    """Colours are as coded, under the tag that they have: not made BT.709's."""
    coding = Coding(colorspace=1, color_primaries=primaries)
    path = write_video(tmp_path / "in.mp4", [colour_bars(COLOURS)], coding)
    got = bar_middles(frames_of(path)[0])
    assert np.abs(got - 255 * np.array(COLOURS)).max() <= 4
    with VideoSource(path) as source:
        assert (source.info.colors.primaries, source.info.colors.matrix) == (primaries, 1)


def interlaced(count: int) -> list[np.ndarray]:
    """A white bar that moves 6 columns a field; the lower field is first, as x264 is told by default."""
    fields = np.zeros((2 * count, 96, 160, 3))
    for index, picture in enumerate(fields):
        picture[:, 6 * index : 6 * index + 40] = 1
    frames = fields[::2].copy()
    frames[:, ::2] = fields[1::2, ::2]
    return list(frames)


def joined(parts: list[Path], path: Path) -> Path:
    """The packets of several videos, one behind the other, under the header of the first."""
    shift = 0
    with av.open(str(path), "w") as target:
        copy: av.VideoStream | None = None
        for part in parts:
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                copy = copy or target.add_stream_from_template(stream)
                start, end = stream.start_time or 0, 0
                for packet in source.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    end = max(end, packet.pts - start + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts - start + shift, packet.dts - start + shift
                    packet.stream = copy
                    target.mux(packet)
            shift += end
    return path


def combing(picture: np.ndarray) -> float:
    """How much each row differs from the mean of its neighbours."""
    rows = picture.mean(-1)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_interlaced_frames_are_made_whole(suffix: str, tmp_path: Path) -> None:
    options = {"x264-params": "bff=1", "crf": "4"}
    path = write_video(tmp_path / f"in{suffix}", interlaced(8), Coding(options=options))
    assert probe(str(path)).interlaced
    whole = frames_of(path)
    assert len(whole) == 8
    combed = decode(path)[0].to_ndarray(format="rgb24")
    assert combing(combed) > 5 * combing(whole[0])
    for index, image in enumerate(whole[1:7], 1):  # each as it was at the time of its first field
        assert np.abs(np.argmax(image[20:76].mean(-1) > 128, -1) - 12 * index).max() <= 2
    with VideoSource(path) as source:
        stamps = [frame.pts * source.info.time_base for frame in source]
    assert [float(s - stamps[0]) for s in stamps] == pytest.approx([i / 25 for i in range(8)], abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_video_that_turns_interlaced_on_the_way(suffix: str, tmp_path: Path) -> None:
    """OpenCV repeats its last picture then, without an error."""
    plain = {"crf": "4", "preset": "ultrafast", "g": "4"}
    moving = [np.roll(interlaced(1)[0], 6 * index, 1) for index in range(8)]
    start = write_video(tmp_path / "start.ts", moving, Coding(options=plain))
    coding = Coding(options={**plain, "x264-params": "bff=1"})
    rest = write_video(tmp_path / "rest.ts", interlaced(8), coding)
    path = joined([start, rest], tmp_path / f"in{suffix}")
    assert not probe(str(path)).interlaced
    with VideoSource(path) as source:
        frames = list(source)
        stamps = [float((frame.pts - frames[0].pts) * source.info.time_base) for frame in frames]
    assert stamps == pytest.approx([index / 25 for index in range(16)], abs=2e-3)
    for index, frame in enumerate(frames[8:15]):
        assert np.abs(np.argmax(frame.image[20:76].mean(-1) > 128, -1) - 12 * index).max() <= 2
    with VideoSource(path) as source:
        source.skip_past(frames[9].pts)
        assert [frame.pts for frame in source] == [frame.pts for frame in frames[10:]]


def test_a_name_that_is_no_utf8(clip: Path, tmp_path: Path) -> None:
    """OpenCV crashes at one."""
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(clip.read_bytes())
    with VideoSource(path) as video:
        assert len(list(video)) == 12


def test_a_matrix_that_opencv_cannot_convert(tmp_path: Path) -> None:
    """YCgCo: its pictures would be all black, without an error. PyAV says that it cannot either."""
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = 8
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((72, 64), 120, np.uint8), format="yuv420p")
            frame.colorspace = 8
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="has frames that cannot be shown"):
        VideoSource(path)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_pictures_that_repeat(suffix: str, tmp_path: Path) -> None:
    """Black at first, then slides: every frame is there, at its time."""
    shown = [index // 10 for index in range(40)]
    pictures = [np.full((48, 64, 3), (16 + 50 * number) / 255 if number else 0) for number in shown]
    options = {"crf": "4", "preset": "ultrafast", "x264-params": "bframes=0"}
    path = write_video(tmp_path / f"in{suffix}", pictures, Coding(options=options))
    with VideoSource(path) as source:
        frames = list(source)
        stamps = [float(frame.pts * source.info.time_base) for frame in frames]
    assert stamps == pytest.approx([index / 25 for index in range(40)], abs=1e-3)
    assert [max(0, round((float(frame.image.mean()) - 16) / 50)) for frame in frames] == shown


def test_interlaced_frames_of_a_container_that_does_not_say_so(tmp_path: Path) -> None:
    """DV: each frame says it, and OpenCV cannot convert such a frame at all."""
    path = tmp_path / "in.dv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("dvvideo", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        grey = np.full((576, 720, 3), 130, np.uint8)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(str(path)).interlaced
    assert probe(str(path)).rate == 25  # and not the 60000 time units of a second
    assert probe(str(path)).frame_count == 3
    whole = frames_of(path)
    assert len(whole) == 3
    assert np.abs(np.array(whole) - 130).max() <= 4


def test_progressive_video_is_not_filtered(clip: Path) -> None:
    assert not probe(str(clip)).interlaced
    with VideoSource(clip) as source:
        assert isinstance(source._reader, OpenCvReader)


@pytest.mark.parametrize(("number", "name", "white"), [(16, "PQ", 0.5807), (18, "HLG", 0.75)])
def test_hdr_is_tone_mapped(
    number: int, name: str, white: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coding = replace(HEVC10, colorspace=9, color_primaries=9, color_trc=number)
    path = write_video(tmp_path / "in.mp4", [colour_bars([(0, 0, 0), (white,) * 3, (1, 1, 1)])] * 3, coding)
    with caplog.at_level(logging.WARNING), VideoSource(path) as source:
        frames = list(source)
        info = source.info
    assert [r.message for r in caplog.records] == [f"{path} is HDR ({name}); it is tone-mapped to SDR"]
    assert len(frames) == 3
    assert info.colors == BT709
    black, paper, peak = bar_middles(frames[0].image).tolist()
    assert max(black) <= 2
    assert 226 <= min(paper) <= max(paper) <= 236  # read as SDR it is 148
    assert min(peak) >= 253


def test_dolby_vision_without_a_base_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in.mp4", [colour_bars(COLOURS)], replace(HEVC10, tag="dvh1"))
    with pytest.raises(SourceError, match="Dolby Vision without a base"):
        VideoSource(path)


def test_pixel_aspect(tmp_path: Path) -> None:
    coding = Coding(pixel_aspect=Fraction(16, 11))
    path = write_video(tmp_path / "in.mp4", [colour_bars(COLOURS)], coding)
    with VideoSource(path) as source:
        assert source.info.pixel_aspect == Fraction(16, 11)


@pytest.mark.parametrize("reader", [OpenCvReader, PyAvReader])
@pytest.mark.parametrize("width", [64, 48])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pixel_aspect_of_a_video_that_is_turned(
    orientation: int, width: int, reader: type[OpenCvReader | PyAvReader], tmp_path: Path
) -> None:
    """Whatever its sides: as many pixels may be in a row as in a column."""
    pixels = "yuv420p" if reader is OpenCvReader else "yuv420p10le"
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, 48, pixels
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        a, b, c, d = DISPLAY_MATRICES[orientation]
        stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, width, 3), np.uint8))))
        container.mux(stream.encode(None))
    is_turned = orientation > 4
    with VideoSource(tmp_path / "in.mp4") as source:
        assert isinstance(source._reader, reader)
        assert (source.info.width, source.info.height) == ((48, width) if is_turned else (width, 48))
        assert source.info.pixel_aspect == Fraction(16, 11) ** (-1 if is_turned else 1)


def test_frames_of_one_time_stamp_are_all_there(tmp_path: Path) -> None:
    """Of a stream that is written as it comes, say: one frame replaces the other as soon as it is shown."""
    greys = [np.full((48, 64, 3), (16 + 50 * index) / 255) for index in range(4)]
    coding = Coding("mjpeg", "yuvj420p", {}, color_range=2)
    one = write_video(tmp_path / "one.mkv", greys, coding)
    path = tmp_path / "in.mkv"
    with av.open(str(one)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.pts = packet.dts = {80: 40}.get(packet.pts, packet.pts)
                packet.stream = copy
                target.mux(packet)
    with VideoSource(path) as video:
        frames = list(video)
    assert [round((float(frame.image.mean()) - 16) / 50) for frame in frames] == [0, 1, 2, 3]
    assert [frame.pts for frame in frames] == [0, 40, 41, 120]


def test_a_broadcast_that_changes_its_size(make_clip: MakeClip, tmp_path: Path) -> None:
    parts = [
        make_clip(tmp_path / f"{width}.ts", frames=10, width=width, height=height, sound=False)
        for width, height in ((96, 64), (64, 48))
    ]
    (tmp_path / "in.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoSource(tmp_path / "in.ts") as source:
        frames = list(source)
    assert len(frames) == 20
    assert {frame.image.shape for frame in frames} == {(64, 96, 3)}
    before, after = (frame.image[..., 1:].astype(int) for frame in frames[::10])
    assert np.abs(before - after).mean() < 8


def test_transparency_changes_its_size_with_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as container:
        for index, (width, height) in enumerate([(64, 48), (32, 24)]):
            codec = av.VideoCodecContext.create("png", "w")
            codec.width, codec.height, codec.pix_fmt = width, height, "rgba"
            codec.time_base = Fraction(1, 25)
            if not index:
                stream = container.add_stream("png", rate=25)
                assert isinstance(stream, av.VideoStream)
                stream.width, stream.height, stream.pix_fmt = width, height, "rgba"
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 4), 100, np.uint8), format="rgba")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in codec.encode(frame):
                packet.stream = stream
                container.mux(packet)
    with VideoSource(path, alpha=True) as source:
        frames = list(source)
    assert len(frames) == 2
    for shown in frames:
        assert shown.image.shape == (48, 64, 3)
        assert shown.alpha is not None
        np.testing.assert_array_equal(shown.alpha, np.full((48, 64), 100))


def test_a_part_begins_with_a_frame_that_is_a_rounding_late(clip: Path) -> None:
    """The second frame of 30 a second is at 0.0333 s."""
    with VideoSource(clip) as source:
        everything = list(source)
    with VideoSource(clip, edit=Edit(start=Fraction(33, 1000))) as source:
        part = list(source)
    np.testing.assert_array_equal(part[0].image, everything[1].image)
    assert len(part) == 11


def test_seeking_that_always_gets_too_far_loses_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"crf": "4", "preset": "ultrafast", "g": "5"}
    greys = [np.full((48, 64, 3), (16 + 2 * index) / 255) for index in range(100)]
    path = write_video(tmp_path / "in.mp4", greys, Coding(options=options))
    with VideoSource(path) as source:
        stamps = [frame.pts for frame in source]
    for reader in (OpenCvReader, PyAvReader):

        def too_far(self: Any, pts: int, seek: Any = reader.seek) -> Any:
            return seek(self, pts + stamps[60])

        monkeypatch.setattr(reader, "seek", too_far)
    with VideoSource(path) as source:
        source.skip_past(stamps[70])
        assert [frame.pts for frame in source] == stamps[71:]


def test_where_opencv_seeks_too_far_pyav_seeks(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not decode all from the start on."""
    path = make_clip(tmp_path / "in.mp4", frames=600)
    with VideoSource(path) as source:
        stamps = [frame.pts for frame in source]
    decoded = 0
    read = PyAvReader.read

    def counted(self: PyAvReader) -> Any:
        nonlocal decoded
        decoded += 1
        return read(self)

    monkeypatch.setattr(PyAvReader, "read", counted)
    monkeypatch.setattr(OpenCvReader, "seek", lambda self, pts: None)
    with VideoSource(path) as source:
        source.skip_past(stamps[590])
        assert [frame.pts for frame in source] == stamps[591:]
    assert 9 < decoded < 400


@pytest.mark.parametrize(("start", "end", "count"), [(None, None, 12), (0.2, None, 6), (0.1, 0.3, 6)])
def test_how_many_frames_a_part_has(start: float | None, end: float | None, count: int, clip: Path) -> None:
    """As a progress bar is told."""
    with VideoSource(clip, edit=Edit(start=start, end=end)) as source:
        assert source.info.frame_count == count
        assert len(list(source)) == count


@pytest.mark.parametrize("turn", [0, 4])
def test_interlaced_hdr_is_made_whole_and_tone_mapped(turn: int, tmp_path: Path) -> None:
    """As 1080i broadcasts are; some turn interlaced on the way."""
    options = {"crf": "4", "preset": "ultrafast", "g": "4"}
    coding = Coding("libx264", "yuv420p10le", options, 9, 1, 9, 18)
    pictures = [0.75 * picture for picture in interlaced(8)]
    parts = []
    if turn:
        parts.append(write_video(tmp_path / "start.ts", pictures[:1] * turn, coding))
    coding = replace(coding, options={**options, "x264-params": "bff=1"})
    parts.append(write_video(tmp_path / "rest.ts", pictures, coding))
    path = joined(parts, tmp_path / "in.ts")
    assert probe(str(path)).interlaced == (not turn)
    whole = frames_of(path)
    assert len(whole) == turn + 8
    for index, image in enumerate(whole[turn + 1 : turn + 7], 1):
        assert np.abs(np.argmax(image[20:76].mean(-1) > 128, -1) - 12 * index).max() <= 2
        assert 226 <= np.median(image[:, 12 * index + 10 : 12 * index + 30]) <= 236
    delaying = PyAvReader(str(path), probe(str(path)), [deinterlacing])  # a filter that holds a frame back
    assert len(list(iter(delaying.read, None))) == turn + 8


def test_both_decoders_give_the_same_frames(clip: Path) -> None:
    facts = probe(str(clip))
    readers = (OpenCvReader(str(clip), facts), PyAvReader(str(clip), facts))
    for _ in range(12):
        one, other = (reader.read() for reader in readers)
        assert one is not None
        assert other is not None
        assert one.pts == other.pts
        assert np.abs(one.image.astype(int) - other.image).mean() < 1
    assert [reader.read() for reader in readers] == [None, None]


def test_an_avi_begins_with_its_first_frame(tmp_path: Path) -> None:
    """Whether Motion JPEG is interlaced is seen in a frame alone, which is not skipped for it."""
    pictures = [np.full((48, 64, 3), (16 + 8 * index) / 255) for index in range(10)]
    path = write_video(tmp_path / "in.avi", pictures, Coding("mjpeg", "yuvj420p", {}, color_range=2))
    assert probe(str(path)).start_pts == 0


def test_ten_bits_keep_their_tone_where_pictures_repeat(tmp_path: Path) -> None:
    """Where OpenCV stays at a picture PyAV goes on, which makes slightly other colours of ten bits."""
    pictures = [colour_bars(COLOURS[turn:] + COLOURS[:turn]) for turn in (0, 1, 2, 2, 2, 2, 2, 3)]
    coding = replace(HEVC10, options={"x265-params": "log-level=none:crf=30:bframes=0"})
    path = write_video(tmp_path / "in.mp4", pictures, coding)
    reader = PyAvReader(str(path), probe(str(path)))
    with VideoSource(path) as source:
        for frame in source:
            other = reader.read()
            assert other is not None
            np.testing.assert_array_equal(frame.image, other.image)
    assert reader.read() is None


REORDERED = {
    "libx264": {"x264-params": "bframes=2"},
    "libx265": {"x265-params": "log-level=none:bframes=2"},
    "mpeg1video": {"bf": "2", "qmax": "2"},
    "mpeg2video": {"bf": "2", "qmax": "2"},
}


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("in.h264", "libx264"),
        ("in.hevc", "libx265"),
        ("in.m2v", "mpeg2video"),
        ("in.mpg", "mpeg1video"),
        ("in.vob", "mpeg2video"),
        ("in.avi", "libx264"),
        ("in.mkv", "mpeg2video"),
    ],
)
def test_frames_without_a_time_stamp_of_their_own(name: str, codec: str, tmp_path: Path) -> None:
    """Raw streams have none, and MPEG's program streams not for each frame."""
    reordered = {"bf": "0"} if name.endswith(".avi") else REORDERED[codec]
    pictures = [np.full((48, 64, 3), (16 + 8 * index) / 255) for index in range(25)]
    path = write_video(tmp_path / name, pictures, Coding(codec, options=reordered))
    with VideoSource(path) as source:
        frames = list(source)
        stamps = [float((frame.pts - frames[0].pts) * source.info.time_base) for frame in frames]
    assert stamps == pytest.approx([index / 25 for index in range(25)], abs=1.1e-3)
    levels = [round((float(frame.image.mean()) - 16) / 8) for frame in frames]
    assert levels == list(range(25))
    with VideoSource(path, edit=Edit(start=Fraction(10, 25))) as source:
        assert [float(frame.pts * source.info.time_base) for frame in source] == pytest.approx(
            [index / 25 for index in range(15)], abs=1.1e-3
        )


@pytest.mark.parametrize("late", [0, 9000], ids=["back", "ahead"])
def test_broadcasts_one_behind_the_other(late: int, make_clip: MakeClip, tmp_path: Path) -> None:
    """``cat one.ts other.ts``: the second begins where the first one's sound, a little longer, is over."""
    one = make_clip(tmp_path / "one.ts", frames=60)
    other = make_clip(
        tmp_path / "other.ts", frames=90, pts=[late + index for index in range(90)], sound=False
    )
    path = tmp_path / "in.ts"
    path.write_bytes(one.read_bytes() + other.read_bytes())
    with av.open(str(one)) as container:
        sound = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
        first = float(Fraction(container.streams.video[0].start_time or 0) * Fraction(1, 90_000))
    over = sound[-1] + 1024 / 44100 - first
    assert 2 < over < 2.1
    wanted = [index / 30 for index in range(60)] + [over + index / 30 for index in range(90)]
    with VideoSource(path) as source:
        stamps = [frame.pts * source.info.time_base for frame in source]
    assert [float(s - stamps[0]) for s in stamps] == pytest.approx(wanted, abs=1e-3)
    for start in (1, 4):
        with VideoSource(path, edit=Edit(start=Fraction(start))) as source:
            stamps = [frame.pts * source.info.time_base for frame in source]
        before = max(at for at in wanted if at <= start + 1e-3)  # what is on screen then
        shown = [max(0.0, at - start) for at in wanted if at >= before]
        assert [float(s) for s in stamps] == pytest.approx(shown, abs=1e-3)


def test_keyframes_that_are_far_apart(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeking in a broadcast goes to any frame; it is aimed earlier then, and not read from the start."""
    path = make_clip(tmp_path / "in.ts", frames=540)
    with VideoSource(path) as source:
        stamps = [frame.pts for frame in source]
    monkeypatch.setattr(VideoSource, "_reopen_by_pyav", None)
    with VideoSource(path, edit=Edit(start=Fraction(14))) as source:
        assert len(list(source)) == 540 - 14 * 30
    with VideoSource(path) as source:
        source.skip_past(stamps[400])
        assert [frame.pts for frame in source] == stamps[401:]


def test_a_reader_that_decodes_nothing_is_closed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[OpenCvReader] = []
    monkeypatch.setattr(OpenCvReader, "read", lambda self: None)
    monkeypatch.setattr(OpenCvReader, "close", lambda self: closed.append(self))
    with VideoSource(clip) as source:
        assert isinstance(source._reader, PyAvReader)
    assert len(closed) == 1


def test_names_with_a_colon(make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "rec-12:30.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(frames_of(Path("rec-12:30.mp4"))) == 12


@pytest.mark.parametrize("reader", ["OpenCvReader", "PyAvReader"])
def test_a_closed_source_stays_closed(reader: str, clip: Path, tmp_path: Path) -> None:
    """A closed reader looks like one at its end, behind which another decoder would be opened."""
    path = clip
    if reader == "PyAvReader":
        wide = Coding(colorspace=1, color_primaries=9)
        path = write_video(tmp_path / "in.mp4", [colour_bars(COLOURS)] * 9, wide)
    source = VideoSource(path)
    assert type(source._reader).__name__ == reader
    frames = iter(source)
    next(frames)
    source.close()
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceError, match="is closed"):
        next(frames)
    with pytest.raises(SourceError, match="is closed"):
        list(source)
    source.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_and_mirrored_videos_come_out_upright(orientation: int, tmp_path: Path) -> None:
    """Phones write what their front cameras see with a matrix that mirrors it."""
    a, b, c, d = DISPLAY_MATRICES[orientation]
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[24:, 32:] = 255, 128
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    with VideoSource(tmp_path / "in.mp4") as source:
        frames = list(source)
    assert len(frames) == 3
    for frame in frames:
        assert np.abs(frame.image.astype(int) - turned(picture, orientation)).mean() < 4
