from __future__ import annotations

import pytest

from stylize_video.errors import first_line


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
