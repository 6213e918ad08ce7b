"""Content pictures: random crops of every picture in a folder, in a fixed order.

Sample ``k`` of a run depends on the seed and ``k`` alone, not on what was drawn
before it, so a training resumes with the very crops it would have seen.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylize_video.errors import SourceError, StylizeError
from stylize_video.frame import Alpha, Frame
from stylize_video.machine import cores
from stylize_video.quiet import quiet_stderr
from stylize_video.video.pictures import PICTURES, read_pixels
from stylize_video.video.pictures import read_picture as read_frame
from stylize_video_train.outputs import PREVIEW_ENDING
from stylize_video_train.recipe import SHARP_ZOOM

SMALLEST_SIDE = 32
"""Pictures with a shorter side, in pixels, teach nothing and are skipped."""

_UNREAD = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf"}
)
"""Endings of pictures that people have and that are not read here."""

_MOST_PIXELS = 2**25
"""A photo that would have more of them when scaled is a strip: only the part around its crop is scaled."""

_MANY_PIXELS = 2**24
"""A picture that has more is made smaller as bytes first."""

_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
"""How OpenCV decodes JPEGs at a part of their size, in a fraction of the time; sides are rounded up."""

_log = logging.getLogger(__name__)


class DataError(StylizeError):
    """The pictures to train on cannot be used."""


def read_picture(path: Path) -> Tensor:
    """Read a picture as RGB ``[1, 3, H, W]`` in 0..1, as :func:`read_rgb`."""
    return _to_tensor(read_rgb(path))[None]


def read_resized(path: Path, size: int) -> Tensor:
    """As :func:`read_picture`, resized so that the shorter side has ``size`` pixels."""
    return resized(read_rgb(path), size)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB ``[H, W, 3]``, upright as its EXIF says; what is transparent becomes white.

    Raises:
        DataError: the file is missing, is no picture, or a part of one.
    """
    if not path.is_file():
        raise DataError(f"the picture {path} does not exist")
    try:
        with quiet_stderr():  # the decoder says what is wrong in words of its own
            picture, alpha = read_frame(path)
    except SourceError as error:
        raise DataError(str(error)) from error
    if _is_seen_through(alpha):
        _log.warning("%s is transparent in places: they are taken as white", path)
    return _on_white(picture, alpha)


def _is_seen_through(alpha: Alpha | None) -> bool:
    return alpha is not None and alpha.min() < 255


def _on_white(picture: Frame, alpha: Alpha | None) -> NDArray[np.uint8]:
    """A picture BGR ``[H, W, 3]`` as RGB, white where it is transparent."""
    if alpha is not None and _is_seen_through(alpha):
        ink = cv2.multiply(255 - picture, cv2.merge([alpha] * 3), scale=1 / 255)
        picture = np.asarray(255 - ink, np.uint8)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def resized(picture: NDArray[np.uint8], size: int) -> Tensor:
    """``picture`` ``[H, W, 3]`` as ``[1, 3, h, w]`` in 0..1, whose shorter side has ``size`` pixels."""
    factor = 2 * size / min(picture.shape[:2])
    if picture.size > 3 * _MANY_PIXELS and factor < 1:
        # As floats they would all take gigabytes.
        small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        picture = np.asarray(small, np.uint8)
    return resize_short_side(_to_tensor(picture)[None], size)


def resize_short_side(picture: Tensor, size: int) -> Tensor:
    """Resize ``[N, 3, H, W]`` so that its shorter side has ``size`` pixels."""
    height, width = picture.shape[-2:]
    factor = size / min(height, width)
    target = (max(1, round(height * factor)), max(1, round(width * factor)))
    resized = torch.nn.functional.interpolate(picture, target, mode="bicubic", antialias=True)
    return resized.clamp(0, 1)


