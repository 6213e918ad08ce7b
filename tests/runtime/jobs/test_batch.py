"""Several inputs, pictures, and where results go."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media import exif_of, write_apng
from stylize_video.effects.look import Look
from stylize_video.errors import SinkError, SourceError, StyleError
from stylize_video.jobs.batch import (
    check_batch,
    find_sources,
    leave_out_results,
    output_for,
    outputs_for,
    plan_batch,
    stylize_any,
)
from stylize_video.jobs.options import Options
from stylize_video.jobs.picture import stylize_picture
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.values import Scale
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import Encoding
from stylize_video.video.exif import of_result
from stylize_video.video.pictures import Picture, is_still_gif, read_picture, write_picture
from stylize_video.video.source import VideoSource
from support import Command, draw_picture


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def test_files_globs_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.mp4", "a.mp4", "c.PNG", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    a, b, c = (tmp_path / n for n in ("a.mp4", "b.mp4", "c.PNG"))
    assert find_sources([str(tmp_path)]) == [a, b, c]
    assert find_sources([str(tmp_path / "*.mp4")]) == [a, b]
    assert find_sources([str(b), str(tmp_path / "*.mp4")]) == [b, a]  # each once, in the order given
    assert find_sources([str(tmp_path / "notes.txt")]) == [tmp_path / "notes.txt"]
    assert find_sources([str(tmp_path / "[bs]*")]) == [b]  # and no folder
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[odd].mp4").touch()
    assert find_sources(["[odd].mp4"]) == [Path("[odd].mp4")]
    with pytest.raises(SourceError, match=r"no\*\.mp4 does not exist"):
        find_sources(["no*.mp4"])
    with pytest.raises(SourceError, match="no videos or pictures"):
        find_sources([str(tmp_path / "sub")])


def test_a_folder_gives_every_video_but_no_hidden_ones(tmp_path: Path) -> None:
    names = [
        "a.m2ts",
        "b.FLV",
        "c.wmv",
        "d.vob",
        "e.ogv",
        "f.3gp",
        "g.dv",
        "h.mxf",
        "i.apng",
        "j.m2v",
        "k.tif",
    ]
    for name in (*names, ".a.photo.unfinished.mp4", "._b.flv", "l.mp3"):
        (tmp_path / name).touch()
    assert find_sources([str(tmp_path)]) == [tmp_path / name for name in names]
    assert find_sources([str(tmp_path / "._b.flv")]) == [tmp_path / "._b.flv"]  # whoever names one wants it


def test_results_of_earlier_runs_are_no_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = Path("x/a.mp4"), Path("x/b.sea.mp4")  # of b there is no source
    made = [Path(f"x/a.sea{word}.mp4") for word in ("", ".part", ".part2", ".new", ".sea")]
    picture, stylized = Path("x/p.png"), Path("x/p.sea.png")
    found = [a, *made, b, picture, stylized]
    assert leave_out_results(found, "sea", None) == [a, b, picture]
    assert leave_out_results(found, "sky", None) == found
    assert leave_out_results(found, "sea", tmp_path) == [a, b, picture]
    bundled = [Path("x/a.photo.mp4"), Path("x/a.photo.mosaic.part.mp4"), Path("x/c.photo.mp4")]
    assert leave_out_results([a, *bundled], "mosaic", None) == [a, bundled[2]]  # of c there is no source
    assert leave_out_results([a, *bundled], "sea", tmp_path) == [a, bundled[2]]
    twice = Path("x/a.photo.mosaic.mp4")  # whose own source was removed
    assert leave_out_results([a, twice], "mosaic", None) == [a]
    assert leave_out_results(["-", "http://h/a.mp4"], "sea", None) == ["-", "http://h/a.mp4"]
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    assert leave_out_results(found, "sea", tmp_path / "x") == [a, b, picture]


@pytest.mark.parametrize("names", [("a.mp4", "b.mp4"), ("a.mp4",)])
def test_a_batch_in_place_is_done_once(
    names: tuple[str, ...], command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(clip.read_bytes())
    first = command_here("stylize-video", tmp_path, "-s", invert_style, "-q")
    assert (first.returncode, first.stderr) == (0, "")
    (tmp_path / "a.invert.part.mp4").write_bytes(clip.read_bytes())
    (tmp_path / ".a.invert.unfinished.mp4").write_bytes(b"killed")
    before = sorted(tmp_path.iterdir())
    again = command_here("stylize-video", tmp_path, "-s", invert_style, "--resume")
    assert again.returncode == 0, again.stderr
    assert "a.invert.mp4 is there already" in again.stderr
    assert f"left out, since made of other inputs: {len(names) + 1} of {2 * len(names) + 1}" in again.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("given", "output"),
    [([""], "new"), (["0.png", "1.png"], "new"), (["0.png"], "new/"), (["a.mp4"], "n.d/")],
)
def test_a_folder_that_is_missing_is_made(
    given: list[str], output: str, command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), draw_picture(index, 40, 30))
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "0.invert.png").write_bytes((tmp_path / "0.png").read_bytes())  # of an earlier run
    inputs = [tmp_path / name for name in given]
    before = sorted(tmp_path.iterdir())
    refused = command_here("stylize-video", *inputs, "-s", "none.onnx", "-o", output, cwd=tmp_path)
    assert refused.returncode == 2
    assert sorted(tmp_path.iterdir()) == before
    done = command_here("stylize-video", *inputs, "-s", invert_style, "-q", "-o", output, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    made = ["0.invert.png", "1.invert.png", "a.invert.mp4"] if given == [""] else []
    assert sorted(os.listdir(tmp_path / output)) == (
        made or [f"{name[0]}.invert{Path(name).suffix}" for name in given]
    )


@pytest.mark.parametrize("output", ["new/", "new/%03d.png"])
def test_a_folder_that_stays_empty_is_removed(
    output: str,
    command_here: Command,
    clip: Path,
    invert_style: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise StyleError("the first frame already")

    monkeypatch.setattr("stylize_video.stylizer.Stylizer.render", fail)
    refused = command_here("stylize-video", clip, "-s", invert_style, "-q", "-o", output, cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (2, "error: the first frame already\n")
    assert not os.listdir(tmp_path)


def test_a_folder_that_came_meanwhile_is_not_removed(clip: Path, tmp_path: Path) -> None:
    """It is that of another run, which may have nothing in it yet."""
    batch = plan_batch([str(clip)], "sea", f"{tmp_path / 'new'}/")
    (tmp_path / "new").mkdir()
    with batch.folder():
        pass
    assert (tmp_path / "new").is_dir()


def test_an_encoding_that_no_file_of_a_batch_can_have_is_told_once(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    refused = command_here("stylize-video", tmp_path, "-s", invert_style, "--codec", "prores")
    assert refused.returncode == 2
    assert refused.stderr == "error: prores does not go into .mp4 files; it goes into .mov, .mkv\n"
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


def test_standard_input_beside_files_is_no_video_file(clip: Path) -> None:
    """Its result goes to standard output, whose name has no ending."""
    batch = plan_batch(["-", str(clip)], "sea", None)
    check_batch(batch, Options())
    with pytest.raises(SinkError, match=r"prores does not go into \.mp4 files"):
        check_batch(batch, Options(encoding=Encoding("prores")))


def test_folders_that_cannot_be_made(command_here: Command, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output, sentence in (
        ("no/new/", "cannot make the folder no/new: no does not exist"),
        ("file/", "cannot make the folder file: a file has its name"),
        ("/proc/new/", "cannot make the folder /proc/new: No such file"),
    ):
        refused = command_here("stylize-video", clip, "-y", "-o", output, cwd=tmp_path)
        assert (refused.returncode, sentence in refused.stderr) == (2, True), refused.stderr
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").stat().st_size == 0


def test_only_pictures_are_numbered(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    (tmp_path / "pct%d.mp4").write_bytes(clip.read_bytes())
    done = command_here("stylize-video", "pct%d.mp4", "-s", invert_style, "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["pct%d.invert.mp4", "pct%d.mp4"]


def test_where_results_go(tmp_path: Path) -> None:
    clip, photo = Path("x/clip.mkv"), Path("x/photo.JPG")
    assert output_for(clip, "sea", None) == Path("x/clip.sea.mp4")
    assert output_for(photo, "sea", None) == Path("x/photo.sea.jpg")
    assert output_for(clip, "sea", tmp_path) == tmp_path / "clip.sea.mp4"
    for name in ("clip.mkv", "photo.JPG"):
        (tmp_path / name).touch()
    one = str(tmp_path / "clip.mkv")
    assert plan_batch([one], "sea", "y.webm").files == [(Path(one), Path("y.webm"))]
    assert plan_batch([one], "sea", "y").files == [(Path(one), Path("y"))]
    with pytest.raises(SinkError, match=r"need a folder for their outputs; y\.mp4 is none, y/ would be made"):
        plan_batch([str(tmp_path)], "sea", "y.mp4")
    with pytest.raises(SinkError, match=r"need a folder for their outputs; .*clip\.mkv is a file$"):
        plan_batch([str(tmp_path)], "sea", one)
    with pytest.raises(SinkError, match="standard output takes the result of one input"):
        plan_batch([str(tmp_path)], "sea", "-")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_result_goes_where_a_link_leads(
    is_there: bool, clip: Path, invert: StyleSession, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    cv2.imwrite(str(tmp_path / "in.png"), draw_picture(0, 64, 48))
    for name in ("out.mp4", "out.png"):
        try:
            (tmp_path / name).symlink_to(tmp_path / "disk" / name)
        except OSError:
            pytest.skip("this system makes no links")
        if is_there:
            (tmp_path / "disk" / name).write_bytes(b"of an earlier run")
    stylize_file(clip, tmp_path / "out.mp4", invert, overwrite=is_there)
    stylize_picture(tmp_path / "in.png", tmp_path / "out.png", invert, overwrite=is_there)
    with VideoSource(tmp_path / "disk" / "out.mp4") as video:
        assert len(list(video)) == 12
    assert read_picture(tmp_path / "disk" / "out.png")[0].shape == (48, 64, 3)
    assert (tmp_path / "out.mp4").is_symlink()
    assert (tmp_path / "out.png").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "in.png", "out.mp4", "out.png"]
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["out.mp4", "out.png"]


def test_transparency_that_is_lost_is_told(
    invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, output = tmp_path / "in.png", tmp_path / "out.jpg"
    cv2.imwrite(str(source), np.dstack([draw_picture(0, 64, 48), np.full((48, 64), 99, np.uint8)]))
    stylize_picture(source, output, invert)
    assert caplog.messages == [f"{output} holds no transparency: that of {source} is left out"]


def test_no_result_takes_the_place_of_another(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    assert outputs_for([Path("x/a.mp4"), Path("y/a.mp4")], "sea", None) == [
        Path("x/a.sea.mp4"),
        Path("y/a.sea.mp4"),
    ]
    clashes = [Path(f"{folder}/{name}") for folder in "xyz" for name in ("a.mp4", "b.mp4")]
    both = r"x/a\.mp4 and y/a\.mp4 and z/a\.mp4 would become .*/a\.sea\.mp4, x/b\.mp4 and y/b\.mp4 and"
    with pytest.raises(SinkError, match=both):
        outputs_for([*clashes, Path("x/c.mp4")], "sea", tmp_path)
    twelve = [Path(f"{folder}/{number}.mp4") for folder in "xy" for number in range(12)]
    with pytest.raises(
        SinkError, match=r"y/9\.mp4 would become .*/9\.sea\.mp4, and 2 more; rename one of each"
    ):
        outputs_for(twelve, "sea", tmp_path)
    with pytest.raises(SinkError, match=r"x/a\.mp4 and .*/x/a\.mkv would become x/a\.sea\.mp4"):
        outputs_for([Path("x/a.mp4"), Path("x/a.mkv").absolute()], "sea", None)
    for name in ("a.mkv", "a.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    refused = command_here("stylize-video", tmp_path, "-s", invert_style, "-y")
    assert refused.returncode == 2
    assert refused.stderr.endswith("rename one of each, or run them apart\n")
    assert sorted(os.listdir(tmp_path)) == ["a.mkv", "a.mp4"]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff"])
def test_a_picture_gives_a_picture(suffix: str, invert: StyleSession, tmp_path: Path) -> None:
    picture = draw_picture(0, 61, 47)
    cv2.imwrite(str(tmp_path / "in.png"), picture)
    stylize_any(tmp_path / "in.png", tmp_path / f"out{suffix}", invert, Options())
    got = cv2.imread(str(tmp_path / f"out{suffix}"))
    assert got is not None
    assert np.abs(got.astype(int) - (255 - picture.astype(int))).mean() < (8 if suffix == ".webp" else 0.01)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", f"out{suffix}"]


def test_transparency_and_sixteen_bits(invert: StyleSession, tmp_path: Path) -> None:
    picture = draw_picture(0, 40, 30)
    alpha = np.arange(30 * 40, dtype=np.uint8).reshape(30, 40)
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([picture, alpha]))
    stylize_picture(tmp_path / "a.png", tmp_path / "out.png", invert)
    got = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert got is not None
    np.testing.assert_array_equal(got[..., 3], alpha)
    np.testing.assert_array_equal(got[..., :3], 255 - picture)
    cv2.imwrite(str(tmp_path / "b.png"), picture.astype(np.uint16) * 257)
    stylize_picture(tmp_path / "b.png", tmp_path / "out.png", invert, overwrite=True)
    deep = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(deep, 255 - picture)


@pytest.mark.parametrize(("before", "after"), [(".jpg", ".jpg"), (".jpg", ".png"), (".png", ".webp")])
def test_date_camera_and_place_are_kept(
    before: str, after: str, invert: StyleSession, tmp_path: Path
) -> None:
    source = tmp_path / f"in{before}"
    kinds, data = [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(exif_of(6), np.uint8)]
    source.write_bytes(cv2.imencodeWithMetadata(before, draw_picture(0, 64, 48), kinds, data)[1].tobytes())
    result = stylize_picture(source, tmp_path / f"out{after}", invert).output.read_bytes()
    pixels, _, kept = cv2.imdecodeWithMetadata(np.frombuffer(result, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (64, 48, 3)  # turned once
    assert [bytes(np.asarray(one)) for one in kept] == [of_result(exif_of(6))]


@pytest.mark.parametrize("after", [".jpg", ".bmp"])
def test_exif_data_that_a_file_cannot_hold_are_left_out(
    after: str, invert: StyleSession, tmp_path: Path
) -> None:
    source, long = tmp_path / "in.png", exif_of(1) + bytes(2**16)
    kinds, data = [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(long, np.uint8)]
    source.write_bytes(cv2.imencodeWithMetadata(".png", draw_picture(0, 64, 48), kinds, data)[1].tobytes())
    result = stylize_picture(source, tmp_path / f"out{after}", invert).output
    assert read_picture(result)[0].shape == (48, 64, 3)


def profile_of(space: bytes = b"RGB ") -> bytes:
    """An ICC profile: its header, and one tag with a text."""
    date, illuminant = bytes(12), bytes.fromhex("0000f6d6 00010000 0000d32d")
    head = [b"none", b"\2\x40\0\0", b"mntr", space, b"XYZ ", date, b"acsp", bytes(28), illuminant, bytes(48)]
    text = b"text" + bytes(4) + bytes(range(1, 201))
    tags = b"".join(number.to_bytes(4, "big") for number in (1, 0x63707274, 144, len(text)))
    body = b"".join(head) + tags + text
    return (len(body) + 4).to_bytes(4, "big") + body


def write_with_profile(path: Path, profile: bytes) -> Path:
    picture, data = draw_picture(0, 64, 48), np.frombuffer(profile, np.uint8)
    if path.suffix == ".tif":  # as a tag of a TIFF points to it, which is read wherever it is
        path.write_bytes(cv2.imencode(".tif", picture)[1].tobytes() + profile)
    else:
        encoded = cv2.imencodeWithMetadata(path.suffix, picture, [cv2.IMAGE_METADATA_ICCP], [data])[1]
        path.write_bytes(encoded.tobytes())
    return path


@pytest.mark.parametrize("after", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("before", [".jpg", ".png", ".webp", ".tif"])
def test_a_colour_profile_is_kept(before: str, after: str, invert: StyleSession, tmp_path: Path) -> None:
    source = write_with_profile(tmp_path / f"in{before}", profile_of())
    result = stylize_picture(source, tmp_path / f"out{after}", invert).output
    assert Picture.read(result).profile == profile_of()
    kept = cv2.imdecodeWithMetadata(np.frombuffer(result.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[2]
    assert [bytes(np.asarray(one)) for one in kept] == [profile_of()]


def test_numbered_pictures_keep_their_colour_profile(
    invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        write_with_profile(tmp_path / f"{number}.png", profile_of())
    stylize_file(tmp_path / "%d.png", tmp_path / "out" / "%d.jpg", invert)
    assert [Picture.read(path).profile for path in (tmp_path / "out").iterdir()] == [profile_of()] * 2
    assert not caplog.records
    stylize_file(tmp_path / "%d.png", tmp_path / "out.mp4", invert)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / '%d.png'} has a colour profile that cannot be kept in {tmp_path / 'out.mp4'}:"
        " its colours will look different"
    ]


@pytest.mark.parametrize(
    ("profile", "after", "is_lost"),
    [
        (profile_of(), ".bmp", True),
        (profile_of(), ".tif", True),
        (profile_of(b"CMYK"), ".jpg", True),
        (profile_of() + bytes(2**16), ".jpg", True),
        (profile_of() + b"sRGB IEC61966-2.1", ".bmp", False),
    ],
)
def test_a_colour_profile_that_is_lost_is_told(
    profile: bytes,
    after: str,
    is_lost: bool,
    invert: StyleSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = write_with_profile(tmp_path / "in.tif", len(profile).to_bytes(4, "big") + profile[4:])
    result = stylize_picture(source, tmp_path / f"out{after}", invert).output
    assert Picture.read(result).profile is None
    assert ["has a colour profile that cannot" in record.message for record in caplog.records] == [
        True
    ] * is_lost


def test_a_picture_of_another_size(invert: StyleSession, tmp_path: Path) -> None:
    picture = draw_picture(0, 40, 30)
    alpha = np.full((30, 40), 77, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([picture, alpha]))
    options = Options(edit=Edit(scale=Scale(factor=Fraction(2))))
    stylize_any(tmp_path / "a.png", tmp_path / "o.png", invert, options)
    got = cv2.imread(str(tmp_path / "o.png"), cv2.IMREAD_UNCHANGED)
    assert got is not None
    expected = 255 - cv2.resize(picture, (80, 60), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(got[..., :3], expected)
    assert np.unique(got[..., 3]).tolist() == [77]


def test_a_picture_is_read_once(
    invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written anew meanwhile would lend its metadata to another one's pixels."""
    source = write_with_profile(tmp_path / "in.png", profile_of())
    read: list[Path] = []
    read_bytes = Path.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    stylize_picture(source, tmp_path / "out.png", invert)
    assert read == [source]


