"""The package as a library: its names, the README's examples, threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pytest

import stylize_video
from stylize_video import (
    ColorTags,
    Encoding,
    Frame,
    Look,
    Result,
    Style,
    StyleSession,
    StylizeError,
    TimedFrame,
    VideoInfo,
    VideoSink,
    VideoSource,
    open_session,
    stylize_file,
    stylize_frames,
    stylize_picture,
)
from support import ROOT

README_EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def test_every_public_name_is_there_and_listed() -> None:
    for name in stylize_video.__all__:
        assert getattr(stylize_video, name) is not None
    assert set(stylize_video.__all__) <= set(dir(stylize_video))
    assert {
        "Style", "StyleSession", "open_session", "Look", "stylize_frames", "stylize_file", "StylizeError",
    } <= set(stylize_video.__all__)  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'stylise'"):
        _ = stylize_video.stylise  # type: ignore[attr-defined]  # and mypy sees it too


def test_the_version_is_that_of_the_project() -> None:
    assert stylize_video.__version__ == version("stylize-video")
    module = [sys.executable, "-m", "stylize_video"]
    shown = {"--version": stylize_video.__version__, "--help": "Usage: python -m stylize_video"}
    for argument, first in shown.items():
        done = subprocess.run([*module, argument], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.startswith(first)


def test_a_copy_that_is_not_installed_works(tmp_path: Path) -> None:
    """As in programs that carry the package along, or are frozen."""
    for package in ("runtime/stylize_video", "assets/stylize_video_assets"):
        (tmp_path / Path(package).name).symlink_to(ROOT / package)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import importlib.metadata as metadata\n"
        "def version(name):\n"
        "    raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = version\n"
        "from stylize_video import __version__, open_session\n"
        "print(__version__, open_session('photo', device='cpu').precision)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env={**os.environ, "STYLIZE_VIDEO_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(stylize_video.__version__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"numpy", "cv2", "onnxruntime", "av", "importlib.metadata"}
    program = f"import stylize_video, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_the_readme_has_examples() -> None:
    assert len(README_EXAMPLES) >= 2


@pytest.mark.parametrize("example", README_EXAMPLES)
def test_the_readmes_examples_run(example: str, clip: Path, tmp_path: Path) -> None:
    """As a user runs them: pasted into a file, with warnings being errors."""
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "example.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert "error" not in done.stdout


def test_what_the_types_promise(clip: Path, invert_style: Path, tmp_path: Path) -> None:
    """mypy checks these; running them checks that the types tell the truth."""
    session = assert_type(open_session(invert_style, device="cpu"), StyleSession)
    result = stylize_file(str(clip), str(tmp_path / "o.mp4"), session, look=Look(0.5), max_frames=2)
    assert assert_type(result, Result).frames == 2
    assert assert_type(Style.load(str(invert_style)), Style).metadata is None
    with VideoSource(str(clip)) as video:
        frame = assert_type(next(stylize_frames(video, session)), TimedFrame)
    assert assert_type(frame.image, Frame).dtype == np.uint8


def test_frames_of_ones_own_become_a_video(tmp_path: Path) -> None:
    info = VideoInfo.of(64, 48, rate=29.97)
    with VideoSink(tmp_path / "mine.mp4", info) as sink:
        for number in range(10):
            sink.write(TimedFrame(number, np.full((48, 64, 3), 20 * number, np.uint8)))
    with VideoSource(tmp_path / "mine.mp4") as video:
        assert (video.info.rate, video.info.colors) == (Fraction(30000, 1001), ColorTags(1, 1, 1, 1))
        frames = list(video)
        assert [frame.pts * video.info.time_base * info.rate for frame in frames] == list(range(10))
        assert [round(float(frame.image.mean()) / 20) for frame in frames] == list(range(10))


@pytest.mark.parametrize("size", [(0, 48), (64, -4), (64.5, 48), ("64", "48")])
def test_frames_of_ones_own_have_a_size(size: tuple[Any, Any]) -> None:
    with pytest.raises(StylizeError, match="a width and a height are whole numbers above 0, got "):
        VideoInfo.of(*size)


def test_threads_share_a_session(clip: Path, invert_style: Path, tmp_path: Path) -> None:
    """Jobs in threads give the same frames, and errors stay in the thread that made them."""
    session = open_session(invert_style, device="cpu")
    # x264's AVX-512 code makes other bytes of the same frames: of these few once in some hundred runs.
    lossless = Encoding("ffv1")

    def job(number: int) -> bytes | str:
        source, target = clip if number % 3 else tmp_path / "no.mp4", tmp_path / f"{number}.mkv"
        try:
            stylize_file(source, target, session, encoding=lossless)
        except StylizeError as error:
            return str(error)
        with VideoSource(str(target)) as video:
            return b"".join(frame.image.tobytes() for frame in video)

    before = set(threading.enumerate())
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(job, range(7)))
    assert all("does not exist" in str(results[n]) for n in (0, 3, 6))
    assert len({results[n] for n in (1, 2, 4, 5)}) == 1
    assert set(threading.enumerate()) == before


def test_a_library_sets_no_handlers_and_prints_nothing(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import logging, signal, sys\n"
        "from stylize_video import open_session, stylize_file\n"
        "before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)\n"
        "stylize_file(sys.argv[1], sys.argv[2], open_session('photo', device='cpu'), max_frames=2)\n"
        "assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))\n"
        "assert not logging.getLogger().handlers\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, clip, tmp_path / "o.mp4"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_picture(tmp_path: Path) -> None:
    session = open_session("photo", device="cpu")
    picture = ROOT / "assets" / "pictures" / "photo.jpg"
    result = stylize_picture(str(picture), str(tmp_path / "out.png"), session, look=Look(0.5))
    assert assert_type(result, Result) == Result(tmp_path / "out.png", 1)
    assert (tmp_path / "out.png").stat().st_size > 1000
    with pytest.raises(
        StylizeError,
        match=r"frames/%05d.jpg; one picture is made of a picture file alone \(.*stylize_picture\)",
    ):
        stylize_file(picture, tmp_path / "out.jpg", session)
