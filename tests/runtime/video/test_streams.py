"""What comes along with the pictures: covers, fonts, sound in every container."""

from __future__ import annotations

import logging
import shutil
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import pytest

from media import Coding, write_video
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.edit import Edit
from stylize_video.video.streams import StreamCopier
from support import MakeClip, draw_picture

FONT = b"FONT" * 100


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


@pytest.fixture
def cover() -> bytes:
    return bytes(cv2.imencode(".png", draw_picture(0, 32, 32))[1])


def with_attachments(clip: Path, path: Path, cover: bytes, kind: str = "png") -> Path:
    with av.open(str(clip)) as source, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        container.add_attachment("font.ttf", "application/x-truetype-font", FONT)
        container.add_attachment(f"cover.{kind}", f"image/{kind}", cover)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
    return path


def attachments(path: Path) -> dict[str, bytes]:
    """By their names; a cover is a video stream of one packet to FFmpeg."""
    found = {}
    with av.open(str(path)) as container:
        for stream in container.streams:
            if stream.type == "attachment":
                found[str(stream.name)] = bytes(stream.data)  # type: ignore[attr-defined]
            elif stream.disposition & av.stream.Disposition.attached_pic:
                found["cover"] = next(bytes(p) for p in container.demux(stream) if p.size)
    return found


def test_fonts_and_covers_are_kept(clip: Path, cover: bytes, invert: StyleSession, tmp_path: Path) -> None:
    source = with_attachments(clip, tmp_path / "in.mkv", cover)
    assert attachments(source) == {"font.ttf": FONT, "cover": cover}
    result = stylize_file(source, tmp_path / "out.mkv", invert)
    assert attachments(result.output) == {"font.ttf": FONT, "cover": cover}
    assert result.frames == 12


