"""``train-style``: a painting and a folder of photos in, a checkpoint out."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from stylize_video.console import ProgressLine, errors_as_sentences


def _default(name: str) -> Any:
    """The recipe's own default, so that the command and the library never differ."""
    from stylize_video_train.recipe import Recipe

    return next(f.default for f in fields(Recipe) if f.name == name)


def train_style(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="The painting or photo to learn from.")],
    content: Annotated[Path, typer.Option(help="Folder of photos to learn on.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The checkpoint.  [default: PICTURE-STEM.pth]")
    ] = None,
    features: Annotated[
        str, typer.Option(help="Feature model: vgg16, vgg19, resnet101, squeezenet1_1, …")
    ] = _default("features"),
    feature_weights: Annotated[
        Path | None, typer.Option(help="Its state dict.  [default: torchvision downloads it]")
    ] = None,
    content_layer: Annotated[
        str, typer.Option(help="Where content is compared.  [default: the model's preset]")
    ] = "",
    style_layers: Annotated[
        str, typer.Option(help="The set J, separated by commas.  [default: the model's preset]")
    ] = "",
    network: Annotated[str, typer.Option(help="realtime, or transformer (Johnson et al.).")] = "realtime",
    width: Annotated[int, typer.Option(help="Channels of the network.  [default: 48, transformer 32]")] = 0,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = _default("steps"),
    batch: Annotated[int, typer.Option(help="Pictures in a step.")] = _default("batch"),
    image_size: Annotated[int, typer.Option(help="Side of the training crops, in pixels.")] = _default(
        "image_size"
    ),
    style_size: Annotated[
        int, typer.Option(help="Short side of PICTURE, in pixels: smaller gives finer strokes.")
    ] = _default("style_size"),
    style_weight: Annotated[float, typer.Option(help="Style against content.")] = _default("style_weight"),
    tv_weight: Annotated[float, typer.Option(help="Total variation: higher is smoother.")] = _default(
        "tv_weight"
    ),
    steadiness_weight: Annotated[float, typer.Option(help="Against flicker.")] = _default(
        "steadiness_weight"
    ),
    learning_rate: Annotated[float, typer.Option(help="Largest step of Adam.")] = _default("learning_rate"),
    precision: Annotated[str, typer.Option(help="Arithmetic of the feature model: fp32 or bf16.")] = _default(
        "precision"
    ),
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = _default("seed"),
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or cuda:INDEX; auto takes a GPU where there is one.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Train a style on one picture; export the checkpoint with export-onnx."""
    with errors_as_sentences(debug=debug):
        from stylize_video_train.recipe import NetworkConfig, NetworkKind, Precision, Recipe, RecipeError
        from stylize_video_train.trainer import Progress, pick_device, train

        try:
            config = NetworkConfig(
                kind=cast(NetworkKind, network), width=width or (32 if network == "transformer" else 48)
            )
        except ValueError as error:
            raise RecipeError(str(error)) from error
        recipe = Recipe(
            network=config,
            features=features,
            content_layer=content_layer,
            style_layers=tuple(layer.strip() for layer in style_layers.split(",") if layer.strip()),
            steps=steps,
            batch=batch,
            image_size=image_size,
            style_size=style_size,
            style_weight=style_weight,
            tv_weight=tv_weight,
            steadiness_weight=steadiness_weight,
            learning_rate=learning_rate,
            precision=cast(Precision, precision),
            seed=seed,
        )
        target = output or Path(f"{picture.stem}.pth")
        progress = ProgressLine(target.name, unit="steps/s", quiet=quiet)

        def show(at: Progress) -> None:
            if at.step == 1:
                progress.start(at.steps)
            losses = f"content {at.content:.3f}, style {at.style:.3f}" if at.style else "learning to see"
            progress.advance(losses)

        with progress:
            train(
                recipe,
                style_picture=picture,
                content=content,
                output=target,
                weights_file=feature_weights,
                device=pick_device(device),
                on_progress=show,
            )
        if not quiet:
            print(f"{target}: export it with  export-onnx {target}", file=sys.stderr)


def main() -> None:
    """Entry point of ``train-style``."""
    typer.run(train_style)