def centre_square(picture: Tensor, side: int) -> Tensor:
    """The middle ``[N, 3, side, side]`` of a picture ``[N, 3, H, W]`` that is at least as large."""
    top, left = ((length - side) // 2 for length in picture.shape[-2:])
    return picture[..., top : top + side, left : left + side]


class ContentFolder:
    """Endless random square crops ``[3, size, size]`` of the pictures below a folder.

    Args:
        folder: searched recursively, links to folders too; what is hidden and files called
            ``*.preview.png`` are left out. What is transparent in a picture becomes white.
        size: side of the crops in pixels.
        seed: decides order, zoom, place and mirroring.
        zoom: the picture's short side is scaled to between these multiples of ``size``; every
            doubling is as likely as the next.
        contrast: of a crop, scaled to between these multiples.
        brightness: added to a crop, at most, up or down; 1 is from black to white.
        hold_out: leave this many pictures out, listed in ``held_out``, where at least
            ten times as many are there; for previews.

    Raises:
        DataError: the folder is missing or has no picture in it that can be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        seed: int = 0,
        zoom: tuple[float, float] = SHARP_ZOOM,
        contrast: tuple[float, float] = (1.0, 1.0),
        brightness: float = 0.0,
        hold_out: int = 0,
    ) -> None:
        if not folder.is_dir():
            raise DataError(f"the folder of content pictures {folder} does not exist")
        files = list(files_below(folder))
        found = sorted(path for path in files if path.suffix.lower() in PICTURES)
        # Decoders work outside of the interpreter's lock.
        with quiet_stderr(), ThreadPoolExecutor(cores()) as pool:
            looks = list(pool.map(partial(_look, needed=max(size, SMALLEST_SIDE)), found))
        for look in looks:
            if look.problem:
                _log.warning("skipped: %s", look.problem)
        endings = Counter(path.suffix.lower() for path in files)
        for ending in sorted(_UNREAD & endings.keys()):
            _log.warning(
                "skipped: %d %s files, which are not read; make JPEGs of them", endings[ending], ending
            )
        self._looks = {path: look for path, look in zip(found, looks, strict=True) if not look.problem}
        self.paths = list(self._looks)
        self.skipped = len(found) - len(self.paths)
        if not self.paths:
            detail = f"; {self.skipped} files there are damaged or too small" if self.skipped else ""
            raise DataError(f"no usable pictures in {folder} (looked for .jpg, .png, …{detail})")
        self.size, self.seed = size, seed
        self.zoom, self.contrast, self.brightness = zoom, contrast, brightness
        self.held_out: list[Path] = []
        if len(self.paths) >= 10 * hold_out:
            chosen = np.random.default_rng((seed, 2**31)).permutation(len(self.paths))[:hold_out]
            self.held_out = [self.paths[index] for index in chosen]
            self.paths = [p for p in self.paths if p not in set(self.held_out)]

    def small(self) -> int:
        """How many photos have a shorter side below that of a crop."""
        return sum(self._looks[path].side < self.size for path in self.paths)

    def transparent(self) -> int:
        """How many photos are transparent in places."""
        return sum(self._looks[path].transparent for path in self.paths)

    def untouched(self) -> ContentFolder:
        """The same folder with its pictures as sharp and as rich in contrast as they are."""
        plain = copy.copy(self)
        plain.zoom, plain.contrast, plain.brightness = SHARP_ZOOM, (1.0, 1.0), 0.0
        return plain

    def fingerprint(self) -> str:
        """A hash of the pictures' names and sizes in bytes: another folder, other crops."""
        listing = "".join(f"{p.name}\0{p.stat().st_size}\n" for p in self.paths)
        return hashlib.sha256(listing.encode(errors="surrogatepass")).hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, sample: int) -> Tensor:
        epoch, position = divmod(sample, len(self.paths))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.paths))
        path = self.paths[order[position]]
        rng = np.random.default_rng((self.seed, epoch, position))
        least, most = self.zoom
        side = least * (most / least) ** rng.random() * self.size
        look = self._looks[path]
        picture = _decode(path, _reduction(path, look.side / side), transparent=look.transparent)
        return self._lit(_to_tensor(self._crop(picture, side, rng)), rng)

    def _crop(self, picture: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
        """A part of ``picture`` scaled so that its shorter side has ``side`` pixels."""
        height, width = picture.shape[:2]
        factor = side / min(height, width)
        scaled = (max(self.size, round(width * factor)), max(self.size, round(height * factor)))
        top = int(rng.integers(scaled[1] - self.size + 1))
        left = int(rng.integers(scaled[0] - self.size + 1))
        interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        if scaled[0] * scaled[1] > _MOST_PIXELS:
            part = _part(picture, top / scaled[1], left / scaled[0], self.size / factor)
            crop = cv2.resize(part, (self.size, self.size), interpolation=interpolation)
        else:
            picture = cv2.resize(picture, scaled, interpolation=interpolation)
            crop = picture[top : top + self.size, left : left + self.size]
        return crop[:, ::-1] if rng.random() < 0.5 else crop

    def _lit(self, crop: Tensor, rng: np.random.Generator) -> Tensor:
        """``crop`` with its contrast and brightness changed, about its mean."""
        contrast, brightness = rng.uniform(*self.contrast), self.brightness * rng.uniform(-1, 1)
        mean = crop.mean()
        return ((crop - mean) * contrast + mean + brightness).clamp(0, 1)


def files_below(folder: Path) -> Iterator[Path]:
    """All files in ``folder`` and the folders in it; one that links lead to again is searched once.

    Not what trainings leave there, nor what is hidden: half-written previews, macOS's notes on files,
    thumbnails.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = (Path(parent, name) for name in names if not name.startswith("."))
        yield from (path for path in shown if path.is_file() and not path.name.endswith(PREVIEW_ENDING))


def _part(picture: np.ndarray, top: float, left: float, side: float) -> np.ndarray:
    """The square of ``side`` pixels whose corner lies at these fractions of the picture's sides."""
    rows, columns = (
        slice(min(length - 1, int(start * length)), math.ceil(start * length + side))
        for start, length in zip((top, left), picture.shape[:2], strict=True)
    )
    return picture[rows, columns]


class _Look(NamedTuple):
    """What a photo is like.

    Args:
        problem: why it cannot be trained on, None where it can.
        side: its shorter side in pixels. Of a large JPEG that is up to seven less than it has, but at least
            as many as were needed.
        transparent: it is in places.
    """

    problem: str | None
    side: int = 0
    transparent: bool = False


def _look(path: Path, *, needed: int) -> _Look:
    alpha = None
    try:
        if _is_jpeg(path):
            most = max(_REDUCED)
            side = most * (min(_decode(path, most).shape[:2]) - 1) + 1
            if side < needed:
                side = min(_decode(path).shape[:2])
        else:
            picture, alpha = _read_frame(path)
            side = min(picture.shape[:2])
    except DataError as error:
        return _Look(str(error))
    if side < SMALLEST_SIDE:
        return _Look(f"{path} is smaller than {SMALLEST_SIDE} pixels")
    return _Look(None, side, _is_seen_through(alpha))


def _reduction(path: Path, factor: float) -> int:
    """How much smaller a picture may be decoded that is to be made ``factor`` times smaller."""
    if factor < 2 or not _is_jpeg(path):
        return 1
    return next(reduction for reduction in _REDUCED if reduction <= factor)


def _is_jpeg(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:  # gone since
        return file.read(2) == b"\xff\xd8"
    return False


def _decode(path: Path, reduction: int = 1, *, transparent: bool = False) -> NDArray[np.uint8]:
    """A photo as RGB ``[H, W, 3]``."""
    if transparent:
        return _on_white(*_read_frame(path))
    with _data_errors(path):
        return np.asarray(cv2.cvtColor(read_pixels(path, _REDUCED[reduction]), cv2.COLOR_BGR2RGB), np.uint8)


def _read_frame(path: Path) -> tuple[Frame, Alpha | None]:
    with _data_errors(path):
        return read_frame(path)


@contextmanager
def _data_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except SourceError as error:
        raise DataError(str(error) if path.exists() else f"the photo {path} is gone") from error


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float() / 255
