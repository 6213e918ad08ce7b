"""What makes two runs the same job, so that one can go on where the other stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from stylize_video.effects.look import Look
from stylize_video.jobs.options import Options
from stylize_video.styles.session import StyleSession
from stylize_video.styles.working_size import WorkingSize
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import Encoding

WARM_UP_FRAMES = 20
"""Frames that are stylized again, and dropped, so that smoothing has its past."""

_SAMPLE = 2**16
_SAMPLES = 16


def job_facts(source: Path, session: StyleSession, options: Options) -> Mapping[str, str]:
    """Everything that the pixels of a result depend on, by the names that users know it by.

    Settings as usual are left out: what a later version adds to them makes no other job of this one. So
    is the device: a night that began on a GPU may end on a CPU.
    """
    return {
        "source": fingerprint(source),
        "style": f"{session.style.sha256} in 0..{session.input_range}",
        "look": f"{_unusual(options.look)} {options.smooth}",
        "style scale": _unusual(options.working_size),
        "part, rate and size": _unusual(options.edit),
        "encoding": _unusual(options.encoding),
        "number of frames": str(options.max_frames),
    }


def _unusual(settings: Look | WorkingSize | Edit | Encoding) -> str:
    """The settings that are not as they are by default."""
    usual = asdict(type(settings)())
    given = {name: str(value) for name, value in asdict(settings).items() if value != usual[name]}
    return json.dumps(given, sort_keys=True)


def fingerprint(path: Path) -> str:
    """Of a file that may be large: its size, and a hash of parts of it."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for index in range(_SAMPLES):
            file.seek(index * max(0, size - _SAMPLE) // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
    return f"{size} bytes {digest.hexdigest()}"
