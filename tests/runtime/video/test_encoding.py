"""Every codec in every container it goes into, and the other streams that come along."""

from __future__ import annotations

import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media import Coding, write_video
from stylize_video.errors import SinkError
from stylize_video.frame import TimedFrame
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.encoding import ANIMATIONS, CODECS, Encoding
from stylize_video.video.info import VideoInfo
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource
from support import MakeClip, draw_picture


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


# Animations are in test_outputs.py.
VIDEO_CODECS = {name: codec for name, codec in CODECS.items() if codec.suffixes[0] not in ANIMATIONS}
PAIRS = [(name, suffix) for name, codec in VIDEO_CODECS.items() for suffix in codec.suffixes]


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_every_codec_in_every_container(
    name: str, suffix: str, clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    result = stylize_file(clip, tmp_path / f"out{suffix}", invert, encoding=Encoding(name), max_frames=6)
    with av.open(str(result.output)) as container:
        wanted = {"av1": ("av1", "libdav1d"), "vp9": ("vp9", "libvpx-vp9")}.get(name, (name,))
        assert container.streams.video[0].codec_context.name in wanted
        assert container.streams.video[0].codec_context.pix_fmt == CODECS[name].pixels
        assert sum(1 for _ in container.decode(video=0)) == 6
    with VideoSource(clip) as source, VideoSource(result.output) as stylized:
        one, other = next(iter(source)).image, next(iter(stylized)).image
        assert np.abs(255.0 - one - other).mean() < 12


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_hevc_is_called_what_apples_players_know(
    suffix: str, clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    result = stylize_file(clip, tmp_path / f"out{suffix}", invert, encoding=Encoding("hevc"), max_frames=2)
    with av.open(str(result.output)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_playing_begins_before_all_is_loaded(
    suffix: str, clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    content = stylize_file(clip, tmp_path / f"out{suffix}", invert).output.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("name", VIDEO_CODECS)
def test_the_shortest_videos(name: str, frames: int, make_clip: MakeClip, tmp_path: Path) -> None:
    """An encoder that reorders has fewer frames here than it looks ahead.

    x265 then takes decode times from memory that it never set: one file in six fails, so
    some rounds are needed to see it.
    """
    with VideoSource(make_clip(tmp_path / "in.mp4", frames=2, pts=[100, 101], sound=False)) as source:
        read = list(source)[:frames]
    output = tmp_path / f"out{CODECS[name].suffixes[0]}"
    for _ in range(20 if name == "hevc" else 1):
        sink = VideoSink(output, source.info, encoding=Encoding(name), overwrite=True)
        for frame in read:
            sink.write(frame)
        sink.finish()
        with av.open(str(output)) as container:
            shown = [p.pts * p.time_base for p in container.demux(video=0) if p.pts is not None]
        assert shown == pytest.approx([(100 + i) / 30 for i in range(frames)], abs=1e-3)


@pytest.mark.parametrize(
    ("encoding", "name", "sentence"),
    [
        (Encoding("h264"), "o.webm", "h264 does not go into .webm files"),
        (Encoding(crf=99), "o.mp4", "crf of h264 must be between 0 and 51, got 99"),
        (Encoding("ffv1", crf=3), "o.mkv", "crf of ffv1 must be left out"),
        (Encoding("vp9", preset="fast"), "o.webm", "vp9 has no presets"),
        (Encoding(preset="warp"), "o.mp4", "h264 has no preset 'warp'; there are ultrafast, .*, placebo"),
        (Encoding("av1", preset="fast"), "o.mp4", "av1 has no preset 'fast'; there are 0, 1, .*, 13"),
        (Encoding("ffv1", bitrate=90_000), "o.mkv", "ffv1 has no bit rate to choose"),
        (Encoding("av1", bitrate=10**8 + 1), "o.mp4", "of av1 must be at most 100000000 bits a second"),
        (Encoding(bitrate=2**62), "o.mp4", "of h264 must be at most 2147483647000 bits a second, got 461168"),
        (
            Encoding(alpha=True, encoder="nvenc"),
            "o.mov",
            "nvenc encodes no transparency; leave out --encoder",
        ),
        (Encoding(), "o.doc", "name a file that ends in .avi, .gif, .mkv"),
    ],
)
def test_encodings_that_a_file_cannot_have(encoding: Encoding, name: str, sentence: str) -> None:
    with pytest.raises(SinkError, match=sentence):
        encoding.resolved(Path(name))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Encoding("mp3"), "unknown codec 'mp3'; there are h264"),
        (lambda: Encoding("mp3_nvenc"), "unknown codec 'mp3_nvenc'; there are h264"),
        (lambda: Encoding(encoder="cuda"), "unknown encoder 'cuda'; there are software, auto"),
        (lambda: Encoding("h264_nvenc", encoder="qsv"), "h264_nvenc is not of qsv; leave out --encoder"),
        (lambda: Encoding(pipe="mp4"), "unknown format 'mp4' for a pipe; there are nut, y4m, raw"),
        (lambda: Encoding(bitrate=5), "at least 1000 bits"),
        (lambda: Encoding(bitrate="5M"), "the bit rate must be a whole number, got '5M'"),  # type: ignore[arg-type]
        (lambda: Encoding(crf=2.5), r"the crf must be a whole number, got 2\.5"),  # type: ignore[arg-type]
        (lambda: Encoding(crf=20, bitrate=90_000), "two ways to choose the quality; leave out one"),
    ],
)
def test_encodings_that_make_no_sense(make: Callable[[], Encoding], sentence: str) -> None:
    with pytest.raises(SinkError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("width", "height", "bitrate", "least"), [(24, 96, None, 32), (96, 31, None, 32), (96, 63, 800_000, 64)]
)
def test_sizes_that_an_encoder_cannot_take(
    width: int, height: int, bitrate: int | None, least: int, tmp_path: Path
) -> None:
    """At 24x96 SVT-AV1 waited for ever; less than 64 at a bit rate was an "Invalid argument"."""
    sentence = f"libsvtav1 encodes pictures from {least}x{least} on.*, and not of {width}x{height}; choose"
    with pytest.raises(SinkError, match=sentence):
        VideoSink(tmp_path / "o.mp4", VideoInfo.of(width, height), encoding=Encoding("av1", bitrate=bitrate))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("side", "bitrate"), [(32, None), (64, 10**8)])