def test_a_picture_takes_no_place_of_one_that_came_meanwhile(
    invert: StyleSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "in.png", draw_picture(0, 64, 48))

    def taken_behind(output: Path, source: Path, *, overwrite: bool) -> None:
        output.write_bytes(b"somebody else's")

    monkeypatch.setattr("stylize_video.jobs.picture.check_output", taken_behind)
    with pytest.raises(SinkError, match=r"cannot write .*out\.png: File exists"):
        stylize_picture(tmp_path / "in.png", tmp_path / "out.png", invert)
    assert (tmp_path / "out.png").read_bytes() == b"somebody else's"


def test_a_gif_of_one_picture_gives_one(command_here: Command, invert_style: Path, tmp_path: Path) -> None:
    """As a video it would be over after a hundredth of a second."""
    write_picture(tmp_path / "in.gif", draw_picture(0, 64, 48))
    for output in ((), ("-o", tmp_path / "out.png")):
        done = command_here("stylize-video", tmp_path / "in.gif", "--style", invert_style, *output)
        assert done.returncode == 0, done.stderr
    shown = read_picture(tmp_path / "in.gif")[0]
    np.testing.assert_array_equal(read_picture(tmp_path / "out.png")[0], 255 - shown)
    (result,) = tmp_path.glob("in.*.gif")
    assert is_still_gif(result)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0.1, 0.999), progressive=st.booleans(), trailing=st.binary(max_size=20))
