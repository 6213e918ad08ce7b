"""``export-onnx``: a checkpoint in, a proved style file out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import errors_as_sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stylize_video_export.parity import Comparison


def export_onnx(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="What train-style wrote.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The style file.  [default: CHECKPOINT-STEM.onnx]")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the style.  [default: the style picture's]")] = "",
    author: Annotated[str, typer.Option(help="Who made the style picture.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the style picture.")] = "",
    opset: Annotated[int, typer.Option(min=18, max=21, help="ONNX operator set.")] = 18,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Export a checkpoint to one ONNX file, and prove that it computes the same as torch."""
    with errors_as_sentences(debug=debug):
        from stylize_video.contract import StyleMetadata
        from stylize_video_export.export import export_checkpoint
        from stylize_video_train.checkpoint import load_checkpoint

        target = output or checkpoint.with_suffix(".onnx")
        export = export_checkpoint(
            load_checkpoint(checkpoint),
            target,
            metadata=StyleMetadata(name=name, author=author, licence=licence),
            opset=opset,
        )
        if not quiet:
            _print_table(export.comparisons)
            print(f"{export.path}: {export.path.stat().st_size / 1e6:.2f} MB, proved", file=sys.stderr)


def _print_table(rows: Sequence[Comparison]) -> None:
    width = max(len(row.case) for row in rows)
    print(f"{'torch against ONNX Runtime':{width}}  {'max':>8}  {'mean':>8}  {'PSNR':>6}")
    for row in rows:
        print(f"{row.case:{width}}  {row.max_error:8.1e}  {row.mean_error:8.1e}  {row.psnr:6.1f}")


def main() -> None:
    """Entry point of ``export-onnx``."""
    typer.run(export_onnx)
