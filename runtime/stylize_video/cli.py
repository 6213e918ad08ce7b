"""``stylize-video``: a video in, the same video in a style out.

Heavy imports wait until the arguments are known to be good, so that ``--help`` is instant.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from stylize_video.bounds import keep_numpy_from_spinning, limit_memory
from stylize_video.console import ProgressLine, errors_as_sentences, fail, run_command, say
from stylize_video.errors import SinkError, SourceError, StylizeError
from stylize_video.interrupts import interrupt_on_termination
from stylize_video.pause import PauseKey
from stylize_video.text import counted
from stylize_video.usage import with_value

if TYPE_CHECKING:
    from stylize_video.jobs.batch import Batch
    from stylize_video.jobs.options import Options
    from stylize_video.jobs.pipeline import Result
    from stylize_video.styles.contract import Precision
    from stylize_video.styles.session import StyleSession
    from stylize_video.video.info import VideoInfo
    from stylize_video.video.inputs import Source
    from stylize_video_assets.catalog import BundledStyle

    _Outcome: TypeAlias = tuple[Source, Result | StylizeError]

_LOOK, _EDIT, _ENCODING, _DEVICE = "Look", "Part, rate and size", "Encoding", "Device"
_PIPES = "Pipes"

_LOCAL = "local"
_ADDRESS = re.compile(r"auto|local|(ray://)?(\[[0-9a-fA-F:]+\]|[\w.-]+):\d+")


def _styles_table(styles: Sequence[BundledStyle]) -> str:
    """One line a style: its name, what it is after, its licence, how steady it is, its variants."""
    from stylize_video.styles.style import find_variants

    rows = [("style", "after", "licence", "flicker (source=1)", "variants")]
    for style in styles:
        after = ", ".join(part for part in (style.author, style.title, style.year) if part)
        flicker = "" if style.warping_error is None else f"{style.warping_error:.1f}"
        rows.append((style.name, after, style.licence, flicker, " ".join(find_variants(style.path))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _list_styles(wanted: bool) -> None:
    if wanted:
        from stylize_video_assets.catalog import bundled_styles

        print(_styles_table(bundled_styles()))
        raise typer.Exit


def _version(wanted: bool) -> None:
    if wanted:
        from stylize_video import __version__

        print(__version__)
        raise typer.Exit


def stylize_video(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Videos, pictures, folders, 'patterns*.mp4', frames/%05d.png, URLs, or -, standard input.",
        ),
    ],
    style: Annotated[
        str, typer.Option("--style", "-s", help="An .onnx file, or the name of a bundled style.")
    ] = "photo",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file, frames/%05d.png, - for standard output, or a folder for several, which is made"
            " (default: INPUT-STEM.STYLE.mp4 beside).",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace outputs that exist.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run of the same command stopped.")
    ] = False,
    strength: Annotated[
        float, typer.Option(help="From 0, the source, to 1, the full style.", rich_help_panel=_LOOK)
    ] = 1.0,
    keep_colors: Annotated[
        bool, typer.Option("--keep-colors", help="Keep the source's colours.", rich_help_panel=_LOOK)
    ] = False,
    style_scale: Annotated[
        str,
        typer.Option(
            metavar="FACTOR|LINESp",
            help="Size of strokes: 2 is twice as large; 360p as large in the picture as on a 360p video.",
            rich_help_panel=_LOOK,
        ),
    ] = "1",
    smooth: Annotated[
        float,
        typer.Option(
            help="Hold what flickers: 0 is off, 0.5 a good value, 1 the most.", rich_help_panel=_LOOK
        ),
    ] = 0.0,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Begin there: 90, 1:30 or 0:01:30.5 after the first frame. Sound is copied, not encoded"
            " anew, so it is cut where its packets end, some 20 ms apart, and stays in step.",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="End there, in the source.", rich_help_panel=_EDIT)
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="25, 29.97 or 30000/1001 frames a second (default: each frame at its own time).",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="1280x720, 1280x, x720, 0.5 or 50%, before the style.", rich_help_panel=_EDIT
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]", help="Share the work on a Ray cluster; without an address on a local one."
        ),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="Stop after so many frames.", rich_help_panel=_EDIT)
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            help="h264, hevc, vp9, av1, prores, ffv1, gif or webp (default: by the file's ending).",
            rich_help_panel=_ENCODING,
        ),
    ] = None,
    crf: Annotated[
        int | None, typer.Option(help="Quality: lower is better and larger.", rich_help_panel=_ENCODING)
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="The encoder's speed, such as medium for smaller files (default: a fast one, tuned).",
            rich_help_panel=_ENCODING,
        ),
    ] = None,
    bitrate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="5M or 800k bits a second, instead of a quality.", rich_help_panel=_ENCODING
        ),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(
            help="software, or on a graphics chip: nvenc, qsv, amf, videotoolbox; auto takes one that works.",
            rich_help_panel=_ENCODING,
        ),
    ] = "software",
    pipe_format: Annotated[
        str | None,
        typer.Option(
            help="What goes to standard output: nut, y4m or raw (default: nut).", rich_help_panel=_PIPES
        ),
    ] = None,
    raw_size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Standard input holds raw frames of this size.", rich_help_panel=_PIPES
        ),
    ] = None,
    raw_fps: Annotated[
        str | None, typer.Option(metavar="RATE", help="Their rate (default: 25).", rich_help_panel=_PIPES)
    ] = None,
    raw_format: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Their pixels, as FFmpeg calls them (default: bgr24).",
            rich_help_panel=_PIPES,
        ),
    ] = None,
    alpha: Annotated[
        bool,
        typer.Option(
            "--alpha",
            help="Keep transparency, in .webm, .mov, .mkv, .webp, or PNG and TIFF pictures.",
            rich_help_panel=_ENCODING,
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, or cuda:INDEX.", rich_help_panel=_DEVICE)
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto takes the fastest variant that is right; or fp32, fp16, int8.", rich_help_panel=_DEVICE
        ),
    ] = "auto",
    input_range: Annotated[
        int | None,
        typer.Option(
            help="White in a foreign style: 1 or 255 (default: found by trying).", rich_help_panel=_DEVICE
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
    list_styles: Annotated[
        bool,
        typer.Option("--list-styles", callback=_list_styles, is_eager=True, help="List the bundled styles."),
    ] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Stylize videos: same frames, same time stamps, same sound, in the style you choose.

    A picture gives a picture. In a batch, one file that fails does not stop the others.
    In a terminal space pauses and goes on; Ctrl-C stops, and --resume goes on later.
    """
    with errors_as_sentences(debug=debug):
        keep_numpy_from_spinning()
        from stylize_video.effects.look import Look
        from stylize_video.jobs.batch import check_batch, plan_batch
        from stylize_video.jobs.options import Options
        from stylize_video.styles.style import find_style, style_name
        from stylize_video.styles.variants import parse_precision
        from stylize_video.styles.working_size import WorkingSize
        from stylize_video.values import parse_bitrate, parse_rate, parse_scale, parse_time
        from stylize_video.video.edit import Edit
        from stylize_video.video.encoding import Encoding
        from stylize_video.video.pipes import raw_format_of

        # What can be wrong is found before a model is loaded.
        style_path = find_style(style)
        batch = plan_batch(inputs, style_name(style_path), output)
        _check_pipes(batch, pipe_format=pipe_format, raw_size=raw_size, raw_details=raw_fps or raw_format)
        options = Options(
            look=Look(strength, keep_colors),
            smooth=smooth,
            working_size=WorkingSize.parse(style_scale),
            edit=Edit(
                start=parse_time(start) if start else None,
                end=parse_time(end) if end else None,
                fps=parse_rate(fps) if fps else None,
                scale=parse_scale(scale) if scale else None,
            ),
            encoding=Encoding(
                codec,
                crf,
                preset,
                parse_bitrate(bitrate) if bitrate else None,
                alpha=alpha,
                encoder=encoder,
                pipe=pipe_format or Encoding.pipe,
            ),
            overwrite=overwrite,
            resume=resume,
            max_frames=max_frames,
            raw=raw_format_of(raw_size, raw_fps, raw_format) if raw_size else None,
        )
        check_batch(batch, options)
        of_session = _SessionChoice(style_path, device, parse_precision(precision), input_range)
        _stylize(batch, options, of_session, ray=ray, quiet=quiet, debug=debug)