def test_a_jpeg_without_its_end_is_no_picture(
    part: float, progressive: bool, trailing: bytes, tmp_path: Path
) -> None:
    how = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_RST_INTERVAL, 3]
    _, data = cv2.imencode(".jpg", draw_picture(0, 90, 70), how)
    path = tmp_path / "a.jpg"
    path.write_bytes(data.tobytes() + trailing)  # what cameras append is not the picture's
    assert read_picture(path)[0].shape == (70, 90, 3)
    path.write_bytes(data.tobytes()[: int(part * len(data))])
    with pytest.raises(SourceError, match=r"a\.jpg is damaged: its end is missing"):
        read_picture(path)


def test_a_huge_jpeg_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8")
    os.truncate(path, 2**32)  # of which the disk holds nothing
    with pytest.raises(SourceError, match="is not a picture that can be read"):
        read_picture(path)
    os.truncate(path, 0)
    with pytest.raises(SourceError, match="is not a picture that can be read"):
        read_picture(path)


def test_strength_and_grey_pictures(invert: StyleSession, tmp_path: Path) -> None:
    grey = np.full((20, 20), 100, np.uint8)
    cv2.imwrite(str(tmp_path / "g.png"), grey)
    stylize_picture(tmp_path / "g.png", tmp_path / "o.png", invert, look=Look(0))
    got = cv2.imread(str(tmp_path / "o.png"))
    assert got is not None
    assert np.unique(got).tolist() == [100]


