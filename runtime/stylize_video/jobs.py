"""What a command line asks for: which files, where their results go, one after the other."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from stylize_video.bounds import MAX_PICTURE_PIXELS
from stylize_video.edit import Edit
from stylize_video.encoding import Encoding
from stylize_video.errors import SinkError, SourceError
from stylize_video.files import replacing
from stylize_video.frame import Frame
from stylize_video.look import Look
from stylize_video.pipeline import Hooks, Result, stylize_file
from stylize_video.session import StyleSession
from stylize_video.sink import check_output
from stylize_video.stylizer import Stylizer
from stylize_video.working_size import WorkingSize

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".gif"})


@dataclass(frozen=True)
class Options:
    """What is the same for every file of a batch."""

    look: Look = field(default_factory=Look)
    smooth: float = 0.0
    working_size: WorkingSize = field(default_factory=WorkingSize)
    edit: Edit = field(default_factory=Edit)
    encoding: Encoding = field(default_factory=Encoding)
    overwrite: bool = False
    resume: bool = False
    max_frames: int | None = None


def find_sources(inputs: Sequence[str]) -> list[Path]:
    """Files, globs and folders as a list of files, each once, in the order given.

    Of a folder its videos and pictures are taken, without its subfolders.

    Raises:
        SourceError: an input matches nothing.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        path = Path(text)
        matches: list[Path]
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES | VIDEOS)
            if not matches:
                raise SourceError(f"there are no videos or pictures in the folder {path}")
        elif path.exists():
            matches = [path]
        else:  # a shell that does not expand patterns, or quotes around one
            names = sorted(glob.glob(text))  # noqa: PTH207  # Path.glob refuses absolute patterns
            matches = [Path(name) for name in names if Path(name).is_file()]
        if not matches:
            raise SourceError(f"the video {text} does not exist")
        found.update(dict.fromkeys(matches))
    return list(found)


def is_picture(source: Path) -> bool:
    """Whether a file's ending says that it holds one picture."""
    return source.suffix.lower() in PICTURES


def output_for(source: Path, style: str, output: Path | None, *, many: bool) -> Path:
    """Where the result of ``source`` goes.

    Without ``output`` that is beside the source, as ``clip.photo.mp4``; a folder gets it
    under that name.

    Raises:
        SinkError: several sources would go into one file, or the folder is missing.
    """
    suffix = source.suffix.lower() if is_picture(source) else ".mp4"
    name = f"{source.stem}.{style}{suffix}"
    if output is None:
        return source.with_name(name)
    if output.is_dir():
        return output / name
    if many:
        raise SinkError(f"several inputs need a folder for their outputs; {output} is none (mkdir {output})")
    return output


def stylize_any(
    source: Path, output: Path, session: StyleSession, options: Options, *, hooks: Hooks | None = None
) -> Result:
    """Stylize a video into a video, or a picture into a picture.

    Raises:
        StylizeError: the source, the style or the output fails; nothing is left behind.
    """
    if is_picture(source):
        return stylize_picture(
            source,
            output,
            session,
            look=options.look,
            working_size=options.working_size,
            overwrite=options.overwrite,
        )
    return stylize_file(
        source,
        output,
        session,
        look=options.look,
        smooth=options.smooth,
        working_size=options.working_size,
        edit=options.edit,
        encoding=options.encoding,
        overwrite=options.overwrite,
        resume=options.resume,
        max_frames=options.max_frames,
        hooks=hooks or Hooks(),
    )


def stylize_picture(
    source: Path,
    output: Path,
    session: StyleSession,
    *,
    look: Look = Look(),
    working_size: WorkingSize = WorkingSize(),
    overwrite: bool = False,
) -> Result:
    """Stylize one picture of any size; transparency is kept where the output's format has it.

    Raises:
        SourceError: ``source`` is no picture.
        SinkError: ``output`` exists, or cannot be written.
    """
    if output.suffix.lower() not in PICTURES:
        raise SinkError(f"cannot write {output}: the result of a picture is a picture ({_listed(PICTURES)})")
    check_output(output, source, overwrite=overwrite)
    try:
        picture = cv2.imread(str(source), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # larger than OpenCV may read
        picture = None
    if picture is None:
        limit = f"{MAX_PICTURE_PIXELS // 10**6} million pixels"
        raise SourceError(f"{source} is not a picture that can be read, or has more than {limit}")
    frame, alpha = _frame_and_alpha(source, picture)
    stylized = Stylizer(session, look, working_size=working_size).stylize(frame)
    if alpha is not None and output.suffix.lower() in (".png", ".webp", ".tif", ".tiff"):
        stylized = np.dstack([stylized, alpha])
    try:
        with replacing(output) as temporary:
            if not cv2.imwrite(str(temporary), stylized):
                raise SinkError(f"cannot write {output}")
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"cannot write {output}: {reason}") from error
    return Result(output, 1)


def _frame_and_alpha(source: Path, picture: np.ndarray) -> tuple[Frame, np.ndarray | None]:
    """BGR uint8, and the alpha channel where there is one; 16-bit pictures are reduced to 8."""
    if picture.ndim == 3 and picture.shape[2] == 4:
        alpha = picture[..., 3]
        frame = picture[..., :3]
    else:
        # Read again for the orientation in the EXIF data, which IMREAD_UNCHANGED leaves alone.
        alpha = None
        frame = np.asarray(cv2.imread(str(source), cv2.IMREAD_COLOR))
    eight = [p if p is None or p.dtype == np.uint8 else (p // 257).astype(np.uint8) for p in (frame, alpha)]
    return np.ascontiguousarray(eight[0], np.uint8), eight[1]


def _listed(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))
