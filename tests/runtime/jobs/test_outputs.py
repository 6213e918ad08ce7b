"""One suite over every kind of result: the same frames come back, at the same times."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import standard_input, standard_output
from stylize_video.effects.look import Look
from stylize_video.errors import SinkError, SourceError
from stylize_video.frame import TimedFrame
from stylize_video.jobs.outputs import FrameSink, open_sink, retimed_for
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.edit import Edit
from stylize_video.video.encoder import VideoEncoder
from stylize_video.video.encoding import CODECS, PIPE_FORMATS, Encoding
from stylize_video.video.hardware import HARDWARE, why_not
from stylize_video.video.info import VideoInfo
from stylize_video.video.inputs import FrameSource, Source, open_source
from stylize_video.video.pipes import StreamSource
from stylize_video.video.sequences import PictureSequence
from support import Command, MakeClip, command_line, draw_picture

FRAMES, WIDTH, HEIGHT = 8, 65, 47
STAMPS = [0, 100, 200, 350, 400, 900, 1000, 1100]
"""In milliseconds."""


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


class Frames:
    """A source of frames that are in memory already."""

    def __init__(self, stamps: list[int]) -> None:
        self.info = VideoInfo(
            Path("memory"), WIDTH, HEIGHT, Fraction(1, 1000), stamps[0], Fraction(10), len(stamps)
        )
        self.stamps = stamps

    def __iter__(self) -> Iterator[TimedFrame]:
        for index, stamp in enumerate(self.stamps):
            yield TimedFrame(stamp, np.full((HEIGHT, WIDTH, 3), 16 + 24 * index, np.uint8))

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *reason: object) -> None: ...


Written = list[tuple[float | None, int]]
"""Seconds, where the kind of result has time stamps, and the number of each frame."""


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 16) / 24)


def read_video(path: Path) -> Written:
    with open_source(path) as source:
        return [(float(f.pts * source.info.time_base), number_of(f.image)) for f in source]


def read_pictures(pattern: Path) -> Written:
    files = PictureSequence.of_pattern(pattern).files
    return [(None, number_of(np.asarray(cv2.imread(str(path))))) for path in files]


def read_webp(path: Path) -> Written:
    found, animation = cv2.imreadanimation(str(path))
    assert found
    starts = np.cumsum([0, *animation.durations])[: len(animation.frames)] / 1000
    return [
        (float(start), number_of(frame[..., :3]))
        for start, frame in zip(starts, animation.frames, strict=True)
    ]


KINDS: dict[str, tuple[str, Callable[[Path], Written]]] = {
    "mp4": ("out.mp4", read_video),
    "mkv": ("out.mkv", read_video),
    "webm": ("out.webm", read_video),
    "mov": ("out.mov", read_video),
    "gif": ("out.gif", read_video),
    "webp": ("out.webp", read_webp),
    "png": ("out/%03d.png", read_pictures),
    "jpg": ("p%d.jpg", read_pictures),
    "nut": ("-", read_video),
    "y4m": ("-", lambda path: [(None, number) for _, number in read_video(path)]),
    "raw": (
        "-",
        lambda path: [
            (None, number_of(frame)) for frame in np.fromfile(path, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
        ],
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(
    kind: str, folder: Path, stamps: list[int], ending: Callable[[FrameSink], object] | None = None
) -> Written:
    """Write frames as ``kind`` and read back what there is."""
    name, read = KINDS[kind]
    output = Path("-") if name == "-" else folder / name
    source: FrameSource = Frames(stamps)
    info = source.info
    frames = iter(source)
    if kind in ("y4m", "raw"):
        info = replace(info, time_base=Fraction(1, 10))
        frames = (replace(frame, pts=index) for index, frame in enumerate(source))

    def fill() -> object:
        sink = open_sink(output, info, source, encoding=Encoding(pipe=kind if name == "-" else "nut"))
        for frame in frames:
            sink.write(frame)
        assert sink.frames == len(stamps)
        return ending(sink) if ending else sink.finish()

    if name == "-":
        with standard_output(folder / f"piped.{kind}"):
            fill()
        return read(folder / f"piped.{kind}")
    kept = fill()
    return read(kept if isinstance(kept, Path) else output)


def test_frames_and_times_come_back(kind: str, tmp_path: Path) -> None:
    written = write(kind, tmp_path, STAMPS)
    assert [number for _, number in written] == list(range(FRAMES))
    times = [seconds for seconds, _ in written if seconds is not None]
    if times:
        assert times == pytest.approx([stamp / 1000 for stamp in STAMPS], abs=6e-3)  # GIF: hundredths


def test_one_frame(kind: str, tmp_path: Path) -> None:
    assert [number for _, number in write(kind, tmp_path, [0])] == [0]


def test_an_interruption_keeps_what_is_there(kind: str, tmp_path: Path) -> None:
    written = write(kind, tmp_path, STAMPS[:5], lambda sink: sink.keep_part())
    assert [number for _, number in written] == list(range(5))
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_nothing_half_written_stays(kind: str, tmp_path: Path) -> None:
    """Of a video nothing, of numbered pictures those that are whole."""
    name, _ = KINDS[kind]
    if name == "-":
        pytest.skip("what went into a pipe is gone")
    sink = open_sink(tmp_path / name, Frames(STAMPS).info, Frames(STAMPS))
    for frame in Frames(STAMPS):
        sink.write(frame)
    sink.discard()
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == (FRAMES if "%" in name else 0)


def test_what_exists_is_not_replaced(kind: str, tmp_path: Path) -> None:
    name, _ = KINDS[kind]
    if name == "-":
        pytest.skip("a pipe replaces nothing")
    write(kind, tmp_path, STAMPS[:2])
    with pytest.raises(SinkError, match="already exists"):
        write(kind, tmp_path, STAMPS[:2])


def test_a_picture_that_comes_at_the_last_moment_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs into one folder wrote over each other's pictures."""
    sink = open_sink(tmp_path / "%d.png", Frames(STAMPS).info, Frames(STAMPS))

    def taken_behind(target: Path, *, overwrite: bool) -> None:
        target.write_bytes(b"somebody else's")

    monkeypatch.setattr("stylize_video.video.sequences.check_result", taken_behind)
    with pytest.raises(SinkError, match=r"cannot write .*1\.png: File exists"):
        sink.write(next(iter(Frames(STAMPS))))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"somebody else's"]


