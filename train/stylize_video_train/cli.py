"""``train-style``: a painting and a folder of photos in, a checkpoint out."""

from __future__ import annotations

import inspect
import logging
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stylize_video.console import ProgressLine, errors_as_sentences, interruption_code, run_command, say
from stylize_video.errors import StylizeError
from stylize_video_train.outputs import check_training, outputs

if TYPE_CHECKING:
    from stylize_video_train.progress import Progress
    from stylize_video_train.recipe import Recipe


_LOSSES, _PHOTOS, _NETWORK, _STEADY, _LEARNING = (
    "What is compared",
    "Photos and picture",
    "Network",
    "Steadiness",
    "Steps",
)


class _Setting(NamedTuple):
    """An option named like a field of the recipe, which has its type and its default.

    ``shown`` is the default where the field leaves it open, ``kind`` the type where there is no such field.
    """

    panel: str
    name: str
    help: str
    shown: str = ""
    kind: type | None = None


_SETTINGS = (
    _Setting(_LOSSES, "style_balance", "Strength of the style, for any PICTURE."),
    _Setting(_LOSSES, "style_weight", "Style against content.", shown="calibrated to --style-balance"),
    _Setting(_LOSSES, "content_weight", "Higher keeps more of the photo."),
    _Setting(_LOSSES, "tv_weight", "Total variation: higher is smoother."),
    _Setting(_LOSSES, "range_weight", "Against white and black without drawing."),
    _Setting(_LOSSES, "style_statistics", "What style is at a layer: moments, or gram (Johnson et al.)."),
    _Setting(_LOSSES, "style_scales", "Sizes at which style is compared, the first one in a --window."),
    _Setting(
        _LOSSES, "window", "Compare style at the first scale in a random part of this width and height."
    ),
    _Setting(
        _LOSSES,
        "content_scale",
        "The one of --style-scales at which content is compared.",
        shown="the smallest",
    ),
    _Setting(_LOSSES, "features", "Feature model: vgg16, vgg19, resnet101, squeezenet1_1, ..."),
    _Setting(
        _LOSSES,
        "feature_weights",
        "State dict of the feature model, a .pth file.",
        shown="torchvision downloads it",
        kind=Path,
    ),
    _Setting(_LOSSES, "content_layer", "Layer at which content is compared.", shown="the model's preset"),
    _Setting(
        _LOSSES,
        "style_layers",
        "Layers at which style is compared, separated by commas.",
        shown="the model's preset",
    ),
    _Setting(_LOSSES, "layer_weights", "One weight a style layer.", shown="all equal"),
    _Setting(
        _LOSSES, "precision", "Arithmetic of the feature model: fp32, bf16, or auto for the faster one."
    ),
    _Setting(_PHOTOS, "style_size", "Short side of PICTURE, in pixels: smaller gives finer strokes."),
    _Setting(_PHOTOS, "image_size", "Side of the crops of photos, in pixels."),
    _Setting(
        _PHOTOS,
        "zoom",
        "Enlarge each photo until its short side is so many crops long, from,to: more is softer.",
    ),
    _Setting(_PHOTOS, "contrast", "Scale each crop's contrast by a number, from,to."),
    _Setting(_PHOTOS, "brightness", "Make each crop darker or lighter by up to this, of 1."),
    _Setting(_NETWORK, "network", "realtime, or transformer (Johnson et al.).", shown="realtime", kind=str),
    _Setting(_NETWORK, "width", "Channels of the network.", shown="32", kind=int),
    _Setting(
        _NETWORK,
        "start",
        "Weights to start from: a checkpoint, bundled, or none.",
        shown="bundled where they fit",
    ),
    _Setting(
        _NETWORK, "teacher", "A style that the first steps imitate, such as a big network's.", shown="none"
    ),
    _Setting(_STEADY, "steadiness_weight", "Against flicker: higher is steadier."),
    _Setting(
        _STEADY, "noise", "Strongest noise that must not make the style flicker: standard deviation, of 1."
    ),
    _Setting(_STEADY, "grain", "Largest grain of that noise, in pixels."),
    _Setting(_LEARNING, "steps", "Optimizer steps."),
    _Setting(_LEARNING, "batch", "Pictures in a step, over all processes."),
    _Setting(_LEARNING, "accumulate", "Compute a step in this many parts, to save memory."),
    _Setting(_LEARNING, "optimizer", "muon (with adam for norms and biases), or adam."),
    _Setting(_LEARNING, "learning_rate", "The highest, of adam."),
    _Setting(_LEARNING, "muon_learning_rate", "The highest, of muon."),
    _Setting(_LEARNING, "schedule", "Learning rate after the warm-up: cosine or constant."),
    _Setting(_LEARNING, "ema_decay", "Decay of the weights' moving average, which comes out; 0: none."),
    _Setting(_LEARNING, "seed", "Decides everything random."),
)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with an option for every setting in place of its ``settings``."""
    own = inspect.signature(command, eval_str=True)
    parameters = [*list(own.parameters.values())[:-1], *map(_parameter, _SETTINGS)]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def _parameter(setting: _Setting) -> inspect.Parameter:
    """An option whose default is shown: not given, it changes nothing."""
    from stylize_video_train.recipe import Recipe

    default = getattr(Recipe(), setting.name, None)
    # Lists are given as text; what a recipe may leave open is a number.
    kind = setting.kind or {tuple: str, type(None): float}.get(type(default), type(default))
    option = typer.Option(
        help=f"{setting.help}  [default: {setting.shown or _shown(default)}]",
        show_default=False,
        rich_help_panel=setting.panel,
    )
    optional = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(setting.name, optional, default=None, annotation=Annotated[kind | None, option])


def _shown(value: Any) -> str:
    """A field's value as it is given on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@_with_settings
