"""Videos on a Ray cluster: the same frames at the same times, whoever made them and whatever died."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from stylize_video.cli import with_ray_address
from stylize_video.errors import JobInterrupted, SinkError, SourceError, StyleError, StylizeError
from stylize_video.jobs.batch import stylize_any
from stylize_video.jobs.cluster import Cluster, ClusterError, why_here
from stylize_video.jobs.options import Options
from stylize_video.jobs.pipeline import Hooks, Result, stylize_file
from stylize_video.jobs.resume import fingerprint
from stylize_video.jobs.segment import Segment, SegmentJob, StyleReference, plan_segments, stylize_segment
from stylize_video.resuming.journal import journal_path
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.styles.variants import open_session, parse_precision
from stylize_video.video.edit import Edit
from stylize_video.video.info import Window
from stylize_video.video.inputs import Source
from stylize_video.video.sink import VideoSink
from stylize_video.video.source import VideoSource
from support import Command, draw_picture

FRAMES = 96
PART = Edit(start=Fraction(7, 10), end=Fraction(27, 10))


def long_clip(path: Path, frames: int = FRAMES, *, width: int = 160, height: int = 96) -> Path:
    """25 frames a second with gaps, a keyframe each half second, B-frames between, and sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"g": "12", "sc_threshold": "0", "bf": "2", "crf": "10"}
        audio = container.add_stream("aac", rate=44100, layout="mono")
        assert isinstance(audio, av.AudioStream)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(draw_picture(index, width, height), format="rgb24")
            frame.pts, frame.time_base = 40 * index + index % 3 * 5, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        tone = (np.sin(np.arange(44100 * frames // 25) * 0.05) * 8000).astype(np.int16)
        samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = 44100, 0, Fraction(1, 44100)
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))
    return path


def frames_of(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    with VideoSource(path) as source:
        frames = [(f.pts * source.info.time_base, f.image.astype(int)) for f in source]
    return [t for t, _ in frames], [image for _, image in frames]


def sound(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.audio[0]) if p.pts is not None]
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None]


def assert_the_same(one: Path, other: Path) -> None:
    (times, images), (other_times, others) = frames_of(one), frames_of(other)
    assert times == other_times
    assert sound(one) == sound(other)
    for image, another in zip(images, others, strict=True):
        assert np.abs(image - another).mean() < 3  # only the encoder's keyframes lie elsewhere


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_clip(tmp_path_factory.mktemp("long") / "long.mp4")


@pytest.fixture(scope="module")
def session(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu", input_range=1)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of two workers on this machine."""
    ray = pytest.importorskip("ray", reason="pip install 'stylize-video[cluster]'")
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
    )  # fmt: skip
    yield ray
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)


# --- cutting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.9, 100.0])
@pytest.mark.parametrize("done", [None, 0, 777, 10**6])
def test_segments_cover_everything_once(seconds: float, done: int | None, source: Path) -> None:
    segments = plan_segments(source, done, window=Window(), seconds=seconds)
    assert segments[0].done == done
    assert segments[-1].end is None
    for one, other in pairwise(segments):
        assert one.end is not None
        assert other.done == one.end - 1
    if done is None:
        assert len(segments) == {0.1: 8, 0.4: 8, 0.9: 4, 100.0: 1}[seconds]


def test_no_segment_is_without_a_frame(source: Path) -> None:
    """Also where what is done ends with a keyframe."""
    starts = [segment.end for segment in plan_segments(source, None, window=Window(), seconds=0.1)[:-1]]
    assert len(starts) == 7
    for done in starts:
        for one in plan_segments(source, done, window=Window(), seconds=0.1):
            assert one.end is None or (one.done is not None and one.end - 1 > one.done)


@pytest.mark.parametrize("top", [1, 255])
def test_a_style_is_the_same_one_on_another_machine(
    top: int, invert_style: Path, swap_style: Path, tmp_path: Path
) -> None:
    path, frame = tmp_path / "style.onnx", np.full((48, 64, 3), 90, np.uint8)
    path.write_bytes(invert_style.read_bytes())
    here = StyleSession(Style.load(path), "cpu", input_range=top)
    reference = StyleReference.of(here)
    path.write_bytes(swap_style.read_bytes())
    with pytest.raises(StyleError, match="is another one on this machine"):
        reference.open("cpu")
    reference = StyleReference.of(StyleSession(Style.load(invert_style), "cpu", input_range=top))
    np.testing.assert_array_equal(reference.open("cpu").stylize(frame), here.stylize(frame))


RATE = Options(edit=Edit(fps=Fraction(10)))


