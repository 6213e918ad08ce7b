"""What a command line asks for: which files, where their results go, one after the other."""

from __future__ import annotations

import glob
import logging
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stylize_video.errors import SinkError, SourceError
from stylize_video.files import behind_links
from stylize_video.frame import resized
from stylize_video.inputs import Source, parse_source
from stylize_video.look import Look
from stylize_video.options import Options
from stylize_video.pictures import (
    PICTURES,
    color_profile,
    exif_for_result,
    holds_alpha,
    is_animation,
    read_picture,
    warn_if_profile_is_lost,
    write_picture,
)
from stylize_video.pipeline import Hooks, Result, stylize_source
from stylize_video.pipes import STANDARD
from stylize_video.sequences import PictureSequence, is_pattern, name_of_pattern
from stylize_video.session import StyleSession
from stylize_video.sink import check_output
from stylize_video.stylizer import Stylizer
from stylize_video.values import Scale
from stylize_video.working_size import WorkingSize
from stylize_video_assets.catalog import bundled_styles

_log = logging.getLogger(__name__)

VIDEOS = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".f4v", ".flv", ".mkv", ".webm", ".ogv", ".nut"),
        *(".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg", ".m2v", ".vob", ".mxf", ".dv"),
        *(".avi", ".divx", ".wmv", ".asf", ".gif", ".apng", ".y4m"),
    }
)
"""Endings of what is taken of a folder besides pictures; a file that is named may have any."""

_UNFINISHED = re.compile(r"\.(part|new)\d*$")
"""What is before the ending of a result that is not, or could not be, in its place."""


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """What inputs name, each once, in the order given.

    They are files, globs, folders, numbered pictures (``%05d.png``), URLs and ``-``. Of a folder
    its videos and pictures are taken, without its subfolders and hidden files.

    Raises:
        SourceError: an input matches nothing, or is empty.
    """
    found: dict[Source, None] = {}
    for text in inputs:
        path = Path(text)
        matches: Sequence[Source]
        if isinstance(source := parse_source(text), str):
            matches = [source]
        elif is_pattern(path):
            PictureSequence.of_pattern(path)
            matches = [path]
        elif path.is_dir():
            shown = (p for p in path.iterdir() if not p.name.startswith("."))
            matches = sorted(p for p in shown if p.suffix.lower() in PICTURES | VIDEOS)
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


@dataclass(frozen=True)
class Batch:
    """Sources, each with where its result goes.

    ``many`` is whether one that fails lets the others go on: also where a folder holds a single one.
    ``left_out`` counts inputs that an earlier run made of others among them.
    """

    files: list[tuple[Source, Path]]
    many: bool
    left_out: int


def plan_batch(inputs: Sequence[str], style: str, output: Path | None) -> Batch:
    """What a command line asks for, by :func:`find_sources`, :func:`as_one_sequence`, :func:`outputs_for`.

    Raises:
        SourceError, SinkError: as there.
    """
    found = as_one_sequence(find_sources(inputs), output)
    sources = leave_out_results(found, style, output)
    of_folder = isinstance(found[0], Path) and found[0].parent == Path(inputs[0])
    files = list(zip(sources, outputs_for(sources, style, output), strict=True))
    return Batch(files, many=len(found) > 1 or of_folder, left_out=len(found) - len(sources))


def as_one_sequence(sources: Sequence[Source], output: Path | None) -> list[Source]:
    """Several pictures that go into one video, or into numbered ones, are one source in the order given."""
    files = [source for source in sources if isinstance(source, Path) and _is_named_as_picture(source)]
    # A name without an ending is that of a folder which is missing.
    into_one = output is not None and not output.is_dir() and (output.suffix or str(output) == STANDARD)
    if into_one and len(files) == len(sources) > 1:
        return [PictureSequence.of_files(files)]
    return list(sources)


def is_picture(source: Source) -> bool:
    """Whether a source is one picture, by its ending; a PNG that moves is a video."""
    if not isinstance(source, Path) or not _is_named_as_picture(source):
        return False
    return source.suffix.lower() != ".png" or not is_animation(source)


def _is_named_as_picture(source: Path) -> bool:
    return source.suffix.lower() in PICTURES and not is_pattern(source)


def label_of(source: Source) -> str:
    """What a source is called in messages."""
    if isinstance(source, PictureSequence):
        return str(source.name)
    return "standard input" if source == STANDARD else str(source)


def output_for(source: Source, style: str, output: Path | None, *, many: bool) -> Path:
    """Where the result of ``source`` goes.

    Without ``output`` that is beside the source, as ``clip.photo.mp4``; here for a URL; standard
    output for standard input. A folder gets it under that name.

    Raises:
        SinkError: several sources would go into one file, or the folder is missing.
    """
    if output is not None and not output.is_dir():
        if many and str(output) == STANDARD:
            raise SinkError("standard output takes the result of one input; name a folder with -o")
        if many:
            hint = f"{output} is none (mkdir {shlex.quote(str(output))})"
            raise SinkError(f"several inputs need a folder for their outputs; {hint}")
        return output
    if output is None and source == STANDARD:
        return Path(STANDARD)
    beside = _path_beside(source)
    suffix = beside.suffix.lower() if is_picture(source) else ".mp4"
    name = f"{beside.stem}.{style}{suffix}"
    return beside.with_name(name) if output is None else output / name


