"""Styles are changed beside the running picture, and faded to."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from live_support import ManualClock, live_threads, wait_until
from stylize_video.errors import StyleError
from stylize_video.frame import Frame
from stylize_video.live.controls import Settings
from stylize_video.live.stylist import _KEPT_OPEN, Stylist

FRAME = np.full((48, 64, 3), 100, np.uint8)


class Flat:
    """A network that paints everything in one value."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.sizes: list[tuple[int, ...]] = []

    def stylize(self, frame: Frame) -> Frame:
        self.sizes.append(frame.shape)
        return np.full_like(frame, self.value)


class Shelf:
    """Opens styles by name, each with a value of its own, as slowly as the test wants."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.may_open = threading.Event()
        self.may_open.set()

    def __call__(self, name: str) -> Flat:
        self.may_open.wait(20)
        self.opened.append(name)
        if name == "broken":
            raise StyleError("broken.onnx is damaged")
        if name == "huge":
            raise MemoryError
        return Flat(int(name))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stylist(shelf: Shelf, clock: ManualClock) -> Iterator[Stylist]:
    with Stylist("0", Flat(0), shelf, clock=clock) as stylist:
        yield stylist
    assert not live_threads()


def value(stylist: Stylist, **settings: float) -> int:
    picture = stylist.stylize(FRAME, Settings(style=stylist.style, **settings))  # type: ignore[arg-type]
    assert picture.shape == FRAME.shape
    assert np.ptp(picture) == 0
    return int(picture[0, 0, 0])


def test_the_old_style_goes_on_until_the_new_one_is_open(
    stylist: Stylist, shelf: Shelf, clock: ManualClock
) -> None:
    shelf.may_open.clear()
    for _ in range(20):
        assert not stylist.turn_to("200")
        assert value(stylist) == 0
    shelf.may_open.set()
    wait_until(lambda: stylist.turn_to("200"))
    assert stylist.style == "200"
    assert shelf.opened == ["200"]


def test_the_picture_fades_from_the_old_style_to_the_new(stylist: Stylist, clock: ManualClock) -> None:
    value(stylist)
    wait_until(lambda: stylist.turn_to("200"))
    seen = []
    for _ in range(5):
        seen.append(value(stylist))
        clock.now += 0.1
    assert seen[:3] == pytest.approx([0, 67, 133], abs=1)
    assert seen[3:] == [200, 200]
    assert not stylist.fading


def test_several_in_a_row_open_the_last_one_only(stylist: Stylist, shelf: Shelf) -> None:
    shelf.may_open.clear()
    stylist.turn_to("1")  # is being opened already
    wait_until(lambda: stylist._wanted is None)
    for name in ("2", "3", "4"):
        stylist.turn_to(name)
    shelf.may_open.set()
    wait_until(lambda: stylist.turn_to("4"))
    assert shelf.opened == ["1", "4"]


def test_a_style_that_was_open_is_there_at_once(stylist: Stylist, shelf: Shelf) -> None:
    wait_until(lambda: stylist.turn_to("1"))
    assert stylist.turn_to("0")
    assert stylist.turn_to("1")
    assert shelf.opened == ["1"]


def test_few_styles_stay_open(stylist: Stylist, shelf: Shelf) -> None:
    for number in range(1, 8):
        wait_until(lambda number=number: stylist.turn_to(str(number)))  # type: ignore[misc]
    assert len(stylist._open) <= _KEPT_OPEN
    assert stylist.turn_to("6")
    wait_until(lambda: stylist.turn_to("1"))
    assert shelf.opened.count("1") == 2


def test_a_style_that_does_not_open_is_told_and_the_old_one_goes_on(stylist: Stylist, shelf: Shelf) -> None:
    def told() -> bool:
        try:
            stylist.turn_to("broken")
        except StyleError as error:
            return "damaged" in str(error)
        return False

    wait_until(told)
    assert value(stylist) == 0
    wait_until(lambda: stylist.turn_to("9"))
    wait_until(told)  # asked for again it is tried again
    assert shelf.opened == ["broken", "9", "broken"]


def test_whatever_a_style_fails_with_the_next_one_opens(stylist: Stylist, shelf: Shelf) -> None:
    def told() -> bool:
        try:
            stylist.turn_to("huge")
        except StyleError as error:
            return str(error) == "huge cannot be opened: MemoryError"
        return False

    wait_until(told)
    wait_until(lambda: stylist.turn_to("9"))


def test_the_network_works_smaller_and_the_picture_stays(shelf: Shelf, clock: ManualClock) -> None:
    network = Flat(50)
    with Stylist("50", network, shelf, clock=clock) as stylist:
        picture = stylist.stylize(FRAME, Settings(style="50"), scale=0.5)
    assert network.sizes == [(24, 32, 3)]
    assert picture.shape == FRAME.shape


def test_strength_is_that_of_files(stylist: Stylist) -> None:
    assert value(stylist, strength=0.25) == 75
    assert value(stylist, strength=0.0) == 100


def test_a_style_asked_for_with_every_picture_is_opened_once(stylist: Stylist, shelf: Shelf) -> None:
    shelf.may_open.clear()
    for name in ("broken", "5", "broken"):  # the last one is being opened already
        stylist.turn_to(name)
        wait_until(lambda: stylist._opening is not None)
        for _ in range(3):
            stylist.turn_to(name)
    shelf.may_open.set()
    wait_until(lambda: stylist._failure is not None)
    with pytest.raises(StyleError, match="damaged"):
        stylist.turn_to("broken")
    wait_until(lambda: stylist.turn_to("7"))
    assert shelf.opened == ["broken", "7"]


def test_large_strokes_stay_possible_where_the_network_works_smaller(shelf: Shelf) -> None:
    with Stylist("0", Flat(0), shelf, clock=ManualClock()) as stylist:
        assert stylist.stylize(FRAME, Settings("0", strokes=8.0), scale=0.33).shape == FRAME.shape