@dataclass(frozen=True)
class _SessionChoice:
    """A style, and how it is to be run."""

    path: Path
    device: str
    precision: Precision | Literal["auto"]
    input_range: int | None

    def open(self, *, at_once: int) -> StyleSession:
        from stylize_video.styles.device import resolve_device
        from stylize_video.styles.guard import try_out
        from stylize_video.styles.variants import open_session

        if resolve_device(self.device).kind == "cpu":
            limit_memory()
        return open_session(
            self.path,
            device=self.device,
            precision=self.precision,
            input_range=self.input_range,
            at_once=at_once,
            check=try_out,
        )


def _check_pipes(
    batch: Batch, *, pipe_format: str | None, raw_size: str | None, raw_details: str | None
) -> None:
    """Raise StylizeError where options of pipes are given without the pipe that they are for."""
    from stylize_video.video.pipes import STANDARD

    if pipe_format and all(str(place) != STANDARD for _, place in batch.files):
        raise SinkError("--pipe-format is for standard output; pass -o - too, or leave it out")
    if raw_size and not any(isinstance(one, str) for one, _ in batch.files):
        raise SourceError("--raw-size is for standard input; name - as the input, or leave it out")
    if raw_details and not raw_size:
        raise SourceError("--raw-fps and --raw-format are of raw frames, which need --raw-size too")


