"""The working size: it holds the rate where it can, uses what there is, and does not swing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_support import ManualClock
from stylize_video.errors import StylizeError
from stylize_video.live.governor import SCALES, Governor

TARGET = 30.0


class Machine:
    """Takes ``fixed`` seconds a frame, and ``full`` at full size, with some noise."""

    def __init__(self, fixed: float, full: float, noise: float, seed: int) -> None:
        self.fixed, self.full, self.noise = fixed, full, noise
        self.clock = ManualClock()
        self.governor = Governor(TARGET, self.clock)
        self._random = np.random.default_rng(seed)

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            noise = float(np.exp(self._random.normal(0, self.noise)))
            # A tenth of a network's time does not shrink with the pixels.
            stylize = self.full * (0.1 + 0.9 * self.governor.scale**2) * noise
            busy = self.fixed + stylize
            self.clock.now += max(busy, 1 / TARGET)
            self.governor.observe(busy, stylize)

    def load(self, scale: float) -> float:
        return (self.fixed + self.full * (0.1 + 0.9 * scale**2)) * TARGET


@settings(max_examples=25, deadline=None)
@given(
    full=st.floats(0.005, 0.5),
    fixed=st.floats(0.0, 0.008),
    noise=st.floats(0.0, 0.15),
    seed=st.integers(0, 1000),
)
def test_a_steady_machine_is_held_without_swinging(
    full: float, fixed: float, noise: float, seed: int
) -> None:
    machine = Machine(fixed, full, noise, seed)
    machine.run(40)
    settled = machine.governor.changes
    machine.run(160)
    assert machine.governor.changes - settled <= 4  # tries of a larger size, ever rarer
    scale = machine.governor.scale
    assert machine.load(scale) <= 1.05 or scale == SCALES[-1]
    larger = SCALES[max(0, SCALES.index(scale) - 1)]
    assert scale == 1 or machine.load(larger) > 0.6, "a larger size would have been possible"


def test_it_follows_a_machine_that_gets_slower_and_faster() -> None:
    machine = Machine(0.002, 0.020, 0.05, 0)
    machine.run(10)
    assert machine.governor.scale == 1
    machine.full = 0.080
    machine.run(10)
    assert machine.governor.scale < 0.7
    assert machine.load(machine.governor.scale) <= 1
    machine.full = 0.020
    machine.run(60)
    assert machine.governor.scale == 1


def test_a_try_that_has_to_be_given_up_is_repeated_ever_later() -> None:
    machine = Machine(0.0, 0.020, 0.0, 0)
    given_up_at = []
    governor, clock = machine.governor, machine.clock
    for _ in range(20_000):
        before = governor.scale
        # A machine that lies: one step smaller looks roomy, full size does not fit.
        busy = 0.040 if governor.scale == 1 else 0.018
        clock.now += max(busy, 1 / TARGET)
        governor.observe(busy, busy)
        if governor.scale < before == 1:
            given_up_at.append(clock.now)
    waits = np.diff(given_up_at)
    assert 4 <= len(waits) <= 8
    assert (np.diff(waits) > 0).all()


def at_scale(level: int) -> tuple[ManualClock, Governor]:
    """A governor that had reason to go so far down."""
    clock = ManualClock()
    governor = Governor(30, clock)
    go_down(clock, governor, level)
    return clock, governor


def go_down(clock: ManualClock, governor: Governor, level: int) -> None:
    while governor.scale != SCALES[level]:
        take(clock, governor, 0.0335, seconds=1 / 30)


def take(clock: ManualClock, governor: Governor, busy: float, *, seconds: float) -> None:
    for _ in range(round(seconds * 30)):
        clock.now += 1 / 30
        governor.observe(busy, busy)


@pytest.mark.parametrize(("level", "busy"), [(2, 0.030), (len(SCALES) - 1, 0.040)])
def test_room_now_and_then_is_no_reason_for_a_larger_size(level: int, busy: float) -> None:
    """Only where there is some for a second on end; between, a size that fits, and one that is the last."""
    clock, governor = at_scale(level)
    before = governor.changes
    for _ in range(20):
        take(clock, governor, 0.010, seconds=0.7)
        take(clock, governor, busy, seconds=0.7)
    assert governor.changes == before
    take(clock, governor, 0.010, seconds=2)
    assert governor.changes > before


def test_every_size_on_the_way_up_is_looked_at_for_a_second() -> None:
    clock, governor = at_scale(3)
    start = clock.now
    while governor.scale < 1:
        take(clock, governor, 0.001, seconds=0.1)
    assert clock.now - start >= 3


def test_a_size_that_lasts_once_it_was_given_up_is_as_good_as_new() -> None:
    clock, governor = at_scale(1)
    for _ in range(3):
        take(clock, governor, 0.010, seconds=1.5)
        assert governor.scale == 1
        go_down(clock, governor, 1)  # too soon: the next try waits for twenty seconds
        take(clock, governor, 0.010, seconds=21)
        assert governor.scale == 1
        take(clock, governor, 0.020, seconds=20)  # it lasts
        go_down(clock, governor, 1)  # for another program


def test_frames_that_take_far_too_long_are_not_waited_for() -> None:
    """4K on two cores: ten frames would be seventeen seconds."""
    governor = Governor(30, ManualClock())
    governor.observe(1.7, 1.6)
    assert governor.scale == 1
    governor.observe(1.5, 1.4)
    assert governor.scale == pytest.approx(0.5)
    assert governor.typical == (1.5, 1.4)  # the first of a size takes longer
    for _ in range(2):
        governor.observe(0.5, 0.4)
    assert governor.scale == SCALES[-1]


def test_two_slow_frames_later_on_change_nothing() -> None:
    """Also right after a change of size, when nothing is known of it yet."""
    clock = ManualClock()
    governor = Governor(30, clock)
    for busy in [0.060] * 10 + [0.020] * 400:
        clock.now += 0.033
        governor.observe(busy, 0.8 * busy)
        if governor.changes == 2:  # smaller, and larger again
            break
    assert governor.changes == 2
    for _ in range(2):
        governor.observe(0.2, 0.18)
    assert governor.changes == 2


def test_what_was_measured_at_another_size_is_forgotten() -> None:
    governor = Governor(30, ManualClock())
    for busy in [0.060] * 10 + [0.020] * 9:
        governor.observe(busy, 0.8 * busy)
    assert governor.changes == 1


def test_a_size_that_lasted_is_tried_again_as_soon_as_ever() -> None:
    """Another program ran for a moment, a minute after the size was raised."""
    clock = ManualClock()
    governor = Governor(30, clock)
    for busy in [0.060] * 10 + [0.012] * 1000 + [0.060] * 10 + [0.012] * 450:
        clock.now += 1 / 30
        governor.observe(busy, 0.8 * busy)
    assert governor.scale == 1


def test_a_first_frame_that_takes_long_changes_nothing() -> None:
    """It opens what the others find open; on a GPU one is recorded."""
    governor = Governor(30, ManualClock())
    governor.observe(2.0, 2.0)
    for _ in range(20):
        governor.observe(0.020, 0.018)
    assert governor.changes == 0


def test_a_rate_that_cannot_be_held_is_known_after_some_time() -> None:
    clock = ManualClock()
    governor = Governor(30, clock)

    def observe(busy: float, *, seconds: float) -> None:
        for _ in range(round(seconds / busy)):
            clock.now += busy
            governor.observe(busy, busy / 2)

    observe(0.4, seconds=4)
    assert governor.scale == SCALES[-1]
    assert not governor.is_too_slow  # another program may have begun
    observe(0.4, seconds=8)
    assert governor.is_too_slow
    observe(0.030, seconds=1)
    assert not governor.is_too_slow


def test_a_slow_source_is_no_reason_to_work_smaller() -> None:
    clock = ManualClock()
    governor = Governor(30, clock)
    for _ in range(100):
        clock.now += 1 / 10
        governor.observe(0.080, 0.075, source_fps=10)
    assert governor.scale == 1


@pytest.mark.parametrize(("stylize", "smallest"), [(0.020, 1.0), (0.250, 0.35)])
def test_where_other_work_is_slow_the_size_stays_as_long_as_it_is_no_help(
    stylize: float, smallest: float
) -> None:
    """Of 85 ms of other work a frame; the style is made no faster than half of that."""
    clock = ManualClock()
    governor = Governor(10, clock)
    for _ in range(120):
        style = stylize * governor.scale**2
        clock.now += 0.085 + style
        governor.observe(0.085 + style, style)
    assert smallest <= governor.scale <= max(smallest, 0.45)
    assert governor.is_too_slow
    assert governor.typical == pytest.approx((0.085 + style, style))


@pytest.mark.parametrize("target", [0, -1, float("nan")])
def test_targets_out_of_range(target: float) -> None:
    with pytest.raises(StylizeError, match="above 0"):
        Governor(target, ManualClock())
