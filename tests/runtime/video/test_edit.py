"""Parts of videos, other rates and sizes: which frames, at which times, with which sound."""

from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media import Coding, colour_bars, write_video
from stylize_video.effects.look import Look
from stylize_video.errors import SourceError, StylizeError
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.values import Scale
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import Encoding
from stylize_video.video.source import VideoSource
from support import MakeClip

LOSSLESS = Encoding("ffv1")


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def counting_frames(count: int) -> list[np.ndarray]:
    """Grey frames, each 8 levels brighter, so that a frame tells which one it is."""
    return [np.full((48, 64, 3), min(16 + 8 * index, 255) / 255) for index in range(count)]


def numbers(path: Path) -> list[int]:
    """Which of :func:`counting_frames` are in a file."""
    with VideoSource(path) as source:
        return [round((float(frame.image.mean()) - 16) / 8) for frame in source]


def times(path: Path) -> list[float]:
    with VideoSource(path) as source:
        return [float(frame.pts * source.info.time_base) for frame in source]


def test_an_edit_takes_any_numbers() -> None:
    """A tenth is a tenth, also where a float writes it."""
    edit = Edit(start=Decimal("0.1"), end=np.float64(2.5), fps=12)
    assert edit == Edit(start=0.1, end=2.5, fps=12)
    assert (edit.start, edit.end, edit.fps) == (Fraction(1, 10), Fraction(5, 2), Fraction(12))
    assert replace(edit, end=None) == Edit(Fraction(1, 10), fps=Fraction(12))
    assert pickle.loads(pickle.dumps(edit)) == edit


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Edit(fps=Fraction(0)), "above 0"),
        (lambda: Edit(fps=Fraction(5000)), "at most 1000"),
        (lambda: Edit(fps=0.00001), "above 0 and at most 1000, got 1e-05, which is taken for 0"),
        (lambda: Edit(fps=float("inf")), "a frame rate must be a number, got inf"),
        (lambda: Edit(end="1"), "the end must be a number, got '1'"),  # type: ignore[arg-type]
        (lambda: Edit(scale=0.5), "scale must be of the type Scale, got 0.5"),  # type: ignore[arg-type]
        (lambda: Edit(start=Fraction(-1)), "must not be negative"),
        (lambda: Edit(start=Fraction(5), end=Fraction(5)), "the end must be after the start"),
        (lambda: Edit(start=Fraction(10**12)), "more than three years"),
    ],
)
def test_numbers_that_make_no_sense(make: object, sentence: str) -> None:
    with pytest.raises(StylizeError, match=sentence):
        make()  # type: ignore[operator]


def test_pixels_stay_square_where_a_side_is_rounded(clip: Path) -> None:
    """Most players would scale the picture by less than a pixel for it, which blurs it."""
    for size, aspect in (((140, 93), 1), ((200, 133), 1), ((70, 64), Fraction(48, 35))):
        with VideoSource(clip) as source:
            _, info = Edit(scale=Scale(*size)).apply(source, source.info)
        assert info.pixel_aspect == aspect


