"""``export-onnx``: a checkpoint in, proved style files out.

Only exporting needs torch: ``--check`` and ``--show`` work on any installation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import errors_as_sentences, fail, run_command, say
from stylize_video.styles.contract import PRECISIONS, Precision, StyleMetadata
from stylize_video.text import printable

if TYPE_CHECKING:
    from stylize_video_export.export import Export


def export_onnx(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="CHECKPOINT", help="What train-style wrote, or a fast_neural_style state dict."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The style file, NAME.onnx.  [default: CHECKPOINT-STEM.onnx]"),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, or all.")] = "fp32",
    calibrate: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Photos to calibrate int8 with and to compare on.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the style.  [default: the style picture's]")] = "",
    author: Annotated[str, typer.Option(help="Who made the style picture.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the style picture.")] = "",
    thumbnail: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="A picture to show it by.")
    ] = None,
    opset: Annotated[int, typer.Option(min=18, max=21, help="ONNX operator set.")] = 18,
    verify: Annotated[bool, typer.Option(help="Prove fp32 against torch before it is written.")] = True,
    device: Annotated[str, typer.Option(help="Where to prove and measure: auto, cpu or cuda.")] = "auto",
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="STYLE", help="Prove a style file by its weights' hash and golden pair; needs no torch."
        ),
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(metavar="STYLE", help="Print what a style file says of itself; needs no torch."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Export a checkpoint to one ONNX file, and prove that it computes the same as torch."""
    with errors_as_sentences(debug=debug):
        if sum(path is not None for path in (checkpoint, check, show)) > 1:
            fail("--check and --show export nothing: name a checkpoint, or one of them with a style file")
        if check or show:
            from stylize_video.styles.guard import try_out
            from stylize_video.styles.style import find_style
            from stylize_video_export.inspect import check_style, describe_style

            try_out(find_style(check or show or Path()))
            for line in check_style(check, device=device) if check else describe_style(show or Path()):
                print(printable(line))
            return
        if checkpoint is None or not checkpoint.name:  # "", "." and "/" have none
            fail("name a checkpoint to export (or use --check or --show with a style file)")
        wanted = _precisions(precision)
        from stylize_video.files import check_outputs
        from stylize_video.styles.style import variant_path
        from stylize_video_export.pictures import read_pictures
        from stylize_video_export.pictures import thumbnail as read_thumbnail
        from stylize_video_export.request import check_request, proof_devices

        # What can be wrong with the options comes before torch, which takes seconds to load.
        target = output or checkpoint.with_suffix(".onnx")
        check_request(target, wanted, calibrated=calibrate is not None)
        devices = proof_devices(device)
        for kind in wanted:
            check_outputs({"--output": variant_path(target, kind)}, [checkpoint, thumbnail])
        if not checkpoint.is_file():
            fail(f"the checkpoint {checkpoint} does not exist")
        metadata = StyleMetadata(
            name=name,
            author=author,
            licence=licence,
            thumbnail=read_thumbnail(thumbnail) if thumbnail else b"",
        )
        pictures = read_pictures(calibrate) if calibrate else ()

        from stylize_video_export.export import export_checkpoint
        from stylize_video_export.formats import load_any_checkpoint
        from stylize_video_export.inspect import unused_variants

        export = export_checkpoint(
            load_any_checkpoint(checkpoint),
            target,
            metadata=metadata,
            opset=opset,
            precisions=wanted,
            pictures=pictures,
            devices=devices,
            verify=verify,
        )
        if not quiet:
            _print_report(export)
        for reason in unused_variants(target).values():
            say(f"WARNING: {reason}; it is not used until it is exported again")
        if export.refused:
            fail("; ".join(export.refused), code=1)


def _precisions(text: str) -> tuple[Precision, ...]:
    if text == "all":
        return PRECISIONS
    chosen = tuple(known for known in PRECISIONS if known == text)
    return chosen or fail(f"unknown precision {text!r}; there are {', '.join(PRECISIONS)} and all")


def _print_report(export: Export) -> None:
    rows = export.comparisons
    if rows:
        width = max(len(row.case) for row in rows)
        print(f"{'torch against ONNX Runtime':{width}}  {'provider':8}  {'max':>8}  {'mean':>8}  {'PSNR':>6}")
    for row in rows:
        provider = row.provider.removesuffix("ExecutionProvider")
        print(
            f"{row.case:{width}}  {provider:8}  {row.max_error:8.1e}  {row.mean_error:8.1e}  {row.psnr:6.1f}"
        )
    for file in export.files:
        facts = [f"{file.path.stat().st_size / 1e6:.2f} MB"]
        if file.psnr is not None:
            facts.append(
                f"{file.psnr:.1f} dB against fp32, {file.worst_psnr:.1f} on the worst extreme picture"
            )
        elif file.precision == "fp16":
            facts.append("what it is like shows on a GPU alone: a CPU computes it in fp32")
        facts += [f"{ms:.1f} ms a 640x360 frame on {device}" for device, ms in file.milliseconds.items()]
        if file.precision != "fp32":
            on = ", ".join(file.faster_on)
            facts.append(
                f"faster than fp32 on {on}"
                if on
                else "not faster than fp32 here; where the style runs, --precision auto decides anew"
            )
        say(f"{file.path}: {'; '.join(facts)}")


def main() -> None:
    """Entry point of ``export-onnx``."""
    run_command(export_onnx)
