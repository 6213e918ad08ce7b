"""``compare-losses``, ``compare-networks`` and ``train-experiments``: questions, numbers and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize_video.console import ProgressLine, errors_as_sentences, run_command, say
from stylize_video.errors import StylizeError
from stylize_video.files import check_outputs, write_text
from stylize_video.text import printable

if TYPE_CHECKING:
    from stylize_video_train.experiments.compare_losses import Definition
    from stylize_video_train.experiments.study import Result

FEATURE_WEIGHTS_HELP = (
    "NAME=FILE, the state dict of a feature model; may be repeated.  [default: torchvision downloads it]"
)

_RESULTS = "results.md"


class ExperimentError(StylizeError):
    """An experiment cannot be set up as asked."""


def compare_losses(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE…", help="Two or more pictures.")],
    features: Annotated[
        str,
        typer.Option(help="Feature models, separated by commas; NAME:LAYER+LAYER names the layers."),
    ] = "vgg16,resnet101",
    definition: Annotated[
        str, typer.Option(help="plain (squared differences), normalised (fractions), or both.")
    ] = "both",
    feature_weights: Annotated[list[str] | None, typer.Option(help=FEATURE_WEIGHTS_HELP)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the tables to this Markdown file, too.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Print the content and style loss between any two pictures, as feature models see them."""
    with errors_as_sentences(debug=debug):
        if len(pictures) < 2:
            raise ExperimentError("compare-losses needs two pictures or more")
        if definition not in ("plain", "normalised", "both"):
            raise ExperimentError(f"--definition must be plain, normalised or both, got {definition}")
        weights = parse_weights(feature_weights or [])
        _refuse_unused(weights, [_name_and_layers(model)[0] for model in features.split(",")])
        check_outputs({"--output": output}, [*pictures, *weights.values()])
        text = "\n".join(_matrices(pictures, features, definition, weights))
        if output is not None:
            write_text(output, text)
        print(text)


