"""What terminals are told."""

from __future__ import annotations

import pytest

from stylize_video.text import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames")])
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "frame") == said
