"""The window: the picture as large as it will go, the keys, and what they changed."""

from __future__ import annotations

import time

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.frame import Frame
from stylize_video.live.controls import CONTROLS, Controls, Slider, Switch, key_help
from stylize_video.live.display import require_display
from stylize_video.live.overlay import (
    ACCENT,
    GREY,
    RED,
    WHITE,
    lay_over,
    plate,
    slider_plate,
    stacked,
)
from stylize_video.live.picture import LivePicture, divider_column
from stylize_video.live.statistics import Clock
from stylize_video.quiet import quiet_stderr

TITLE = "stylize-camera"

_SHOWN_SECONDS = 2.5
_KEYS_A_FRAME = 8
_FIRST_HEIGHTS = (540, 720)

_NAMES = {27: "escape", 32: "space", ord("="): "+", ord("_"): "-"}
_ARROWS = {
    65361: "left",
    65363: "right",  # X11
    2424832: "left",
    2555904: "right",  # Windows
    63234: "left",
    63235: "right",  # macOS
}


class Window:
    """Shows pictures in a window of OpenCV, and does what is pressed there.

    Words are drawn at the window's size, so that they are sharp however small the picture is.

    Args:
        controls: what keys and mouse change.
        clock: seconds.

    Raises:
        SinkError: there is no display.
    """

    def __init__(self, controls: Controls, *, clock: Clock = time.perf_counter) -> None:
        require_display()
        self._controls, self._clock = controls, clock
        self._settings = controls.settings
        self._changed: dict[str, float] = {}  # settings, and until when their values are shown
        self._notice = controls.notice[0]
        self._notice_until = 0.0
        self._recording_since: float | None = None
        self._drawn: object = None
        self._area = (0, 0, 1, 1)
        self._open = False

    def show(self, picture: LivePicture) -> None:
        """Draw the picture if anything changed, and obey the keys."""
        if not self._open:
            self._create(picture)
        self._note_changes(picture)
        size = self._size()
        # Words come and go by the clock: while any are shown, every picture is drawn.
        drawn = (picture.number, picture.settings, picture.state, picture.statistics, size)
        if drawn != self._drawn or self._has_words():
            cv2.imshow(TITLE, self._canvas(picture, size))
            self._drawn = drawn
        self._obey()

    def close(self) -> None:
        if self._open:
            self._open = False
            if not _is_gone():
                cv2.destroyWindow(TITLE)
                cv2.waitKey(1)

    def _create(self, picture: LivePicture) -> None:
        height, width = picture.image.shape[:2]
        scale = min(max(height, _FIRST_HEIGHTS[0]), _FIRST_HEIGHTS[1]) / height
        with quiet_stderr():  # Qt complains of fonts that it does not need
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(TITLE, round(width * scale), round(height * scale))
            cv2.setMouseCallback(TITLE, self._mouse)
            cv2.waitKey(1)
        self._open = True

    def _size(self) -> tuple[int, int]:
        """Width and height of the window's inside."""
        _, _, width, height = cv2.getWindowImageRect(TITLE)
        return max(16, width), max(16, height)

    # --- drawing

    def _canvas(self, picture: LivePicture, size: tuple[int, int]) -> Frame:
        width, height = size
        image = picture.image
        scale = min(width / image.shape[1], height / image.shape[0])
        across, down = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        left, top = (width - across) // 2, (height - down) // 2
        self._area = (left, top, across, down)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[top : top + down, left : left + across] = cv2.resize(
            image, (across, down), interpolation=method
        )
        if picture.settings.split:
            x = left + divider_column(across, picture.settings.divider)
            cv2.line(canvas, (x, top), (x, top + down - 1), WHITE, 2)
            cv2.circle(canvas, (x, top + down // 2), max(6, height // 60), WHITE, cv2.FILLED, cv2.LINE_AA)
        self._draw_words(canvas, picture)
        return canvas

    def _draw_words(self, canvas: Frame, picture: LivePicture) -> None:
        height, width = canvas.shape[:2]
        letters = int(np.clip(height // 32, 12, 30))
        margin = letters
        if picture.settings.info:
            lines = tuple((line,) for line in picture.statistics.lines())
            lay_over(canvas, plate(lines, letters, (WHITE,)), margin, margin)
        if self._recording_since is not None:
            seconds = int(self._clock() - self._recording_since)
            time_ = f"{seconds // 60}:{seconds % 60:02d}"
            sign = plate((("●", time_),), letters, (RED, WHITE))
            lay_over(canvas, sign, width - sign.shape[1] - margin, margin)
        if picture.settings.help:
            table = _help_plate(height, letters)
            lay_over(canvas, table, (width - table.shape[1]) // 2, (height - table.shape[0]) // 2)
        patches = [self._value_plate(name, picture, letters) for name in self._changed]
        if self._clock() < self._notice_until:
            patches.append(plate(((self._controls.notice[1],),), letters, (WHITE,)))
        if picture.state == "lost":
            patches.append(plate((("the source is away; it is tried again",),), letters, (ACCENT,)))
        elif picture.settings.freeze:
            patches.append(plate((("frozen",),), letters, (GREY,)))
        stacked(canvas, patches, bottom=height - margin, gap=margin // 2)

    def _value_plate(self, name: str, picture: LivePicture, letters: int) -> NDArray[np.uint8]:
        settings = picture.settings
        value = getattr(settings, name)
        if name == "style":
            number = f"{self._controls.styles.index(settings.style) + 1}/{len(self._controls.styles)}"
            opening = "" if picture.style == settings.style else "opening …"
            return plate(((settings.style, number, opening),), letters, (WHITE, GREY, ACCENT))
        control = next(c for c in CONTROLS if c.name == name)
        if isinstance(control, Slider):
            part = (value - control.low) / (control.high - control.low)
            text = f"{100 * value:.0f} %" if control.high == 1 else f"{value:g}x"
            return slider_plate(control.label, part, text, letters)
        return plate(((control.label, "on" if value else "off"),), letters, (WHITE, ACCENT))

    def _note_changes(self, picture: LivePicture) -> None:
        now, settings = self._clock(), picture.settings
        quiet = ("divider", "freeze", "info", "help", "full_screen", "record")
        for name in ("style", *(c.name for c in CONTROLS if isinstance(c, Slider | Switch))):
            if name not in quiet and getattr(settings, name) != getattr(self._settings, name):
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
        if settings.full_screen != self._settings.full_screen:
            full = cv2.WINDOW_FULLSCREEN if settings.full_screen else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, full)
        self._settings = settings

    def _has_words(self) -> bool:
        shown = self._changed or self._recording_since is not None
        return bool(shown) or self._clock() < self._notice_until + 0.2

    # --- keys and mouse

    def _obey(self) -> None:
        for _ in range(_KEYS_A_FRAME):
            code = cv2.waitKeyEx(1)
            if code == -1:
                break
            self._press(key_name(code))
        if _is_gone():
            self._open = False
            self._controls.press("quit")

    def _press(self, key: str | None) -> None:
        if key == "escape" and self._controls.settings.full_screen:
            self._controls.set("full_screen", False)
        elif key is not None:
            self._controls.press_key(key)

    def _mouse(self, event: int, x: int, y: int, flags: int, data: object) -> None:
        """Drag the divider: press near it, or anywhere once the view is split."""
        dragging = event == cv2.EVENT_LBUTTONDOWN or (
            event == cv2.EVENT_MOUSEMOVE and flags & cv2.EVENT_FLAG_LBUTTON
        )
        if dragging and self._controls.settings.split:
            left, _, across, _ = self._area
            self._controls.set("divider", (x - left) / across)


def _is_gone() -> bool:
    """Whether the window was closed by its frame."""
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
    except cv2.error:  # the toolkit ends with its last window
        return True


def _help_plate(height: int, letters: int) -> NDArray[np.uint8]:
    """All keys in two columns, no higher than the window."""
    lines = key_help()
    half = (len(lines) + 1) // 2
    right = [*lines[half:], ("", "")]
    rows = tuple((*lines[r], *right[r]) for r in range(half))
    return plate(rows, min(letters, height * 5 // (8 * (half + 1))), (ACCENT, WHITE, ACCENT, WHITE))


def key_name(code: int) -> str | None:
    """What a key code of OpenCV is called in the table of controls; None for keys without a name."""
    if code in _ARROWS:
        return _ARROWS[code]
    code &= 0xFFFF  # above are Shift, Num Lock and the like
    if code in _ARROWS:
        return _ARROWS[code]
    if code in _NAMES:
        return _NAMES[code]
    return chr(code).lower() if 32 < code < 127 else None
