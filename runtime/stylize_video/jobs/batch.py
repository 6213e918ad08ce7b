"""What a command line asks for: which files, where their results go, one after the other."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stylize_video.errors import SinkError, SourceError, reason
from stylize_video.files import make_folder
from stylize_video.jobs.options import Options
from stylize_video.jobs.outputs import check_target
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

_MOST_TOLD = 10
"""Results that would take each other's place."""

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
    ``left_out`` counts inputs that an earlier run made of others among them. ``new_folder`` is what
    :meth:`folder` makes for the results, None where they go to what is there.
    """

    files: list[tuple[Source, Path]]
    many: bool
    left_out: int = 0
    new_folder: Path | None = None

    @contextmanager
    def folder(self) -> Iterator[None]:
        """A block for which the folder of the results is made, if it is to be; what stays empty is removed.

        Raises:
            SinkError: it cannot be made.
        """
        is_made = False
        if self.new_folder:
            try:
                is_made = make_folder(self.new_folder)
            except OSError as error:
                raise SinkError(f"cannot make the folder {self.new_folder}: {reason(error)}") from error
        try:
            yield
        finally:
            if self.new_folder and is_made:
                with suppress(OSError):  # something is in it
                    self.new_folder.rmdir()


def plan_batch(inputs: Sequence[str], style: str, output: str | None) -> Batch:
    """What a command line asks for: see :func:`find_sources` and :func:`outputs_for`.

    ``output`` is one file, or a folder: one that is there, what ends with a slash, or a name without an
    ending for several inputs. Several pictures become one video, or numbered ones, where that is named.

    Raises:
        SourceError: an input matches nothing, or is empty.
        SinkError: several inputs would go into one file, or one result would take another's place.
    """
    found = find_sources(inputs)
    of_folder = isinstance(found[0], Path) and found[0].parent == Path(inputs[0])
    many = len(found) > 1 or of_folder
    if output is not None and not _is_folder(output, many=many):
        return Batch([(_as_one(found, Path(output)), Path(output))], many=False)
    folder = None if output is None else Path(output)
    sources = leave_out_results(found, style, folder)
    files = list(zip(sources, outputs_for(sources, style, folder), strict=True))
    is_new = folder is not None and not folder.is_dir()
    if folder and is_new and folder.exists():
        raise SinkError(f"cannot make the folder {folder}: a file has its name")
    if folder and is_new and not folder.parent.is_dir():
        raise SinkError(f"cannot make the folder {folder}: {folder.parent} does not exist")
    return Batch(files, many, len(found) - len(sources), folder if is_new else None)


def _is_folder(output: str, *, many: bool) -> bool:
    """Whether ``output`` is a folder, or is meant as one that is to be made."""
    path = Path(output)
    if output.endswith(("/", os.sep)):
        return True
    if path.exists() or output == STANDARD:
        return path.is_dir()
    return many and not path.suffix


def _as_one(sources: Sequence[Source], output: Path) -> Source:
    """What goes into one file: one source, or several pictures, in the order given."""
    if len(sources) == 1:
        return sources[0]
    files = [source for source in sources if isinstance(source, Path) and is_named_as_picture(source)]
    if len(files) == len(sources) and (output.suffix or str(output) == STANDARD):
        return PictureSequence.of_files(files)
    if str(output) == STANDARD:
        raise SinkError("standard output takes the result of one input; name a folder with -o")
    why = "is a file" if output.exists() else f"is none, {output.with_suffix('')}/ would be made"
    raise SinkError(f"several inputs need a folder for their outputs; {output} {why}")


def output_for(source: Source, style: str, folder: Path | None) -> Path:
    """Where the result of ``source`` goes, if it is named after it: ``clip.photo.mp4``.

    Without a ``folder`` that is beside the source; here for a URL; standard output for standard input.
    """
    if folder is None and source == STANDARD:
        return Path(STANDARD)
    beside = _path_beside(source)
    suffix = beside.suffix.lower() if is_picture(source) else ".mp4"
    name = f"{beside.stem}.{style}{suffix}"
    return beside.with_name(name) if folder is None else folder / name


def outputs_for(sources: Sequence[Source], style: str, folder: Path | None) -> list[Path]:
    """Where the result of each source goes, see :func:`output_for`.

    Raises:
        SinkError: one result would take another's place.
    """
    targets = [output_for(source, style, folder) for source in sources]
    owners: dict[str, tuple[Path, list[str]]] = {}
    for source, target in zip(sources, targets, strict=True):
        owners.setdefault(os.path.realpath(target), (target, []))[1].append(label_of(source))
    clashes = [(target, labels) for target, labels in owners.values() if len(labels) > 1]
    if clashes:
        told = [f"{' and '.join(labels)} would become {target}" for target, labels in clashes[:_MOST_TOLD]]
        more = f", and {len(clashes) - _MOST_TOLD} more" if len(clashes) > _MOST_TOLD else ""
        raise SinkError(f"{', '.join(told)}{more}; rename one of each, or run them apart")
    return targets


def leave_out_results(sources: Sequence[Source], style: str, folder: Path | None) -> list[Source]:
    """The sources but those that earlier runs made of others among them, or left as a part.

    They are known by their names: ``clip.photo.mp4``, beside ``clip.mov`` or in ``folder``, where
    ``photo`` is ``style`` or a bundled one.
    """
    styles = {style, *(bundled.name for bundled in bundled_styles())}
    originals = set()
    for source in sources:
        result = output_for(source, style, None)
        stem = result.stem.removesuffix(f".{style}")
        for place in {result.parent, folder or result.parent}:
            originals.add((os.path.realpath(place), stem, result.suffix))

    def is_result(source: Source) -> bool:
        if not isinstance(source, Path):
            return False
        place, stem = os.path.realpath(source.parent), _UNFINISHED.sub("", source.stem)
        while (parts := stem.rpartition("."))[2] in styles:
            stem = parts[0]
            if (place, stem, source.suffix.lower()) in originals:
                return True
        return False

    return [source for source in sources if not is_result(source)]


def check_batch(batch: Batch, options: Options) -> None:
    """Look at what is asked for before a style is opened; in a batch of many each file is on its own.

    Raises:
        SourceError: more is asked for than the result of one picture has.
        SinkError: the one result must not or cannot be written, or no video of many.
    """
    if batch.many:
        videos = (t for source, t in batch.files if not is_picture(source) and str(t) != STANDARD)
        if first := next(videos, None):  # an .mp4, as all of them are
            options.encoding.resolved(first)
        return
    [(source, target)] = batch.files
    if not (target.suffix or target.exists() or str(target) == STANDARD):
        raise SinkError(
            f"cannot write {target}: name a file by its ending, or a folder by a slash, {target}/"
        )
    if isinstance(source, Path) and is_picture(source):
        _check_for_picture(source, options)
    elif batch.new_folder:
        options.encoding.resolved(target)
    else:
        may_be_there = options.overwrite or options.resume  # then it is what an interrupted run finished
        check_target(target, Path(label_of(source)), encoding=options.encoding, overwrite=may_be_there)


def _check_for_picture(source: Path, options: Options) -> None:
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
