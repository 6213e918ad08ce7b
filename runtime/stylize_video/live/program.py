"""Puts a live picture together from what was asked for, and runs it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Literal

from stylize_video.effects.look import Look
from stylize_video.effects.smoothing import check_smooth
from stylize_video.errors import SinkError, SourceError, StylizeError
from stylize_video.files import check_result
from stylize_video.live.address import parse_address
from stylize_video.live.broadcast import Broadcast, check_bitrate
from stylize_video.live.cameras import CameraRequest, parse_camera
from stylize_video.live.capture import Capture
from stylize_video.live.controls import Controls, Notice, Settings
from stylize_video.live.display import require_display
from stylize_video.live.engine import Engine
from stylize_video.live.governor import Governor
from stylize_video.live.microphone import Microphone
from stylize_video.live.picture import Output
from stylize_video.live.readers import reader_opener
from stylize_video.live.recorder import Recorder, Snapshots, check_recording
from stylize_video.live.server import PageServer
from stylize_video.live.statistics import Clock, Statistics, StatisticsFile, StreamState
from stylize_video.live.stylist import Stylist
from stylize_video.live.uplink import Uplink
from stylize_video.live.virtual_camera import VirtualCamera
from stylize_video.live.window import Window
from stylize_video.styles.contract import Precision
from stylize_video.styles.guard import try_out
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import find_style, style_name
from stylize_video.styles.variants import open_session
from stylize_video.styles.working_size import WorkingSize
from stylize_video.video.encoding import Encoding
from stylize_video.video.pipes import STANDARD, without_password
from stylize_video_assets.catalog import bundled_styles


@dataclass(frozen=True)
class Program:
    """Everything that a command line asks for.

    Attributes:
        source: a camera's index or device, a URL, or a file.
        styles: names or paths; the first is shown first, bundled ones are added.
        look: to begin with.
        smooth: to begin with, from 0 to 1.
        strokes: how many times larger than the network's own, to begin with.
        mirror: to begin with.
        camera: what is wanted of a camera.
        loop: play a file over and over.
        target_fps: the rate to hold by the working size; 0 works at the full size always.
        window: show a window.
        serve: ``HOST:PORT`` to serve the page at, None for none.
        token: what every request to the page has to bring.
        virtual_camera: send the picture to a virtual camera.
        record: record into this file from the start.
        stream: the address to stream to, which may hold a key; None for none.
        stream_bitrate: bits a second of the stream's picture; None chooses by size and rate.
        microphone: of recordings and the stream, ``default`` or FFmpeg's ``FORMAT:DEVICE``; None for none.
        encoding: of recordings.
        overwrite: replace ``record`` where it exists.
        folder: where snapshots and further recordings go.
        statistics: append statistics to this file; ``-`` is standard output.
        seconds: stop after so long.
        device: as for :func:`~stylize_video.styles.variants.open_session`.
        precision: as for :func:`~stylize_video.styles.variants.open_session`.
    """

    source: str = "0"
    styles: tuple[str, ...] = ("photo",)
    look: Look = field(default_factory=Look)
    smooth: float = 0.0
    strokes: float = 1.0
    mirror: bool = False
    camera: CameraRequest = field(default_factory=CameraRequest)
    loop: bool = False
    target_fps: float = 30.0
    window: bool = True
    serve: str | None = None
    token: str | None = field(default=None, repr=False)
    virtual_camera: bool = False
    record: Path | None = None
    stream: str | None = field(default=None, repr=False)
    stream_bitrate: int | None = None
    microphone: str | None = None
    encoding: Encoding = field(default_factory=Encoding)
    overwrite: bool = False
    folder: Path = Path()
    statistics: Path | None = None
    seconds: float | None = None
    device: str = "auto"
    precision: Precision | Literal["auto"] = "auto"

    def run(
        self,
        *,
        on_start: Callable[[StyleSession], None] = lambda _: None,
        on_notice: Callable[[Notice], None] = lambda _: None,
        on_end: Callable[[Statistics], None] = lambda _: None,
    ) -> Statistics:
        """Run until the source ends, somebody quits or Ctrl-C interrupts it.

        Args:
            on_start: called with the first style, open.
            on_notice: called with everything that is reported to the user, in any thread.
            on_end: called with how it went once outputs are closed, also where it is interrupted.

        Raises:
            StylizeError: the source, a style or an output fails.
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP ended it; recordings are whole.
        """
        clock = time.perf_counter
        self._check()
        uplink = Uplink(self.stream) if self.stream is not None else None
        open_reader = reader_opener(self.source, self.camera)
        styles = find_styles(self.styles)
        first = next(iter(styles))
        controls = Controls(self._settings(first), list(styles), on_notice=on_notice)

        def open_style(name: str) -> StyleSession:
            path = styles[name]
            return open_session(path, device=self.device, precision=self.precision, check=try_out)

        session = open_style(first)
        with ExitStack() as stack:
            if uplink:
                stack.enter_context(uplink).connect()
                controls.say(f"streaming to {uplink.shown}")
            governor = Governor(self.target_fps, clock) if self.target_fps else None
            capture = stack.enter_context(Capture(open_reader, clock=clock, loop=self.loop))
            stylist = stack.enter_context(Stylist(first, session, open_style, clock=clock))
            statistics_file = (
                stack.enter_context(StatisticsFile(self.statistics, clock, on_failure=controls.warn))
                if self.statistics
                else None
            )
            on_start(session)
            outputs = self._outputs(controls, capture, styles, uplink, clock)
            engine = Engine(
                capture,
                stylist,
                controls,
                outputs=outputs,
                snapshots=Snapshots(controls, self.folder),
                governor=governor,
                while_waiting=_keys_of(outputs),
                stream=partial(_stream_state, outputs),
                statistics_file=statistics_file,
                clock=clock,
            )
            try:
                statistics = engine.run(seconds=self.seconds)
            except KeyboardInterrupt:
                on_end(engine.report())
                raise
            if not statistics.shown:
                shown = without_password(self.source)
                raise SourceError(f"{shown} gave no frame: is it running, and can its video be decoded?")
            on_end(statistics)
            return statistics

    def _check(self) -> None:
        if not self.folder.is_dir():
            raise StylizeError(f"the folder {self.folder} for snapshots and recordings does not exist")
        if self.seconds is not None and not self.seconds > 0:
            raise StylizeError(f"the seconds to run must be above 0, got {self.seconds:g}")
        if self.target_fps < 0:
            raise StylizeError(f"the frame rate to hold must be 0 or more, got {self.target_fps:g}")
        self._refuse_what_does_nothing()
        if self.window:
            require_display()
        if self.serve is not None:
            parse_address(self.serve, self.token)
        source = Path(self.source) if Path(self.source).is_file() else None
        if self.record:
            check_recording(
                self.record,
                source=source,
                encoding=self.encoding,
                overwrite=self.overwrite,
                sound=self.microphone is not None,
            )
        else:
            self.encoding.resolved(Path("camera.mp4"))  # what is recorded later
        if self.statistics and str(self.statistics) != STANDARD:
            check_result(self.statistics, [source] if source else [], named_by="--stats")
            if self.record and os.path.realpath(self.record) == os.path.realpath(self.statistics):
                raise SinkError(f"--record and --stats both name {self.record}; name two files")
        check_bitrate(self.stream_bitrate)
        outputs = (self.window, self.serve, self.virtual_camera, self.record, self.stream, self.statistics)
        if not any(outputs):
            raise StylizeError(
                "without a window nothing would come out: add --serve, --record FILE, --stream URL"
                " or --stats FILE"
            )

    def _refuse_what_does_nothing(self) -> None:
        if self.source == STANDARD or Path(self.source).is_fifo():
            raise SourceError(
                "stylize-video reads pipes, stylize-camera does not: let ffmpeg send a stream (... -f mpegts"
                " udp://127.0.0.1:9000), and name its address, or name a camera or a file"
            )
        if self.stream_bitrate is not None and self.stream is None:
            raise StylizeError("--stream-bitrate is for streams: add --stream")
        is_camera = parse_camera(self.source) is not None
        if self.camera != CameraRequest() and not is_camera:
            raise StylizeError("--size, --fps, --pixel-format and --backend are for cameras alone")
        if self.loop and is_camera:
            raise StylizeError("--loop is for videos: a camera has no end")
        if self.overwrite and not self.record:
            raise StylizeError("-y is for --record FILE: nothing else replaces a file")

    def _settings(self, style: str) -> Settings:
        """What is set to begin with."""
        return Settings(
            style=style,
            strength=self.look.strength,
            keep_colors=self.look.keep_colors,
            strokes=WorkingSize(self.strokes).scale,
            smooth=check_smooth(self.smooth),
            mirror=self.mirror,
            record=self.record is not None,
        )

    def _outputs(
        self,
        controls: Controls,
        capture: Capture,
        styles: dict[str, Path],
        uplink: Uplink | None,
        clock: Clock,
    ) -> list[Output]:
        """Every output that is wanted; where one fails, those that had begun end."""
        source = Path(self.source)
        outputs: list[Output] = []
        with ExitStack() as begun:

            def add(output: Output) -> None:
                begun.callback(output.close)
                outputs.append(output)

            microphone = Microphone(self.microphone, on_notice=controls.report) if self.microphone else None
            if microphone:
                begun.callback(microphone.close)
            # The window first: what is seen is not to wait for what is kept. They are closed the other way
            # round: a stream takes leave within a second or two, which a slow recording would hold up.
            if self.window:
                add(Window(controls))
            if self.virtual_camera:
                add(VirtualCamera(controls, fps=capture.source_fps))
            if self.serve is not None:
                page = PageServer(controls, self.serve, token=self.token, styles=styles)
                add(page)
                controls.report(_address_of(page))
            recorder = Recorder(
                controls,
                self.folder,
                first=self.record,
                source=source if source.is_file() else None,
                encoding=self.encoding,
                overwrite=self.overwrite,
                fps=capture.source_fps,
                microphone=microphone,
                clock=clock,
            )
            add(recorder)
            if uplink:
                broadcast = Broadcast(
                    controls,
                    uplink,
                    fps=capture.source_fps,
                    bitrate=self.stream_bitrate,
                    microphone=microphone,
                    clock=clock,
                )
                add(broadcast)
            begun.pop_all()  # the engine closes them
        return outputs


def _address_of(page: PageServer) -> Notice:
    secret = page.url.removeprefix(page.address)
    return Notice(f"the page is at {page.address}", is_essential=True, secret=secret)


def _keys_of(outputs: list[Output]) -> Callable[[], None]:
    """What has the keys of the window obeyed."""
    return next((output.obey for output in outputs if isinstance(output, Window)), lambda: None)


def _stream_state(outputs: list[Output]) -> StreamState | None:
    return next((output.state for output in outputs if isinstance(output, Broadcast)), None)


def find_styles(wanted: tuple[str, ...]) -> dict[str, Path]:
    """Styles by name: the wanted ones in their order, then the bundled ones.

    Of wanted ones that share a name, the later ones are numbered; bundled ones give way.

    Raises:
        StyleError: one of them does not exist.
    """
    styles: dict[str, Path] = {}
    for path in map(find_style, wanted):
        if path not in styles.values():
            name = style_name(path)
            numbered = (f"{name} {number}" for number in count(2))
            styles[next(free for free in chain([name], numbered) if free not in styles)] = path
    for style in bundled_styles():
        styles.setdefault(style_name(style.path), style.path)
    return styles