def test_a_part_begins_at_a_whole_time_stamp() -> None:
    """Frames, which have no others, and sound are both moved by that."""
    window = Edit(start=Fraction(1, 3)).window(Fraction(2), Fraction(1, 1000))
    assert (window.start, window.shift) == (Fraction(7, 3), Fraction(2333, 1000))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize(
    ("start", "end", "first", "last"), [(1, None, 10, 29), (None, 2, 0, 19), (0.95, 2.5, 9, 24)]
)
def test_a_part(
    suffix: str,
    start: float | None,
    end: float | None,
    first: int,
    last: int,
    invert: StyleSession,
    tmp_path: Path,
) -> None:
    options = {"crf": "4", "preset": "ultrafast", "g": "7", "x264-params": "bframes=2"}
    coding = Coding(options=options, time_base=Fraction(1, 10))
    if suffix == ".avi":
        coding = replace(coding, options={**options, "x264-params": "bframes=0"})
    source = write_video(tmp_path / f"in{suffix}", counting_frames(30), coding)
    exact = [None if seconds is None else Fraction(str(seconds)) for seconds in (start, end)]
    edit = Edit(start=exact[0], end=exact[1])
    result = stylize_file(source, tmp_path / "out.mkv", invert, look=Look(0), edit=edit, encoding=LOSSLESS)
    if suffix == ".avi" and start == 0.95:  # whose times are whole frames
        start, first = 1, 10
    assert numbers(result.output) == list(range(first, last + 1))
    shown = times(result.output)
    if start is None:
        shown = [time - shown[0] for time in shown]  # a broadcast begins late
    # The first is the one on screen at the start.
    wanted = [max(0, index / 10 - (start or 0)) for index in range(first, last + 1)]
    assert shown == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_part_with_its_sound(
    suffix: str, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """Sound packets of the part alone, each at its own time less the part's start."""
    source = make_clip(tmp_path / "in.mp4", frames=90)
    edit = Edit(Fraction(1), Fraction(2))
    result = stylize_file(source, tmp_path / f"out{suffix}", invert, edit=edit)
    assert result.frames == 30
    sounds = []
    for path in (source, result.output):
        with av.open(str(path)) as container:
            packets = list(container.demux(audio=0))
            sounds.append([(float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None])
    wanted = [(start - 1, content) for start, content in sounds[0] if 1 <= start < 2]
    assert [content for _, content in sounds[1]] == [content for _, content in wanted]
    assert [start for start, _ in sounds[1]] == pytest.approx([start for start, _ in wanted], abs=1e-3)
    assert times(result.output)[0] == pytest.approx(0, abs=1e-3)


def test_chapters_of_a_part(invert: StyleSession, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    write_video(tmp_path / "plain.mkv", counting_frames(50), Coding())
    with av.open(str(tmp_path / "plain.mkv")) as plain, av.open(str(source), "w") as container:
        copy = container.add_stream_from_template(plain.streams.video[0])
        bounds = [(0, 500), (500, 1200), (1200, 2000)]
        container.set_chapters(
            [
                {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": str(i)}}
                for i, (a, b) in enumerate(bounds, 1)
            ]
        )
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    stylize_file(source, tmp_path / "out.mkv", invert, edit=Edit(Fraction(1), Fraction(3, 2)))
    with av.open(str(tmp_path / "out.mkv")) as container:
        got = [
            (c["metadata"]["title"], float(c["start"] * base), float(c["end"] * base))
            for c in container.chapters()
            if (base := c["time_base"]) is not None
        ]
    assert got == [("2", 0, 0.2), ("3", 0.2, 0.5)]


def slides(path: Path) -> Path:
    """Five pictures, each for two seconds, with sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1, 2))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=8000, layout="mono")
        assert isinstance(audio, av.AudioStream)
        for picture in counting_frames(5):
            frame = av.VideoFrame.from_ndarray((picture * 255).round().astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 80_000), np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("start", "end", "wanted", "at"),
    [
        ("0", None, [0, 1, 2, 3, 4], [0, 2, 4, 6, 8]),
        ("1", None, [0, 1, 2, 3, 4], [0, 1, 3, 5, 7]),
        ("1", "1.5", [0], [0]),
        ("2", None, [1, 2, 3, 4], [0, 2, 4, 6]),
        ("5.5", "7", [2, 3], [0, 0.5]),
        ("8.5", None, [4], [0]),
    ],
)
def test_a_part_begins_with_the_picture_on_screen(
    start: str, end: str | None, wanted: list[int], at: list[float], invert: StyleSession, tmp_path: Path
) -> None:
    edit = Edit(Fraction(start), Fraction(end) if end else None)
    source = slides(tmp_path / "in.mp4")
    result = stylize_file(source, tmp_path / "out.mkv", invert, look=Look(0), edit=edit, encoding=LOSSLESS)
    assert numbers(result.output) == wanted
    assert times(result.output) == pytest.approx(at, abs=2e-3)


def test_a_part_with_another_rate_begins_with_the_picture_on_screen(
    invert: StyleSession, tmp_path: Path
) -> None:
    edit = Edit(Fraction(1), Fraction(5), fps=Fraction(2))
    source = slides(tmp_path / "in.mp4")
    result = stylize_file(source, tmp_path / "out.mkv", invert, look=Look(0), edit=edit, encoding=LOSSLESS)
    assert numbers(result.output) == [0, 0, 1, 1, 1, 1, 2, 2]
    assert times(result.output) == pytest.approx([index / 2 for index in range(8)], abs=2e-3)


def test_a_part_behind_the_last_picture(tmp_path: Path) -> None:
    source = slides(tmp_path / "in.mp4")
    with pytest.raises(SourceError, match="ends before 10 s"):
        VideoSource(source, edit=Edit(Fraction(10)))


@pytest.mark.parametrize("start", ["0", "1", "5.5"])
def test_nothing_is_skipped_before_a_part(start: str, tmp_path: Path) -> None:
    """A run that is resumed reads a little more than it needs, but no more than the part."""
    source = slides(tmp_path / "in.mp4")
    with VideoSource(source, edit=Edit(Fraction(start))) as video:
        everything = [frame.pts for frame in video]
    for done in (-(10**6), -1, *everything):
        with VideoSource(source, edit=Edit(Fraction(start))) as video:
            video.skip_past(done)
            assert [frame.pts for frame in video] == [pts for pts in everything if pts > done]


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
@pytest.mark.parametrize("fps", [None, 30], ids=["as it is", "at a rate"])
def test_an_end_beyond_the_last_frame_freezes_nothing(
    fps: int | None, suffix: str, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """Also where the container does not say when its video is over."""
    source = make_clip(tmp_path / f"in{suffix}")
    edit = Edit(end=60, fps=fps)
    result = stylize_file(source, tmp_path / "out.mp4", invert, edit=edit)
    assert result.frames == 12
    with av.open(str(result.output)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(12 / 30, abs=0.002)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_last_frame_of_a_part_stays_until_its_end(
    suffix: str, make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / f"in{suffix}", frames=4, pts=[0, 1, 2, 60], sound=False)
    result = stylize_file(source, tmp_path / "out.mp4", invert, edit=Edit(end=1, fps=10))
    assert times(result.output) == pytest.approx([i / 10 for i in range(10)], abs=1e-3)


def test_a_part_beyond_the_end(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="ends before 60 s"):
        stylize_file(clip, tmp_path / "out.mp4", invert, edit=Edit(start=Fraction(60)))
    assert not list(tmp_path.iterdir())


class CountingSession(StyleSession):
    """Counts what is stylized."""

    calls = 0

    def stylize(self, image: np.ndarray) -> np.ndarray:
        self.calls += 1
        return super().stylize(image)


@pytest.mark.parametrize(
    ("fps", "wanted"),
    [
        (Fraction(5), list(range(0, 20, 2))),
        (Fraction(10), list(range(20))),
        (Fraction(20), [i // 2 for i in range(40)]),
    ],
)
def test_another_rate(fps: Fraction, wanted: list[int], invert_style: Path, tmp_path: Path) -> None:
    exact = Coding("ffv1", options={}, time_base=Fraction(1, 10))
    source = write_video(tmp_path / "in.mkv", counting_frames(20), exact)
    session = CountingSession(Style.load(invert_style), "cpu")
    result = stylize_file(source, tmp_path / "out.mkv", session, edit=Edit(fps=fps), encoding=LOSSLESS)
    assert numbers(result.output) == [28 - number for number in wanted]
    assert times(result.output) == pytest.approx([i / float(fps) for i in range(len(wanted))], abs=1e-3)
    assert session.calls == len(set(wanted))


def test_another_size(clip: Path, invert: StyleSession, tmp_path: Path) -> None:
    result = stylize_file(clip, tmp_path / "out.mp4", invert, edit=Edit(scale=Scale(height=32)))
    with VideoSource(result.output) as source:
        assert (source.info.width, source.info.height) == (48, 32)
        assert source.info.pixel_aspect == 1


def test_a_size_of_another_shape_keeps_what_is_seen(invert: StyleSession, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [colour_bars([(1, 0, 0)] * 4, height=64)])  # 128x64
    result = stylize_file(source, tmp_path / "out.mp4", invert, edit=Edit(scale=Scale(64, 64)))
    with VideoSource(result.output) as video:
        assert (video.info.width, video.info.height) == (64, 64)
        assert video.info.pixel_aspect == 2
