"""What the window shows: the picture as large as it will go, and words on it."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame
from stylize_video.live.controls import CONTROLS, Controls, Slider, Switch, key_help
from stylize_video.live.overlay import (
    ACCENT,
    GREY,
    RED,
    WHITE,
    fitted,
    lay_over,
    plate,
    slider_plate,
    stacked,
)
from stylize_video.live.picture import AWAY, LivePicture, divider_column
from stylize_video.live.statistics import Clock

_SHOWN_SECONDS = 2.5
_SHOWN_OTHERWISE = {"divider", "freeze", "info", "help", "full_screen", "record"}
"""Settings whose change is seen without a word about it."""


class Painter:
    """Draws pictures at the window's size, so that words are sharp however small the picture is.

    Args:
        controls: their notices are shown, and what was changed.
        clock: seconds.
    """

    def __init__(self, controls: Controls, *, clock: Clock) -> None:
        self._controls, self._clock = controls, clock
        self._settings = controls.settings
        self._changed: dict[str, float] = {}  # settings, and until when their values are shown
        self._notice = controls.notice[0]
        self._notice_until = 0.0
        self._recording_since: float | None = None
        self.area = (0, 0, 1, 1)
        """Left, top, width and height of the picture in what was painted last."""

    @property
    def has_words(self) -> bool:
        """Whether words are shown that come or go by the clock."""
        shown = self._changed or self._recording_since is not None
        return bool(shown) or self._clock() < self._notice_until + 0.2

    def note(self, picture: LivePicture) -> None:
        """Take note of what changed since the last picture."""
        now, settings = self._clock(), picture.settings
        for name in ("style", *(c.name for c in CONTROLS if isinstance(c, Slider | Switch))):
            if name not in _SHOWN_OTHERWISE and getattr(settings, name) != getattr(self._settings, name):
                self._changed[name] = now + _SHOWN_SECONDS
        if picture.style != settings.style:
            self._changed["style"] = now + _SHOWN_SECONDS
        self._changed = {name: until for name, until in self._changed.items() if until > now}
        if self._controls.notice[0] != self._notice:
            self._notice = self._controls.notice[0]
            self._notice_until = now + _SHOWN_SECONDS
        if not settings.record:
            self._recording_since = None
        elif self._recording_since is None:
            self._recording_since = now
        self._settings = settings

    def paint(self, picture: LivePicture, width: int, height: int) -> Frame:
        """The window's inside: BGR ``[height, width, 3]``."""
        image = picture.image
        scale = min(width / image.shape[1], height / image.shape[0])
        image_width = max(1, round(image.shape[1] * scale))
        image_height = max(1, round(image.shape[0] * scale))
        left, top = (width - image_width) // 2, (height - image_height) // 2
        self.area = (left, top, image_width, image_height)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[top : top + image_height, left : left + image_width] = cv2.resize(
            image, (image_width, image_height), interpolation=method
        )
        if picture.settings.split:
            x = left + divider_column(image_width, picture.settings.divider)
            cv2.line(canvas, (x, top), (x, top + image_height - 1), WHITE, 2)
            handle = (x, top + image_height // 2)
            cv2.circle(canvas, handle, max(6, height // 60), WHITE, cv2.FILLED, cv2.LINE_AA)
        self._add_words(canvas, picture)
        return canvas

    def _add_words(self, canvas: Frame, picture: LivePicture) -> None:
        height, width = canvas.shape[:2]
        font_px = int(np.clip(height // 32, 12, 30))
        margin = font_px
        room = width - 2 * margin
        if picture.settings.info:
            lines = tuple((line,) for line in picture.statistics.lines())
            lay_over(canvas, fitted(partial(plate, lines, colors=(WHITE,)), font_px, room), margin, margin)
        if self._recording_since is not None:
            seconds = int(self._clock() - self._recording_since)
            clock_text = f"{seconds // 60}:{seconds % 60:02d}"
            sign = plate((("●", clock_text),), font_px, (RED, WHITE))
            lay_over(canvas, sign, width - sign.shape[1] - margin, margin)
        if picture.settings.help:
            table = _help_plate(room, height, font_px)
            lay_over(canvas, table, (width - table.shape[1]) // 2, (height - table.shape[0]) // 2)
        patches = [self._value_plate(name, picture, font_px, room) for name in self._changed]
        for text, color in self._sentences(picture):
            patches.append(fitted(partial(plate, ((text,),), colors=(color,)), font_px, room))
        stacked(canvas, patches, bottom=height - margin, gap=margin // 2)

    def _sentences(self, picture: LivePicture) -> list[tuple[str, tuple[int, int, int]]]:
        sentences = []
        if self._clock() < self._notice_until:
            sentences.append((self._controls.notice[1], WHITE))
        if picture.state == "lost":
            sentences.append((AWAY, ACCENT))
        elif picture.settings.freeze:
            sentences.append(("frozen", GREY))
        return sentences

    def _value_plate(self, name: str, picture: LivePicture, font_px: int, room: int) -> NDArray[np.uint8]:
        settings = picture.settings
        value = getattr(settings, name)
        if name == "style":
            number = f"{self._controls.styles.index(settings.style) + 1}/{len(self._controls.styles)}"
            opening = "" if picture.style == settings.style else "opening …"
            cells = (settings.style, number, opening)
            return fitted(partial(plate, (cells,), colors=(WHITE, GREY, ACCENT)), font_px, room)
        control = next(c for c in CONTROLS if c.name == name)
        if isinstance(control, Slider):
            text = f"{100 * value:.0f} %" if control.high == 1 else f"{value:.3g}x"
            return fitted(partial(slider_plate, control.label, control.part(value), text), font_px, room)
        row = (control.label, "on" if value else "off")
        return fitted(partial(plate, (row,), colors=(WHITE, ACCENT)), font_px, room)


def _help_plate(room: int, height: int, font_px: int) -> NDArray[np.uint8]:
    """All keys in two columns, or one where it is narrow, within ``room`` across and the height."""
    lines = key_help()
    count = len(lines) if room <= height else (len(lines) + 1) // 2
    columns = [lines[:count], [*lines[count:], ("", "")]] if count < len(lines) else [lines]
    rows = tuple(tuple(cell for column in columns for cell in column[row]) for row in range(count))
    font_px = min(font_px, height * 5 // (8 * (count + 1)))
    return fitted(partial(plate, rows, colors=(ACCENT, WHITE) * len(columns)), font_px, room)
