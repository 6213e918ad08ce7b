"""Numbered pictures as a video, and a video as numbered pictures: ``frames/%05d.png``."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from stylize_video.errors import SinkError, SourceError, reason
from stylize_video.files import check_result, make_folder
from stylize_video.frame import TimedFrame
from stylize_video.video.edit import Edit
from stylize_video.video.info import Ending, VideoInfo, Window
from stylize_video.video.pictures import PICTURES, Picture, read_picture, write_picture
from stylize_video.video.timing import ROUNDING

_NUMBER = re.compile(r"%(0?)(\d{0,2})d")
_DEFAULT_RATE = Fraction(25)


def is_pattern(path: Path) -> bool:
    """Whether a file name stands for numbered pictures, as ``%05d.png`` does; one that exists is a file."""
    is_picture = path.suffix.lower() in PICTURES
    return is_picture and len(_NUMBER.findall(path.name)) == 1 and not path.exists()


def numbered_name(pattern: Path, number: int) -> Path:
    """The file of ``pattern`` with this number."""
    return pattern.with_name(_NUMBER.sub(lambda match: f"{number:{match[1]}{match[2]}d}", pattern.name))


def name_of_pattern(pattern: Path) -> Path:
    """What the whole is called: ``shots/shot.png`` of ``shots/shot_%05d.png``; else as its folder."""
    stem = _NUMBER.sub("", pattern.stem).strip("._- ")
    return pattern.with_name((stem or pattern.absolute().parent.name or "pictures") + pattern.suffix)


def _numbered_files(pattern: Path) -> dict[int, Path]:
    """Every file there is of ``pattern``, by its number."""
    before, after = (re.escape(part) for part in _NUMBER.sub("\0", pattern.name).split("\0"))
    matching = re.compile(f"{before}(\\d+){after}")
    found = {}
    for path in pattern.parent.iterdir() if pattern.parent.is_dir() else ():
        if (match := matching.fullmatch(path.name)) and path == numbered_name(pattern, int(match[1])):
            found[int(match[1])] = path
    return found


def _identity_of(path: Path) -> tuple[int, int] | None:
    """What is the same of two names of one file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class PictureSequence:
    """Pictures in order; where ``numbers`` leave one out, the picture before is shown longer.

    Args:
        name: what it is called in messages.
        files: the pictures.
        numbers: one for each.
    """

    name: Path
    files: tuple[Path, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of_pattern(cls, pattern: Path) -> PictureSequence:
        """Every file there is of ``frames/%05d.png``.

        Raises:
            SourceError: there is none, or its ending is not one of a picture.
        """
        if pattern.suffix.lower() not in PICTURES:
            raise SourceError(f"{pattern} is no pattern of pictures ({', '.join(sorted(PICTURES))})")
        found = _numbered_files(pattern)
        if not found:
            raise SourceError(
                f"there are no pictures {pattern}; the first would be {numbered_name(pattern, 1)}"
            )
        numbers = tuple(sorted(found))
        return cls(pattern, tuple(found[number] for number in numbers), numbers)

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> PictureSequence:
        """These files, one after the other."""
        return cls(files[0].parent / f"{len(files)} pictures", tuple(files), tuple(range(len(files))))


class SequenceSource:
    """Iterates over the pictures of a sequence as frames of a video.

    Args:
        sequence: the pictures, all of one size.
        edit: which part; its ``fps`` is how fast the pictures follow each other (25 by default).
        alpha: give transparency too.

    Raises:
        SourceError: the first picture cannot be read, or the part is empty.
    """

    def __init__(self, sequence: PictureSequence, *, edit: Edit = Edit(), alpha: bool = False) -> None:
        self._alpha = alpha
        self.files = sequence.files
        rate = edit.fps or _DEFAULT_RATE
        window = edit.window(Fraction(0), 1 / rate)
        first = sequence.numbers[0]
        ticks = [number - first for number in sequence.numbers]
        self._pictures = [(pts, sequence.files[index]) for index, pts in _in_part(ticks, rate, window)]
        if not self._pictures:
            start = float(edit.start or 0)
            raise SourceError(f"{sequence.name} ends before {start:g} s, where the part should start")
        goes_on = window.end is not None and ticks[-1] / rate >= window.end
        picture = Picture.read(self._pictures[0][1])
        height, width = picture.image.shape[:2]
        self.info = VideoInfo(
            path=sequence.name,
            width=width,
            height=height,
            time_base=1 / rate,
            start_pts=self._pictures[0][0],
            rate=rate,
            frame_count=len(self._pictures),
            first_number=first + round(window.shift * rate) + self._pictures[0][0],
            ending=Ending(window.end - window.shift if goes_on and window.end else None),
            color_profile=picture.profile,
        )

    def __iter__(self) -> Iterator[TimedFrame]:
        size = (self.info.width, self.info.height)
        for pts, path in self._pictures:
            image, alpha = read_picture(path)
            if image.shape[1::-1] != size:
                got = f"{image.shape[1]}x{image.shape[0]}"
                raise SourceError(f"{path} is {got}, but the pictures before are {size[0]}x{size[1]}")
            yield TimedFrame(pts, image, alpha if self._alpha else None)

    def __enter__(self) -> SequenceSource:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open between two pictures."""


def _in_part(ticks: Sequence[int], rate: Fraction, window: Window) -> list[tuple[int, int]]:
    """Index and time stamp of the pictures in a window: first the one that is on screen at its start."""
    shift = round(window.shift * rate)
    inside = [(index, tick - shift) for index, tick in enumerate(ticks) if window.holds(tick / rate)]
    if window.start is None or window.start * rate >= ticks[-1] + 1:
        return inside
    shown = bisect_right(ticks, max((window.start + ROUNDING) * rate, shift)) - 1
    later = ((index, pts) for index, pts in inside if index > shown)
    return [(shown, max(ticks[shown] - shift, 0)), *later]


class SequenceSink:
    """Writes each frame as a picture with a number, from that of the source's first picture or 1 on.

    Each picture appears when it is whole; those written stay, whatever happens later.

    Args:
        pattern: the files, such as ``out/%05d.png``; a folder that is missing is made.
        info: the frames' time base, and the first number.
        sources: files that are read, which no result may replace.
        overwrite: replace pictures that are there.

    Raises:
        SinkError: the ending is not one of a picture, pictures are there or would replace a source, or
            the folder cannot be made.
    """

    def __init__(
        self, pattern: Path, info: VideoInfo, *, sources: Sequence[Path] = (), overwrite: bool = False
    ) -> None:
        if pattern.suffix.lower() not in PICTURES:
            raise SinkError(
                f"cannot write {pattern}: name pictures that end in {', '.join(sorted(PICTURES))}"
            )
        self.output = pattern
        self.frames = 0
        self._info = info
        self._overwrite = overwrite
        self._number = (info.first_number if info.first_number is not None else 1) - 1
        self._sources = {identity for path in sources if (identity := _identity_of(path))}
        try:
            self._is_new = make_folder(pattern.parent)
            for path in _numbered_files(pattern).values():
                self._check_no_source(path)
        except OSError as error:
            raise SinkError(f"cannot write {pattern}: {reason(error)}") from error
        first = numbered_name(pattern, self._number + 1)
        check_result(first, overwrite=overwrite)

    def write(self, frame: TimedFrame) -> None:
        """Write one picture.

        Raises:
            SinkError: the disk is full, or a picture of this name is there, or is a source.
        """
        self._number = self._number_of(frame)
        path = numbered_name(self.output, self._number)
        self._check_no_source(path)
        check_result(path, overwrite=self._overwrite)
        profile = self._info.color_profile
        write_picture(path, frame.image, frame.alpha, profile=profile, overwrite=self._overwrite)
        self.frames += 1

    def finish(self, *, whole: bool = True) -> Path:
        return self.output

    def keep_part(self) -> Path | None:
        self.discard()
        return self.output if self.frames else None

    def discard(self) -> None:
        """What is written is whole, and stays; a folder that was made for nothing does not."""
        if self._is_new and not self.frames:
            with suppress(OSError):  # somebody else's files are in it
                self.output.parent.rmdir()

    def _check_no_source(self, path: Path) -> None:
        if _identity_of(path) in self._sources:
            raise SinkError(f"{path} is one of the inputs; name another file")

    def _number_of(self, frame: TimedFrame) -> int:
        if self._info.first_number is None:
            return self._number + 1
        # As in the source, where a number that is missing is a time.
        elapsed = (frame.pts - self._info.start_pts) * self._info.time_base * self._info.rate
        return max(self._number + 1, self._info.first_number + round(elapsed))