def train_style(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="The painting or photo to learn from.")],
    content: Annotated[Path, typer.Option(help="Folder of photos to learn on.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The checkpoint.  [default: PICTURE-STEM.pth]")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with a recipe: style_balance = 4 stands for --style-balance 4, --network and"
            " --width are kind and width in a table [network], which has blocks and head too. A file alone"
            " sets style_memory, identity_share and freeze_norm_at. Options override it."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or cuda:INDEX; auto takes a GPU where there is one.")
    ] = "auto",
    report: Annotated[
        bool, typer.Option(help="Write a preview picture and a page with curves beside the checkpoint.")
    ] = True,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's curves and previews.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("-y", "--overwrite", help="Replace the checkpoint if it exists.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
    **settings: Any,
) -> None:
    """Train a style on one picture; export the checkpoint with export-onnx.

    Many GPUs or machines: torchrun --nproc-per-node 2 -m -- stylize_video_train PICTURE ...
    """
    feature_weights = settings.pop("feature_weights")
    network = {"kind": settings.pop("network"), "width": settings.pop("width")}
    with errors_as_sentences(debug=debug):
        target = output or Path(f"{picture.stem}.pth")
        _check_inputs(picture, content, feature_weights)
        _check_target(target, replaced=resume or overwrite, report=report)
        check_training(target, [picture, feature_weights, config], report=report)
        given = _of_the_recipe(_given(settings))
        if network := _given(network):
            given["network"] = network
        recipe = _recipe(given, config=config, resumed=target if resume else None)

        from stylize_video_train.errors import TrainingInterrupted
        from stylize_video_train.parallel import process_group, process_index
        from stylize_video_train.trainer import pick_device, train

        with process_group(pick_device(device)) as own_device:
            leads = process_index() == 0
            if not (leads or debug):
                logging.disable(logging.WARNING)  # the first process says the same
            try:
                with _Display(target.name, recipe, quiet=quiet or not leads) as display:
                    if leads and not quiet:
                        say(f"{target.name}: looking at the photos in {content}")
                    train(
                        recipe,
                        style_picture=picture,
                        content=content,
                        output=target,
                        weights_file=feature_weights,
                        device=own_device,
                        resume=resume,
                        report=report,
                        tensorboard=tensorboard,
                        on_progress=display.show,
                    )
            except TrainingInterrupted as interrupted:
                if not leads:
                    raise SystemExit(interruption_code(interrupted)) from None
                say(f"{interrupted.step} steps are in {target}; the same command with --resume goes on")
                raise
            if leads and not quiet:
                say(f"{target}: export it with  export-onnx {shlex.quote(str(target))}")


