"""``train-gallery`` as a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import ProgressLine, errors_as_sentences, fail, run_command, say

if TYPE_CHECKING:
    from stylize_video_export.gallery.build import Workshop
    from stylize_video_export.gallery.recipes import GalleryRecipe

_ASSETS = Path("assets")


def train_gallery(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Which styles.  [default: all]")
    ] = None,
    content: Annotated[
        Path | None, typer.Option(help="Folder of photos to learn on and to calibrate int8 with.")
    ] = None,
    feature_weights: Annotated[
        Path | None, typer.Option(help="The feature model's state dict.  [default: torchvision downloads it]")
    ] = None,
    recipes: Annotated[Path, typer.Option(help="Folder with a NAME.toml for each style.")] = (
        _ASSETS / "gallery" / "recipes"
    ),
    pictures: Annotated[Path, typer.Option(help="Folder of the style pictures.")] = _ASSETS / "pictures",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the style files.")] = (
        _ASSETS / "stylize_video_assets" / "styles"
    ),
    checkpoints: Annotated[Path, typer.Option(help="Folder for checkpoints, previews and reports.")] = (
        Path("runs")
    ),
    measure: Annotated[
        list[Path] | None,
        typer.Option(metavar="CLIP", help="Train nothing: measure how steady the styles are on this clip."),
    ] = None,
    catalogue: Annotated[Path, typer.Option(help="The catalogue that a training or --measure updates.")] = (
        _ASSETS / "stylize_video_assets" / "catalog.json"
    ),
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="JPEG", help="Train nothing: draw the styles on --sample pictures and clips."),
    ] = None,
    sample: Annotated[list[Path] | None, typer.Option(help="Photo or video for --sheet.")] = None,
    height: Annotated[int, typer.Option(min=64, help="Height of the pictures on the sheet.")] = 180,
    device: Annotated[
        str,
        typer.Option(
            help="Where to train: auto, cpu, cuda, or cuda:INDEX; with cpu, styles are proved there too."
        ),
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Train and export the shipped styles again, all or some, from the recipes kept with the project."""
    with errors_as_sentences(debug=debug):
        from stylize_video.errors import StylizeError
        from stylize_video_export.gallery.recipes import read_recipes

        if measure and sheet is not None:
            raise StylizeError("--measure and --sheet are two commands: give one of them")
        if sample and sheet is None:
            raise StylizeError("--sample goes with --sheet, which draws the styles on it")
        chosen = read_recipes(recipes, pictures, names or ())
        if sheet is not None:
            _draw(sheet, [output / f"{recipe.name}.onnx" for recipe in chosen], sample or [], height)
            return
        if measure:
            from stylize_video.files import check_outputs
            from stylize_video_export.gallery.catalogue import update_catalogue

            check_outputs({"--catalogue": catalogue}, [*measure, *(recipe.picture for recipe in chosen)])
            for recipe in chosen:
                update_catalogue(catalogue, recipe, output / f"{recipe.name}.onnx", measure)
            return
        if content is None:
            raise StylizeError("name a folder of photos to learn on with --content")
        from stylize_video_export.gallery.build import Workshop
        from stylize_video_export.gallery.catalogue import read_catalogue
        from stylize_video_train.trainer import pick_device

        for folder in (checkpoints, output, catalogue.parent):
            folder.mkdir(parents=True, exist_ok=True)
        read_catalogue(catalogue)  # what is wrong with it is told before hours of training
        workshop = Workshop(content, checkpoints, feature_weights, pick_device(device))
        prove_on = "cpu" if device == "cpu" else "auto"  # int8 is for CPUs, wherever it was trained
        refused: list[str] = []
        for recipe in chosen:
            refused += _make(recipe, workshop, output, catalogue, prove_on=prove_on, quiet=quiet)
        if refused:
            fail("; ".join(refused), code=1)


def _make(
    recipe: GalleryRecipe, workshop: Workshop, styles: Path, catalogue: Path, *, prove_on: str, quiet: bool
) -> list[str]:
    """Train and export one style; returns which of its variants were refused, and why."""
    from stylize_video_export.gallery.build import export_style, is_made_of, train_style
    from stylize_video_export.gallery.catalogue import forget_figures, update_catalogue

    with ProgressLine(recipe.name, unit="steps/s", quiet=quiet) as line:
        line.start(recipe.recipe.steps)
        checkpoint = train_style(
            recipe,
            workshop,
            on_progress=lambda at: line.advance(f"content {at.content:.3f}, style {at.style:.3f}"),
        )
        if not line.done:
            kept = workshop.checkpoint_of(recipe)
            line.tell(f"{recipe.name}: trained before; remove {kept} to train it again")
    style = styles / f"{recipe.name}.onnx"
    was_made_of_it = is_made_of(style, checkpoint)
    try:
        export = export_style(recipe, checkpoint, workshop, styles, device=prove_on)
    finally:
        # The figures describe the old weights: drop them once the new file is there.
        if not was_made_of_it and is_made_of(style, checkpoint):
            forget_figures(catalogue, recipe.name)
    for file in export.files if not quiet else ():
        quality = (
            "" if file.psnr is None else f", {file.psnr:.1f} dB against fp32, worst {file.worst_psnr:.1f}"
        )
        say(f"{file.path}: {file.path.stat().st_size / 1e6:.2f} MB{quality}")
    update_catalogue(catalogue, recipe, style, ())
    return [f"{recipe.name}: {reason}" for reason in export.refused]


def _draw(sheet: Path, styles: list[Path], samples: list[Path], height: int) -> None:
    from stylize_video.errors import StylizeError
    from stylize_video.files import check_outputs
    from stylize_video_export.gallery.sheet import (
        WORKING_HEIGHT,
        check_sheet,
        contact_sheet,
        read_samples,
        write_sheet,
    )

    if not samples:
        raise StylizeError("name photos or videos to draw the styles on with --sample")
    check_sheet(sheet)
    check_outputs({"--sheet": sheet}, [*samples, *styles])
    pictures = read_samples(samples, height=max(height, WORKING_HEIGHT))
    drawn = contact_sheet({path.stem: path for path in styles}, pictures, height=height)
    write_sheet(drawn, sheet)


def main() -> None:
    """Entry point of ``train-gallery``."""
    run_command(train_gallery)
