"""What stands on the picture in the window: words on dark plates, drawn once and laid over many frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame

Color = tuple[int, int, int]
"""Blue, green, red, from 0 to 255."""

WHITE: Color = (245, 245, 245)
GREY: Color = (170, 170, 170)
ACCENT: Color = (90, 190, 255)
RED: Color = (60, 60, 230)

_PLATE = 24
_OPACITY = 0.72
_SMALLEST_FONT = 8
"""Pixels; smaller letters cannot be read."""


@lru_cache(maxsize=1)
def _face() -> cv2.FontFace:
    return cv2.FontFace("sans")


def text_width(text: str, font_px: int) -> int:
    """Pixels across that ``text`` takes."""
    _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _face(), font_px)
    return int(width)


@lru_cache(maxsize=64)
def plate(rows: tuple[tuple[str, ...], ...], font_px: int, colors: tuple[Color, ...]) -> NDArray[np.uint8]:
    """A table of words on a dark plate with round corners: BGRA ``[H, W, 4]``.

    Args:
        rows: each a row of cells.
        font_px: height of the letters in pixels.
        colors: of the columns.
    """
    pad, line = font_px * 3 // 4, font_px * 3 // 2
    columns = max(len(row) for row in rows)
    widths = [max(text_width(row[c], font_px) for row in rows if c < len(row)) for c in range(columns)]
    width = sum(widths) + pad * (columns + 1)
    height = line * len(rows) + pad
    picture = _rounded(width, height, radius=pad)
    letters = np.full((height, width, 3), _PLATE, np.uint8)
    for r, row in enumerate(rows):
        x = pad
        for c, cell in enumerate(row):
            baseline = pad // 2 + line * r + font_px * 9 // 8
            cv2.putText(letters, cell, (x, baseline), colors[c], _face(), font_px)
            x += widths[c] + pad
    return _with_letters(picture, letters)


@lru_cache(maxsize=64)
def slider_plate(label: str, value: float, text: str, font_px: int) -> NDArray[np.uint8]:
    """A label, a bar filled to ``value`` (0..1), and the value in words: BGRA."""
    pad, bar = font_px * 3 // 4, font_px * 8
    label_width, text_room = text_width(label, font_px), text_width("100 %", font_px)
    width, height = label_width + bar + text_room + 4 * pad, font_px * 9 // 4
    letters = np.full((height, width, 3), _PLATE, np.uint8)
    baseline = height // 2 + font_px * 3 // 8
    cv2.putText(letters, label, (pad, baseline), WHITE, _face(), font_px)
    left, middle = label_width + 2 * pad, height // 2
    ends = ((left, middle), (left + bar, middle))
    cv2.line(letters, *ends, (90, 90, 90), max(2, font_px // 4), cv2.LINE_AA)
    at = (left + round(bar * value), middle)
    cv2.line(letters, ends[0], at, ACCENT, max(2, font_px // 4), cv2.LINE_AA)
    cv2.circle(letters, at, font_px * 2 // 5, WHITE, cv2.FILLED, cv2.LINE_AA)
    cv2.putText(letters, text, (left + bar + pad, baseline), WHITE, _face(), font_px)
    return _with_letters(_rounded(width, height, radius=height // 2), letters)


def fitted(draw: Callable[..., NDArray[np.uint8]], font_px: int, width: int) -> NDArray[np.uint8]:
    """What ``draw`` draws at ``font_px``, or in smaller letters where it would be wider than ``width``."""
    patch = draw(font_px=font_px)
    while patch.shape[1] > width and font_px > _SMALLEST_FONT:
        font_px = max(_SMALLEST_FONT, min(font_px - 1, font_px * width // patch.shape[1]))
        patch = draw(font_px=font_px)
    return patch


def lay_over(canvas: Frame, patch: NDArray[np.uint8], x: int, y: int) -> None:
    """Blend a BGRA patch into ``canvas`` at its upper left corner; what lies outside is cut off."""
    left, top = max(0, x), max(0, y)
    right, bottom = (
        min(canvas.shape[1], x + patch.shape[1]),
        min(canvas.shape[0], y + patch.shape[0]),
    )
    if right <= left or bottom <= top:
        return
    cut = patch[top - y : bottom - y, left - x : right - x]
    region = canvas[top:bottom, left:right]
    alpha = cv2.cvtColor(cut[..., 3], cv2.COLOR_GRAY2BGR).astype(np.float32) / 255
    blended = cut[..., :3] * alpha + region * (1 - alpha)
    canvas[top:bottom, left:right] = blended.astype(np.uint8)


def stacked(canvas: Frame, patches: Sequence[NDArray[np.uint8]], *, bottom: int, gap: int) -> None:
    """Lay patches over the middle of ``canvas``, one above the other, the last at ``bottom``."""
    y = bottom
    for patch in reversed(patches):
        y -= patch.shape[0]
        lay_over(canvas, patch, (canvas.shape[1] - patch.shape[1]) // 2, y)
        y -= gap


def _rounded(width: int, height: int, *, radius: int) -> NDArray[np.uint8]:
    """How opaque a plate is, everywhere: ``[H, W]``."""
    mask = np.zeros((height, width), np.uint8)
    value = round(255 * _OPACITY)
    cv2.rectangle(mask, (radius, 0), (width - radius - 1, height - 1), value, cv2.FILLED)
    cv2.rectangle(mask, (0, radius), (width - 1, height - radius - 1), value, cv2.FILLED)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(mask, (x, y), radius, value, cv2.FILLED, cv2.LINE_AA)
    return mask


def _with_letters(mask: NDArray[np.uint8], letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BGRA of a plate; its letters are opaque."""
    ink = cv2.absdiff(letters, np.full_like(letters, _PLATE)).max(axis=2)
    opaque = np.asarray(cv2.convertScaleAbs(ink, alpha=1.5), np.uint8)
    return np.dstack([letters, np.maximum(mask, opaque)])
