"""``stylize-eval`` as a command."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import ProgressLine, errors_as_sentences, run_command
from stylize_video.errors import SinkError, SourceError, StylizeError
from stylize_video.files import check_outputs, write_text
from stylize_video.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stylize_video.eval.measure import Candidate, Evaluation, Steadiness

_BLURRED = 0.95
"""Share of the sharpness beside the reference below which steadiness was bought with blur."""

_WIDTHS = (12, 10, 9, 12, 9, 12, 8)


def stylize_eval(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="The video before it was stylized; or a picture, that a camera passes over.",
        ),
    ],
    stylized: Annotated[
        Path | None, typer.Argument(metavar="[STYLIZED]", help="The same video stylized, frame for frame.")
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option("--style", "-s", help="Stylize now: an .onnx file or a bundled style. Repeatable."),
    ] = None,
    smooth: Annotated[
        list[float] | None, typer.Option(help="Measure each --style with this smoothing too. Repeatable.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="STYLE", help="A style that the others are compared with. Repeatable."),
    ] = None,
    equal_sharpness: Annotated[
        bool,
        typer.Option(
            "--equal-sharpness",
            help="Blur all, the source too, to the least sharp style's sharpness, and compare then.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:INDEX.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8, of each --style.")] = "auto",
    max_frames: Annotated[int | None, typer.Option(min=2, help="Stop after so many frames.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything measured there.")] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the error over time there.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Measure how much a stylized video flickers.

    E_warp is the mean squared difference of successive frames where they show the same
    point, followed by the optical flow of the source (Lai et al. 2018); the row of the
    source itself is what the measure makes of a video that no style has touched. Noise
    gain is how much of a still picture's sensor noise comes out; sharpness guards
    against steadiness that is blur. The motion of a picture is that of a camera passing
    over it, which shifts, turns and zooms: it is known, not estimated.
    """
    with errors_as_sentences(debug=debug):
        if stylized is None and not style and not baseline:
            raise StylizeError("there is nothing to measure: name a stylized video, or a style with --style")
        if smooth and not style:
            raise StylizeError("--smooth goes with --style; a finished video is measured as it is")
        if plot_file and plot_file.suffix.lower() != ".png":
            raise SinkError(f"cannot write {plot_file}: plots are PNG files (name it something.png)")
        for video in (source, stylized):
            if video:
                _check_is_file(video)
        from stylize_video.video.inputs import is_picture

        if stylized and is_picture(source):
            raise SourceError(f"{source} is a picture; a finished video is measured beside its source video")
        from stylize_video.effects.smoothing import check_smooth
        from stylize_video.eval.measure import evaluate
        from stylize_video.eval.plot import save_plot
        from stylize_video.styles.style import files_of, find_style

        paths = [find_style(name) for name in (*(baseline or ()), *(style or ()))]
        check_outputs({"--json": json_file, "--plot": plot_file}, [source, stylized, *files_of(paths)])
        amounts = [check_smooth(amount) for amount in smooth or ()]
        found: dict[str, Candidate] = {}
        for name in baseline or ():
            _add_candidates(found, name, device=device, precision="auto")
        for name in style or ():
            _add_candidates(found, name, device=device, precision=precision, smooth=amounts)
        progress = ProgressLine(source.name, quiet=quiet)
        with progress:
            evaluation = evaluate(
                source,
                list(found.values()),
                stylized=stylized,
                max_frames=max_frames,
                equal_sharpness=equal_sharpness,
                on_start=progress.start,
                on_frame=progress.advance,
            )
        # Written first: whoever reads the table may close the pipe before its end.
        if json_file:
            write_text(json_file, json.dumps(_as_json(source, evaluation), indent=2) + "\n")
        if plot_file:
            save_plot(plot_file, {name: row.trace for name, row in evaluation.rows.items()})
        _print_table(source, evaluation, next(iter(found), None) or list(evaluation.rows)[1])


def _check_is_file(video: Path) -> None:
    """Raise SourceError with what to name instead."""
    if video.is_file():
        return
    if video.is_dir():
        raise SourceError(f"{video} is a folder; name one video")
    if video.exists():
        raise SourceError(f"{video} is no file, and is looked at more than once; name a video")
    from stylize_video.video.sequences import is_pattern

    if is_pattern(video):
        raise SourceError(
            f"{video} stands for numbered pictures; make a video of them first"
            f" (stylize-video {video} --strength 0 --codec ffv1 -o pictures.mkv)"
        )
    raise SourceError(f"the video {video} does not exist")


