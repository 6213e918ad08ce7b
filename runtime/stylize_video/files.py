"""Files that appear only when they are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stylize_video.errors import SinkError


def for_ffmpeg(name: str | Path) -> str:
    """A file's name as FFmpeg takes it, URLs as they are.

    What is before the first colon of ``rec-12:30.mp4`` would be a protocol to FFmpeg.
    """
    text = str(name)
    return text if ":" not in text or "://" in text or Path(text).is_absolute() else f"./{text}"


def temporary_beside(target: Path) -> Path:
    """Create an empty hidden file in ``target``'s folder, with ``target``'s ending.

    Its owner alone can read it, until :func:`put_in_place`.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    return Path(name)


def sole_temporary_beside(target: Path) -> Path:
    """As :func:`temporary_beside` under a name that stays the same, for writers that take turns.

    What a killed writer left there is removed.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    temporary = target.with_name(f".{target.stem}.unfinished{target.suffix}").absolute()
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return temporary


def put_in_place(temporary: Path, target: Path) -> None:
    """Let a finished ``temporary`` take ``target``'s place, with the permissions of any new file.

    Raises:
        OSError: the folder is gone.
    """
    temporary.chmod(0o666 & ~_umask())
    temporary.replace(target)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path that takes ``target``'s place at the end of a block without errors.

    Raises:
        OSError: the folder is missing, cannot be written, or full.
    """
    temporary = temporary_beside(target)
    try:
        yield temporary
        put_in_place(temporary, target)
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


def _umask() -> int:
    """The process's umask; asking for it elsewhere than here means to set it, under other threads' feet."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
