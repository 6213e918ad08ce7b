"""Files that appear only when they are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_beside(target: Path) -> Path:
    """Create an empty hidden file in ``target``'s folder, with ``target``'s ending.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    # mkstemp makes it private; the finished file gets the permissions any new file would.
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    return temporary


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path that takes ``target``'s place at the end of a block without errors.

    Raises:
        OSError: the folder is missing, cannot be written, or full.
    """
    temporary = temporary_beside(target)
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
