"""A curve of any length in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylize_video.eval.trace import Trace, mean_known


def test_short_ones_are_exact() -> None:
    trace = Trace()
    for value in (1.0, None, 3.0):
        trace.add(value)
    assert trace.points == [1.0, None, 3.0]
    assert trace.frames_a_point == 1


@given(st.integers(0, 9000))
def test_long_ones_are_averaged(count: int) -> None:
    trace = Trace()
    for index in range(count):
        trace.add(float(index))
    width = trace.frames_a_point
    assert len(trace.points) < 1024
    assert len(trace.points) == count // width
    for number, point in enumerate(trace.points):
        assert point == pytest.approx(number * width + (width - 1) / 2)


def test_means_of_what_is_known() -> None:
    assert mean_known([None, 2.0, 4.0]) == 3
    assert mean_known([None]) is None
