"""One shipped style from its recipe: trained, then exported in every precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stylize_video.errors import StyleError
from stylize_video.styles.contract import PRECISIONS
from stylize_video.styles.style import Style, variant_path
from stylize_video_export.export import Export, export_checkpoint
from stylize_video_export.gallery.recipes import GalleryRecipe
from stylize_video_export.pictures import read_pictures, thumbnail
from stylize_video_export.request import proof_devices
from stylize_video_train.checkpoint import Checkpoint, load_checkpoint
from stylize_video_train.progress import Progress
from stylize_video_train.trainer import is_result_of, train


@dataclass(frozen=True)
class Workshop:
    """What every training of the gallery uses.

    ``content`` is the folder of photos to learn on and to calibrate with, ``checkpoints``
    the folder where trainings are kept, ``feature_weights`` the feature model's state dict
    (None: torchvision downloads it), ``device`` where torch computes.
    """

    content: Path
    checkpoints: Path
    feature_weights: Path | None = None
    device: str = "cpu"
    random_features: bool = False
    """Tests only."""

    def checkpoint_of(self, recipe: GalleryRecipe) -> Path:
        return self.checkpoints / f"{recipe.name}.pth"


def train_style(
    recipe: GalleryRecipe, workshop: Workshop, *, on_progress: Callable[[Progress], None] = lambda _: None
) -> Checkpoint:
    """Train one style; goes on where an earlier training of the same recipe was interrupted.

    A finished training of the same recipe and picture is taken as it is.

    Raises:
        StylizeError: as :func:`stylize_video_train.trainer.train`.
    """
    output = workshop.checkpoint_of(recipe)
    earlier = load_checkpoint(output) if output.is_file() else None
    if earlier and is_result_of(earlier, recipe.recipe, recipe.picture):
        return earlier
    return train(
        recipe.recipe,
        style_picture=recipe.picture,
        content=workshop.content,
        output=output,
        weights_file=workshop.feature_weights,
        random_features=workshop.random_features,
        device=workshop.device,
        resume=earlier is not None and bool(earlier.state),
        report=True,
        on_progress=on_progress,
    )


def is_made_of(style: Path, checkpoint: Checkpoint) -> bool:
    """Whether ``style`` is a file that was exported from these weights."""
    try:
        metadata = Style.load(style).metadata
    except StyleError:
        return False
    return metadata is not None and metadata.checkpoint_sha256 == checkpoint.weights_sha256()


def export_style(
    recipe: GalleryRecipe, checkpoint: Checkpoint, workshop: Workshop, styles: Path, *, device: str = "auto"
) -> Export:
    """Write ``NAME.onnx`` and its variants into the folder ``styles``.

    Variants that are refused are not there afterwards, also where an earlier export wrote them.

    Raises:
        StylizeError: as :func:`stylize_video_export.export.export_checkpoint`.
    """
    style = styles / f"{recipe.name}.onnx"
    export = export_checkpoint(
        checkpoint,
        style,
        metadata=recipe.metadata(thumbnail(recipe.picture)),
        precisions=PRECISIONS,
        pictures=read_pictures(workshop.content),
        devices=proof_devices(device),
    )
    for precision in set(PRECISIONS) - {file.precision for file in export.files}:
        variant_path(style, precision).unlink(missing_ok=True)
    return export
