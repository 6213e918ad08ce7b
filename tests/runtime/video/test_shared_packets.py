"""A source that can be read only once: what waits while its pictures are decoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from media import standard_input
from stylize_video.video.edit import Edit
from stylize_video.video.pipes import StreamSource
from support import MakeClip


@pytest.mark.parametrize("start", [None, 1, 2])
def test_sound_before_a_part_is_not_kept(start: int | None, make_clip: MakeClip, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "in.nut", frames=90)
    edit = Edit(start=None if start is None else Fraction(start))
    with standard_input(path):
        source = StreamSource("-", edit=edit)
    with source:
        count = sum(1 for _ in source)
        times = []
        while (packet := source.others.next()) is not None:
            assert packet.pts is not None
            times.append(float(packet.pts * packet.time_base))
    assert count == 90 - 30 * (start or 0)
    assert min(times) == pytest.approx(float(source.info.window.start or 0), abs=0.03)
    assert max(times) > 2.9
