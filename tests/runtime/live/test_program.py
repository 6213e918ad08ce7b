"""What a command line asks for."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest

from live_support import Collector, live_threads
from stylize_video.errors import SinkError, SourceError, StylizeError
from stylize_video.live.cameras import CameraRequest
from stylize_video.live.program import Program, find_styles
from stylize_video.live.recording_sink import RecordingSink
from stylize_video.styles.style import find_style
from stylize_video_assets.catalog import bundled_styles


def test_styles_of_one_name_are_all_there(invert_style: Path, tmp_path: Path) -> None:
    """Wanted ones are numbered; a bundled one gives way to a wanted one."""
    paths = [tmp_path / folder / "photo.onnx" for folder in "abc"]
    for path in paths:
        path.parent.mkdir()
        shutil.copy(invert_style, path)
    styles = find_styles((*map(str, paths), str(paths[0])))
    assert list(styles)[:3] == ["photo", "photo 2", "photo 3"]
    assert list(styles.values())[:3] == paths
    others = [style.name for style in bundled_styles() if style.name != "photo"]
    assert list(styles)[3:] == others


def test_a_bundled_style_is_there_once() -> None:
    styles = find_styles(("scream", "photo", "scream"))
    assert list(styles)[:2] == ["scream", "photo"]
    assert len(styles) == len(bundled_styles())
    assert styles["scream"] == find_style("scream")


def test_where_one_output_fails_those_that_began_end(clip: Path, invert_style: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program = Program(
            source=str(clip),
            styles=(str(invert_style),),
            window=False,
            serve=f"127.0.0.1:{taken.getsockname()[1]}",
            record=tmp_path / "live.mp4",
            microphone="lavfi:sine=frequency=440:sample_rate=48000,arealtime",
            folder=tmp_path,
        )
        with pytest.raises(SinkError, match="try another port"):
            program.run()
    assert not live_threads()
    assert not list(tmp_path.iterdir())


def test_what_is_on_screen_ends_too_where_the_page_fails(
    clip: Path, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Collector()
    monkeypatch.setattr("stylize_video.live.program.Window", lambda _: window)
    monkeypatch.setattr("stylize_video.live.program.require_display", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = Program(source=str(clip), styles=(str(invert_style),), serve=f"127.0.0.1:{port}")
        with pytest.raises(SinkError, match="try another port"):
            program.run()
    assert window.closed


def test_a_stream_ends_before_a_slow_recording_is_whole(
    clip: Path, invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    finish = RecordingSink.finish

    def finish_late(sink: RecordingSink, *, whole: bool = True) -> Path:
        assert is_over.wait(20)
        return finish(sink, whole=whole)

    monkeypatch.setattr(RecordingSink, "finish", finish_late)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with server.accept()[0] as connection:
                while connection.recv(2**16):
                    pass
            is_over.set()

        peer = threading.Thread(target=take)
        peer.start()
        record = tmp_path / "live.mp4"
        Program(
            source=str(clip),
            styles=(str(invert_style),),
            window=False,
            record=record,
            stream=f"tcp://127.0.0.1:{server.getsockname()[1]}",
        ).run()
        peer.join()
    assert record.exists()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (
            {"camera": CameraRequest(size=(640, 360))},
            "--size, --fps, --pixel-format and --backend are for cameras",
        ),
        ({"camera": CameraRequest(fps=30)}, "are for cameras"),
        ({"source": "rtsp://127.0.0.1/x", "camera": CameraRequest(pixel_format="MJPG")}, "are for cameras"),
        ({"source": "0", "loop": True}, "a camera has no end"),
        ({"overwrite": True}, "-y is for --record"),
        ({"source": "977", "styles": ("none",), "record": Path("live.xyz")}, "recordings end in .mp4"),
    ],
)
def test_what_would_do_nothing_is_refused(
    asked: dict[str, object], sentence: str, clip: Path, tmp_path: Path
) -> None:
    given = {"source": str(clip), "window": False, "statistics": tmp_path / "s", "folder": tmp_path, **asked}
    with pytest.raises(StylizeError, match=sentence):
        Program(**given).run()  # type: ignore[arg-type]


def test_pipes_are_sent_elsewhere(tmp_path: Path) -> None:
    sources = ["-"]
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        sources.append(str(tmp_path / "pipe"))
    for source in sources:
        with pytest.raises(SourceError, match="stylize-video reads pipes, stylize-camera does not"):
            Program(source=source, window=False, statistics=tmp_path / "s").run()
