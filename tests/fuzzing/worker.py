"""Feeds damaged files to the library, one after the other, and says what became of each.

``worker.py KIND SEEDS FOLDER FIRST LAST STYLE``; one line of JSON before and after each file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fuzzing.mutate import damage, damage_onnx
from stylize_video.errors import StylizeError
from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style

_MEMORY = 6 * 2**30
"""Address space of a worker: nothing that a damaged file asks for may take the machine down."""


def main() -> None:
    kind, seeds, folder, first, last, style = sys.argv[1:]
    import resource  # which Windows lacks, where this can be imported all the same

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.WARNING)
    files = sorted(Path(seeds).iterdir())
    session = StyleSession(Style.load(style), "cpu", threads=1)
    for number in range(int(first), int(last)):
        rng = random.Random(number)
        seed = files[number % len(files)]
        target = Path(folder) / f"{number}{seed.suffix}"
        content = seed.read_bytes()
        tell(number=number, state="begins", file=target.name)
        target.write_bytes((damage_onnx if kind == "onnx" else damage)(content, rng))
        try:
            _RUNS[kind](target, session)
            state, detail = "done", ""
        except StylizeError as error:
            state, detail = "refused", str(error)
        except MemoryError:
            state, detail = "memory", ""
        except Exception as error:  # what users would see as a traceback
            state, detail = "bug", f"{type(error).__module__}.{type(error).__name__}: {error}"
        target.unlink()
        left = [path.name for path in Path(folder).iterdir()]
        for name in left:
            (Path(folder) / name).unlink()
        tell(number=number, state=state, detail=detail[:500], left=left)


def run_video(path: Path, session: StyleSession) -> None:
    output = path.with_suffix(".out.mkv")
    stylize_file(path, output, session, max_frames=60)
    output.unlink()


def run_style(path: Path, session: StyleSession) -> None:
    damaged = StyleSession(Style.load(path), "cpu", threads=1)
    damaged.stylize(np.zeros((32, 48, 3), np.uint8))


def misbehave(path: Path, session: StyleSession) -> None:
    """Everything that must be noticed, for the test of the watch."""
    number = int(path.stem)
    if number == 1:
        os.abort()
    if number == 2:
        path.with_suffix(".onnx.left").touch()
        _ = 1 / 0
    if number == 3:
        time.sleep(60)


_RUNS: dict[str, Callable[[Path, StyleSession], None]] = {
    "video": run_video,
    "onnx": run_style,
    "misbehave": misbehave,
}


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