def _add_candidates(
    found: dict[str, Candidate],
    style: str,
    *,
    device: str,
    precision: str,
    smooth: Sequence[float] = (),
) -> None:
    from stylize_video.eval.measure import Candidate
    from stylize_video.styles.guard import try_out
    from stylize_video.styles.session import StyleSession
    from stylize_video.styles.variants import open_session, parse_precision

    session = open_session(style, device=device, precision=parse_precision(precision), check=try_out)
    name = f"{session.style.name} ({session.style.precision})"
    known = found.get(name)
    if known and isinstance(known.network, StyleSession):
        if known.network.style.sha256 == session.style.sha256:  # named twice: it runs once
            session = known.network
        else:
            name = f"{session.style.path} ({session.style.precision})"
    for amount in dict.fromkeys((0.0, *smooth)):
        label = f"{name}, smooth {amount:g}" if amount else name
        found[label] = Candidate(label, session, amount)


def _print_table(source: Path, evaluation: Evaluation, reference: str) -> None:
    rows = {printable(name): row for name, row in evaluation.rows.items()}
    reference = printable(reference)
    cuts = len(evaluation.cuts)
    print(
        f"{printable(source.name)}: {evaluation.frames} frames of {evaluation.width}x{evaluation.height},"
        f" {cuts} {'cut' if cuts == 1 else 'cuts'}"
    )
    label = max(len(name) for name in rows) + 2
    columns = ("E_warp", "x source", "x first", "E_warp t-5", "noise", "sharpness", "x first")
    print(f"{'':{label}}" + "".join(f"{c:>{w}}" for c, w in zip(columns, _WIDTHS, strict=True)))
    unchanged = next(iter(rows.values()))
    for name, row in rows.items():
        cells = _cells(row, unchanged, rows[reference])
        print(f"{name:{label}}" + "".join(f"{c:>{w}}" for c, w in zip(cells, _WIDTHS, strict=True)))
    print(f"first: {reference}")
    finished = printable(evaluation.finished or "")
    if evaluation.apart:
        print(
            f"warning: {finished} runs up to {evaluation.apart:.2f} s apart from {printable(source.name)};"
            " frames are compared by their number, so these figures are of different moments"
        )
    if finished and len(rows) > 2:
        print(f"{finished} has been through an encoder and the styles have not: do not compare their rows")
    if evaluation.longer:
        print(f"{printable(evaluation.longer)} is the longer video: its rest was not measured")
    for name, row in rows.items():
        if row.softened:
            print(f"{name} was blurred by {row.softened:.2f} pixels, for equal sharpness")
        if row is not unchanged and row.sharpness < _BLURRED * rows[reference].sharpness:
            print(f"{name} is less sharp: steadiness is to be compared at equal sharpness")
    sys.stdout.flush()


def _cells(row: Steadiness, unchanged: Steadiness, first: Steadiness) -> list[str]:
    return [
        _number(row.warping_error, "{:.6f}"),
        _ratio(row.warping_error, unchanged.warping_error),
        _ratio(row.warping_error, first.warping_error),
        _number(row.long_range_error, "{:.6f}"),
        _number(row.noise_gain, "{:.2f}"),
        f"{row.sharpness:.2f}",
        _ratio(row.sharpness, first.sharpness),
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _ratio(value: float | None, other: float | None) -> str:
    return f"{value / other:.2f}" if value is not None and other else "-"


def _as_json(source: Path, evaluation: Evaluation) -> dict[str, object]:
    def of(row: Steadiness) -> dict[str, object]:
        facts = asdict(row)
        facts["trace"] = {"frames_a_point": row.trace.frames_a_point, "warping_error": row.trace.points}
        return facts

    return {
        "source": str(source),
        "width": evaluation.width,
        "height": evaluation.height,
        "frames": evaluation.frames,
        "cuts": list(evaluation.cuts),
        "finished": evaluation.finished,
        "longer": evaluation.longer,
        "seconds_apart": evaluation.apart,
        "rows": {name: of(row) for name, row in evaluation.rows.items()},
    }


def main() -> None:
    """Entry point of ``stylize-eval``."""
    run_command(stylize_eval)