def test_what_cannot_be_cut_stays_whole(source: Path) -> None:
    for options, suffix in ((Options(max_frames=5), ".mp4"), (Options(), ".avi"), (RATE, ".mp4")):
        assert why_here(source, source.with_suffix(suffix), options)
    assert why_here(source, Path("o.mp4"), Options(edit=Edit(start=Fraction(1)))) is None
    for one, other in ((Path("a.jpg"), Path("b.jpg")), ("-", Path("b.mp4")), (source, Path("b.gif"))):
        assert why_here(one, other, Options())


def test_a_part_is_cut_where_it_is(source: Path) -> None:
    """At keyframes between its start and its end, in time that begins with it."""
    with VideoSource(source, edit=PART) as video:
        window = video.info.window
        pts = [frame.pts for frame in video]
    segments = plan_segments(source, None, window=window, seconds=0.4)
    cuts = [segment.end for segment in segments[:-1]]
    assert len(cuts) == 3
    assert set(cuts) <= set(pts)


# --- on a cluster ----------------------------------------------------------------------------------


def test_segments_make_the_file_that_one_machine_makes(
    ray: Any, source: Path, session: StyleSession, tmp_path: Path
) -> None:
    stylize_file(source, tmp_path / "one.mp4", session)
    seen: list[str] = []
    hooks = Hooks(on_start=lambda info: seen.append(str(info.frame_count)), on_frame=lambda: seen.append("f"))
    with Cluster(seconds=0.4) as cluster:
        assert cluster.workers == 2
        result = cluster.stylize_file(source, tmp_path / "many.mp4", session, Options(), hooks=hooks)
    assert result.frames == FRAMES
    assert seen == [str(FRAMES)] + ["f"] * FRAMES
    assert_the_same(tmp_path / "many.mp4", tmp_path / "one.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["many.mp4", "one.mp4"]


@pytest.mark.parametrize(
    "options",
    [Options(smooth=0.7), Options(max_frames=30), Options(smooth=0.7, edit=PART), RATE],
    ids=["smooth", "limit", "part", "rate"],
)
def test_smoothing_limits_and_parts_too(
    options: Options, ray: Any, source: Path, session: StyleSession, tmp_path: Path
) -> None:
    """Smoothing looks back beyond its segment; a limit of frames keeps a file in one piece."""
    one, many = tmp_path / "one.mp4", tmp_path / "many.mp4"
    stylize_any(source, one, session, options)
    with Cluster(seconds=0.5) as cluster:
        cluster.stylize_file(source, many, session, options)
    assert_the_same(many, one)


def test_what_cannot_be_cut_is_done_here_frame_by_frame(
    ray: Any, source: Path, session: StyleSession, tmp_path: Path
) -> None:
    """So there is progress, and Ctrl-C keeps what was done."""
    counts: list[int] = []
    started = threading.Event()
    hooks = Hooks(on_frame=lambda: counts.append(1), on_frames=counts.append)
    with Cluster() as cluster:
        cluster.stylize_all([(source, tmp_path / "a.mp4")], session, Options(max_frames=9), hooks=hooks)
        assert counts == [1] * 9
        started.clear()

        def press() -> None:
            if started.wait(20):
                os.kill(os.getpid(), signal.SIGINT)

        def slowly() -> None:
            started.set()
            time.sleep(0.05)

        presser = threading.Thread(target=press)
        presser.start()
        hooks = Hooks(on_frame=slowly)
        with pytest.raises(JobInterrupted, match=r"frames are kept in .*--resume"):
            cluster.stylize_all([(source, tmp_path / "b.mp4")], session, Options(max_frames=90), hooks=hooks)
        presser.join()


def test_one_file_after_a_batch(ray: Any, source: Path, session: StyleSession, tmp_path: Path) -> None:
    with Cluster(seconds=0.9) as cluster:
        assert isinstance(cluster.stylize_all([(source, tmp_path / "a.mp4")], session, Options())[0], Result)
        assert cluster.stylize_file(str(source), str(tmp_path / "b.mp4"), session, Options()).frames == FRAMES
        cluster.stop()  # of what is in the works, which is nothing
        assert cluster.stylize_file(source, tmp_path / "c.mp4", session, Options()).frames == FRAMES
    for use in (
        lambda: cluster.stylize_file(source, tmp_path / "d.mp4", session, Options()),
        lambda: cluster.stylize_all([(source, tmp_path / "d.mp4")], session, Options()),
    ):
        with pytest.raises(ClusterError, match="this cluster was left"):
            use()


def test_workers_check_that_they_see_the_same_source(
    source: Path, session: StyleSession, tmp_path: Path
) -> None:
    job = SegmentJob(
        source, fingerprint(source), ".mp4", StyleReference.of(session), "cpu", Options(), Segment()
    )
    assert stylize_segment(job)
    other = long_clip(tmp_path / "other.mp4", 20)
    with pytest.raises(SourceError, match="is another file on this machine"):
        stylize_segment(replace(job, source=other))


def test_a_segment_that_fails_leaves_no_file_open(
    source: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("open files are found in /proc")

    def full(sink: VideoSink, frame: object) -> None:
        raise SinkError("the disk is full")

    def files_open() -> list[str]:
        return sorted(str(path.readlink()) for path in descriptors.iterdir() if path.is_symlink())

    reference = StyleReference.of(StyleSession(Style.load(invert_style), "cpu"))
    job = SegmentJob(source, fingerprint(source), ".mp4", reference, "cpu", Options(), Segment())
    assert stylize_segment(job)
    before = files_open()
    monkeypatch.setattr(VideoSink, "write", full)
    with pytest.raises(SinkError, match="the disk is full") as caught:
        stylize_segment(job)
    assert files_open() == before, caught


def test_workers_open_the_file_that_was_named(
    source: Path, invert_style: Path, swap_style: Path, tmp_path: Path
) -> None:
    shutil.copy(swap_style, tmp_path / "s.onnx")
    named = tmp_path / "s.fp16.onnx"
    shutil.copy(invert_style, named)
    reference = StyleReference.of(StyleSession(Style.load(named), "cpu", input_range=1))
    assert reference.open("cpu").style.path == named
    for precision in ("fp32", "int8"):
        photo = open_session("photo", device="cpu", precision=parse_precision(precision))
        assert StyleReference.of(photo).open("cpu").style.path == photo.style.path


def test_a_cluster_without_gpus_is_told_at_once(ray: Any) -> None:
    with pytest.raises(ClusterError, match="no machine of the Ray cluster has a GPU to give; run with"):
        Cluster(device="cuda:1")


def is_ours(process: int) -> bool:
    """Whether this process is among its parents, so that no other cluster's is killed."""
    while process not in (0, os.getpid()):
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process != 0


def workers_at_work() -> list[int]:
    """Processes of this test's Ray that stylize just now; their title says what they do."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            process = int(path.parent.name)
            if path.read_bytes().startswith(b"ray::stylize_segment") and is_ours(process):
                found.append(process)
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_a_killed_workers_segment_is_done_again(ray: Any, tmp_path: Path) -> None:
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("workers are found in /proc")
    source = long_clip(tmp_path / "long.mp4", 120, width=320, height=240)
    photo = open_session("photo", device="cpu", precision="int8")
    killed: list[int] = []
    done = threading.Event()

    def kill_one() -> None:
        while not done.is_set() and not killed:
            for process in workers_at_work()[:1]:
                time.sleep(0.1)
                if process in workers_at_work():  # in the middle of its segment
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
            time.sleep(0.02)

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        with Cluster(seconds=0.9) as cluster:
            result = cluster.stylize_file(source, tmp_path / "out.mp4", photo, Options())
    finally:
        done.set()
        thread.join()
    assert killed
    assert result.frames == 120
    assert frames_of(tmp_path / "out.mp4")[0] == frames_of(source)[0]


def test_an_interrupted_cluster_job_goes_on_without_a_cluster(
    ray: Any, source: Path, session: StyleSession, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    seen = 0

    def interrupt() -> None:
        nonlocal seen
        seen += 1
        if seen == 30:
            raise KeyboardInterrupt

    with (
        Cluster(seconds=0.4) as cluster,
        pytest.raises(JobInterrupted, match=r"frames are kept in .*--resume"),
    ):
        cluster.stylize_file(source, output, session, Options(), hooks=Hooks(on_frame=interrupt))
    assert journal_path(output).exists()
    resumed: list[int] = []
    stylize_file(source, output, session, resume=True, hooks=Hooks(on_resume=resumed.append))
    assert 24 <= resumed[0] < FRAMES
    stylize_file(source, tmp_path / "one.mp4", session)
    assert_the_same(output, tmp_path / "one.mp4")


def test_ctrl_c_in_a_batch_keeps_what_was_done(ray: Any, tmp_path: Path) -> None:
    source = long_clip(tmp_path / "long.mp4", 240, width=320, height=240)
    photo = open_session("photo", device="cpu", precision="int8")
    files: list[tuple[Source, Path]] = [(source, tmp_path / name) for name in ("a.mp4", "b.mp4")]
    presses = iter([signal.SIGINT])

    def press(count: int) -> None:
        if number := next(presses, None):
            os.kill(os.getpid(), number)

    hooks = Hooks(on_frames=press)
    with (
        Cluster(seconds=0.4) as cluster,
        pytest.raises(JobInterrupted, match=r"frames are kept in .*--resume") as caught,
    ):
        cluster.stylize_all(files, photo, Options(), hooks=hooks)
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)
    assert not (tmp_path / "a.mp4").exists()
    with Cluster(seconds=0.4) as cluster:
        results = cluster.stylize_all(files, photo, Options(resume=True))
    assert [result.frames for result in results if isinstance(result, Result)] == [240, 240]
    assert frames_of(tmp_path / "a.mp4")[0] == frames_of(source)[0]


def test_errors_of_workers_are_sentences(
    ray: Any, source: Path, session: StyleSession, tmp_path: Path
) -> None:
    narrow = tmp_path / "narrow.mkv"
    with av.open(str(narrow), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 8, 64, "yuv444p"
        container.mux(stream.encode(av.VideoFrame(8, 64, "yuv444p")))
        container.mux(stream.encode(None))
    with Cluster() as cluster:
        with pytest.raises(StylizeError, match="too small; styles need at least"):
            cluster.stylize_file(narrow, tmp_path / "o.mp4", session, Options())
        with pytest.raises(SourceError, match="does not exist"):
            cluster.stylize_file(tmp_path / "no.mp4", tmp_path / "o.mp4", session, Options())
    assert [p.name for p in tmp_path.iterdir()] == ["narrow.mkv"]


def test_a_batch_from_the_command_line(
    ray: Any, command: Command, source: Path, invert_style: Path, tmp_path: Path
) -> None:
    folder, results = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    results.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(source.read_bytes())
    (folder / "broken.mp4").write_text("broken")
    cv2.imwrite(str(folder / "c.png"), draw_picture(0, 40, 30))
    address = ray.get_runtime_context().gcs_address
    done = command("stylize-video", folder, "-s", invert_style, "-o", results, "--ray", address)
    assert done.returncode == 2
    assert "error: 1 of 4 files failed: broken.mp4" in done.stderr
    assert "Traceback" not in done.stderr
    assert f"{2 * FRAMES + 1} frames of 3 files in" in done.stderr
    assert sorted(os.listdir(results)) == ["a.invert.mp4", "b.invert.mp4", "c.invert.png"]
    assert frames_of(results / "a.invert.mp4")[0] == frames_of(source)[0]


@pytest.fixture
def not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has no part in a cluster yet, whatever other tests have started in this one."""
    ray = pytest.importorskip("ray", reason="pip install 'stylize-video[cluster]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.usefixtures("not_connected")
def test_there_is_no_cluster(command_here: Command, source: Path, invert_style: Path, tmp_path: Path) -> None:
    done = command_here(
        "stylize-video", source, "-s", invert_style, "-o", tmp_path / "o.mp4", "--ray", "127.0.0.1:1"
    )
    assert done.returncode == 2
    assert "error: there is no Ray cluster at 127.0.0.1:1" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line]) == 1


@pytest.mark.usefixtures("not_connected")
def test_the_cluster_that_the_environment_names_is_not_there(
    command_here: Command, source: Path, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    done = command_here("stylize-video", source, "-s", invert_style, "-o", tmp_path / "o.mp4", "--ray")
    assert done.returncode == 2
    assert "error: there is no Ray cluster at 127.0.0.1:1" in done.stderr


def test_the_command_says_why_it_leaves_the_cluster_alone(
    command_here: Command, source: Path, invert_style: Path, tmp_path: Path
) -> None:
    done = command_here(
        "stylize-video", source, "-s", invert_style, "-o", tmp_path / "o.mp4", "--fps", 5,
        "--ray", "127.0.0.1:1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all on this machine, without the cluster: a frame rate is kept" in done.stderr
    assert len(frames_of(tmp_path / "o.mp4")[0]) == 20


def test_without_ray_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'stylize-video\[cluster\]'"):
        Cluster()


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["a.mp4", "--ray"], ["a.mp4", "--ray", "local"]),
        (["--ray", "a.mp4", "b"], ["--ray", "local", "a.mp4", "b"]),
        (["--ray", "-q", "a.mp4"], ["--ray", "local", "-q", "a.mp4"]),
        (["a", "--ray", "10.0.0.1:6379", "-y"], ["a", "--ray", "10.0.0.1:6379", "-y"]),
        (["a", "--ray", "ray://head:10001"], ["a", "--ray", "ray://head:10001"]),
        (["a", "--ray", "auto"], ["a", "--ray", "auto"]),
        (["a", "--ray=head:1"], ["a", "--ray=head:1"]),
        ([], []),
    ],
)
def test_the_address_may_be_left_out(given: list[str], understood: list[str]) -> None:
    assert with_ray_address(given) == understood
