"""What a training leaves to read: a preview picture, a page with curves, TensorBoard's log."""

from __future__ import annotations

import base64
import html
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.errors import SourceError, StylizeError
from stylize_video.files import replacing
from stylize_video.video.pictures import read_pixels
from stylize_video_train.outputs import PREVIEW_ENDING, REPORT_ENDING, beside
from stylize_video_train.preview import Preview
from stylize_video_train.progress import LOSS_NAMES, Progress
from stylize_video_train.recipe import Recipe
from stylize_video_train.schedule import identity_steps
from stylize_video_train.state import TrainingState

_log = logging.getLogger(__name__)

_CURVES = {"content": "#0a6", "style": "#c30", "steadiness": "#06c", "range": "#a0a"}
_POINTS = 300
_STYLE_SIDE = 240
_LOST_CONTENT = 0.85


class ReportError(StylizeError):
    """A report cannot be written."""


class TrainingReport:
    """Writes ``NAME.preview.png`` and ``NAME.report.html`` beside a checkpoint.

    Where one cannot be written there is a warning: a training is worth more than its report.
    """

    def __init__(self, checkpoint: Path, style_picture: Path) -> None:
        self.path = beside(checkpoint, REPORT_ENDING)
        self.preview_path = beside(checkpoint, PREVIEW_ENDING)
        self.name = self.path.name.removesuffix(REPORT_ENDING)
        self._style_picture = style_picture

    def write_preview(self, preview: Preview) -> None:
        _write(self.preview_path, _encoded(preview.strip(), ".png"))

    def write(
        self,
        training: TrainingState,
        preview: Preview,
        *,
        skipped: int,
    ) -> None:
        """Write the page of a finished training: one file, pictures and curves inside."""
        recipe, losses = training.recipe, np.array(training.history, np.float64)
        style = None
        with suppress(SourceError):  # removed since
            style = read_pixels(self._style_picture)
        parts = [
            f"<h1>{html.escape(self.name)}</h1>",
            f"<p>{len(losses)} steps on {training.photos} photos in {_duration(training.seconds)}"
            + (f"; {skipped} damaged or tiny pictures were skipped" if skipped else "")
            + ".</p>",
            *(f"<p><b>{html.escape(advice)}</b></p>" for advice in advices(losses, recipe)),
        ]
        if style is not None:
            parts.append(f"<h2>Style</h2>{_image(_fitted(style), 'the style picture')}")
        parts += [
            f"<h2>{'Photos that were not trained on' if preview.unseen else 'Some of the photos'}</h2>",
            _image(preview.strip(), "photos across steps"),
            f"<h2>Losses</h2>{curves(losses)}",
            _first_steps(recipe),
            f"<h2>Recipe</h2>{_table(recipe)}",
        ]
        page = _PAGE.format(title=html.escape(self.name), body="\n".join(parts))
        # Names of files need not be text.
        _write(self.path, page.encode(errors="backslashreplace"))


def _first_steps(recipe: Recipe) -> str:
    """What the first steps do, where that is something else than what all others do."""
    steps = identity_steps(recipe)
    if not steps:
        return ""
    lesson = (
        f"teach the network what {html.escape(recipe.teacher)} makes of a photo"
        if recipe.teacher
        else "teach the network to give its input back"
    )
    return (
        f"<p>The first {steps} steps {lesson}; content is the mean squared difference of pixels there,"
        " and of features after.</p>"
    )


def advices(losses: NDArray[np.float64], recipe: Recipe) -> list[str]:
    """Sentences on what the losses say about the result and what to change."""
    end = losses[-max(1, len(losses) // 10) :]
    content, style = float(end[:, 0].mean()), float(end[:, 1].mean())
    found = []
    if content > _LOST_CONTENT:
        found.append(
            f"The photos are hardly recognisable (content loss {content:.2f}):"
            f" lower the style weight (now {recipe.style_weight:g})."
        )
    if style > 0.5:
        found.append(
            f"Little of the style was learnt (style loss {style:.2f}):"
            " train for more steps or raise the style weight."
        )
    return found


def curves(losses: NDArray[np.float64], *, width: int = 720, height: int = 240) -> str:
    """Curves of ``LOSS_NAMES`` rows ``[steps, 5]`` as an SVG, each as a share of its largest value."""
    lines = []
    block = max(1, -(-len(losses) // _POINTS))
    for row, (name, colour) in enumerate(_CURVES.items()):
        values = losses[:, LOSS_NAMES.index(name)]
        means = np.array([values[k : k + block].mean() for k in range(0, len(values), block)])
        top = float(means.max()) or 1.0
        x = (np.arange(len(means)) + 0.5) * block / max(len(values), 1) * width
        y = height - means / top * (height - 8)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        lines.append(
            f'<text x="{width - 8}" y="{18 + 16 * row}" text-anchor="end" fill="{colour}">'
            f"{name}: last {means[-1]:.4g}, full height {top:.4g}</text>"
        )
    return (
        f'<svg viewBox="0 0 {width} {height + 20}" width="{width}" role="img" font-size="12">'
        f'<rect width="{width}" height="{height}" fill="#f6f6f6"/>{"".join(lines)}'
        f'<text x="0" y="{height + 15}">step 1</text>'
        f'<text x="{width}" y="{height + 15}" text-anchor="end">step {len(losses)}</text></svg>'
    )


# --- TensorBoard -----------------------------------------------------------------------


class Board(Protocol):
    """Takes losses and previews as they come."""

    def losses(self, progress: Progress) -> None: ...

    def preview(self, step: int, preview: Preview) -> None: ...


class _NoBoard:
    def losses(self, progress: Progress) -> None:
        pass

    def preview(self, step: int, preview: Preview) -> None:
        pass


@contextmanager
def tensorboard_writer(folder: Path | None) -> Iterator[Board]:
    """A log in ``folder`` for TensorBoard; without a folder, nothing is written.

    Raises:
        ReportError: the package ``tensorboard`` is not installed.
    """
    if folder is None:
        yield _NoBoard()
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ReportError("--tensorboard needs a package more: pip install tensorboard") from error
    writer = SummaryWriter(str(folder))

    class Log:
        def losses(self, progress: Progress) -> None:
            for name in LOSS_NAMES:
                writer.add_scalar(f"loss/{name}", getattr(progress, name), progress.step)

        def preview(self, step: int, preview: Preview) -> None:
            writer.add_image("preview", preview.strip()[..., ::-1].copy(), step, dataformats="HWC")

    try:
        yield Log()
    finally:
        writer.close()


# --- Pieces ----------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:100rem;margin:2rem auto;padding:0 1rem}}
img{{max-width:100%}}td{{padding:.1rem .8rem .1rem 0}}</style></head>
<body>
{body}
</body></html>
"""


def _table(recipe: Recipe) -> str:
    rows = {**recipe.to_dict(), **{f"network.{k}": v for k, v in recipe.network.to_dict().items()}}
    del rows["network"]
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in sorted(rows.items())
    )
    return f"<table>{cells}</table>"


def _fitted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``picture`` ``[H, W, 3]`` scaled to fit into a square of 240 pixels; a strip has one pixel at least."""
    factor = _STYLE_SIDE / max(picture.shape[:2])
    width, height = (max(1, round(side * factor)) for side in (picture.shape[1], picture.shape[0]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _image(picture: NDArray[np.uint8], description: str) -> str:
    data = base64.b64encode(_encoded(picture, ".jpg")).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/jpeg;base64,{data}">'


def _encoded(picture: NDArray[np.uint8], suffix: str) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _write(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        _log.warning("cannot write %s: %s", path, error.strerror)
