"""What a source's name means, and what is said where it means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from live_support import MjpegServer, number_of, serving
from stylize_video.errors import SourceError
from stylize_video.live.readers import FileReader, StreamReader, reader_opener
from stylize_video.source import VideoSource


def test_a_stream_gives_upright_bgr_frames_as_they_come() -> None:
    with serving(MjpegServer(fps=100, plain=True)) as server:
        reader = StreamReader(server.url)
        numbers = []
        for _ in range(5):
            item = reader.read()
            assert item is not None
            image, due = item
            assert due is None
            assert image.shape == (48, 64, 3)
            assert image.dtype == np.uint8
            numbers.append(number_of(image))
        reader.close()
    assert reader.live
    assert np.diff(numbers).tolist() == [1, 1, 1, 1]


def test_a_file_gives_its_frames_and_when_they_are_due(clip: Path) -> None:
    reader = FileReader(clip)
    times = []
    with VideoSource(clip) as video:
        for frame in video:
            item = reader.read()
            assert item is not None
            np.testing.assert_array_equal(item[0], frame.image)
            times.append(item[1])
    assert reader.read() is None
    assert times == pytest.approx([n / 30 for n in range(12)])
    assert reader.fps == 30
    reader.close()


def test_a_file_by_url_is_played_at_its_own_speed(clip: Path) -> None:
    reader = StreamReader(f"file://{clip}")
    assert not reader.live
    times = [item[1] for _ in range(3) if (item := reader.read())]
    assert times == pytest.approx([0, 1 / 30, 2 / 30])
    reader.close()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("missing.mp4", "missing.mp4 is no camera, URL or file"),
        ("http://127.0.0.1:9/none.mjpg", "cannot be opened"),
        ("gopher://host/video", "cannot be opened"),
        ("977", "there is no camera 977"),
        ("/dev/video977", "there is no camera /dev/video977"),
    ],
)
def test_sources_that_are_none(source: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        reader_opener(source)()


def test_a_stream_without_video(make_sound: Path) -> None:
    with pytest.raises(SourceError, match="has no video in it"):
        StreamReader(f"file://{make_sound}")


@pytest.fixture
def make_sound(tmp_path: Path) -> Path:
    import wave

    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000))
    return path
