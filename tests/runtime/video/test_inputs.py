"""One suite over every kind of source: the same frames at the same times, in whole or in part."""

from __future__ import annotations

import functools
import http.server
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from media import Coding, standard_input, write_video
from stylize_video.errors import SourceError
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.live.readers import StreamReader
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.edit import Edit
from stylize_video.video.inputs import FrameSource, Source, open_source, parse_source
from stylize_video.video.pipes import RawFormat, is_url, raw_format_of, without_password
from stylize_video.video.sequences import PictureSequence, is_pattern, numbered_name
from stylize_video.video.timing import repeated
from support import MakeClip

FRAMES, RATE = 12, 10
WIDTH, HEIGHT = 64, 48


def picture(index: int) -> np.ndarray:
    """RGB of 0..1, each 16 levels brighter than the one before."""
    return np.full((HEIGHT, WIDTH, 3), (16 + 16 * index) / 255)


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 16) / 16)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


CODING = Coding(time_base=Fraction(1, RATE))
EXACT = Coding("ffv1", options={}, time_base=Fraction(1, RATE))
KINDS: dict[str, Callable[[Path], Path]] = {
    "file": lambda folder: write_video(folder / "in.mp4", map(picture, range(FRAMES)), CODING),
    "gif": lambda folder: write_gif(folder / "in.gif"),
    "sequence": lambda folder: write_pictures(folder, range(7, 7 + FRAMES)),
    "url": lambda folder: write_video(folder / "in.mp4", map(picture, range(FRAMES)), CODING),
    "nut": lambda folder: write_video(folder / "in.nut", map(picture, range(FRAMES)), EXACT),
    "y4m": lambda folder: write_raw(folder / "in.y4m"),
    "raw": lambda folder: write_raw(folder / "in.raw"),
}


