"""What comes along with the pictures: covers, fonts, sound in every container."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest

from stylize_video.pipeline import stylize_file
from stylize_video.session import StyleSession
from stylize_video.style import Style
from support import MakeClip, draw_picture

FONT = b"FONT" * 100


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


@pytest.fixture
def cover() -> bytes:
    return bytes(cv2.imencode(".png", draw_picture(0, 32, 32))[1])


def with_attachments(clip: Path, path: Path, cover: bytes) -> Path:
    with av.open(str(clip)) as source, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        container.add_attachment("font.ttf", "application/x-truetype-font", FONT)
        container.add_attachment("cover.png", "image/png", cover)
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


def test_what_describes_the_video_is_kept_and_what_describes_its_container_is_not(
    clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(clip)) as plain, av.open(str(source), "w") as container:
        copy = container.add_stream_from_template(plain.streams.video[0])
        copy.metadata["language"] = "deu"
        container.metadata["title"] = "Holiday"
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    stylize_file(source, tmp_path / "out.mkv", invert)
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        assert "major_brand" in before.metadata
        assert "MAJOR_BRAND" not in {key.upper() for key in after.metadata}
        assert after.metadata["title"] == "Holiday"
        assert after.streams.video[0].metadata["language"] in ("deu", "ger")


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


def test_broadcast_sound_that_avi_cannot_hold(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_clip(tmp_path / "in.ts")
    with caplog.at_level(logging.WARNING):
        stylize_file(source, tmp_path / "out.avi", invert)
    assert "aac sound (stream 1) cannot be kept in avi files" in caplog.text
