"""``stylize-bench`` as a command."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import errors_as_sentences, run_command, say
from stylize_video.errors import StylizeError
from stylize_video.files import check_outputs, write_text
from stylize_video.text import printable
from stylize_video.values import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stylize_video.bench.process import ProcessCost
    from stylize_video.bench.stages import Timing
    from stylize_video.bench.throughput import Speed

_DEFAULT_SIZES = ["640x360"]


def stylize_bench(
    clip: Annotated[
        Path, typer.Argument(metavar="CLIP", help="A video to measure with; real footage, please.")
    ],
    style: Annotated[
        str, typer.Option("--style", "-s", help="An .onnx file, or a bundled style's name.")
    ] = "photo",
    size: Annotated[
        list[str] | None, typer.Option(metavar="WxH", help="Repeatable.  [default: 640x360]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:INDEX, or all that work.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, int8, or all that there are.")] = "auto",
    style_scale: Annotated[
        str, typer.Option(metavar="FACTOR|LINESp", help="Size of strokes, as for stylize-video.")
    ] = "1",
    against: Annotated[
        Path | None, typer.Option(metavar="STYLE", help="Another style, side by side.")
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="The field's TransformerNet of width 32, side by side.")
    ] = False,
    openvino: Annotated[
        bool, typer.Option("--openvino", help="The same files on OpenVINO, side by side; the network alone.")
    ] = False,
    frames: Annotated[int, typer.Option(min=3, help="Frames of the clip at each size, at least.")] = 150,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender; medians count.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="About how long one turn may take.")] = 6,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything measured there.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Measure a style end to end on this machine: decode, stylize, encode."""
    with errors_as_sentences(debug=debug):
        sizes = [parse_size(text) for text in size or _DEFAULT_SIZES]
        for width, height in sizes:
            if width % 2 or height % 2:
                raise StylizeError(
                    f"the clip is measured at even sizes, as H.264 has them; got {width}x{height}"
                )
        if math.isnan(seconds):
            raise StylizeError("the seconds of a turn must be a number")
        check_outputs({"--json": json_file}, [clip])
        from tempfile import TemporaryDirectory

        from stylize_video.bench.contenders import EVERY, find_contenders
        from stylize_video.bench.process import measure_process
        from stylize_video.bench.throughput import measure_speeds, scaled_clip, whole_rounds
        from stylize_video.styles.style import files_of, find_style
        from stylize_video.styles.variants import parse_precision
        from stylize_video.styles.working_size import WorkingSize

        path = find_style(style)
        styles = [path, find_style(against)] if against else [path]
        check_outputs({"--json": json_file}, files_of(styles))
        contenders = list(
            find_contenders(
                path,
                device=device,
                precision=None if precision == EVERY else parse_precision(precision),
                against=against,
                baseline=baseline,
                openvino=openvino,
            )
        )
        working_size = WorkingSize.parse(style_scale)
        frames = whole_rounds(frames)
        asked: dict[str, object] = {
            "clip": str(clip),
            "style": str(path),
            "sizes": [f"{width}x{height}" for width, height in sizes],
            "device": device,
            "precision": precision,
            "against": str(against) if against else None,
            "baseline": baseline,
            "openvino": openvino,
            "frames": frames,
            "rounds": rounds,
            "seconds": seconds,
            "style_scale": style_scale,
        }
        results: list[tuple[ProcessCost, list[Speed]]] = []
        try:
            for width, height in sizes:
                with TemporaryDirectory() as folder:
                    scaled = scaled_clip(clip, Path(folder), width=width, height=height, frames=frames)
                    speeds = measure_speeds(
                        scaled, contenders, rounds=rounds, seconds=seconds, working_size=working_size
                    )
                    process = measure_process(
                        scaled,
                        path,
                        device="auto" if device == EVERY else device,
                        precision="auto" if precision == EVERY else precision,
                        style_scale=style_scale,
                        frames=speeds[0].frames,
                    )
                results.append((process, speeds))
                if len(results) < len(sizes):
                    say(f"{width}x{height} is measured, {len(sizes) - len(results)} to go")
        finally:
            # Before anything is printed: whoever reads the tables may close the pipe before their end.
            if json_file and results:
                write_text(json_file, json.dumps(_as_json(asked, results), indent=2) + "\n")
            for process, speeds in results:
                _print_table(speeds, process)
        if len(results) > 1:
            _print_costs([speeds for _, speeds in results])


