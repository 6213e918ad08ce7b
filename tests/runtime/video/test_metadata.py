"""What describes a video goes along: titles, places, chapters, the time code."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.edit import Edit
from stylize_video.video.info import Window
from stylize_video.video.metadata import copy_metadata
from support import MakeClip


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def test_the_track_of_an_mp4_in_which_chapters_are_is_no_loss(
    clip: Path, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(clip)) as plain, av.open(str(source), "w") as container:
        copy = container.add_stream_from_template(plain.streams.video[0])
        container.set_chapters(
            [{"id": 0, "start": 0, "end": 300, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}]
        )
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    with av.open(str(source)) as container:
        assert [stream.type for stream in container.streams] == ["video", "data"]
    result = stylize_file(source, tmp_path / "out.mp4", invert)
    assert not caplog.messages
    with av.open(str(result.output)) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["one"]


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


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_a_cameras_place_and_local_time_are_kept(
    suffix: str, clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    facts = {
        "com.apple.quicktime.location.ISO6709": "+48.1+011.5/",
        "com.apple.quicktime.creationdate": "2024-05-01T10:00:00+0200",
        "title": "Holiday",
    }
    source = tmp_path / "in.mov"
    with (
        av.open(str(clip)) as plain,
        av.open(str(source), "w", options={"movflags": "use_metadata_tags"}) as target,
    ):
        copy = target.add_stream_from_template(plain.streams.video[0])
        target.metadata.update(facts)
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    result = stylize_file(source, tmp_path / f"out{suffix}", invert, max_frames=2).output
    with av.open(str(result)) as container:
        kept = {key.lower(): value for key, value in container.metadata.items()}
    assert {key: kept.get(key.lower()) for key in facts} == facts


@pytest.mark.parametrize(("suffix", "lost"), [(".ts", ["the title", "chapters"]), (".avi", ["chapters"])])
def test_chapters_and_titles_that_are_lost_get_a_warning(
    suffix: str,
    lost: list[str],
    clip: Path,
    invert: StyleSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(clip)) as plain, av.open(str(source), "w") as target:
        copy = target.add_stream_from_template(plain.streams.video[0])
        target.metadata["title"] = "Holiday"
        target.set_chapters(
            [{"id": 0, "start": 0, "end": 300, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}]
        )
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    stylize_file(source, tmp_path / f"out{suffix}", invert, max_frames=2)
    kind = {".ts": "mpegts", ".avi": "avi"}[suffix]
    assert caplog.messages == [
        f"{what} cannot be kept in {kind} files; .mkv holds almost anything" for what in lost
    ]


def test_the_pictures_stay_the_track_that_is_played(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "in.mp4")
    result = stylize_file(source, tmp_path / "out.mkv", invert, max_frames=2).output
    with av.open(str(result)) as container:
        default = av.stream.Disposition.default
        assert [bool(stream.disposition & default) for stream in container.streams] == [True, True]


def test_chapters_are_moved_as_the_clock_is(clip: Path, tmp_path: Path) -> None:
    base = Fraction(1, 1000)
    with av.open(str(clip)) as plain, av.open(str(tmp_path / "in.mkv"), "w") as container:
        copy = container.add_stream_from_template(plain.streams.video[0])
        container.set_chapters([{"id": 1, "start": 100, "end": 300, "time_base": base, "metadata": {}}])
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    with av.open(str(tmp_path / "in.mkv")) as source, av.open(str(tmp_path / "out.mkv"), "w") as target:
        target.add_stream("ffv1", rate=30)
        copy_metadata(source, target, window=Window(shift=Fraction(1, 10)), name="")
        (chapter,) = target.chapters()
        base = chapter["time_base"] or Fraction(1, av.time_base)
        assert (chapter["start"] * base, chapter["end"] * base) == (Fraction(0), Fraction(1, 5))


@pytest.fixture(scope="module")
def timed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with a time code, in a track of its own."""
    path = tmp_path_factory.mktemp("timed") / "timed.mov"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        copy.metadata["timecode"] = "01:00:00:00"
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    return path


@pytest.mark.parametrize("after", [".mov", ".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("edit", "code"),
    [(Edit(), "01:00:00:00"), (Edit(start=0.2), "01:00:00:06"), (Edit(start=0.033), "01:00:00:01")],
)
def test_a_time_code_is_that_of_the_first_frame(
    edit: Edit,
    code: str,
    after: str,
    timed: Path,
    invert: StyleSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = stylize_file(timed, tmp_path / f"out{after}", invert, edit=edit).output
    with av.open(str(result)) as container:
        found = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert found["timecode"] == code
        assert "timecode" not in container.metadata
        assert len(container.streams) == (1 if after == ".mkv" else 2)
    assert not caplog.records


@pytest.mark.parametrize(("name", "edit"), [("out.mov", Edit(fps=24)), ("out.avi", Edit())])
def test_a_time_code_that_is_lost_is_told(
    name: str,
    edit: Edit,
    timed: Path,
    invert: StyleSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = stylize_file(timed, tmp_path / name, invert, edit=edit).output
    with av.open(str(result)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    assert [record.message for record in caplog.records] == ["the time code, 01:00:00:00, is not kept"]
