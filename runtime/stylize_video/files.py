"""Files that appear only when they are whole, and never in the place of what is read."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stylize_video.errors import SinkError

LONGEST_NAME = 255
"""Bytes of a file's name without its folder, in almost all file systems."""

_STANDARD = (1, 2)
"""File descriptors of standard output and standard error."""


def for_ffmpeg(name: str | Path) -> str:
    """A file's name as FFmpeg takes it, URLs as they are.

    What is before the first colon of ``rec-12:30.mp4`` would be a protocol to FFmpeg.
    """
    text = str(name)
    return text if ":" not in text or "://" in text or Path(text).is_absolute() else f"./{text}"


def behind_links(path: Path) -> Path:
    """The file that a link leads to, or would; a result takes that one's place and leaves the link."""
    is_for_file = path.is_file() or not path.exists()
    return Path(os.path.realpath(path)) if path.is_symlink() and is_for_file else path


def make_folder(folder: Path) -> bool:
    """Make a folder, if it is not there; returns whether it was not.

    Raises:
        OSError: it cannot be made.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True


def hidden_name(name: str, ending: str) -> str:
    """``.NAME`` plus ``ending``; a name too long for the file system is replaced by its hash."""
    hidden = f".{name}{ending}"
    if len(os.fsencode(hidden)) <= LONGEST_NAME:
        return hidden
    return f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{ending}"


def temporary_beside(target: Path) -> Path:
    """Create an empty hidden file in ``target``'s folder, with ``target``'s ending.

    Its owner alone can read it, until :func:`put_in_place`.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    random = 8  # letters that tempfile puts in
    prefix = hidden_name(target.stem, f".{' ' * random}{target.suffix}")[: -random - len(target.suffix)]
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
    os.close(handle)
    return Path(name)


def sole_temporary_beside(target: Path) -> Path:
    """As :func:`temporary_beside` under a name that stays the same, for writers that take turns.

    What a killed writer left there is removed.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    temporary = target.with_name(hidden_name(target.stem, f".unfinished{target.suffix}")).absolute()
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return temporary


def put_in_place(temporary: Path, target: Path, *, replace: bool = True) -> None:
    """Let a finished ``temporary`` take ``target``'s place, with the permissions of any new file.

    Args:
        temporary: a file beside ``target``.
        target: what it becomes.
        replace: whether a file of that name may go.

    Raises:
        FileExistsError: there is one that may not, if it came this very moment.
        OSError: the folder is gone.
    """
    temporary.chmod(0o666 & ~_umask())
    if not replace and _is_linked(temporary, target):
        temporary.unlink()
        return
    try:
        temporary.replace(target)
    except OSError:
        if not replace:  # the empty file that took the name
            target.unlink(missing_ok=True)
        raise


def _is_linked(file: Path, name: Path) -> bool:
    """Give a file another name, which nothing else has; where the disk knows no hard links, take that name
    with an empty file and return False."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except OSError:
        name.touch(exist_ok=False)
        return False
    return True


@contextmanager
def replacing(target: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path that takes ``target``'s place at the end of a block without errors.

    What is no regular file (a pipe, a device, standard output by its name) keeps its place: the
    content is written into it.

    Raises:
        FileExistsError: without ``overwrite``, a file of that name came meanwhile.
        OSError: the folder is missing, cannot be written, or full.
    """
    if _is_written_into(target):
        with _poured_into(target) as temporary:
            yield temporary
        return
    temporary = temporary_beside(target)
    try:
        yield temporary
        put_in_place(temporary, target, replace=overwrite)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(target: Path, text: str) -> None:
    """Write a file that appears when it is whole.

    Raises:
        SinkError: it cannot be written.
    """
    try:
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SinkError(f"cannot write {target}: {error.strerror}") from error


def check_result(
    target: Path, inputs: Iterable[Path] = (), *, overwrite: bool = True, named_by: str = ""
) -> None:
    """Look at where a result goes; ``named_by`` is the option that says so.

    Raises:
        SinkError: it would take the place of an input, or without ``overwrite`` of any file; it is a folder,
            or its folder is missing.
    """
    option = f" with {named_by}" if named_by else ""
    if "\0" in str(target):
        raise SinkError(f"no file can be called {str(target)!r}")
    if target.is_dir():
        raise SinkError(f"{target} is a folder; name a file{option}")
    if not target.parent.is_dir():
        raise SinkError(f"cannot write {target}: the folder {target.parent} does not exist")
    if target.exists() and any(_are_same(target, path) for path in inputs):
        raise SinkError(f"{target} is one of the inputs; name another file{option}")
    if target.exists() and not overwrite:
        raise SinkError(f"{target} already exists; pass -y to replace it, or name another file{option}")


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Look at where results go before there is any work that could be lost.

    Args:
        outputs: what will be written, by the option that names it; None where that was left out.
        inputs: the files that are read; None and those that are missing do not matter.

    Raises:
        SinkError: as :func:`check_result`; or a result would take another's place, or its folder cannot be
            written.
    """
    read = [path for path in inputs if path is not None]
    checked: dict[str, Path] = {}
    for option, target in outputs.items():
        if target is None:
            continue
        check_result(target, read, named_by=option)
        if other := next((o for o, path in checked.items() if _are_same(target, path)), None):
            raise SinkError(f"{other} and {option} both name {target}; name two files")
        try:
            _try_writing(target)
        except OSError as error:
            raise SinkError(f"cannot write {target}: {error.strerror}") from error
        checked[option] = target


def _try_writing(target: Path) -> None:
    """Raise OSError where :func:`replacing` would."""
    if not _is_written_into(target):
        temporary_beside(target).unlink()
    elif not os.access(target, os.W_OK):  # opening a pipe would wait for its reader
        raise PermissionError(0, "no permission")


def _are_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def _is_written_into(target: Path) -> bool:
    """Whether ``target`` is there and must not be replaced, as no folder and no regular file may be."""
    return (target.exists() and not (target.is_file() or target.is_dir())) or bool(_descriptor_of(target))


def _descriptor_of(target: Path) -> int | None:
    """Standard output or error where ``target`` is one of them, as ``/dev/stdout`` is."""
    for descriptor in _STANDARD:
        with suppress(OSError):  # it is closed, or there is no such file
            if os.path.samestat(target.stat(), os.fstat(descriptor)):
                return descriptor
    return None


@contextmanager
def _poured_into(target: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"whole{target.suffix}"
        temporary.touch()
        yield temporary
        with temporary.open("rb") as whole, _opened(target) as file:
            shutil.copyfileobj(whole, file)


def _opened(target: Path) -> BinaryIO:
    descriptor = _descriptor_of(target)
    if descriptor is None:
        return target.open("wb")
    # Opened by its name it would begin at the start of a file that the shell has opened already.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return os.fdopen(os.dup(descriptor), "wb")


def _umask() -> int:
    """The process's umask; asking for it elsewhere than here means to set it, under other threads' feet."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