def test_an_mp4_keeps_the_cover_alone(
    clip: Path, cover: bytes, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = with_attachments(clip, tmp_path / "in.mkv", cover)
    with caplog.at_level(logging.WARNING):
        result = stylize_file(source, tmp_path / "out.mp4", invert)
    assert attachments(result.output) == {"cover": cover}
    assert [record.message for record in caplog.records] == [
        "attachment font.ttf (stream 1) cannot be kept in mp4 files; .mkv holds almost anything"
    ]
    again = stylize_file(result.output, tmp_path / "again.mkv", invert)
    assert attachments(again.output) == {"cover": cover}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cover_costs_no_sound(
    suffix: str, make_clip: MakeClip, cover: bytes, invert: StyleSession, tmp_path: Path
) -> None:
    """Where the pictures begin later than the sound: seeking goes to the first keyframe of the pictures."""
    clip = make_clip(tmp_path / "clip.mp4", pts=[20 + n for n in range(12)])
    source = tmp_path / "in.mp4"
    with av.open(str(clip)) as plain, av.open(str(source), "w") as container:
        copies = [container.add_stream_from_template(stream) for stream in plain.streams]
        picture = container.add_stream("png", rate=1)
        assert isinstance(picture, av.VideoStream)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in plain.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
        attached: av.Packet[Any] = av.Packet(cover)
        attached.pts = attached.dts = 0
        attached.time_base, attached.stream = Fraction(1, 30), picture
        container.mux(attached)
    assert attachments(source) == {"cover": cover}
    heard = [content for *_, content in sound(source)]
    result = stylize_file(source, tmp_path / f"out{suffix}", invert).output
    assert attachments(result) == {"cover": cover}
    assert [content for *_, content in sound(result)][-len(heard) :] == heard


def test_what_else_there_is_gets_one_line_each(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second video, and data."""
    source = tmp_path / "in.ts"
    with av.open(str(clip)) as plain, av.open(str(source), "w") as container:
        videos = [container.add_stream_from_template(plain.streams.video[0]) for _ in range(2)]
        videos[0].metadata["language"] = "deu"
        data = container.add_data_stream("klv")
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                for video in videos:
                    twin = av.Packet(bytes(packet))
                    twin.pts, twin.dts, twin.time_base = packet.pts, packet.dts, packet.time_base
                    twin.is_keyframe, twin.stream = packet.is_keyframe, video
                    container.mux(twin)
        note = av.Packet(b"note")
        note.pts = note.dts = 0
        note.time_base, note.stream = plain.streams.video[0].time_base or Fraction(1), data
        container.mux(note)
    stylize_file(source, tmp_path / "out.mkv", invert)
    assert [record.message for record in caplog.records] == [
        "a further video (stream 1) is not kept",
        "data (stream 2) is not kept",
    ]


def test_float_sound_in_an_mp4_gets_a_warning(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    with_sound(clip, tmp_path / "in.mov", "pcm_f32le", "stereo")
    stylize_file(tmp_path / "in.mov", tmp_path / "out.mov", invert, max_frames=2)
    assert not caplog.messages
    stylize_file(tmp_path / "in.mov", tmp_path / "out.mp4", invert, max_frames=2)
    assert caplog.messages == [
        "pcm_f32le sound (stream 1) is kept, but players from before 2023 play none in mp4 files"
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".avi"])
def test_sound_goes_into_every_container_that_holds_it(
    suffix: str, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "in.mp4")
    result = stylize_file(source, tmp_path / f"out{suffix}", invert)
    before: list[bytes] = []
    after: list[bytes] = []
    for path, packets in ((source, before), (result.output, after)):
        with av.open(str(path)) as container:
            packets += [bytes(p) for p in container.demux(audio=0) if p.size]
    # TS puts a header before each; AVI leaves out the encoder's run-in.
    assert len(after) in (len(before), len(before) - 1)
    for one, other in zip(reversed(before), reversed(after), strict=False):
        assert other.endswith(one)


def with_sound(clip: Path, path: Path, codec: str, layout: str, **options: str) -> Path:
    """The pictures of a clip, and half a second of a tone."""
    with av.open(str(clip)) as plain, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(plain.streams.video[0])
        audio = target.add_stream(codec, rate=48000, options=options)
        assert isinstance(audio, av.AudioStream)
        audio.codec_context.layout = layout
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        tone = np.tile((np.sin(np.arange(24_000) * 0.05) * 8000).astype(np.int16), (audio.channels, 1))
        samples = av.AudioFrame.from_ndarray(
            (tone / 32768).T.reshape(1, -1).astype(np.float32) if "f32" in codec else tone.T.reshape(1, -1),
            audio.format.name,
            audio.layout,
        )
        samples.sample_rate, samples.pts, samples.time_base = 48000, 0, Fraction(1, 48000)
        target.mux(audio.encode(samples))
        target.mux(audio.encode(None))
    return path


def with_ffmpeg(clip: Path, path: Path, codec: str) -> Path:
    """The clip with its sound in a codec that PyAV encodes only where FFmpeg may do experiments."""
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        pytest.skip("there is no ffmpeg here to write such sound")
    experimental = ["-c:v", "copy", "-c:a", codec, "-strict", "-2"]
    subprocess.run([ffmpeg, "-v", "error", "-i", str(clip), *experimental, str(path)], check=True)
    return path


@pytest.mark.parametrize("codec", ["libmp3lame", "dca", "truehd"])
def test_sound_that_broadcasts_hold_is_copied(
    codec: str, clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FFmpeg's list of what MPEG-TS holds names none of these."""
    source = with_ffmpeg(clip, tmp_path / "in.mkv", codec)
    result = stylize_file(source, tmp_path / "out.ts", invert).output
    after, before = (b"".join(content for *_, content in sound(path)) for path in (result, source))
    assert after == before
    assert not caplog.messages


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_sound_without_an_order_of_its_channels(
    suffix: str, clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As MXF has it."""
    source = with_sound(clip, tmp_path / "in.nut", "pcm_s16le", "2 channels")
    with av.open(str(source)) as container:
        assert container.streams.audio[0].layout.name == "2 channels"
    result = stylize_file(source, tmp_path / f"out{suffix}", invert).output
    with av.open(str(result)) as container:
        assert sum(packet.size for packet in container.demux(audio=0)) == 24_000 * 2 * 2
    assert not caplog.messages


def test_true_hd_in_an_mp4(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = with_ffmpeg(clip, tmp_path / "in.mkv", "truehd")
    result = stylize_file(source, tmp_path / "out.mp4", invert).output
    assert [content for *_, content in sound(result)] == [content for *_, content in sound(source)]
    assert not caplog.messages


def test_what_a_header_refuses_is_seen_from_the_start(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = with_ffmpeg(clip, tmp_path / "in.mkv", "truehd")
    # Experimental sound is not asked for here.
    with av.open(str(clip)) as plain, av.open(str(tmp_path / "out.mp4"), "w") as target:
        target.add_stream_from_template(plain.streams.video[0])
        StreamCopier(source, target).close()
        assert [stream.codec_context.name for stream in target.streams.audio] == ["aac"]
    assert caplog.messages == [
        "truehd sound (stream 1) is encoded anew as AAC for mp4 files; .mkv keeps it as it is"
    ]


def test_sound_that_is_refused_at_the_end_costs_no_picture(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MP4 refuses so many channels without an order once it writes its index."""
    source = with_sound(clip, tmp_path / "in.mov", "pcm_s16le", "16 channels")
    result = stylize_file(source, tmp_path / "out.mp4", invert)
    with av.open(str(result.output)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert sum(1 for _ in container.decode(video=0)) == result.frames == 12
    (message,) = caplog.messages
    assert message.startswith(".mp4 files refuse the sound or subtitles of this source (Invalid argument): ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mov", "out.mp4"]


def test_broadcast_sound_that_avi_cannot_hold(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_clip(tmp_path / "in.ts")
    with caplog.at_level(logging.WARNING):
        stylize_file(source, tmp_path / "out.avi", invert)
    assert "aac sound (stream 1) cannot be kept in avi files" in caplog.text


def test_a_cover_that_a_mov_cannot_hold_is_told(
    clip: Path, cover: bytes, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = stylize_file(with_attachments(clip, tmp_path / "in.mkv", cover), tmp_path / "in.mp4", invert)
    caplog.clear()
    result = stylize_file(source.output, tmp_path / "out.mov", invert)
    assert attachments(result.output) == {}
    assert [record.message for record in caplog.records] == [
        "cover (stream 1) cannot be kept in mov files; .mkv holds almost anything"
    ]


def test_a_cover_that_an_mp4_cannot_hold_is_told(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cover = bytes(cv2.imencode(".gif", draw_picture(0, 32, 32))[1])
    source = with_attachments(clip, tmp_path / "in.mkv", cover, "gif")
    caplog.clear()  # of what the source's own container says
    result = stylize_file(source, tmp_path / "out.mp4", invert)
    assert (result.frames, attachments(result.output)) == (12, {})
    assert "cover (stream 2) cannot be kept in mp4 files; .mkv holds almost anything" in caplog.messages


def test_subtitles_of_an_mp4_that_matroska_cannot_hold(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        pytest.skip("there is no ffmpeg here to write such subtitles")
    text = with_subtitles(make_clip(tmp_path / "in.mp4"), tmp_path / "in.mkv", [(100, 300)])
    source = tmp_path / "text.mp4"
    command = [ffmpeg, "-v", "error", "-i", str(text), "-c:v", "copy", "-c:s", "mov_text", str(source)]
    subprocess.run(command, check=True)
    stylize_file(source, tmp_path / "out.mkv", invert)
    assert caplog.messages == [
        "mov_text subtitles (stream 1) cannot be kept in matroska files; .mp4 and .mov hold them"
    ]


def sound(path: Path) -> list[tuple[int, int, bytes]]:
    """Decoding time, duration and content of each packet that is heard."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(audio=0) if p.size and not p.is_discard]
        return [(p.dts or 0, p.duration or 0, bytes(p)) for p in packets]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_goes_on_where_videos_were_joined(
    suffix: str, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """``cat a.ts a.ts``: time begins anew in the middle."""
    one = make_clip(tmp_path / "one.ts", frames=30).read_bytes()
    (tmp_path / "in.ts").write_bytes(one + one)
    before = sound(tmp_path / "in.ts")
    assert any(later[0] < earlier[0] for earlier, later in pairwise(before))
    after = sound(stylize_file(tmp_path / "in.ts", tmp_path / f"out{suffix}", invert).output)
    assert len(after) == len(before)
    tick = 1 if suffix != ".mkv" else 2  # rounded to milliseconds
    for earlier, later in pairwise(after):
        assert abs(later[0] - earlier[0] - earlier[1]) <= tick


def with_subtitles(pictures: Path, path: Path, spans: list[tuple[int, int]]) -> Path:
    """A clip with a line from and to these milliseconds of its first minute."""
    lines = [f"00:00:{a / 1000:06.3f} --> 00:00:{b / 1000:06.3f}\nline {a}\n" for a, b in spans]
    text = path.with_suffix(".srt")
    text.write_text("\n".join(f"{n}\n{line}" for n, line in enumerate(lines)))
    with av.open(str(pictures)) as video, av.open(str(text)) as subtitles, av.open(str(path), "w") as target:
        streams: list[Any] = [subtitles.streams[0], video.streams.video[0]]
        copies = [target.add_stream_from_template(stream) for stream in streams]
        for stream, copy in zip(streams, copies, strict=True):
            for packet in stream.container.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
    return path


def test_subtitles_are_cut_at_the_borders_of_a_part(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=30)
    spans = [(0, 100), (100, 500), (200, 600), (700, 950)]
    source = with_subtitles(clip, tmp_path / "in.mkv", spans)
    result = stylize_file(source, tmp_path / "out.mkv", invert, edit=Edit(start=0.3, end=0.8)).output
    with av.open(str(result)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        assert [(packet.pts, packet.duration, bytes(packet)) for packet in packets] == [
            (0, 200, b"line 100"),
            (0, 300, b"line 200"),
            (400, 100, b"line 700"),
        ]


def test_a_subtitle_over_a_start_between_two_milliseconds_is_kept(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    source = with_subtitles(make_clip(tmp_path / "in.mp4", frames=30), tmp_path / "in.mkv", [(100, 500)])
    result = stylize_file(source, tmp_path / "out.mkv", invert, edit=Edit(start=Fraction(1, 3)))
    assert subtitle_times(result.output) == [pytest.approx(0, abs=1)]


def test_a_subtitle_that_began_long_before_a_part_is_in_it(invert: StyleSession, tmp_path: Path) -> None:
    grey, coding = [np.full((48, 64, 3), 0.5)] * 40, Coding(options={"g": "1"}, time_base=Fraction(1))
    clip = write_video(tmp_path / "in.mp4", grey, coding)
    source = with_subtitles(clip, tmp_path / "in.mkv", [(8_000, 38_000)])
    result = stylize_file(source, tmp_path / "out.mkv", invert, edit=Edit(start=35, end=36)).output
    with av.open(str(result)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        assert [(packet.pts, packet.duration) for packet in packets] == [(0, 1000)]


def test_one_subtitle_that_is_out_of_order_moves_no_other(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    times = [200, 400, 600, 900]
    source = with_subtitles(
        make_clip(tmp_path / "in.mp4"), tmp_path / "in.mkv", [(time, 999) for time in times]
    )
    assert subtitle_times(source) == times
    data = bytearray(source.read_bytes())
    at = data.index(b"line 200")
    assert int.from_bytes(data[at - 3 : at - 1], "big") == 200  # milliseconds of the cluster
    data[at - 3 : at - 1] = (500).to_bytes(2, "big")
    source.write_bytes(data)
    assert subtitle_times(source) == [500, 400, 600, 900]
    result = stylize_file(source, tmp_path / "out.mkv", invert)
    assert subtitle_times(result.output) == [500, 500, 600, 900]


def subtitle_times(path: Path) -> list[int | None]:
    with av.open(str(path)) as container:
        return [packet.pts for packet in container.demux(subtitles=0) if packet.size]


def test_a_long_pause_of_the_sound_is_no_jump(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """Commentary may begin again after minutes; only broadcasts were joined there."""
    source = tmp_path / "in.mkv"
    with av.open(str(make_clip(tmp_path / "in.mp4"))) as plain, av.open(str(source), "w") as container:
        copies = [container.add_stream_from_template(stream) for stream in plain.streams]
        for packet in plain.demux():
            if packet.dts is not None:
                if packet.stream.type == "audio" and packet.dts > 5000:
                    packet.dts += 60 * 44100
                    packet.pts = packet.dts
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    before = sound(source)
    assert max(later[0] - earlier[0] for earlier, later in pairwise(before)) > 50_000
    after = sound(stylize_file(source, tmp_path / "out.mkv", invert).output)
    assert [packet[0] - after[0][0] for packet in after] == [packet[0] - before[0][0] for packet in before]


def test_a_source_that_cannot_be_copied_is_closed(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("this system does not say which files are open")

    def fail(*_: object) -> None:
        raise ValueError("no chapters")

    monkeypatch.setattr("stylize_video.video.metadata._chapters", fail)
    with av.open(str(tmp_path / "out.mp4"), "w") as target:
        target.add_stream("libx264", rate=30)
        with pytest.raises(ValueError, match="no chapters") as raised:
            StreamCopier(clip, target)
    assert raised.traceback  # which keeps the half-made copier, and what it has open
    assert clip.resolve() not in [link.resolve() for link in open_files.iterdir()]


def test_sound_that_is_refused_costs_one_warning(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        """A container that takes no more."""

        def __init__(self, target: av.container.OutputContainer) -> None:
            self._target = target

        def __getattr__(self, name: str) -> object:
            return getattr(self._target, name)

        def mux(self, packet: object) -> None:
            raise av.error.ArgumentError(22, "Invalid argument")

    with av.open(str(clip)) as source, av.open(str(tmp_path / "out.mkv"), "w") as target:
        target.add_stream_from_template(source.streams.video[0])
        copier = StreamCopier(clip, target)
        copier._target = Refusing(target)  # type: ignore[assignment]
        copier.copy_until(None)
        copier.close()
    assert [record.message for record in caplog.records] == [
        "sound (stream 1) is not kept everywhere: Invalid argument"
    ]


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_sound_that_an_edit_list_cuts_away_stays_away(
    suffix: str, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """Cutting without encoding leaves packets in an MP4 that nobody hears; one is the decoder's run-in."""
    source = tmp_path / "in.mp4"
    with (
        av.open(str(make_clip(tmp_path / "whole.mp4", frames=60))) as whole,
        av.open(str(source), "w") as cut,
    ):
        copies = [cut.add_stream_from_template(stream) for stream in whole.streams]
        for packet in whole.demux():
            if packet.dts is not None and packet.pts is not None:
                shift = round(1 / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copies[packet.stream.index]
                cut.mux(packet)
    heard = sound(source)
    with av.open(str(source)) as container:
        assert len(heard) + 20 < sum(1 for p in container.demux(audio=0) if p.size)
    after = sound(stylize_file(source, tmp_path / f"out{suffix}", invert).output)
    run_in = 0 if suffix == ".mp4" else 1
    assert len(after) == len(heard) + run_in


def test_sound_of_a_file_with_a_colon_in_its_name(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rec-12:30.mp4").write_bytes(clip.read_bytes())
    with av.open(str(clip)) as source, av.open("out.mkv", "w") as target:
        target.add_stream_from_template(source.streams.video[0])
        copier = StreamCopier(Path("rec-12:30.mp4"), target)
        copier.copy_until(None)
        copier.close()
    assert sound(Path("out.mkv"))


@pytest.mark.parametrize("start", [1, 12])
def test_sound_of_a_part_where_seeking_fails(start: int, invert: StyleSession, tmp_path: Path) -> None:
    """FFmpeg does not seek to the start of an FLV whose sound comes first."""
    source = tmp_path / "in.flv"
    with av.open(str(source), "w") as target:
        audio = target.add_stream("libmp3lame", rate=44100, layout="mono")
        video = target.add_stream("flv", rate=30)
        assert isinstance(audio, av.AudioStream)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 14 * 44100), np.int16), "s16p", "mono")
        silence.sample_rate, silence.pts, silence.time_base = 44100, 0, Fraction(1, 44100)
        packets = [*audio.encode(silence), *audio.encode(None)]
        for index in range(1, 420):
            frame = av.VideoFrame.from_ndarray(draw_picture(index, 96, 64), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 30)
            packets += video.encode(frame)
        target.mux(sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base))
    with av.open(str(source)) as container, pytest.raises(av.error.PermissionError):
        container.seek(0)
    result = stylize_file(source, tmp_path / "out.mkv", invert, edit=Edit(start=Fraction(start)))
    with av.open(str(result.output)) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
    assert times[0] == pytest.approx(0, abs=0.03)
    assert times[-1] == pytest.approx(14 - start, abs=0.1)


def test_subtitles_that_begin_long_after_the_start_end_no_copy(invert: StyleSession, tmp_path: Path) -> None:
    """FLV has a stream once its first packet comes, here beyond what FFmpeg reads to look for streams."""
    noise, source = np.random.default_rng(0), tmp_path / "in.flv"
    with av.open(str(source), "w") as target:
        audio = target.add_stream("libmp3lame", rate=44100, layout="mono")
        video = target.add_stream("flv", rate=10, options={"qmin": "1", "qmax": "1"})
        assert isinstance(audio, av.AudioStream)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 640, 480, "yuv420p"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 35_280), np.int16), "s16p", "mono")
        silence.sample_rate, silence.pts, silence.time_base = 44100, 0, Fraction(1, 44100)
        packets = [*audio.encode(silence), *audio.encode(None)]
        for index in range(8):
            picture = noise.integers(0, 256, (480, 640, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            packets += video.encode(frame)
        target.mux(sorted([*packets, *video.encode(None)], key=lambda p: (p.dts or 0) * p.time_base))
    text = b"\x02\x00\x0aonTextData\x08\x00\x00\x00\x01\x00\x04text\x02\x00\x03now\x00\x00\x09"
    tag = b"\x12" + len(text).to_bytes(3, "big") + (750).to_bytes(3, "big") + bytes(4) + text
    with source.open("ab") as file:
        file.write(tag + len(tag).to_bytes(4, "big"))
    with av.open(str(source)) as container:
        assert len(container.streams) == 2
        with pytest.raises(IndexError):
            list(container.demux(audio=0))
    result = stylize_file(source, tmp_path / "out.mkv", invert)
    assert result.frames == 8
    assert len(sound(result.output)) > 25