def test_the_smallest_pictures_of_av1(side: int, bitrate: int | None, tmp_path: Path) -> None:
    encoding = Encoding("av1", bitrate=bitrate)
    with VideoSink(tmp_path / "o.mp4", VideoInfo.of(side, 96), encoding=encoding) as sink:
        for number in range(3):
            sink.write(TimedFrame(number, draw_picture(number, side, 96)))
    with VideoSource(tmp_path / "o.mp4") as video:
        assert sum(1 for _ in video) == 3


def test_a_bit_rate_that_leaves_nothing_is_told(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for bitrate in (1000, 800_000):
        stylize_file(clip, tmp_path / f"{bitrate}.mp4", invert, encoding=Encoding(bitrate=bitrate))
    assert [record.getMessage() for record in caplog.records] == [
        "1000 bits a second are 0.0054 a pixel, few for a picture (--bitrate takes 800k and 5M too)"
    ]


def test_the_usual_h264_is_fast_but_keeps_what_makes_files_small(
    clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    """x264 writes into each file how it was made."""
    usual = stylize_file(clip, tmp_path / "usual.mp4", invert).output.read_bytes()
    for kept in (
        b"cabac=1",
        b"bframes=3",
        b"8x8dct=1",
        b"aq=1:",
        b"mbtree=1",
        b"rc_lookahead=10",
        b"sliced_threads=0",
    ):
        assert kept in usual
    for fast in (b"me=dia", b"subme=1", b"trellis=0"):
        assert fast in usual
    asked = stylize_file(clip, tmp_path / "asked.mp4", invert, encoding=Encoding(preset="medium"))
    for thorough in (b"me=hex", b"subme=7", b"bframes=3", b"rc_lookahead=40"):
        assert thorough in asked.output.read_bytes()


def test_quality_and_bit_rate_decide_the_size(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    sizes = [
        stylize_file(clip, tmp_path / f"{i}.mp4", invert, encoding=encoding).output.stat().st_size
        for i, encoding in enumerate(
            [Encoding(crf=5), Encoding(), Encoding(crf=45), Encoding(bitrate=20_000)]
        )
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[3] < sizes[1]


def rich_source(path: Path) -> Path:
    """An MKV with two sound tracks, subtitles, chapters and a title."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        tracks = []
        for language in ("eng", "deu"):
            track = container.add_stream("aac", rate=44100, layout="mono")
            assert isinstance(track, av.AudioStream)
            track.metadata["language"] = language
            tracks.append(track)
        container.metadata["title"] = "Holiday"
        container.set_chapters(
            [{"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
        )
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(draw_picture(index, 64, 48), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number, track in enumerate(tracks):
            tone = (np.sin(np.arange(17_640) * 0.03 * (number + 1)) * 9000).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts = 44100, 0
            container.mux(track.encode(samples))
            container.mux(track.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_tracks_chapters_and_titles_are_kept(suffix: str, invert: StyleSession, tmp_path: Path) -> None:
    source = rich_source(tmp_path / "in.mkv")
    stylize_file(source, tmp_path / f"out{suffix}", invert)
    with av.open(str(source)) as before, av.open(str(tmp_path / f"out{suffix}")) as after:
        languages = [s.metadata.get("language") for s in after.streams.audio]
        assert len(languages) == 2
        if suffix != ".mov":  # QuickTime has a short list of languages of its own
            assert languages == ["eng", "deu"]
        assert after.metadata.get("title") == "Holiday"
        assert [c["metadata"]["title"] for c in after.chapters()] == ["One"]
        contents = []
        for container in (before, after):
            packets = [p for p in container.demux(container.streams.audio) if p.dts is not None]
            contents.append([sorted(bytes(p) for p in packets if p.stream.index == i) for i in (1, 2)])
        assert contents[0] == contents[1]


def test_what_a_container_cannot_hold_is_told(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stylize_file(clip, tmp_path / "out.webm", invert, max_frames=3)
    assert [r.message for r in caplog.records] == [
        "aac sound (stream 1) is encoded anew as Opus for webm files; .mkv keeps it as it is"
    ]
    with av.open(str(tmp_path / "out.webm")) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]


def test_odd_sizes_stay_where_the_codec_has_them(invert: StyleSession, tmp_path: Path) -> None:
    """853x479: only H.264 and HEVC need the one pixel more; square pixels stay square."""
    grey = [np.full((479, 853, 3), 0.5)] * 2
    source = write_video(tmp_path / "in.mkv", grey, Coding("libvpx-vp9", options={}))
    sizes = {}
    for name, codec in VIDEO_CODECS.items():
        out = tmp_path / f"{name}{codec.suffixes[0]}"
        with VideoSource(stylize_file(source, out, invert, encoding=Encoding(name)).output) as video:
            sizes[name] = (video.info.width, video.info.height)
            assert video.info.pixel_aspect == 1
    assert sizes.pop("h264") == sizes.pop("hevc") == (854, 480)
    assert set(sizes.values()) == {(853, 479)}


def test_rgb_sources_get_a_matrix_with_a_name(invert: StyleSession, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    colours = np.zeros((48, 64, 3), np.uint8)
    colours[:, :32], colours[:, 32:] = (200, 30, 30), (30, 30, 200)
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        frame = av.VideoFrame.from_ndarray(colours, format="rgb24").reformat(format="bgr0")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    result = stylize_file(source, tmp_path / "out.mp4", invert, encoding=Encoding(crf=4))
    with av.open(str(result.output)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_range, codec.color_trc) == (1, 1, 1)
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(255 - colours[24, ::48].astype(int) - shown[24, ::48]).max() <= 6


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_colours_are_rounded_not_cut_off(suffix: str, make_clip: MakeClip, tmp_path: Path) -> None:
    """FFmpeg's converter, left to itself, makes every plane half a level smaller."""
    blocks = np.random.default_rng(0).integers(0, 256, (18, 32, 3), dtype=np.uint8)
    picture = blocks.repeat(16, axis=0).repeat(16, axis=1)
    clip = make_clip(tmp_path / "in.mp4", width=picture.shape[1], height=picture.shape[0])
    with VideoSource(clip) as video:
        info = video.info
    sink = VideoSink(tmp_path / f"out{suffix}", info, encoding=Encoding(crf=1), copy_streams=False)
    sink.write(TimedFrame(info.start_pts, picture))
    sink.finish()
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    blue, green, red = np.moveaxis(blocks.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    exact = (
        16 + luma * 219 / 255,
        128 + (blue - luma) / 1.772 * 224 / 255,
        128 + (red - luma) / 1.402 * 224 / 255,
    )
    height, width = picture.shape[:2]
    luma_plane, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    shown = luma_plane[8::16, 8::16], chroma[0, 4::8, 4::8], chroma[1, 4::8, 4::8]
    for plane, wanted in zip(shown, exact, strict=True):
        assert abs(np.mean(plane - wanted)) < 0.15