def test_pictures_that_fail(invert: StyleSession, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("I am a text file")
    with pytest.raises(SourceError, match="not a picture"):
        stylize_picture(tmp_path / "text.png", tmp_path / "o.png", invert)
    cv2.imwrite(str(tmp_path / "in.png"), draw_picture(0, 20, 20))
    with pytest.raises(SinkError, match="the result of a picture is a picture"):
        stylize_picture(tmp_path / "in.png", tmp_path / "o.mp4", invert)
    with pytest.raises(SinkError, match="already exists"):
        stylize_picture(tmp_path / "in.png", tmp_path / "text.png", invert)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", "text.png"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--codec", "hevc", "--crf", "20"], "--codec and --crf"),
        (["--encoder", "nvenc"], "--encoder"),
        (["--start", "1", "--end", "2", "--fps", "3"], "--start and --end and --fps"),
        (["--smooth", "0.5", "--max-frames", "1"], "--smooth and --max-frames"),
        (["--resume"], "--resume"),
    ],
)
def test_what_one_picture_has_not(
    arguments: list[str], named: str, command_here: Command, invert_style: Path, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), draw_picture(0, 40, 30))
    refused = command_here("stylize-video", "a.png", "-s", invert_style, *arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == f"error: leave out {named}: a.png is one picture, and becomes one\n"
    batch = command_here(
        "stylize-video", "a.png", "b.png", "-s", invert_style, "-q", *arguments, cwd=tmp_path
    )
    assert (batch.returncode, batch.stderr) == (0, "")


def test_what_is_said_of_one_picture(command_here: Command, invert_style: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw_picture(0, 40, 30))
    wanted = ("--alpha", "--scale", "2", "--strength", "0.5", "--keep-colors", "--device", "cpu")
    done = command_here("stylize-video", "a.png", "-s", invert_style, *wanted, cwd=tmp_path)
    assert done.stderr == "a.invert.png: one picture in the style invert (fp32) on cpu\n"
    assert done.returncode == 0
    assert cv2.imread(str(tmp_path / "a.invert.png")).shape == (60, 80, 3)  # type: ignore[union-attr]


def test_pictures_that_move_among_others(command_here: Command, invert_style: Path, tmp_path: Path) -> None:
    """Their first pictures become frames, as those of moving WebP do."""
    write_apng(tmp_path / "b.png")
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), draw_picture(0, 64, 48))
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    done = command_here("stylize-video", *files, "-s", invert_style, "-o", tmp_path / "out.mp4", "-q")
    assert (done.returncode, done.stderr) == (
        0, f"WARNING: {files[1]} is an animation; its first picture alone is taken\n",
    )  # fmt: skip
    with VideoSource(tmp_path / "out.mp4") as video:
        means = [frame.image.mean() for frame in video]
    assert len(means) == 3
    assert means[1] == pytest.approx(255 - 60, abs=3)


def test_a_batch_goes_on_past_a_broken_file(
    command_here: Command, clip: Path, invert_style: Path, tmp_path: Path
) -> None:
    folder, results = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    results.mkdir()
    (folder / "a.mp4").write_bytes(clip.read_bytes())
    (folder / "b.mp4").write_text("broken")
    cv2.imwrite(str(folder / "c.png"), draw_picture(0, 40, 30))
    done = command_here("stylize-video", folder, "-s", invert_style, "-o", results)
    assert done.returncode == 2
    assert "failed: " in done.stderr
    assert "error: 1 of 3 files failed: b.mp4" in done.stderr
    assert sorted(os.listdir(results)) == ["a.invert.mp4", "c.invert.png"]
    with av.open(str(results / "a.invert.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_a_png_that_moves_is_a_video(invert_style: Path, tmp_path: Path) -> None:
    path = write_apng(tmp_path / "moving.png")
    target = output_for(path, "invert", None)
    assert target.name == "moving.invert.mp4"
    session = StyleSession(Style.load(invert_style), "cpu")
    assert stylize_any(path, target, session, Options(Look())).frames == 3
    with av.open(str(target)) as container:
        means = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert means == pytest.approx([195, 145, 95], abs=4)
