"""``stylize-camera`` as a command."""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import errors_as_sentences, interruption_code, run_command, say
from stylize_video.errors import StylizeError
from stylize_video.interrupts import interrupt_on_termination
from stylize_video.live.address import DEFAULT_ADDRESS
from stylize_video.text import counted, printable
from stylize_video.usage import with_value
from stylize_video.values import parse_bitrate, parse_size

if TYPE_CHECKING:
    from stylize_video.live.statistics import Statistics
    from stylize_video.styles.session import StyleSession

_ADDRESS = re.compile(r"(\[.*\]|[\w.-]*):\d+")
_TOKEN_VARIABLE = "STYLIZE_VIDEO_TOKEN"
_STREAM_VARIABLE = "STYLIZE_VIDEO_STREAM"
_STANDS_ALONE = ""


def _list_cameras(wanted: bool) -> None:
    if wanted:
        from stylize_video.live.cameras import list_cameras

        cameras = list_cameras()
        for camera in cameras:
            print(printable(f"{camera.index}  {camera.name}  {camera.path}".rstrip()))
        if not cameras:
            say("no camera is connected")
        raise typer.Exit


def stylize_camera(
    source: Annotated[
        str, typer.Argument(metavar="[SOURCE]", help="A camera's number or device, a URL, or a video.")
    ] = "0",
    style: Annotated[
        list[str] | None,
        typer.Option("--style", "-s", help="An .onnx file or a bundled style; repeatable.  [default: photo]"),
    ] = None,
    strength: Annotated[float, typer.Option(help="From 0, the source, to 1, the full style.")] = 1.0,
    keep_colors: Annotated[bool, typer.Option("--keep-colors", help="Keep the source's colours.")] = False,
    style_scale: Annotated[float, typer.Option(help="Size of strokes: 2 is twice as large.")] = 1.0,
    smooth: Annotated[float, typer.Option(help="Hold what flickers: 0 is off, 1 the most.")] = 0.0,
    mirror: Annotated[bool, typer.Option("--mirror", help="Show yourself as a mirror does.")] = False,
    target_fps: Annotated[
        float, typer.Option(help="Hold this rate by working smaller; 0 always works at full size.")
    ] = 30.0,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Resolution of the camera.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frame rate of the camera.")] = None,
    pixel_format: Annotated[str | None, typer.Option(help="Pixels of the camera: MJPG, YUYV, ...")] = None,
    backend: Annotated[
        str, typer.Option(help="auto, v4l2, gstreamer, dshow, msmf or avfoundation.")
    ] = "auto",
    loop: Annotated[bool, typer.Option("--loop", help="Play a video over and over.")] = False,
    no_window: Annotated[bool, typer.Option("--no-window", help="Show no window.")] = False,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:PORT]", help="Serve a page with picture and controls.  [at 127.0.0.1:8765]"
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="What requests to the page must bring, 8 characters or more; needed beyond this machine."
            f"  [env: {_TOKEN_VARIABLE}, which no list of processes shows]"
        ),
    ] = None,
    virtual_camera: Annotated[
        bool, typer.Option("--virtual-camera", help="Be a camera for other programs.")
    ] = False,
    record: Annotated[Path | None, typer.Option(metavar="FILE", help="Record from the start.")] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="[URL]",
            help="Stream live to rtmp://HOST/APP/KEY, rtmps, srt, tcp or udp://HOST:PORT."
            f"  [env: {_STREAM_VARIABLE}, for --stream alone, shows the key in no list of processes]",
        ),
    ] = None,
    stream_bitrate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="5M or 800k bits a second of the stream's picture (default: by size and rate).",
        ),
    ] = None,
    microphone: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE", help="Sound for recordings and the stream: default, or FORMAT:DEVICE."
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(help="Of recordings: h264, hevc, vp9, av1, ... (default: by the file's ending)."),
    ] = None,
    crf: Annotated[
        int | None, typer.Option(help="Quality of recordings: lower is better and larger.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Of recordings: software, auto, nvenc, qsv, amf or videotoolbox.")
    ] = "software",
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="For snapshots and further recordings.")
    ] = Path(),
    stats: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append statistics, a JSON object a second; - prints them."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:INDEX.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto takes the fastest variant that is right; or fp32, fp16, int8.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace the file to record.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print warnings, errors and the page's address only.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
    list_cameras: Annotated[
        bool,
        typer.Option("--list-cameras", callback=_list_cameras, is_eager=True, help="List the cameras."),
    ] = False,
) -> None:
    """A camera, a stream or a video, live in the style you choose."""
    with errors_as_sentences(debug=debug):
        import cv2  # noqa: F401  # before PyAV: Qt's windows wait for ever on the libxcb that PyAV brings

        for handler in logging.getLogger().handlers:
            handler.addFilter(_Once())
        if token is not None and serve is None:
            raise StylizeError("--token is for the page: add --serve")
        if stream == _STANDS_ALONE:
            stream = os.environ.get(_STREAM_VARIABLE)
            if not stream:
                raise StylizeError(
                    f"--stream needs an address, or the environment variable {_STREAM_VARIABLE}"
                )
        camera_size = parse_size(size) if size else None
        from stylize_video.effects.look import Look
        from stylize_video.live.cameras import CameraRequest
        from stylize_video.live.controls import Notice
        from stylize_video.live.program import Program
        from stylize_video.styles.variants import parse_precision
        from stylize_video.video.encoding import Encoding
        from stylize_video.video.pipes import without_password

        program = Program(
            source=source,
            styles=tuple(style or ["photo"]),
            look=Look(strength, keep_colors),
            strokes=style_scale,
            smooth=smooth,
            mirror=mirror,
            camera=CameraRequest(camera_size, fps, pixel_format, backend),
            loop=loop,
            target_fps=target_fps,
            window=not no_window,
            serve=serve,
            token=os.environ.get(_TOKEN_VARIABLE) or None if token is None else token,
            virtual_camera=virtual_camera,
            record=record,
            stream=stream,
            stream_bitrate=parse_bitrate(stream_bitrate) if stream_bitrate else None,
            microphone=microphone,
            encoding=Encoding(codec, crf, encoder=encoder),
            overwrite=overwrite,
            folder=folder,
            statistics=stats,
            seconds=seconds,
            device=device,
            precision=parse_precision(precision),
        )
        interrupt_on_termination()

        def report(notice: Notice) -> None:
            if notice.is_essential or not quiet:
                say(notice.text + notice.secret)

        def report_start(session: StyleSession) -> None:
            style = f"{session.style.name} ({session.style.precision})"
            report(Notice(f"{without_password(source)} in the style {style} on {session.device}"))

        ended = []

        def report_end(statistics: Statistics) -> None:
            ended.append(statistics)
            rate = statistics.shown / statistics.seconds if statistics.seconds else 0
            frames = f"{counted(statistics.shown, 'frame')} in {statistics.seconds:.1f} s, {rate:.1f} fps"
            delay = f"{statistics.latency_p50_ms:.0f} ms (95 %: {statistics.latency_p95_ms:.0f} ms)"
            report(Notice(f"{frames}, delay {delay}"))

        try:
            program.run(on_start=report_start, on_notice=report, on_end=report_end)
        except KeyboardInterrupt as interruption:
            if not ended or interruption.__cause__:  # it failed, too
                raise
            # Nothing went wrong: it is how one ends a program without a window.
            raise SystemExit(interruption_code(interruption)) from None


