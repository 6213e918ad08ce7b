"""The catalogue: what each shipped style is after, and how steady it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from stylize_video.errors import StylizeError
from stylize_video.eval.measure import IDENTITY, Candidate, evaluate
from stylize_video.files import write_text
from stylize_video.session import open_session
from stylize_video_export.gallery.recipes import GalleryRecipe


def steadiness(style: Path, clips: Sequence[Path], *, max_frames: int | None = None) -> dict[str, float]:
    """``warping_error`` and ``noise_gain`` of a style on clips, as ``catalog.json`` holds them.

    The warping error is a multiple of the source's own on the same clip, averaged over the clips.

    Raises:
        StylizeError: a clip or the style cannot be used.
    """
    network = open_session(style, device="cpu", precision="fp32")
    errors, gains = [], []
    for clip in clips:
        rows = evaluate(clip, [Candidate("style", network)], max_frames=max_frames).rows
        own, source = rows["style"], rows[IDENTITY]
        if own.warping_error is None or not source.warping_error or own.noise_gain is None:
            raise StylizeError(f"{clip} has no two frames that show the same; measure on another clip")
        errors.append(own.warping_error / source.warping_error)
        gains.append(own.noise_gain)
    return {"warping_error": round(mean(errors), 3), "noise_gain": round(mean(gains), 3)}


def update_catalogue(
    catalogue: Path,
    recipe: GalleryRecipe,
    style: Path,
    clips: Sequence[Path],
    *,
    max_frames: int | None = None,
) -> None:
    """Write where ``recipe``'s picture comes from, and its figures where ``clips`` are given.

    Raises:
        StylizeError: as :func:`steadiness`, or the catalogue cannot be written.
    """
    entries = json.loads(catalogue.read_text(encoding="utf-8")) if catalogue.is_file() else {}
    origin = recipe.origin
    entry = entries.setdefault(recipe.name, {})
    entry |= {"title": origin.title, "author": origin.author, "year": origin.year, "licence": origin.licence}
    if clips:
        entry |= steadiness(style, clips, max_frames=max_frames)
    text = json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False)
    write_text(catalogue, f"{text}\n")