def _print_table(speeds: Sequence[Speed], process: ProcessCost) -> None:
    first = speeds[0]
    print(f"{first.width}x{first.height}, milliseconds a frame: median (95th percentile), of encode the mean")
    print(_row("", ("end to end", "network", "core ms", "decode", "adapt", "infer", "encode", "cold")))
    for speed in speeds:
        stages = speed.stages
        cells = ["-", "-", _cell(speed.infer), "-"]
        if stages:
            timed = (stages.decode, stages.adapt, speed.infer)
            cells = [*map(_cell, timed), f"{stages.encode:.1f}"]
        whole = f"{speed.whole.fps:.1f} fps" if speed.whole else "-"
        used = f"{speed.whole.core_ms:.1f}" if speed.whole else "-"
        alone = f"{speed.network.fps:.1f} fps"
        used = f"{used} / {speed.network.core_ms:.1f}"
        print(_row(_label(speed), (whole, alone, used, *cells, f"{1000 * speed.cold:.0f} ms")))
    for other in speeds[1:]:
        print(_comparison(first, other))
    if first.stages and first.share:
        print(f"{_label(first)} end to end {_reached(first)}; the bottleneck is {first.bottleneck}")
    most = process.peak_megabytes
    print(
        f"stylize-video --device {process.device} --precision {process.precision} writes its first frame"
        f" after {process.first_frame_seconds:.2f} s"
        + (f" and uses at most {most:.0f} MB\n" if most is not None else "\n")
    )
    sys.stdout.flush()


def _reached(speed: Speed) -> str:
    """How much of the network's speed is left; what is more than all of it is what the clock is off by."""
    if not speed.share or speed.share > 1:
        return "is as fast as the network alone"
    core_share = speed.core_share
    by_time = f" ({core_share:.0%} by processor time)" if core_share and core_share <= 1 else ""
    return f"reaches {speed.share:.0%} of the network alone{by_time}"


def _cell(timing: Timing) -> str:
    return f"{timing.median:.1f} ({timing.p95:.1f})"


def _comparison(first: Speed, other: Speed) -> str:
    if first.whole and other.whole:
        ours, theirs, where = first.whole, other.whole, "end to end"
    else:
        ours, theirs, where = first.network, other.network, "in the network"
    ratios = f"{ours.fps / theirs.fps:.2f} times as fast as {_label(other)} {where}"
    if first.device == other.device == "cpu":
        ratios += f", {theirs.core_ms / ours.core_ms:.2f} times by processor time"
    return f"{_label(first)} is {ratios}"


def _print_costs(by_size: Sequence[Sequence[Speed]]) -> None:
    """What a megapixel costs at each size: where the numbers are alike, cost is linear in pixels."""
    contenders = list(zip(*by_size, strict=True))
    for unit, of_cpu in (("processor time", True), ("the clock", False)):
        rows = [contender for contender in contenders if (contender[0].device == "cpu") == of_cpu]
        if rows:
            print(f"milliseconds of {unit} for a megapixel that the network sees")
            print(_row("", [f"{speed.width}x{speed.height}" for speed in rows[0]]))
        for contender in rows:
            print(_row(_label(contender[0]), [f"{speed.megapixel_ms:.0f}" for speed in contender]))


def _label(speed: Speed) -> str:
    return printable(f"{speed.name.removesuffix('.' + speed.precision)} {speed.precision} {speed.device}")


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:32}" + "".join(f"{cell:>16}" for cell in cells)


def _as_json(
    asked: Mapping[str, object], results: Sequence[tuple[ProcessCost, Sequence[Speed]]]
) -> dict[str, object]:
    import platform
    from dataclasses import asdict

    from stylize_video.machine import cores, package_versions, processor

    return {
        "machine": {"processor": processor(), "cores": cores(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **package_versions()},
        "asked": dict(asked),
        "sizes": [
            {"command": asdict(process), "contenders": [speed.to_dict() for speed in speeds]}
            for process, speeds in results
        ],
    }


def main() -> None:
    """Entry point of ``stylize-bench``."""
    run_command(stylize_bench)
