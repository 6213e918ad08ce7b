"""Captions in the pictures, stereo films, panoramas."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from av.sidedata.sidedata import Type

from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.decoding import PyAvReader
from stylize_video.video.probe import probe
from stylize_video.video.side_data import side_data_of, stereo_mode


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def stereo_film(clip: Path, path: Path, mode: str) -> Path:
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        copy.metadata["stereo_mode"] = mode
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    return path


@pytest.mark.parametrize("mode", ["left_right", "right_left", "top_bottom", "bottom_top"])
def test_a_stereo_film_stays_one_in_matroska(
    mode: str, clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = stereo_film(clip, tmp_path / "in.mkv", mode)
    result = stylize_file(source, tmp_path / "out.mkv", invert, max_frames=2).output
    with av.open(str(result)) as container:
        assert container.streams.video[0].metadata["stereo_mode"] == mode
    assert side_data_of(result, 0)[Type.STEREO3D] == side_data_of(source, 0)[Type.STEREO3D]
    assert not caplog.messages


@pytest.mark.parametrize(
    ("mode", "suffix", "hint"),
    [("left_right", ".mp4", "; .mkv and .webm hold it"), ("checkerboard_lr", ".mkv", "")],
)
def test_a_stereo_film_that_is_flat_afterwards_gets_a_warning(
    mode: str,
    suffix: str,
    hint: str,
    clip: Path,
    invert: StyleSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = stereo_film(clip, tmp_path / "in.mkv", mode)
    stylize_file(source, tmp_path / f"out{suffix}", invert, max_frames=2)
    assert caplog.messages == [f"that the video is stereo (3D) is not kept{hint}"]


def test_a_flat_film_that_says_so_gets_none(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = stereo_film(clip, tmp_path / "in.mkv", "mono")
    stylize_file(source, tmp_path / "out.mp4", invert, max_frames=2)
    assert not caplog.messages


def test_arrangements_that_have_no_name() -> None:
    assert stereo_mode(struct.pack("=ii", 1, 0) + bytes(28)) == "left_right"
    assert stereo_mode(struct.pack("=ii", 3, 0)) is None
    assert stereo_mode(b"") is None


def test_closed_captions_get_a_warning(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """CEA-608 in the pictures of H.264, by ATSC A/53."""
    captions = b"\xb5\x00\x31GA94\x03\x41\xff\xfc\x94\x20\xff"
    message = b"\x00\x00\x01\x06\x04" + bytes([len(captions)]) + captions + b"\x80"
    source = tmp_path / "in.ts"
    with av.open(str(clip)) as plain, av.open(str(source), "w") as target:
        video = target.add_stream("libx264", rate=30)
        assert isinstance(video, av.VideoStream)
        video.width, video.height = 96, 64
        frames = [*plain.decode(video=0), None]
        for packet in (packet for frame in frames for packet in video.encode(frame)):
            again: av.Packet[Any] = av.Packet(message + bytes(packet))
            again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
            again.is_keyframe, again.stream = packet.is_keyframe, video
            target.mux(again)
    assert side_data_of(source, 0)[Type.A53_CC] == b"\xfc\x94\x20"
    stylize_file(source, tmp_path / "out.mp4", invert)
    assert caplog.messages == ["closed captions are not kept; CCExtractor makes a subtitle file of them"]


def test_what_cannot_be_decoded_carries_nothing(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_bytes(b"no video")
    assert side_data_of(tmp_path / "in.mp4", 0) == {}


def read_by_pyav(path: Path) -> None:
    reader = PyAvReader(str(path), probe(str(path)))
    while reader.read():
        pass
    reader.close()


def frames_in_memory() -> int:
    return sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No look for cycles: what nobody holds any more goes at once, or stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    "look",
    [lambda path: probe(str(path)), read_by_pyav, lambda path: side_data_of(path, 0)],
    ids=["probed", "read", "looked at"],
)
def test_frames_do_not_stay_in_memory(look: Callable[[Path], object], clip: Path) -> None:
    """A looped video is opened over and over, and a frame of 4K takes 12 MB."""
    before = frames_in_memory()
    look(clip)
    assert frames_in_memory() == before