def outputs_for(sources: Sequence[Source], style: str, output: Path | None) -> list[Path]:
    """Where the result of each source goes, see :func:`output_for`.

    Raises:
        SinkError: one result would take another's place.
    """
    targets = [output_for(source, style, output, many=len(sources) > 1) for source in sources]
    owners: dict[Path, Source] = {}
    for source, target in zip(sources, targets, strict=True):
        if (other := owners.setdefault(target, source)) is not source:
            both = f"{label_of(other)} and {label_of(source)} would both become {target}"
            raise SinkError(f"{both}; rename one, or run them apart")
    return targets


def leave_out_results(sources: Sequence[Source], style: str, output: Path | None) -> list[Source]:
    """The sources but those that earlier runs made of others among them, or left as a part.

    They are known by their names: ``clip.photo.mp4``, beside ``clip.mov`` or in ``output``, where
    ``photo`` is ``style`` or a bundled one.
    """
    if output is not None and not output.is_dir():
        return list(sources)
    styles = {style, *(bundled.name for bundled in bundled_styles())}
    originals = set()
    for source in sources:
        result = output_for(source, style, None, many=True)
        stem = result.stem.removesuffix(f".{style}")
        for folder in {result.parent, output or result.parent}:
            originals.add((os.path.realpath(folder), stem, result.suffix))

    def is_result(source: Source) -> bool:
        if not isinstance(source, Path):
            return False
        folder, stem = os.path.realpath(source.parent), _UNFINISHED.sub("", source.stem)
        while (parts := stem.rpartition("."))[2] in styles:
            stem = parts[0]
            if (folder, stem, source.suffix.lower()) in originals:
                return True
        return False

    return [source for source in sources if not is_result(source)]


def check_for_picture(source: Path, options: Options) -> None:
    """Raise SourceError where more is asked for than the result of one picture has."""
    edit = options.edit
    given = {
        "--start": edit.start is not None,
        "--end": edit.end is not None,
        "--fps": edit.fps is not None,
        "--smooth": options.smooth > 0,
        "--resume": options.resume,
        "--max-frames": options.max_frames is not None,
    }
    if asked := [*options.encoding.asked, *(name for name, is_given in given.items() if is_given)]:
        raise SourceError(f"leave out {' and '.join(asked)}: {source} is one picture, and becomes one")


def _path_beside(source: Source) -> Path:
    """A path whose folder and stem suit the result of ``source``."""
    if isinstance(source, PictureSequence):
        return source.name
    if isinstance(source, Path):
        return name_of_pattern(source) if is_pattern(source) else source
    name = re.sub(r"[^\w.-]+", "_", Path(urlsplit(source).path).name).strip(".")
    return Path(name if name not in ("", STANDARD) else "stream")


def stylize_any(
    source: Source, output: Path, session: StyleSession, options: Options, *, hooks: Hooks | None = None
) -> Result:
    """Stylize a video into a video, or a picture into a picture.

    Raises:
        StylizeError: the source, the style or the output fails; nothing is left behind.
    """
    if isinstance(source, Path) and is_picture(source):
        return stylize_picture(
            source,
            output,
            session,
            look=options.look,
            working_size=options.working_size,
            scale=options.edit.scale,
            overwrite=options.overwrite,
        )
    return stylize_source(source, output, session, options, hooks=hooks or Hooks())


def stylize_picture(
    source: str | Path,
    output: str | Path,
    session: StyleSession,
    *,
    look: Look = Look(),
    working_size: WorkingSize = WorkingSize(),
    scale: Scale | None = None,
    overwrite: bool = False,
) -> Result:
    """Stylize one picture of any size; transparency is kept where the output's format has it.

    Args:
        source: the picture.
        output: the picture to write, whose ending chooses the format.
        session: the style, on its device.
        look: how much of the style is shown.
        working_size: where the network works.
        scale: the size of the result, which the picture gets before the style.
        overwrite: replace ``output`` where it exists.

    Raises:
        SourceError: ``source`` is no picture.
        SinkError: ``output`` exists, or cannot be written.
    """
    source, output = Path(source), Path(output)
    if output.suffix.lower() not in PICTURES:
        raise SinkError(f"cannot write {output}: the result of a picture is a picture ({_listed(PICTURES)})")
    check_output(output, source, overwrite=overwrite)
    output = behind_links(output)
    frame, alpha = read_picture(source)
    if alpha is not None and not holds_alpha(output):
        _log.warning("%s holds no transparency: that of %s is left out", output, source)
    profile = color_profile(source)
    warn_if_profile_is_lost(profile, source, output)
    if scale:
        width, height = scale.size_of(frame.shape[1], frame.shape[0])
        frame = resized(frame, height, width)
        alpha = None if alpha is None else resized(alpha, height, width)
    stylized = Stylizer(session, look, working_size=working_size).stylize(frame)
    write_picture(output, stylized, alpha, profile=profile, exif=exif_for_result(source))
    return Result(output, 1)


def _listed(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))
