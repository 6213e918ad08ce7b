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
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stylize_video.errors import SourceError, StylizeError
from stylize_video.machine import cores
from stylize_video.quiet import quiet_stderr
from stylize_video.video.pictures import PICTURES, read_pixels
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

_log = logging.getLogger(__name__)


class DataError(StylizeError):
    """The pictures to train on cannot be used."""


def read_picture(path: Path) -> Tensor:
    """Read a picture as RGB ``[1, 3, H, W]`` in 0..1, upright as its EXIF says.

    Raises:
        DataError: the file is missing, is no picture, or a part of one.
    """
    if not path.is_file():
        raise DataError(f"the picture {path} does not exist")
    with quiet_stderr():  # the decoder says what is wrong in words of its own
        return _to_tensor(_decode(path))[None]


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


class ContentFolder(Dataset[Tensor]):
    """Endless random square crops ``[3, size, size]`` of the pictures below a folder.

    Args:
        folder: searched recursively, links to folders too; what is hidden and files called
            ``*.preview.png`` are left out.
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
            problems = list(pool.map(_problem, found))
        for problem in filter(None, problems):
            _log.warning("skipped: %s", problem)
        endings = Counter(path.suffix.lower() for path in files)
        for ending in sorted(_UNREAD & endings.keys()):
            _log.warning(
                "skipped: %d %s files, which are not read; make JPEGs of them", endings[ending], ending
            )
        self.paths = [path for path, problem in zip(found, problems, strict=True) if problem is None]
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
        picture = _decode(self.paths[order[position]])
        rng = np.random.default_rng((self.seed, epoch, position))
        return self._lit(_to_tensor(self._crop(picture, rng)), rng)

    def _crop(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = picture.shape[:2]
        least, most = self.zoom
        factor = least * (most / least) ** rng.random() * self.size / min(height, width)
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


def _problem(path: Path) -> str | None:
    """Why a picture cannot be trained on; None where it can."""
    try:
        picture = _decode(path)
    except DataError as error:
        return str(error)
    if min(picture.shape[:2]) < SMALLEST_SIDE:
        return f"{path} is smaller than {SMALLEST_SIDE} pixels"
    return None


def _decode(path: Path) -> np.ndarray:
    try:
        return cv2.cvtColor(read_pixels(path), cv2.COLOR_BGR2RGB)
    except SourceError as error:
        raise DataError(str(error) if path.exists() else f"the photo {path} is gone") from error


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float() / 255