def _stylize(
    batch: Batch, options: Options, of_session: _SessionChoice, *, ray: str | None, quiet: bool, debug: bool
) -> None:
    """Do what a command line asks for, which makes sense."""
    from stylize_video.machine import most_at_once
    from stylize_video.video.inputs import is_picture

    if batch.left_out and not quiet:
        found = batch.left_out + len(batch.files)
        say(f"left out, since made of other inputs: {batch.left_out} of {found}")
    if options.resume and not options.overwrite:
        batch = replace(batch, files=_without_finished(batch.files, quiet=quiet))
        if not batch.files:
            return
    session = of_session.open(at_once=1 if all(is_picture(one) for one, _ in batch.files) else most_at_once())
    interrupt_on_termination()
    with batch.folder():
        if ray is not None and not _is_for_this_machine(batch.files, options, quiet=quiet):
            outcomes: Iterable[_Outcome] = _stylize_on_cluster(
                batch.files, session, options, ray, quiet=quiet
            )
        else:
            outcomes = _stylize_here(batch.files, session, options, quiet=quiet)
        _tell_failures(outcomes, batch, debug=debug)


def _tell_failures(outcomes: Iterable[_Outcome], batch: Batch, *, debug: bool) -> None:
    """Go on past the files of a batch that fail, and end the command with their names."""
    from stylize_video.video.inputs import label_of

    failed = []
    for source, outcome in outcomes:
        if isinstance(outcome, StylizeError):
            if debug or not batch.many:
                raise outcome
            failed.append(Path(label_of(source)).name)
            say(f"failed: {outcome}")
    if failed:
        fail(f"{len(failed)} of {len(batch.files)} files failed: {', '.join(failed)}")


def _stylize_here(
    files: list[tuple[Source, Path]], session: StyleSession, options: Options, *, quiet: bool
) -> Iterator[_Outcome]:
    for source, target in files:
        try:
            outcome: Result | StylizeError = _stylize_one(source, target, session, options, quiet=quiet)
        except StylizeError as error:
            outcome = error
        yield source, outcome


def _without_finished(files: list[tuple[Source, Path]], *, quiet: bool) -> list[tuple[Source, Path]]:
    """What an interrupted run has still to do."""
    from stylize_video.resuming.journal import journal_path

    if not quiet:
        for _, target in files:
            if target.exists():
                newer = "; -y --resume goes on with the run that was to replace it"
                say(f"{target} is there already{newer if journal_path(target).exists() else ''}")
    return [file for file in files if not file[1].exists()]


