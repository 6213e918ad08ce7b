"""``stylize-video``: a video in, the same video in a style out.

Heavy imports wait until the arguments are known to be good, so that ``--help`` is instant.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stylize_video.console import (
    ProgressLine,
    errors_as_sentences,
    fail,
    interrupt_on_sigterm,
    interruption_code,
)
from stylize_video.errors import SourceError


def _list_styles(wanted: bool) -> None:
    if wanted:
        from stylize_video_assets.catalog import bundled_styles

        for style in bundled_styles():
            print(style.name)
        raise typer.Exit


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("stylize-video"))
        raise typer.Exit


def stylize_video(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="The video to stylize.")],
    style: Annotated[
        str, typer.Option("--style", "-s", help="An .onnx file, or the name of a bundled style.")
    ] = "photo",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write.  [default: INPUT-STEM.STYLE.mp4 beside the input]"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:INDEX.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto takes the fastest variant that is right; or fp32, fp16, int8.")
    ] = "auto",
    input_range: Annotated[
        int | None,
        typer.Option(help="What white is in a foreign style, 1 or 255.  [default: found by trying]"),
    ] = None,
    strength: Annotated[float, typer.Option(help="From 0, the source, to 1, the full style.")] = 1.0,
    keep_colors: Annotated[bool, typer.Option("--keep-colors", help="Keep the source's colours.")] = False,
    overwrite: Annotated[
        bool, typer.Option("-y", "--overwrite", help="Replace an output that exists.")
    ] = False,
    max_frames: Annotated[int | None, typer.Option(help="Stop after so many frames.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
    list_styles: Annotated[
        bool,
        typer.Option("--list-styles", callback=_list_styles, is_eager=True, help="List the bundled styles."),
    ] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Stylize a video: same frames, same time stamps, same sound, in the style you choose."""
    with errors_as_sentences(debug=debug):
        # Cheap checks first: a typo should not wait for a model to load.
        if not source.exists():
            raise SourceError(f"the video {source} does not exist")
        from stylize_video.style import find_style, style_name

        style_path = find_style(style)
        target = output or source.with_name(f"{source.stem}.{style_name(style_path)}.mp4")
        from stylize_video.sink import check_output

        check_output(target, source, overwrite=overwrite)
        from stylize_video.look import Look
        from stylize_video.pipeline import Hooks, InterruptedJobError, stylize_file
        from stylize_video.session import open_session, parse_precision

        look = Look(strength, keep_colors)
        session = open_session(
            style_path, device=device, precision=parse_precision(precision), input_range=input_range
        )
        progress = ProgressLine(target.name, quiet=quiet)
        if not quiet:
            print(
                f"{source} in the style {session.style.name} ({session.style.precision}) on {session.device}",
                file=sys.stderr,
            )
        interrupt_on_sigterm()
        try:
            with progress:
                result = stylize_file(
                    source,
                    target,
                    session,
                    look=look,
                    overwrite=overwrite,
                    max_frames=max_frames,
                    hooks=Hooks(
                        on_start=lambda info: progress.start(_frames_ahead(info.frame_count, max_frames)),
                        on_frame=progress.advance,
                    ),
                )
        except InterruptedJobError as error:
            fail(str(error), interruption_code(error.__cause__))
        if not quiet:
            fps = result.frames / progress.seconds
            print(
                f"{result.output}: {result.frames} frames in {progress.seconds:.1f} s, {fps:.1f} fps",
                file=sys.stderr,
            )


def _frames_ahead(frame_count: int | None, max_frames: int | None) -> int | None:
    if frame_count and max_frames:
        return min(frame_count, max_frames)
    return max_frames or frame_count


def main() -> None:
    """Entry point of ``stylize-video``."""
    typer.run(stylize_video)
