"""The window: what :mod:`.painter` paints, the keys and the mouse."""

from __future__ import annotations

import time

import cv2

from stylize_video.errors import SinkError
from stylize_video.live.controls import Controls
from stylize_video.live.display import DisplayWatch, require_display
from stylize_video.live.painter import Painter
from stylize_video.live.picture import LivePicture
from stylize_video.quiet import quiet_stderr

TITLE = "stylize-camera"

_KEYS_AT_ONCE = 8
_FIRST_HEIGHTS = (540, 720)
_LARGEST_FIRST_WIDTH = 1280
_SMALLEST_FIRST_SIDE = 240
"""Of the window as it opens, in pixels; around long strips of pictures there is black."""

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

    Args:
        controls: what keys and mouse change.

    Raises:
        SinkError: there is no display.
    """

    def __init__(self, controls: Controls) -> None:
        require_display()
        self._display = DisplayWatch()
        self._controls = controls
        self._painter = Painter(controls, clock=time.perf_counter)
        self._full_screen = False
        self._drawn: object = None
        self._open = self._was_closed = False

    def show(self, picture: LivePicture) -> None:
        """Draw the picture if anything changed, and do what was pressed.

        Raises:
            SinkError: the display has gone.
        """
        self._require_display()
        if self._was_closed:
            return
        if not self._open:
            self._create(picture)
        self._turn_full_screen(picture.settings.full_screen)
        self._painter.note(picture)
        width, height = self._size()
        drawn = (picture.number, picture.settings, picture.state, picture.statistics, width, height)
        if drawn != self._drawn or self._painter.has_words:
            cv2.imshow(TITLE, self._painter.paint(picture, width, height))
            self._drawn = drawn
        self.obey()

    def obey(self) -> None:
        """Do what was pressed; of keys since the last call the toolkit keeps the last, so call it often.

        Raises:
            SinkError: the display has gone.
        """
        if not self._open:
            return
        for _ in range(_KEYS_AT_ONCE):
            self._require_display()
            code = cv2.waitKeyEx(1)
            if code == -1:
                break
            self._press(key_name(code))
        if _is_gone():
            self._open, self._was_closed = False, True
            self._controls.press("quit")

    def close(self) -> None:
        if self._open:
            self._open = False
            if not self._display.is_gone and not _is_gone():
                cv2.destroyWindow(TITLE)
                cv2.waitKey(1)

    def _create(self, picture: LivePicture) -> None:
        height, width = picture.image.shape[:2]
        scale = min(max(height, _FIRST_HEIGHTS[0]), _FIRST_HEIGHTS[1]) / height
        scale = min(scale, _LARGEST_FIRST_WIDTH / width)
        size = (max(_SMALLEST_FIRST_SIDE, round(side * scale)) for side in (width, height))
        with quiet_stderr():  # Qt complains of fonts that it does not need
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(TITLE, *size)
            cv2.setMouseCallback(TITLE, self._mouse)
            cv2.waitKey(1)
        self._open = True

    def _size(self) -> tuple[int, int]:
        """Width and height of the window's inside."""
        _, _, width, height = cv2.getWindowImageRect(TITLE)
        return max(16, width), max(16, height)

    def _turn_full_screen(self, wanted: bool) -> None:
        if wanted != self._full_screen:
            self._full_screen = wanted
            full = cv2.WINDOW_FULLSCREEN if wanted else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, full)

    def _require_display(self) -> None:
        """Before the toolkit notices, which would end the process."""
        if self._display.is_gone:
            self._open = False
            raise SinkError("the display has gone, and the window with it")

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
            left, _, width, _ = self._painter.area
            self._controls.set("divider", (x - left) / width)


def _is_gone() -> bool:
    """Whether the window was closed by its frame."""
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
    except cv2.error:  # the toolkit ends with its last window
        return True


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
