"""What a command line asks for: which files, where their results go, one after the other."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stylize_video.errors import SinkError, SourceError
from stylize_video.jobs.options import Options
from stylize_video.jobs.picture import stylize_picture
from stylize_video.jobs.pipeline import Hooks, Result, stylize_source
from stylize_video.styles.session import StyleSession
from stylize_video.video.inputs import Source, is_named_as_picture, is_picture, label_of, parse_source
from stylize_video.video.pictures import PICTURES
from stylize_video.video.pipes import STANDARD
from stylize_video.video.sequences import PictureSequence, is_pattern, name_of_pattern
from stylize_video_assets.catalog import bundled_styles

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
    files = [source for source in sources if isinstance(source, Path) and is_named_as_picture(source)]
    # A name without an ending is that of a folder which is missing.
    into_one = output is not None and not output.is_dir() and (output.suffix or str(output) == STANDARD)
    if into_one and len(files) == len(sources) > 1:
        return [PictureSequence.of_files(files)]
    return list(sources)


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
