"""``stylize-bench`` as a command."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import errors_as_sentences, run_command
from stylize_video.errors import StylizeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stylize_video.bench.measure import Outside, Speed

_DEFAULT_SIZES = ["640x360"]
_WIDTHS = (12, 11, 14, 14, 16, 14, 9)


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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:INDEX.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    against: Annotated[
        Path | None, typer.Option(metavar="STYLE", help="Another style, side by side.")
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="The field's TransformerNet of width 32, side by side.")
    ] = False,
    frames: Annotated[int, typer.Option(min=3, help="Frames of the clip at each size.")] = 150,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender; medians count.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything measured there.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Measure a style end to end on this machine: decode, stylize, encode."""
    with errors_as_sentences(debug=debug):
        sizes = [_parse_size(text) for text in size or _DEFAULT_SIZES]
        from tempfile import TemporaryDirectory

        from stylize_video.bench.baseline import transformer_net
        from stylize_video.bench.measure import OpenSession, measure_outside, measure_speeds, scaled_clip
        from stylize_video.session import StyleSession, open_session, parse_precision
        from stylize_video.style import find_style

        wanted = parse_precision(precision)
        path = find_style(style)
        contenders: dict[str, OpenSession] = {
            path.stem: lambda: open_session(path, device=device, precision=wanted)
        }
        if against:
            other = find_style(against)
            contenders[f"{other.stem} (against)"] = lambda: open_session(other, device=device)
        if baseline:
            field = transformer_net()
            contenders[field.name] = lambda: StyleSession(field, device, input_range=1)
        results: list[tuple[Outside, list[Speed]]] = []
        for width, height in sizes:
            with TemporaryDirectory() as folder:
                scaled = scaled_clip(clip, Path(folder), width=width, height=height, frames=frames)
                speeds = list(measure_speeds(scaled, contenders, rounds=rounds, seconds=6).values())
                outside = measure_outside(scaled, path, device=device)
            _print_table(speeds, outside)
            results.append((outside, speeds))
        if json_file:
            json_file.write_text(json.dumps(_as_json(results), indent=2) + "\n")


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or min(int(match[1]), int(match[2])) < 16:
        raise StylizeError(f"sizes look like 640x360 and are at least 16x16, got {text!r}")
    return int(match[1]), int(match[2])


def _print_table(speeds: Sequence[Speed], outside: Outside) -> None:
    first = speeds[0]
    print(f"{first.width}x{first.height}, milliseconds a frame: median (95th percentile)")
    columns = ("end to end", "network", "decode", "adapt", "infer", "encode", "cold")
    print(f"{'':28}" + "".join(f"{c:>{w}}" for c, w in zip(columns, _WIDTHS, strict=True)))
    for speed in speeds:
        stages = speed.stages
        label = f"{speed.name} {speed.precision} {speed.device}"
        times = (stages.decode, stages.adapt, stages.infer, stages.encode)
        cells = [
            f"{speed.end_to_end:.1f} fps",
            f"{speed.inference:.1f} fps",
            *(f"{t.median:.1f} ({t.p95:.1f})" for t in times),
            f"{1000 * stages.cold:.0f} ms",
        ]
        print(f"{label:28}" + "".join(f"{c:>{w}}" for c, w in zip(cells, _WIDTHS, strict=True)))
    for other in speeds[1:]:
        print(f"{first.name} is {first.end_to_end / other.end_to_end:.1f} times {other.name} end to end")
    share = first.end_to_end / first.inference
    slowest = first.stages.bottleneck
    print(f"end to end reaches {share:.0%} of the network alone; the bottleneck is {slowest}")
    print(
        f"the command writes its first frame after {outside.first_frame_seconds:.2f} s"
        f" and uses at most {outside.peak_megabytes:.0f} MB\n"
    )
    sys.stdout.flush()


def _as_json(results: Sequence[tuple[Outside, Sequence[Speed]]]) -> dict[str, object]:
    import os
    import platform
    from dataclasses import asdict
    from importlib.metadata import version

    packages = ("onnxruntime-gpu", "opencv-python", "av", "numpy")
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "sizes": [
            {"command": asdict(outside), "contenders": [speed.to_dict() for speed in speeds]}
            for outside, speeds in results
        ],
    }


def main() -> None:
    """Entry point of ``stylize-bench``."""
    run_command(stylize_bench)
