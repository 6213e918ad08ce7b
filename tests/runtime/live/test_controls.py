"""One table of controls: what keys do, what values may be, what help and README say."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylize_video.live.controls import (
    CONTROLS,
    Button,
    ControlError,
    Controls,
    Notice,
    Settings,
    Slider,
    Switch,
    key_help,
    key_table,
)
from stylize_video.styles.working_size import WorkingSize
from support import ROOT

STYLES = ["ink", "photo", "waves"]
SETTINGS = {field.name for field in fields(Settings)}


def controls() -> Controls:
    return Controls(Settings(style="photo"), STYLES)


def test_every_key_means_one_thing() -> None:
    keys = [key for control in CONTROLS for key in control.keys] + [str(n) for n in range(1, 10)]
    assert len(keys) == len(set(keys))


def test_every_setting_can_be_changed_and_every_control_exists() -> None:
    names = {c.name for c in CONTROLS if not isinstance(c, Button)}
    assert names | {"style"} == SETTINGS


@pytest.mark.parametrize("switch", [c for c in CONTROLS if isinstance(c, Switch)], ids=lambda c: c.name)
def test_a_switch_flips_and_flips_back(switch: Switch) -> None:
    controls_ = controls()
    before = getattr(controls_.settings, switch.name)
    assert controls_.press_key(switch.keys[0])
    assert getattr(controls_.settings, switch.name) is not before
    controls_.press(switch.name)
    assert getattr(controls_.settings, switch.name) is before


@given(st.lists(st.sampled_from([0, 1]), max_size=40), st.integers(0, 10))
def test_sliders_stay_in_their_range(presses: list[int], index: int) -> None:
    sliders = [c for c in CONTROLS if isinstance(c, Slider)]
    slider = sliders[index % len(sliders)]
    controls_ = controls()
    for press in presses:
        controls_.press_key(slider.keys[press])
        assert slider.low <= getattr(controls_.settings, slider.name) <= slider.high
    if presses and presses[-1] == 0:
        assert getattr(controls_.settings, slider.name) < slider.high


@pytest.mark.parametrize("scale", [0.25, 1.0, 8.0])
def test_strokes_of_every_size_that_may_be_begun_with_grow_and_shrink(scale: float) -> None:
    controls_ = Controls(Settings(style="photo", strokes=WorkingSize(scale).scale), STYLES)
    controls_.press_key(".")
    assert controls_.settings.strokes > scale
    controls_.press_key(",")
    assert controls_.settings.strokes == pytest.approx(scale, rel=1e-5)
    (strokes,) = (c for c in CONTROLS if isinstance(c, Slider) and c.name == "strokes")
    assert (strokes.part(strokes.low), strokes.part(2.0), strokes.part(strokes.high)) == (0, 0.5, 1)


def test_nothing_is_lost_where_two_press_at_once() -> None:
    """As the window and the page may."""
    both = threading.Barrier(2)

    class Style(str):
        """One whose comparison waits for the other thread, which only comes where it may."""

        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            with suppress(threading.BrokenBarrierError):
                both.wait(0.2)
            return str.__eq__(self, other)

    controls_ = Controls(Settings(style="b"), [Style("a"), "b", "c", "d"])
    threads = [threading.Thread(target=controls_.press, args=("next_style",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert controls_.settings.style == "d"


def test_steps_up_and_down_leave_nothing_behind() -> None:
    """What is shown, and compared, is 0.3, and no 0.30000000000000004."""
    controls = Controls(Settings(style="ink"), ["ink"])
    seen = []
    for key in ["]"] * 7 + ["["] * 7:
        controls.press_key(key)
        seen.append(controls.settings.smooth)
    assert seen == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]


def test_styles_go_round() -> None:
    controls_ = controls()
    seen = []
    for _ in STYLES:
        controls_.press_key("n")
        seen.append(controls_.settings.style)
    assert seen == ["waves", "ink", "photo"]
    controls_.press_key("left")
    assert controls_.settings.style == "ink"


def test_digits_pick_styles_that_exist() -> None:
    controls_ = controls()
    assert controls_.press_key("3")
    assert controls_.settings.style == "waves"
    assert not controls_.press_key("4")
    assert not controls_.press_key("0")
    assert controls_.settings.style == "waves"


def test_buttons_are_taken_once_and_in_order() -> None:
    controls_ = controls()
    controls_.press_key("s")
    controls_.press("quit")
    assert controls_.take_pressed() == ["snapshot", "quit"]
    assert controls_.take_pressed() == []
    assert not controls_.press_key("z")


@given(st.floats(allow_nan=False))
def test_numbers_beyond_a_range_are_moved_into_it(value: float) -> None:
    controls_ = controls()
    controls_.set("strength", value)
    assert controls_.settings.strength == min(1, max(0, value))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("style", "oil", "no style 'oil' here; there are ink, photo, waves"),
        ("strength", "full", "strength is a number from 0 to 1"),
        ("strength", True, "strength is a number"),
        ("strength", float("nan"), "strength is a number"),
        ("mirror", 1.0, "mirror is on or off"),
        ("__class__", 1.0, "there is no setting '__class__'"),
        ("snapshot", True, "there is no setting 'snapshot'"),
    ],
)
def test_what_cannot_be_set(name: str, value: float | bool | str, sentence: str) -> None:
    controls_ = controls()
    with pytest.raises(ControlError, match=sentence):
        controls_.set(name, value)
    assert controls_.settings == Settings(style="photo")


def test_an_unknown_button() -> None:
    with pytest.raises(ControlError, match="no button 'explode'"):
        controls().press("explode")


def test_notices_are_numbered_and_told() -> None:
    told: list[Notice] = []
    controls_ = Controls(Settings(style="ink"), STYLES, on_notice=told.append)
    controls_.say("saved")
    controls_.warn("saved")
    assert controls_.notice == (2, "saved")
    assert told == [Notice("saved"), Notice("saved", is_essential=True)]


def test_the_terminal_gets_what_others_must_not_read_and_what_they_see_anyway() -> None:
    told: list[Notice] = []
    controls_ = Controls(Settings(style="ink"), STYLES, on_notice=told.append)
    controls_.report(Notice("it is at the door", secret=", which opens with sesame"))
    controls_.report(Notice("the source is away", is_for_terminal=True))
    assert controls_.notice == (1, "it is at the door")
    assert [notice.secret for notice in told] == [", which opens with sesame", ""]


def test_help_and_table_name_every_control() -> None:
    labels = [label for _, label in key_help()]
    assert all(control.label in labels for control in CONTROLS)
    table = key_table()
    assert table.count("\n") == len(key_help()) + 1
    assert "| `n` `→` | Next style |" in table
    assert set(key_help()) - set(key_help(page=True)) == {("i", "Rates and delay"), ("q Esc", "Quit")}


def test_the_readme_has_the_keys_that_there_are() -> None:
    assert key_table() in (ROOT / "README.md").read_text()