def compare_networks(
    style: Annotated[Path, typer.Argument(metavar="PICTURE", help="The style picture of all of them.")],
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK…",
            help="Checkpoints of train-style, style files (as export-onnx makes of other networks, too), and"
            " names of bundled styles.",
        ),
    ],
    photos: Annotated[Path, typer.Option(help="Folder of photos that none of them was trained on.")],
    count: Annotated[int, typer.Option(min=1, help="The first so many of them.")] = 12,
    size: Annotated[int, typer.Option(min=64, help="Side of their middles, in pixels.")] = 256,
    feature_weights: Annotated[
        Path | None, typer.Option(help="The feature model's state dict.  [default: torchvision downloads it]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Print what trained networks cost on unseen photos, by the losses that the first was trained with."""
    with errors_as_sentences(debug=debug):
        from stylize_video_train.experiments.compare_networks import as_table, score, unseen_photos

        seen = unseen_photos(photos, size=size, most=count)
        scores = score(networks, style, seen, weights_file=feature_weights)
        print(as_table(scores))
        print(f"\n{len(seen)} photos of {printable(str(photos))}, their middles of {size}x{size} pixels;")
        print("total is without steadiness, which stylize-eval measures")
        if any(each.range is None for each in scores):
            print("and, of style files, without range: their pictures are white or black there")


def train_experiments(
    content: Annotated[Path, typer.Option(help="Folder of photos to train on.")],
    unseen: Annotated[Path, typer.Option(help="Folder of other photos, to measure on.")],
    style: Annotated[Path, typer.Option(help="The style picture of all trainings.")],
    photo: Annotated[Path, typer.Option(help="The photo shown in the grids.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables and grids.")],
    earlier: Annotated[
        list[Path] | None, typer.Option(help="A picture to show beside the first grid; may be repeated.")
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints, taken up again.  [default: OUTPUT/runs]"),
    ] = None,
    questions: Annotated[
        str, typer.Option(help="Some of steps, features, layers, weights and network.  [default: all]")
    ] = "",
    size: Annotated[str, typer.Option(help="small (a CPU, minutes), or full (a GPU).")] = "small",
    feature_weights: Annotated[list[str] | None, typer.Option(help=FEATURE_WEIGHTS_HELP)] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or cuda:INDEX; auto takes a GPU where there is one.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Train once for every question, and write results.md and picture grids."""
    with errors_as_sentences(debug=debug):
        from stylize_video_train.data import read_picture
        from stylize_video_train.experiments import gallery, study
        from stylize_video_train.trainer import pick_device

        if size not in study.SIZES:
            raise ExperimentError(f"--size must be one of {', '.join(study.SIZES)}, got {size}")
        dimensions, weights = study.SIZES[size], parse_weights(feature_weights or [])
        asked = _asked(questions)
        planned = [run for run in study.plan(dimensions, seed=seed) if set(run.questions) & set(asked)]
        _refuse_unused(weights, [*study.YARDSTICKS, *(run.recipe.features for run in planned)])
        _check_apart(content=content, unseen=unseen, output=output)
        folder = runs or output / "runs"
        for needed in (folder, output):
            needed.mkdir(parents=True, exist_ok=True)
        grids = {question: output / f"{question}.jpg" for question in asked}
        shown_pictures = [photo, *(earlier or [])]
        for target in (output / _RESULTS, *grids.values()):
            check_outputs({"--output": target}, [style, *shown_pictures, *weights.values()])
        photos = study.measured_photos(unseen, dimensions)
        gallery.read_shown(photo)
        for picture in shown_pictures:
            read_picture(picture)
        results = []
        for run in planned:
            with ProgressLine(run.name, unit="steps/s", quiet=quiet) as line:
                line.start(run.recipe.steps)
                result = study.train_run(
                    run,
                    style_picture=style,
                    content=content,
                    folder=folder,
                    weights=weights,
                    device=pick_device(device),
                    on_progress=lambda _, line=line: line.advance(),  # type: ignore[misc]
                )
                if result.missing:
                    line.tell(f"{run.name}: not trained, {result.missing}")
            results.append(result)
        yardsticks = study.yardsticks(style, dimensions, weights=weights)
        results = [study.measure(result, yardsticks, photos) for result in results]
        _write_results(output, results, asked, seed=seed, size=size)
        for question, grid in grids.items():
            shown = [r for r in results if question in r.run.questions]
            extra = (earlier or []) if question == "steps" else []
            gallery.write_grid(grid, shown, photo, extra=extra)
        if not quiet:
            say(f"{output / _RESULTS} and {len(asked)} grids are written")


def parse_weights(options: Sequence[str]) -> dict[str, Path]:
    """``NAME=FILE`` options as a mapping.

    Raises:
        ExperimentError: an option has no ``=``.
    """
    weights = {}
    for option in options:
        name, equals, path = option.partition("=")
        if not (name and equals and path):
            raise ExperimentError(f"--feature-weights must be NAME=FILE, got {option!r}")
        weights[name] = Path(path)
    return weights


def _refuse_unused(weights: dict[str, Path], models: Sequence[str]) -> None:
    """Raise ExperimentError where a file is given for a model that nobody asks: it is a slip of the pen."""
    if unused := [name for name in weights if name not in models]:
        asked = ", ".join(dict.fromkeys(models))
        raise ExperimentError(
            f"--feature-weights {unused[0]}={weights[unused[0]]} is for none of the models here: {asked}"
        )


def _check_apart(*, content: Path, unseen: Path, output: Path) -> None:
    """Raise ExperimentError where a photo would be measured that was trained on, or a grid trained on."""
    trained, measured, written = (path.resolve() for path in (content, unseen, output))
    if trained.is_relative_to(measured) or measured.is_relative_to(trained):
        raise ExperimentError(
            f"--unseen needs other photos than --content: {unseen} and {content} share some"
        )
    for option, path, folder in (("--content", content, trained), ("--unseen", unseen, measured)):
        if written.is_relative_to(folder):
            raise ExperimentError(
                f"--output {output} lies in {path}, the photos of {option}; write somewhere else"
            )


def _name_and_layers(model: str) -> tuple[str, tuple[str, ...]]:
    """The parts of ``vgg16:relu1_2+relu2_2``."""
    name, _, layers = model.strip().partition(":")
    return name, tuple(layer for layer in layers.split("+") if layer)


def _matrices(
    pictures: Sequence[Path], features: str, definition: str, weights: dict[str, Path]
) -> list[str]:
    from stylize_video_train.experiments.compare_losses import (
        as_markdown,
        labels,
        loss_matrix,
        read_for_matrix,
    )

    crops = read_for_matrix(pictures)
    names = labels(pictures)
    both: tuple[Definition, ...] = ("plain", "normalised")
    matrices = []
    for chosen in (d for d in both if definition in (d, "both")):
        for model in features.split(","):
            name, layers = _name_and_layers(model)
            matrices.append(
                loss_matrix(crops, name, layers=layers, definition=chosen, weights_file=weights.get(name))
            )
    if all(matrix.missing for matrix in matrices):
        reasons = dict.fromkeys(f"{matrix.features}: {matrix.missing}" for matrix in matrices)
        raise ExperimentError(f"nothing was measured; {'; '.join(reasons)}")
    return [as_markdown(matrix, names) for matrix in matrices]


def _asked(questions: str) -> list[str]:
    from stylize_video_train.experiments.gallery import TITLES

    asked = [name.strip() for name in questions.split(",") if name.strip()] or list(TITLES)
    for name in asked:
        if name not in TITLES:
            raise ExperimentError(f"there is no question {name}; known: {', '.join(TITLES)}")
    return asked


def _write_results(
    output: Path, results: Sequence[Result], asked: Sequence[str], *, seed: int, size: str
) -> None:
    from stylize_video_train.experiments import gallery

    recipe = results[0].run.recipe
    text = [
        "# Results of train-experiments\n",
        f"Size {size}: N = {recipe.steps} steps of {recipe.batch} crops of {recipe.image_size} pixels,"
        f" seed {seed}. Losses on photos never trained on, as fractions: 0 is the target, 1 as far"
        " from it as nothing.\n",
        gallery.results_table(results),
        f"Do the two yardsticks agree? {gallery.agreement(results)}\n",
    ]
    text += [f"## {gallery.TITLES[name]}\n\n![{gallery.TITLES[name]}]({name}.jpg)\n" for name in asked]
    write_text(output / _RESULTS, "\n".join(text))


def main_compare_losses() -> None:
    """Entry point of ``compare-losses``."""
    run_command(compare_losses)


def main_compare_networks() -> None:
    """Entry point of ``compare-networks``."""
    run_command(compare_networks)


def main_train_experiments() -> None:
    """Entry point of ``train-experiments``."""
    run_command(train_experiments)
