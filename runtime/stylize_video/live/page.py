"""What the page of ``--serve`` shows: the picture as JPEG, what is set, and the styles' thumbnails."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stylize_video.errors import StylizeError
from stylize_video.frame import Frame
from stylize_video.live.controls import Controls
from stylize_video.live.picture import LivePicture
from stylize_video.styles.style import read_metadata, read_model
from stylize_video.text import printable

_JPEG_QUALITY = 85
_LONGEST_SIDE = 1280
_WAIT_SECONDS = 5.0


class Page:
    """The newest picture and the state, for all who watch, each in a thread of its own.

    Args:
        controls: what the page changes.
        styles: the files of the styles, for their thumbnails.
    """

    def __init__(self, controls: Controls, styles: Mapping[str, Path]) -> None:
        self.controls = controls
        self._styles = styles
        self.stopped = False
        self._picture: LivePicture | None = None
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._thumbnails: dict[int, bytes] = {}

    def show(self, picture: LivePicture) -> None:
        """Offer a picture; it is encoded only where somebody asks for it."""
        with self._changed:
            self._picture = picture
            self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    @property
    def picture(self) -> LivePicture | None:
        return self._picture

    def wait_for(self, after: int, seconds: float = _WAIT_SECONDS) -> LivePicture | None:
        """The newest picture once its number is above ``after``; None when nothing comes for a while."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or self._number > after, seconds)
            return self._picture if self._number > after and not self.stopped else None

    @property
    def _number(self) -> int:
        return self._picture.number if self._picture else 0

    def jpeg(self, picture: LivePicture, view: str) -> bytes:
        """A picture as JPEG, encoded once for all who watch; ``both`` has the source below it."""
        with self._encoding:
            number, encoded = self._encoded.get(view, (0, b""))
            if number != picture.number:
                image = picture.image
                if view == "both":
                    image = np.vstack([image, picture.source])
                quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
                shown = _limited(image, 2 if view == "both" else 1)
                encoded = cv2.imencode(".jpg", shown, quality)[1].tobytes()
                self._encoded[view] = picture.number, encoded
            return encoded

    def state(self) -> dict[str, Any]:
        """All that the page shows besides pictures."""
        number, notice = self.controls.notice
        picture = self._picture
        return {
            "settings": asdict(self.controls.settings),
            "style": picture.style if picture else None,
            "source": picture.state if picture else "lost",
            "statistics": asdict(picture.statistics) if picture else None,
            "notice": {"number": number, "text": printable(notice)},
        }

    def thumbnail(self, number: int) -> bytes | None:
        """The JPEG that the file of a style brings, None where it has none; styles count from 0."""
        if number not in self._thumbnails and number < len(self.controls.styles):
            path = self._styles.get(self.controls.styles[number])
            metadata = None
            with suppress(StylizeError):
                metadata = read_metadata(read_model(path), path) if path else None
            self._thumbnails[number] = metadata.thumbnail if metadata else b""
        return self._thumbnails.get(number) or None


def _limited(image: Frame, high: int) -> Frame:
    """No larger than a page shows it; ``high`` pictures lie one above the other."""
    height, width = image.shape[:2]
    scale = _LONGEST_SIDE / max(height / high, width)
    if scale >= 1:
        return image
    size = (round(width * scale), round(height * scale / high) * high)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
