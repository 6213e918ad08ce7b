"""What a source's name means, and what is said where it means nothing."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from live_support import MjpegServer, number_of, serving
from media import DISPLAY_MATRICES, HEVC10, Coding, colour_bars, write_video
from stylize_video.bounds import MAX_SIDE
from stylize_video.errors import SourceError
from stylize_video.live.readers import FileReader, StreamReader, reader_opener
from stylize_video.video.source import VideoSource
from support import MakeClip, half_of


def test_a_stream_gives_upright_bgr_frames_as_they_come() -> None:
    with serving(MjpegServer(fps=100, plain=True)) as server:
        reader = StreamReader(server.url)
        numbers = []
        for _ in range(5):
            item = reader.read()
            assert item is not None
            assert item.due is None
            assert item.image.shape == (48, 64, 3)
            assert item.image.dtype == np.uint8
            numbers.append(number_of(item.image))
        reader.close()
    assert reader.live
    assert (np.diff(numbers) >= 1).all()


def test_a_file_gives_its_frames_and_when_they_are_due(clip: Path) -> None:
    reader = FileReader(clip)
    times = []
    with VideoSource(clip) as video:
        for frame in video:
            item = reader.read()
            assert item is not None
            np.testing.assert_array_equal(item.image, frame.image)
            times.append(item.due)
    assert reader.read() is None
    assert times == pytest.approx([n / 30 for n in range(12)])
    assert reader.fps == 30
    reader.close()


def test_a_file_by_url_is_played_at_its_own_speed(clip: Path) -> None:
    reader = StreamReader(f"file://{clip}")
    assert not reader.live
    times = [item.due for _ in range(3) if (item := reader.read())]
    assert times == pytest.approx([0, 1 / 30, 2 / 30])
    reader.close()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("missing.mp4", "missing.mp4 is no camera, URL or file"),
        ("http://127.0.0.1:9/none.mjpg", "cannot be opened"),
        ("http://me:secret@127.0.0.1:9/none.mjpg", "^http://127.0.0.1:9/none.mjpg cannot be opened"),
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


def test_the_end_of_a_file_is_that_of_its_last_frame(make_clip: MakeClip, tmp_path: Path) -> None:
    reader = FileReader(make_clip(tmp_path / "slow.mp4", frames=2, pts=[0, 30], sound=False))
    assert reader.end is None
    while reader.read():
        pass
    assert 1.03 < (reader.end or 0) <= 2  # containers differ in what the last one lasts
    reader.close()


def test_a_file_that_breaks_off_ends_with_its_last_frame(make_clip: MakeClip, tmp_path: Path) -> None:
    cut = half_of(make_clip(tmp_path / "whole.mp4", frames=90), tmp_path / "cut.mp4")
    reader = FileReader(cut)
    times = [item.due for item in iter(reader.read, None) if item.due is not None]
    assert 20 < len(times) < 70
    assert reader.end == pytest.approx(times[-1] + 1 / 30)
    reader.close()


def test_a_live_stream_in_segments_is_played_at_its_own_speed(
    make_clip: MakeClip, tmp_path: Path, served_folder: str
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=60, sound=False)
    playlist = tmp_path / "live.m3u8"
    remuxed(clip, playlist, options={})
    playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST", ""))  # as while it goes on
    reader = StreamReader(f"{served_folder}/live.m3u8")
    assert reader.live
    due = [item.due for _ in range(30) if (item := reader.read())]
    assert due == pytest.approx([n / 30 for n in range(30)], abs=1e-3)
    reader.close()


def test_a_file_without_a_duration_is_played_at_its_own_speed_to_its_end(
    make_clip: MakeClip, tmp_path: Path, served_folder: str
) -> None:
    """A transport stream from a server that cannot give its end first."""
    make_clip(tmp_path / "clip.ts", frames=20, sound=False)
    reader = StreamReader(f"{served_folder}/clip.ts")
    assert not reader.live
    due = [item.due for item in iter(reader.read, None)]
    assert due == pytest.approx([n / 30 for n in range(20)], abs=1e-3)
    reader.close()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_video_whose_connection_breaks(ranges: bool, make_clip: MakeClip, tmp_path: Path) -> None:
    """It goes on where the server can, and is no whole one where it cannot."""
    clip, loads_first = make_clip(tmp_path / "clip.mp4", frames=90, sound=False), tmp_path / "first.mp4"
    remuxed(clip, loads_first, options={"movflags": "+faststart"})
    content = loads_first.read_bytes()

    class Breaking(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range") if ranges else None
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : start + len(content) * 2 // 3])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving_with(Breaking) as url:
        reader = StreamReader(f"{url}/clip.mp4")
        times: list[float | None] = []

        def read_all() -> None:
            times.extend(item.due for item in iter(reader.read, None))

        if ranges:
            read_all()
            assert len(times) == 90
        else:
            with pytest.raises(SourceError, match=rf"^{url}/clip\.mp4 broke off after [12]\.\d seconds"):
                read_all()
            assert 20 < len(times) < 85
        reader.close()


def test_another_programme_in_a_live_stream_goes_on_at_once() -> None:
    """Its time stamps are those of another clock."""
    with serving(MjpegServer(fps=100, plain=True)) as server:
        reader = StreamReader(server.url)
    reader.close()
    assert [reader._due_at(at) for at in (100, 101, 90_000, 90_001, 5, 6)] == [0, 1, 1, 2, 2, 3]


def test_a_turned_video_by_url_is_upright(clip: Path, tmp_path: Path) -> None:
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed, and makes the turned video")
    turned = tmp_path / "turned.mp4"
    tag = "rotate=90"
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-c", "copy", "-metadata:s:v", tag, str(turned)]
    subprocess.run(command, check=True)
    reader = StreamReader(f"file://{turned}")
    item = reader.read()
    with VideoSource(turned) as video:
        upright = next(iter(video)).image
    assert item is not None
    assert item.image.shape == upright.shape == (96, 64, 3)
    assert np.abs(item.image.astype(int) - upright).mean() < 4
    reader.close()


@pytest.mark.parametrize(("width", "orientation", "size"), [(96, 1, (128, 64)), (64, 6, (48, 64))])
def test_pictures_have_square_pixels(
    width: int, orientation: int, size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = width, 64, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        a, b, c, d = DISPLAY_MATRICES[orientation]
        video.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((64, width, 3), 90, np.uint8), format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    for reader in (FileReader(path), StreamReader(f"file://{path}")):
        item = reader.read()
        assert item is not None
        assert item.image.shape[1::-1] == size
        reader.close()


def test_a_video_by_url_is_read_by_the_rules_of_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """HDR is tone-mapped, interlaced frames are made whole, and what is too large is refused."""
    hdr = replace(HEVC10, colorspace=9, color_primaries=9, color_trc=16)
    bars = [colour_bars([(0.2, 0.4, 0.6), (0.58,) * 3])] * 3
    fields = np.zeros((3, 96, 160, 3))
    fields[:, ::2, 40:80] = fields[:, 1::2, 60:100] = 1
    combed = Coding(options={"x264-params": "bff=1", "crf": "4"})
    for path in (
        write_video(tmp_path / "hdr.mp4", bars, hdr),
        write_video(tmp_path / "combed.mp4", list(fields), combed),
    ):
        reader = StreamReader(f"file://{path}")
        item = reader.read()
        assert item is not None
        with VideoSource(path) as video:
            np.testing.assert_array_equal(item.image, next(iter(video)).image)
        reader.close()
    assert f"{tmp_path / 'hdr.mp4'} is HDR (PQ); it is tone-mapped to SDR" in caplog.text
    with av.open(str(tmp_path / "wide.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = MAX_SIDE + 4, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(MAX_SIDE + 4, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="says that its pictures are 16388x16"):
        StreamReader(f"file://{tmp_path / 'wide.mkv'}")


def remuxed(clip: Path, path: Path, *, options: dict[str, str]) -> None:
    """The video of a clip in another file."""
    with av.open(str(clip)) as source, av.open(str(path), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


@pytest.fixture
def served_folder(tmp_path: Path) -> Iterator[str]:
    """The address at which ``tmp_path`` is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving_with(partial(Quiet, directory=str(tmp_path))) as url:
        yield url


@contextmanager
def serving_with(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server whose requests ``handler`` answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
