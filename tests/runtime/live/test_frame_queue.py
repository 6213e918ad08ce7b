"""Times of pictures rise evenly, whatever those of their source do."""

from __future__ import annotations

import numpy as np
import pytest

from stylize_video.live.frame_queue import TimeLine


def placed(times: TimeLine, ats: list[float], *, late: float = 0.0) -> list[float]:
    """Where pictures of these seconds are placed, which come so much later."""
    return [times.place(at, at + late) for at in ats]


def test_times_that_rise_stay() -> None:
    ats = [5.0, 5.04, 5.3, 5.301, 9.0]
    assert placed(TimeLine(), ats, late=0.2) == ats


def test_a_source_that_becomes_late_goes_on_in_its_own_steps() -> None:
    times = TimeLine()
    placed(times, [5.0, 5.04, 8.0], late=0.1)
    frames = placed(times, [5.08, 5.12, 5.16, 5.20], late=3.1)
    assert frames[0] == pytest.approx(8.08, abs=0.002)  # as much later as it came
    assert np.diff(frames) == pytest.approx(0.04, abs=0.001)


def test_what_is_too_late_is_made_up_for() -> None:
    times = TimeLine()
    times.place(8.0, 8.1)
    late = [at - own for own in np.arange(5, 205, 0.04) for at in placed(times, [own], late=3.1)]
    assert late[0] == pytest.approx(3, abs=0.1)
    assert late == sorted(late, reverse=True)
    assert late[-1] == 0


def test_a_source_that_is_in_time_again_is_shown_now() -> None:
    times = TimeLine()
    times.place(8.0, 8.1)
    times.place(5.08, 8.18)
    assert times.place(8.2, 8.22) == pytest.approx(8.22)
    assert times.place(8.24, 8.26) == pytest.approx(8.26, abs=0.001)
