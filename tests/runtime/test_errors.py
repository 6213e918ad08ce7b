from __future__ import annotations

import pickle
import re
import signal
from itertools import chain
from pathlib import Path

import pytest

from stylize_video import errors
from stylize_video.errors import JobInterrupted, StylizeError, first_line, reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one  \ntwo"), "one  "),
        (ValueError(" \t\n"), "ValueError"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_error_that_says_nothing_is_told_by_its_kind(error: Exception, said: str) -> None:
    assert first_line(error) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("the share is gone"), "the share is gone"),
        (OSError(), "OSError"),
    ],
)
def test_why_the_system_failed_is_said_without_a_number_too(error: OSError, said: str) -> None:
    assert reason(error) == said


def test_every_error_is_in_the_tree() -> None:
    code = "".join(path.read_text() for path in Path(errors.__file__).parent.rglob("*.py"))
    derived = re.findall(r"^class (\w+Error|JobStopped)\((\w+)\)", code, re.MULTILINE)

    def drawn(name: str, corner: str = "", bar: str = "") -> list[str]:
        children = sorted(child for child, parent in derived if parent == name)
        ends = [("├── ", "│   ")] * (len(children) - 1) + [("└── ", "    ")]
        below = [
            drawn(child, bar + end, bar + rest) for child, (end, rest) in zip(children, ends, strict=False)
        ]
        return [corner + name, *chain.from_iterable(below)]

    tree = (errors.__doc__ or "").split("\n\n")[2].splitlines()
    assert [re.sub(r"(?<=\w)\s.*", "", line[4:]) for line in tree] == drawn("StylizeError")


def test_a_loop_that_goes_on_after_errors_ends_at_an_interruption() -> None:
    done: list[int] = []

    def work_off() -> None:
        for n in range(3):
            try:
                done.append(n)
                raise JobInterrupted("interrupted: nothing was written")
            except (StylizeError, Exception):
                continue

    with pytest.raises(KeyboardInterrupt, match="nothing was written"):
        work_off()
    assert done == [0]


def test_interruptions_come_from_other_processes_whole() -> None:
    error = JobInterrupted("interrupted", part=Path("a.part.mp4"), signal_number=signal.SIGTERM)
    error.args = (f"{error}; and more is kept",)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, JobInterrupted)
    assert (str(again), again.part, again.signal_number) == (str(error), error.part, signal.SIGTERM)
