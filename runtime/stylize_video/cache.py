"""Small facts that are worth remembering from one run to the next.

They lie in the user's cache folder, or in the one that the environment variable
``STYLIZE_VIDEO_CACHE`` names, one file each, and may be deleted at any time. Whatever goes
wrong there is no reason to stop: then nothing is remembered.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stylize_video.files import replacing

_log = logging.getLogger(__name__)

_LONGEST = 4096


def cache_folder() -> Path | None:
    """The folder, whether or not it exists; None where this user has none."""
    if named := os.environ.get("STYLIZE_VIDEO_CACHE"):
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "stylize-video" if base.is_absolute() else None


def key_of(facts: Sequence[str | bytes]) -> str:
    """A name for what was found out under these circumstances."""
    digest = hashlib.sha256()
    for fact in facts:
        data = fact.encode() if isinstance(fact, str) else fact
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:32]


def recall(key: str) -> str | None:
    """What was remembered under ``key``."""
    folder = cache_folder()
    try:
        if folder is None or (folder / key).stat().st_size > _LONGEST:
            return None
        return (folder / key).read_text()
    except (OSError, UnicodeDecodeError):
        return None


def remember(key: str, text: str) -> None:
    """Keep ``text`` for later runs, if that is possible; other users cannot read it."""
    folder = cache_folder()
    if folder is None:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(folder / key) as temporary:
            temporary.write_text(text)
        (folder / key).chmod(0o600)  # the folder may be one that others read
    except OSError as error:
        _log.debug("nothing is remembered in %s: %s", folder, error)