def test_a_terminal_gets_no_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(SinkError, match="would go to the terminal"):
        open_sink(Path("-"), Frames(STAMPS).info, Frames(STAMPS))


@pytest.mark.parametrize("kind", PIPE_FORMATS)
def test_no_frame_waits_in_a_pipe_for_the_next(kind: str) -> None:
    name, codec = PIPE_FORMATS[kind]
    with av.open(io.BytesIO(), "w", format=name) as container:
        encoder = VideoEncoder(container, VideoInfo.of(WIDTH, HEIGHT), codec=codec, options={})
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        assert [len(list(encoder.encode(TimedFrame(pts, picture)))) for pts in range(4)] == [1] * 4


def test_numbers_follow_the_source(invert: StyleSession, tmp_path: Path) -> None:
    for index, number in enumerate([1001, 1002, 1005]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), draw_picture(index, 64, 48))
    stylize_file(tmp_path / "%04d.png", tmp_path / "out" / "%06d.png", invert)
    names = ["001001.png", "001002.png", "001005.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / names[2])), 255 - draw_picture(2, 64, 48))


@pytest.mark.parametrize(
    ("sources", "output"),
    [
        (["%03d.png"], "%03d.png"),
        (["%03d.png"], "../in/%03d.png"),
        (["008.png", "009.png"], "%03d.png"),  # which are the results 0 and 1
        (["a.webp", "b.webp"], "b.webp"),
    ],
)
def test_no_result_takes_the_place_of_a_source(
    sources: list[str], output: str, invert: StyleSession, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index, name in enumerate(["008.png", "009.png", "a.webp", "b.webp"]):
        cv2.imwrite(str(folder / name), draw_picture(index, 64, 48))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    paths = [folder / name for name in sources]
    source: Source = paths[0] if len(paths) == 1 else PictureSequence.of_files(paths)
    with pytest.raises(SinkError, match=r"is one of the inputs; name another file"):
        stylize_file(source, folder / output, invert, overwrite=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_source_under_another_name_is_not_replaced_either(invert: StyleSession, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "002.png"), draw_picture(0, 64, 48))
    before = (tmp_path / "002.png").read_bytes()
    for name in ("one.png", "two.png"):
        try:
            (tmp_path / name).symlink_to(tmp_path / "002.png")
        except OSError:
            pytest.skip("this system makes no links")
    source = PictureSequence.of_files([tmp_path / "one.png", tmp_path / "two.png"])
    with pytest.raises(SinkError, match=r"002\.png is one of the inputs"):
        stylize_file(source, tmp_path / "%03d.png", invert, overwrite=True)
    assert (tmp_path / "002.png").read_bytes() == before


def test_gifs_have_a_palette_for_each_frame(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    """Far more than 256 colours in all, and each frame close to its source all the same."""
    result = stylize_file(clip, tmp_path / "out.gif", invert, look=Look(0))
    with open_source(clip) as before, open_source(result.output) as after:
        for one, other in zip(before, after, strict=True):
            assert np.abs(one.image.astype(int) - other.image).mean() < 8


def test_gifs_go_no_faster_than_browsers_show(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=24, time_base=Fraction(1, 120), sound=False)
    result = stylize_file(source, tmp_path / "out.gif", invert)
    assert [record.message for record in caplog.records] == [
        "GIF shows at most 50 frames a second; out.gif gets no more"
    ]
    with open_source(result.output) as video:
        times = [float(frame.pts * video.info.time_base) for frame in video]
    assert times == pytest.approx([i / 50 for i in range(len(times))], abs=1e-6)
    assert 10 <= len(times) <= 12  # the clip says that its last frame stays for 1/30 s


def test_gifs_hold_each_frame_as_long_as_browsers_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A burst on a video that is slow on the whole; what stays after a burst is its last frame."""
    source = Frames([0, 10, 20, 200, 500, 510, 900])
    assert source.info.rate == 10
    frames, info = retimed_for(source, source.info, tmp_path / "out.gif", Encoding())
    sink = open_sink(tmp_path / "out.gif", info, source)
    for frame in frames:
        sink.write(frame)
    written = read_video(sink.finish())
    assert [number for _, number in written] == [0, 2, 3, 4, 5, 6]
    times = [seconds for seconds, _ in written if seconds is not None]
    assert times == pytest.approx([0, 0.02, 0.2, 0.5, 0.52, 0.9], abs=1e-6)
    assert [record.message for record in caplog.records] == [
        "GIF shows at most 50 frames a second; out.gif gets no more"
    ]


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 200), min_size=1, max_size=9),
    fps=st.none() | st.sampled_from([12, 50, 90]),
)
def test_no_two_frames_of_a_gif_are_too_near(gaps: list[int], fps: int | None) -> None:
    source = Frames([0, *np.cumsum(gaps).tolist()])
    edited, info = Edit(fps=None if fps is None else Fraction(fps)).apply(source, source.info)
    frames, info = retimed_for(edited, info, Path("out.gif"), Encoding())
    shown = list(frames)
    times = [pts for frame in shown for pts in (frame.pts, *frame.again)]
    assert info.time_base == Fraction(1, 100)
    assert all(later - earlier >= 2 for earlier, later in pairwise(times))
    if fps is None:
        late = [frame.pts - source.stamps[number_of(frame.image)] / 10 for frame in shown]
        assert all(-0.5 <= hundredths <= 2 for hundredths in late)
        assert number_of(shown[-1].image) == len(gaps)


@pytest.mark.parametrize(("kind", "lost"), [("y4m", 4), ("raw", 4), ("nut", 0)])
def test_pipes_without_time_stamps_tell_what_they_leave_out(
    kind: str, lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = Frames([0, 10, 20, 30, 40, 50, 1000, 1100])
    frames, _ = retimed_for(source, source.info, Path("-"), Encoding(pipe=kind))
    given = [number_of(frame.image) for frame in frames]
    assert len(given) == 8 - lost
    told = [record.message for record in caplog.records]
    if lost:
        assert told == [
            f"{lost} of 8 frames are left out: {kind} holds no time stamps, but 10 frames a second"
        ]
    else:
        assert not told


def test_steady_videos_lose_nothing_in_pipes(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_source(clip) as source:
        frames, _ = retimed_for(source, source.info, Path("-"), Encoding(pipe="y4m"))
        assert sum(1 for _ in frames) == 12
    assert not caplog.records


def test_standard_input_has_a_name(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        assert isinstance(stream, av.AudioStream)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    with (
        standard_input(tmp_path / "in.wav"),
        pytest.raises(SourceError, match="standard input has no video in it"),
    ):
        open_source("-")


# --- transparency -------------------------------------------------------------------------


def glass(folder: Path) -> Path:
    """Numbered pictures: orange, ever more transparent from left to right, with a hole that moves."""
    for index in range(4):
        picture = np.zeros((48, 64, 4), np.uint8)
        picture[..., :3] = (20, 120, 240)
        picture[..., 3] = np.linspace(0, 255, 64)[None]
        picture[10 + 4 * index : 20 + 4 * index, 20:40, 3] = 0
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder / "%d.png"


@pytest.mark.parametrize(
    ("name", "codec", "tolerance"),
    [
        ("out.webm", None, 6),
        ("out.mkv", "vp9", 6),
        ("out.mov", None, 2),
        ("out.mkv", None, 0),
        ("o%d.png", None, 0),
    ],
)
def test_transparency_is_kept_where_asked(
    name: str, codec: str | None, tolerance: float, invert: StyleSession, tmp_path: Path
) -> None:
    pattern = glass(tmp_path)
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / name
    encoding = Encoding(codec, alpha=True, bitrate=2_000_000 if "web" in name or codec else None)
    stylize_file(pattern, output, invert, encoding=encoding)
    assert_same_glass(pattern, output, tolerance)


def assert_same_glass(source: Path, output: Path, tolerance: float) -> None:
    """The frames inverted, their transparency as it was."""
    with open_source(source, alpha=True) as before, open_source(output, alpha=True) as after:
        pairs = list(zip(before, after, strict=True))
    assert len(pairs) == 4
    for one, other in pairs:
        assert one.alpha is not None
        assert other.alpha is not None
        assert np.abs(one.alpha.astype(int) - other.alpha).mean() <= tolerance
        assert np.abs(255 - one.image.astype(int) - other.image).mean() <= 4


@pytest.mark.parametrize(
    ("name", "codec"), [("out.webm", None), ("out.mkv", "vp9"), ("out.mov", None), ("out.mkv", None)]
)
def test_a_video_file_keeps_its_transparency(
    name: str, codec: str | None, invert: StyleSession, tmp_path: Path
) -> None:
    """Its packets wait in a journal; VP9's transparency lies beside them."""
    source = tmp_path / "in.mkv"
    stylize_file(glass(tmp_path), source, invert, encoding=Encoding(alpha=True))
    bitrate = 2_000_000 if name == "out.webm" or codec else None
    encoding = Encoding(codec, alpha=True, bitrate=bitrate)
    stylize_file(source, tmp_path / name, invert, encoding=encoding)
    assert_same_glass(source, tmp_path / name, 6)


def test_an_animated_webp_keeps_transparency(invert: StyleSession, tmp_path: Path) -> None:
    result = stylize_file(glass(tmp_path), tmp_path / "out.webp", invert, encoding=Encoding(alpha=True))
    found, animation = cv2.imreadanimation(str(result.output))
    assert found
    assert len(animation.frames) == 4
    assert np.abs(animation.frames[0][..., 3].astype(int)[30] - np.linspace(0, 255, 64)).max() <= 2


def test_transparency_is_left_out_unless_asked(invert: StyleSession, tmp_path: Path) -> None:
    pattern = glass(tmp_path)
    stylize_file(pattern, tmp_path / "out.webm", invert)
    with av.open(str(tmp_path / "out.webm")) as container:
        assert "alpha_mode" not in container.streams.video[0].metadata


def test_files_that_hold_no_transparency(tmp_path: Path, invert: StyleSession) -> None:
    with pytest.raises(SinkError, match=r"h264 in \.mp4 files holds no transparency; vp9 in \.webm"):
        stylize_file(glass(tmp_path), tmp_path / "out.mp4", invert, encoding=Encoding(alpha=True))


def test_sources_without_transparency_say_so(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = stylize_file(clip, tmp_path / "out.webm", invert, encoding=Encoding(alpha=True), max_frames=2)
    assert "has no transparency to keep" in caplog.text
    assert result.frames == 2


# --- hardware -----------------------------------------------------------------------------


def test_hardware_is_tried_and_told() -> None:
    """Where there is none, a sentence; where there is some, it is used."""
    for maker, hardware in HARDWARE.items():
        encoding = Encoding("h264", encoder=maker, bitrate=500_000)
        if why := why_not(f"h264_{maker}", hardware.pixels):
            with pytest.raises(SinkError, match=rf"h264_{maker} does not work here \(.+\); --encoder"):
                encoding.resolved(Path("o.mp4"))
            assert len(why) > 3
        else:
            assert encoding.resolved(Path("o.mp4"))[0].encoder == f"h264_{maker}"


def test_hardware_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.video.encoding.why_not", lambda encoder, pixels: None)
    codec, options = Encoding("hevc", crf=30, encoder="nvenc").resolved(Path("o.mp4"))
    assert (codec.encoder, codec.pixels, codec.even) == ("hevc_nvenc", "yuv420p", True)
    assert options == {"rc": "vbr", "preset": "p4", "cq": "30", "tag": "hvc1"}
    assert Encoding(encoder="auto").resolved(Path("o.mp4"))[0].encoder == "h264_nvenc"
    assert Encoding("hevc_qsv").resolved(Path("o.mp4"))[0].encoder == "hevc_qsv"
    assert Encoding("ffv1", encoder="auto").resolved(Path("o.mkv"))[0].encoder == "ffv1"
    with pytest.raises(SinkError, match="videotoolbox encodes to a bit rate"):
        Encoding(encoder="videotoolbox").resolved(Path("o.mp4"))
    with pytest.raises(SinkError, match="nvenc does not encode vp9; it encodes h264"):
        Encoding("vp9", encoder="nvenc").resolved(Path("o.webm"))


def test_without_hardware_auto_is_software(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.video.encoding.why_not", lambda encoder, pixels: "no chip")
    assert Encoding(encoder="auto").resolved(Path("o.mp4"))[0] == CODECS["h264"]
    with pytest.raises(SinkError, match="unknown encoder 'cuda'; there are software, auto, nvenc"):
        Encoding(encoder="cuda").resolved(Path("o.mp4"))


def test_every_encoder_is_one_that_exists() -> None:
    """What the table names is an encoder of FFmpeg's, if this build has it at all."""
    for maker, hardware in HARDWARE.items():
        for codec in hardware.codecs:
            if f"{codec}_{maker}" in av.codecs_available:
                supported = av.CodecContext.create(f"{codec}_{maker}", "w").supported_options
                names = {option.name for option in (*supported.private, *supported.generic)}
                assert {*hardware.quality, *dict(hardware.options)} <= names


# --- the command --------------------------------------------------------------------------


def test_in_the_middle_of_a_pipe(make_clip: MakeClip, tmp_path: Path) -> None:
    """NUT in, NUT out, frames and sound; nothing else on standard output."""
    source = make_clip(tmp_path / "in.mp4", frames=20)
    nut = tmp_path / "in.nut"
    with av.open(str(source)) as before, av.open(str(nut), "w") as container:
        copies = [container.add_stream_from_template(stream) for stream in before.streams]
        for packet in before.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    with nut.open("rb") as pipe:
        result = subprocess.run(
            [*command_line("stylize_video.cli:main"), "-", "--device", "cpu"],
            stdin=pipe, capture_output=True, check=True, timeout=240,
        )  # fmt: skip
    assert b"\nstandard output: 20 frames in " in result.stderr
    (tmp_path / "out.nut").write_bytes(result.stdout)
    contents = []
    for path in (nut, tmp_path / "out.nut"):
        with av.open(str(path)) as container:
            frames = [
                f.pts * f.time_base for f in container.decode(video=0) if f.time_base and f.pts is not None
            ]
        with av.open(str(path)) as container:
            sound = [bytes(p) for p in container.demux(audio=0) if p.size]
        contents.append((len(frames), sound, [float(t - frames[0]) for t in frames]))
    assert contents[0][:2] == contents[1][:2]
    assert contents[0][2] == pytest.approx(contents[1][2], abs=1e-4)


def test_sound_that_nobody_takes_does_not_wait(make_clip: MakeClip, tmp_path: Path) -> None:
    """A night of sound would fill the memory."""
    source = make_clip(tmp_path / "in.ts", frames=60)
    with standard_input(source), open_source("-") as stream:
        assert isinstance(stream, StreamSource)
        open_sink(tmp_path / "%d.png", stream.info, stream)
        assert sum(1 for _ in stream) == 60
        assert stream.others.next() is None


def test_a_reader_that_goes_away(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=200)
    process = subprocess.Popen(
        [*command_line("stylize_video.cli:main"), str(source), "-o", "-", "--device", "cpu", "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(1000)
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    assert process.wait(timeout=60) == 2
    process.stderr.close()
    assert errors == ""


def test_pictures_become_a_video_where_one_is_named(invert: StyleSession, tmp_path: Path) -> None:
    from stylize_video.jobs.batch import plan_batch, stylize_any
    from stylize_video.jobs.options import Options

    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index:02d}.png"), draw_picture(index, 64, 48))
    given = [str(tmp_path / "*.png")]
    assert len(plan_batch(given, "invert", None).files) == 6
    assert len(plan_batch(given, "invert", str(tmp_path)).files) == 6
    [(sequence, target)] = plan_batch(given, "invert", str(tmp_path / "out.mp4")).files
    options = Options(edit=Edit(fps=Fraction(12)))
    result = stylize_any(sequence, target, invert, options)
    with open_source(result.output) as video:
        times = [frame.pts * video.info.time_base for frame in video]
    assert [float(t) for t in times] == pytest.approx([i / 12 for i in range(6)], abs=1e-4)


@pytest.mark.parametrize("name", ["out.gif", "out%d.png", "-"])
def test_what_cannot_go_on_later_says_so(name: str, clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    output = Path("-") if name == "-" else tmp_path / name
    with pytest.raises(SinkError, match="cannot be resumed: only videos made of video files can"):
        stylize_file(clip, output, invert, resume=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codec", ["av1", "hevc"])
def test_encoders_leave_talking_to_us(codec: str, command_here: Command, clip: Path, tmp_path: Path) -> None:
    result = command_here(
        "stylize-video", clip, "-o", tmp_path / "out.mp4", "-q", "--codec", codec, "--device", "cpu"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