class _Once(logging.Filter):
    """Lets a message through once: a looped file is opened over and over."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        is_new = message not in self._seen
        self._seen.add(message)
        return is_new


def with_address(arguments: list[str]) -> list[str]:
    """``--serve`` may stand alone for the usual address, ``--stream`` for the environment's."""
    arguments = with_value(arguments, "--stream", _STANDS_ALONE, lambda word: "://" in word)
    return with_value(arguments, "--serve", DEFAULT_ADDRESS, _is_address)


def _is_address(word: str) -> bool:
    """Whether ``word`` is an address, or can be nothing else: what is wrong with it is said then."""
    if _ADDRESS.fullmatch(word):
        return True
    if word.isdecimal():
        return len(word) > 2  # a port; cameras have small numbers
    return bool(re.fullmatch(r"[\w.-]+", word)) and not word.startswith("-") and not Path(word).exists()


def main() -> None:
    """Entry point of ``stylize-camera``."""
    sys.argv[1:] = with_address(sys.argv[1:])
    before = set(threading.enumerate())
    try:
        run_command(stylize_camera)
    except SystemExit as ending:
        left = [thread for thread in threading.enumerate() if thread.daemon and thread not in before]
        atexit.register(_leave, left, int(ending.code or 0))
        raise


def _leave(threads: list[threading.Thread], code: int) -> None:
    """End the process here if one of these threads still waits for a source that hangs.

    FFmpeg asks Python every moment whether to wait on, which is a crash once the interpreter is gone.
    """
    if any(thread.is_alive() for thread in threads):
        os._exit(code)
