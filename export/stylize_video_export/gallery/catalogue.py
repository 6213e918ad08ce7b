"""The catalogue: what each shipped style is after, and how steady it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from stylize_video.errors import StylizeError
from stylize_video.eval.measure import IDENTITY, Candidate, evaluate
from stylize_video.files import write_text
from stylize_video.styles.variants import open_session
from stylize_video_export.gallery.recipes import GalleryRecipe

_FIGURES = ("warping_error", "noise_gain")


def steadiness(style: Path, clips: Sequence[Path]) -> dict[str, float]:
    """``warping_error`` and ``noise_gain`` of a style on clips, as ``catalog.json`` holds them.

    The warping error is a multiple of the source's own on the same clip, averaged over the clips.

    Raises:
        StylizeError: a clip or the style cannot be used.
    """
    network = open_session(style, device="cpu", precision="fp32")
    errors, gains = [], []
    for clip in clips:
        rows = evaluate(clip, [Candidate("style", network)]).rows
        own, source = rows["style"], rows[IDENTITY]
        if own.warping_error is None or not source.warping_error or own.noise_gain is None:
            raise StylizeError(f"{clip} has no two frames that show the same; measure on another clip")
        errors.append(own.warping_error / source.warping_error)
        gains.append(own.noise_gain)
    return {"warping_error": round(mean(errors), 3), "noise_gain": round(mean(gains), 3)}


def update_catalogue(catalogue: Path, recipe: GalleryRecipe, style: Path, clips: Sequence[Path]) -> None:
    """Write where ``recipe``'s picture comes from, and its figures where ``clips`` are given.

    Raises:
        StylizeError: as :func:`steadiness`, or the catalogue cannot be written.
    """
    entries = read_catalogue(catalogue)
    origin = recipe.origin
    entry = entries.setdefault(recipe.name, {})
    entry |= {"title": origin.title, "author": origin.author, "year": origin.year, "licence": origin.licence}
    if clips:
        entry |= steadiness(style, clips)
    _write(catalogue, entries)


def forget_figures(catalogue: Path, name: str) -> None:
    """Drop the figures of a style: they are of weights that it no longer has.

    Raises:
        StylizeError: the catalogue cannot be read or written.
    """
    entries = read_catalogue(catalogue)
    if name in entries:
        entries[name] = {key: value for key, value in entries[name].items() if key not in _FIGURES}
        _write(catalogue, entries)


def read_catalogue(catalogue: Path) -> dict[str, dict[str, Any]]:
    """The entries by the names of their styles, none where there is no catalogue yet.

    Raises:
        StylizeError: the file is no catalogue.
    """
    try:
        entries = json.loads(catalogue.read_text(encoding="utf-8")) if catalogue.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise StylizeError(f"{catalogue} is no catalogue that can be read: {error}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise StylizeError(f"{catalogue} is no catalogue: expected a table of tables")
    return entries


def _write(catalogue: Path, entries: dict[str, dict[str, Any]]) -> None:
    text = json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False)
    write_text(catalogue, f"{text}\n")
