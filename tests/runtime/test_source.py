"""What comes out of a video file: colours, fields, aspect, and the time of each frame."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media import HEVC10, Coding, bar_middles, colour_bars, write_video
from stylize_video.decoding import OpenCvReader, PyAvReader
from stylize_video.errors import SourceError
from stylize_video.probe import probe
from stylize_video.source import VideoSource

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


def interlaced(count: int) -> list[np.ndarray]:
    """A white bar that moves 6 columns a field; the lower field is first, as x264 is told by default."""
    fields = np.zeros((2 * count, 96, 160, 3))
    for index, picture in enumerate(fields):
        picture[:, 6 * index : 6 * index + 40] = 1
    frames = fields[::2].copy()
    frames[:, ::2] = fields[1::2, ::2]
    return list(frames)


def combing(picture: np.ndarray) -> float:
    """How much each row differs from the mean of its neighbours."""
    rows = picture.mean(-1)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_interlaced_frames_are_made_whole(suffix: str, tmp_path: Path) -> None:
    options = {"x264-params": "bff=1", "crf": "4"}
    path = write_video(tmp_path / f"in{suffix}", interlaced(8), Coding(options=options))
    assert probe(str(path)).interlaced
    facts = probe(str(path))
    raw = PyAvReader(str(path), facts)
    combed = raw.read()
    assert combed is not None
    whole = frames_of(path)
    assert len(whole) == 8
    assert combing(combed.image) > 5 * combing(whole[0])
    for index, image in enumerate(whole[1:7], 1):  # each as it was at the time of its first field
        assert np.abs(np.argmax(image[20:76].mean(-1) > 128, -1) - 12 * index).max() <= 2
    with VideoSource(path) as source:
        stamps = [frame.pts * source.info.time_base for frame in source]
    assert [float(s - stamps[0]) for s in stamps] == pytest.approx([i / 25 for i in range(8)], abs=1e-3)


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
    assert (info.colorspace, info.color_primaries, info.color_trc, info.color_range) == (1, 1, 1, 1)
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