def _is_for_this_machine(files: list[tuple[Source, Path]], options: Options, *, quiet: bool) -> bool:
    """Whether none of the files can be shared, which is told: then it goes on as without a cluster."""
    from stylize_video.jobs.cluster import why_here

    reasons = [why_here(source, target, options) for source, target in files]
    if not all(reasons):
        return False
    if not quiet:
        say(f"all on this machine, without the cluster: {reasons[0]}")
    return True


def _stylize_on_cluster(
    files: list[tuple[Source, Path]], session: StyleSession, options: Options, address: str, *, quiet: bool
) -> list[_Outcome]:
    from stylize_video.jobs.cluster import Cluster
    from stylize_video.jobs.pipeline import Hooks

    label = files[0][1].name if len(files) == 1 else f"{len(files)} files"
    progress = ProgressLine(label, quiet=quiet)
    hooks = Hooks(
        on_start=lambda info: progress.extend(_frames_ahead(info.frame_count, options.max_frames)),
        on_frame=progress.advance,
        on_resume=progress.resume,
        on_frames=lambda count: progress.advance(count=count),
    )
    where = None if address == _LOCAL else address
    with Cluster(where, device=str(session.device)) as cluster:
        interrupt_on_termination()  # Ray took that over
        if not quiet:
            how = f"{session.style.name} ({session.style.precision}) on {session.device}"
            say(f"{label} in the style {how}, {cluster.workers} at a time")
        with progress:
            results = cluster.stylize_all(files, session, options, hooks=hooks)
    done = [result.frames for result in results if not isinstance(result, StylizeError)]
    if done and not quiet:
        took = f"{progress.seconds:.1f} s, {progress.rate:.1f} fps"
        say(f"{counted(sum(done), 'frame')} of {counted(len(done), 'file')} in {took}")
    return [(source, result) for (source, _), result in zip(files, results, strict=True)]


def _stylize_one(
    source: Source, target: Path, session: StyleSession, options: Options, *, quiet: bool
) -> Result:
    from stylize_video.jobs.batch import stylize_any
    from stylize_video.jobs.pipeline import Hooks
    from stylize_video.video.inputs import is_picture, label_of
    from stylize_video.video.pipes import STANDARD

    how = f"in the style {session.style.name} ({session.style.precision}) on {session.device}"
    label = "standard output" if target == Path(STANDARD) else str(target)
    progress = ProgressLine(Path(label).name, quiet=quiet)
    pause = PauseKey(progress.tell)

    def on_start(info: VideoInfo) -> None:
        if not quiet:
            say(f"{label_of(source)} {how}")
        progress.start(_frames_ahead(info.frame_count, options.max_frames))

    def on_resume(frames: int) -> None:
        progress.resume(frames)
        progress.tell(f"going on after {counted(frames, 'frame')} of an interrupted run")

    def on_frame() -> None:
        progress.advance()
        progress.leave_out(pause.wait())

    hooks = Hooks(on_start=on_start, on_frame=on_frame, on_resume=on_resume)
    with progress, pause:
        result = stylize_any(source, target, session, options, hooks=hooks)
    if not quiet and is_picture(source):
        say(f"{label}: one picture {how}")
    elif not quiet:
        took = f"{progress.seconds:.1f} s, {progress.rate:.1f} fps on {session.device}"
        say(f"{label}: {counted(result.frames, 'frame')} in {took}")
    return result


def _frames_ahead(frame_count: int | None, max_frames: int | None) -> int | None:
    if frame_count and max_frames:
        return min(frame_count, max_frames)
    return max_frames or frame_count


def with_ray_address(arguments: Sequence[str]) -> list[str]:
    """``--ray`` may stand alone: then it means a cluster on this machine."""
    return with_value(arguments, "--ray", _LOCAL, _ADDRESS.fullmatch)


def main() -> None:
    """Entry point of ``stylize-video``."""
    sys.argv[1:] = with_ray_address(sys.argv[1:])
    run_command(stylize_video)