def write_gif(path: Path) -> Path:
    """Grey levels, 10 hundredths of a second each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        for index in range(FRAMES):
            grey = (picture(index)[..., 0] * 255).round().astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        container.mux(stream.encode(None))
    return path


def write_pictures(folder: Path, numbers: range | list[int]) -> Path:
    for index, number in enumerate(numbers):
        cv2.imwrite(str(folder / f"p_{number:04d}.png"), (picture(index) * 255).round().astype(np.uint8))
    return folder / "p_%04d.png"


def write_raw(path: Path) -> Path:
    planes = [(picture(index) * 255).round().astype(np.uint8) for index in range(FRAMES)]
    if path.suffix == ".raw":
        path.write_bytes(b"".join(plane.tobytes() for plane in planes))
        return path
    # Y4M by hand: full range, so that grey is what it says.
    header = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C444 XCOLORRANGE=FULL\n".encode()
    chroma = bytes([128]) * (2 * WIDTH * HEIGHT)
    path.write_bytes(header + b"".join(b"FRAME\n" + p[..., 0].tobytes() + chroma for p in planes))
    return path


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., FrameSource]]:
    """Opens the same twelve frames as another kind of source each time."""
    kind = request.param
    path = KINDS[kind](tmp_path)
    raw = RawFormat(WIDTH, HEIGHT, Fraction(RATE)) if kind == "raw" else None

    def open_it(edit: Edit = Edit()) -> FrameSource:
        edit = Edit(edit.start, edit.end, Fraction(RATE)) if kind == "sequence" else edit
        return open_source(source, edit=edit, raw=raw)

    source: Source = path
    if kind == "url":
        with web_server(tmp_path) as address:
            source = f"{address}/{path.name}"
            yield open_it
    elif kind in ("nut", "y4m", "raw"):
        with standard_input(path):
            source = "-"
            yield open_it
    else:
        yield open_it


def test_all_frames_at_their_times(opened: Callable[..., FrameSource]) -> None:
    with opened() as source:
        info = source.info
        frames = list(source)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert info.rate == RATE
    assert [number_of(frame.image) for frame in frames] == list(range(FRAMES))
    times = [float(frame.pts * info.time_base) for frame in frames]
    assert times == pytest.approx([i / RATE for i in range(FRAMES)], abs=1e-3)
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3)


def test_a_part(opened: Callable[..., FrameSource]) -> None:
    with opened(Edit(Fraction(3, 10), Fraction(8, 10))) as source:
        frames = list(source)
        times = [float(frame.pts * source.info.time_base) for frame in frames]
    assert [number_of(frame.image) for frame in frames] == [3, 4, 5, 6, 7]
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)


def test_a_part_that_is_not_there(opened: Callable[..., FrameSource]) -> None:
    with pytest.raises(SourceError, match="ends before 60 s"):
        opened(Edit(Fraction(60)))


def test_gif_delays_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "in.gif"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        stream.codec_context.time_base = Fraction(1, 100)
        for index, pts in enumerate([0, 5, 55, 60, 200]):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH), 40 * index, np.uint8), format="gray")
            frame.pts, frame.time_base = pts, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_source(path) as source:
        assert [frame.pts * source.info.time_base * 100 for frame in source] == [0, 5, 55, 60, 200]


def test_a_number_that_is_missing_is_a_longer_picture(tmp_path: Path) -> None:
    pattern = write_pictures(tmp_path, [3, 4, 8, 9])
    (tmp_path / "p_10.png").write_bytes(b"of another width")
    with open_source(pattern, edit=Edit(fps=Fraction(RATE))) as source:
        assert [frame.pts for frame in source] == [0, 1, 5, 6]
        assert source.info.first_number == 3


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (0.2, 1.0, [(0, 1), (3, 2), (4, 3)]),  # from 0.1 to 0.5 s the second picture is on screen
        (0.1, 1.0, [(0, 1), (4, 2), (5, 3)]),
        (0.24, 0.4, [(0, 1)]),
        (0.65, 1.0, [(0, 3)]),
    ],
)
def test_a_part_of_pictures_begins_with_the_one_on_screen(
    start: float, end: float, wanted: list[tuple[int, int]], tmp_path: Path
) -> None:
    """Each later picture keeps its number."""
    pattern = write_pictures(tmp_path, [3, 4, 8, 9])
    with open_source(pattern, edit=Edit(start, end, RATE)) as source:
        assert [(frame.pts, number_of(frame.image)) for frame in source] == wanted
        assert source.info.first_number == 3 + round(start * RATE)
        assert source.info.start_pts == 0


def test_the_last_picture_of_a_part_stays_until_its_end(tmp_path: Path) -> None:
    pattern = write_pictures(tmp_path, [3, 4, 8, 9])
    edit = Edit(end=0.4, fps=RATE)
    with open_source(pattern, edit=edit) as source:
        frames, _ = edit.apply(source, source.info)
        assert [(frame.pts, number_of(frame.image)) for frame in repeated(frames)] == [
            (0, 0), (1, 1), (2, 1), (3, 1),
        ]  # fmt: skip


def test_pictures_of_two_sizes(tmp_path: Path) -> None:
    write_pictures(tmp_path, [1, 2])
    cv2.imwrite(str(tmp_path / "p_0003.png"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(SourceError, match=r"p_0003\.png is 32x32, but the pictures before are 64x48"):
        list(open_source(tmp_path / "p_%04d.png"))


def test_a_sequence_with_a_broken_picture(tmp_path: Path) -> None:
    write_pictures(tmp_path, [1, 2])
    (tmp_path / "p_0003.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"p_0003\.png is not a picture"):
        list(open_source(tmp_path / "p_%04d.png"))


def test_patterns(tmp_path: Path) -> None:
    assert is_pattern(Path("a/%05d.png"))
    assert is_pattern(Path("shot%d.png"))
    assert not is_pattern(Path("100%.png"))
    assert not is_pattern(Path("%d_%d.png"))
    assert not is_pattern(Path("%999999999d.png"))
    (tmp_path / "odd%d.png").touch()
    assert not is_pattern(tmp_path / "odd%d.png")
    assert numbered_name(Path("a/x%04d.png"), 12) == Path("a/x0012.png")
    assert numbered_name(Path("a/%d.png"), 12) == Path("a/12.png")
    with pytest.raises(SourceError, match="there are no pictures"):
        PictureSequence.of_pattern(tmp_path / "none%d.png")
    with pytest.raises(SourceError, match="is no pattern of pictures"):
        PictureSequence.of_pattern(tmp_path / "%d.txt")


def test_what_is_a_url() -> None:
    assert is_url("rtsp://camera/1")
    assert is_url("https://x/y.mp4")
    assert not is_url("file:///etc/passwd")
    assert not is_url("concat:a|b")
    assert parse_source("clips/a.mp4") == Path("clips/a.mp4")
    assert parse_source("-") == "-"
    assert without_password("rtsp://user:secret@camera:554/1") == "rtsp://camera:554/1"


def test_a_stream_that_has_begun_long_ago_begins_at_0(
    make_clip: MakeClip, invert_style: Path, tmp_path: Path
) -> None:
    """A broadcast over TCP whose clock stands at five minutes."""
    broadcast = make_clip(tmp_path / "in.ts", frames=40, pts=[9000 + i for i in range(40)], sound=False)
    server = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        connection, _ = server.accept()
        with server, connection:
            connection.sendall(broadcast.read_bytes())

    thread = threading.Thread(target=send)
    thread.start()
    session = StyleSession(Style.load(invert_style), "cpu")
    url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    result = stylize_file(url, tmp_path / "out.mp4", session)
    thread.join()
    assert result.frames == 40
    with open_source(result.output) as source:
        times = [float(frame.pts * source.info.time_base) for frame in source]
    assert times == pytest.approx([i / 30 for i in range(40)], abs=1e-3)


def test_a_url_in_capitals(clip: Path) -> None:
    """FFmpeg itself knows no such protocol."""
    with web_server(clip.parent) as address:
        url = f"{address.replace('http', 'HTTP')}/{clip.name}"
        with open_source(url) as source:
            assert len(list(source)) == 12
        reader = StreamReader(url)
        assert reader.read() is not None
        reader.close()


def test_a_url_that_does_not_answer() -> None:
    with pytest.raises(SourceError, match="Connection refused") as caught:
        open_source("http://user:secret@127.0.0.1:9/clip.mp4")
    assert "secret" not in str(caught.value)


def test_a_page_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>no video</html>" * 50)
    with web_server(tmp_path) as address, pytest.raises(SourceError, match="is not a video"):
        open_source(f"{address}/page.html")


def test_noise_on_standard_input(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(5000))
    with standard_input(tmp_path / "noise"), pytest.raises(SourceError, match="raw frames need --raw-size"):
        open_source("-")


@pytest.mark.parametrize("before", [0, 5000], ids=["from its start", "behind what was read before"])
def test_an_mp4_is_read_from_a_file_on_standard_input(
    before: int, make_clip: MakeClip, tmp_path: Path
) -> None:
    """Its index is at its end."""
    file = tmp_path / "in.bin"
    file.write_bytes(bytes(before) + make_clip(tmp_path / "in.mp4", width=640, height=360).read_bytes())
    saved = os.dup(0)
    try:
        with file.open("rb", buffering=0) as opened:
            opened.seek(before)
            os.dup2(opened.fileno(), 0)
        with open_source("-") as source:
            assert len(list(source)) == 12
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_an_mp4_whose_index_comes_too_late_for_a_pipe(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", width=640, height=360)
    with (
        standard_input(source),
        pytest.raises(SourceError, match="an MP4 with its index at its end cannot be read from a pipe"),
    ):
        open_source("-")


def test_a_terminal_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(SourceError, match="standard input is the terminal"):
        open_source("-")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("640x", "25", "bgr24"), "sizes look like 640x360"),
        (("100000x100000", "25", "bgr24"), "larger than any video"),
        (("640x480", "x", "bgr24"), "frames a second are written as"),
        (("640x480", "25", "purple"), "unknown pixel format 'purple'"),
    ],
)
def test_raw_formats_that_make_no_sense(arguments: tuple[str, str, str], sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        raw_format_of(*arguments)