def _check_inputs(picture: Path, content: Path, feature_weights: Path | None) -> None:
    """Raise StylizeError where one is missing, before torch is loaded: that takes seconds."""
    if not picture.is_file():
        raise StylizeError(f"the picture {picture} does not exist")
    if not content.is_dir():
        raise StylizeError(f"the folder of photos {content} does not exist")
    if feature_weights is not None and not feature_weights.is_file():
        raise StylizeError(f"the weights file {feature_weights} does not exist")


def _check_target(target: Path, *, replaced: bool, report: bool) -> None:
    """Raise StylizeError where a training must not write."""
    if target.suffix.lower() == ".onnx":
        checkpoint = target.with_suffix(".pth")
        raise StylizeError(f"{target} would be no style file: name a checkpoint, such as {checkpoint}")
    if replaced:
        return
    if target.exists():
        raise StylizeError(
            f"{target} already exists; pass --resume to go on with it, -y to replace it"
            " or -o to write elsewhere"
        )
    for other in outputs(target, report=report):
        if other.exists():
            raise StylizeError(f"{other} already exists; pass -y to replace it or -o to write elsewhere")


def _recipe(given: dict[str, Any], *, config: Path | None, resumed: Path | None) -> Recipe:
    """The defaults, or the recipe of a begun training, with the file's and the command's values."""
    from stylize_video_train.config import read_config, with_values
    from stylize_video_train.recipe import Recipe

    recipe = Recipe()
    if resumed is not None:
        from stylize_video_train.checkpoint import load_checkpoint

        recipe = Recipe.from_dict(load_checkpoint(resumed).recipe, source=str(resumed))
    if config is not None:
        recipe = with_values(recipe, read_config(config), source=str(config))
    return with_values(recipe, given, source="the command")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _of_the_recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """Fields of a recipe, lists read from their text."""
    from stylize_video_train.recipe import LISTS_OF_NUMBERS, LISTS_OF_TEXT

    given = dict(settings)
    for name in given.keys() & (LISTS_OF_TEXT | LISTS_OF_NUMBERS):
        parts = [part.strip() for part in given[name].split(",") if part.strip()]
        given[name] = _numbers(name, parts) if name in LISTS_OF_NUMBERS else parts
    return given


def _numbers(name: str, parts: list[str]) -> list[float]:
    from stylize_video_train.recipe import RecipeError

    try:
        return [float(part) for part in parts]
    except ValueError as error:
        option, text = name.replace("_", "-"), ",".join(parts)
        raise RecipeError(f"--{option} must be numbers separated by commas, got {text!r}") from error


class _Display:
    """A progress bar for each phase: identity steps are many times faster, and would promise too much."""

    def __init__(self, name: str, recipe: Recipe, *, quiet: bool) -> None:
        from stylize_video_train.schedule import identity_steps

        self._name, self._quiet = name, quiet
        self._identity_steps = identity_steps(recipe.resolved())
        self._line: ProgressLine | None = None
        self._learns_style = False
        self._lines = ExitStack()

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def show(self, at: Progress) -> None:
        learns_style = at.step > self._identity_steps
        if self._line is None or learns_style != self._learns_style:
            self._lines.close()
            label = (
                f"{self._name}: learning {'the style' if learns_style else 'to see'} on {at.photos} photos"
            )
            self._line = self._lines.enter_context(ProgressLine(label, unit="steps/s", quiet=self._quiet))
            self._line.start((at.steps if learns_style else self._identity_steps) - at.step + 1)
            self._learns_style = learns_style
        self._line.advance(f"content {at.content:.3f}" + (f", style {at.style:.3f}" if at.style else ""))


def main() -> None:
    """Entry point of ``train-style``."""
    run_command(train_style)
