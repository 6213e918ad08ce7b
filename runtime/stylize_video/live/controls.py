"""What can be changed while it runs: one state, and one table of the ways to change it.

The keys of the window, its help, the page of ``--serve`` and the key table of the
README are all made from :data:`CONTROLS`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Literal

from stylize_video.errors import StylizeError
from stylize_video.styles.working_size import LARGEST_SCALE, SMALLEST_SCALE

Value = float | bool | str


@dataclass(frozen=True)
class Settings:
    """All that users change while it runs.

    ``style`` is a name; ``strength``, ``smooth`` and ``divider`` are from 0 to 1, the divider
    from left to right; ``strokes`` says how many times larger than the network's own they
    are. What stands left of the divider in a split view is the source.
    """

    style: str
    strength: float = 1.0
    keep_colors: bool = False
    strokes: float = 1.0
    smooth: float = 0.0
    mirror: bool = False
    split: bool = False
    divider: float = 0.5
    freeze: bool = False
    record: bool = False
    info: bool = False
    help: bool = False
    full_screen: bool = False


@dataclass(frozen=True)
class Notice:
    """Something to report to the user.

    Attributes:
        text: for the terminal, the window and the page.
        is_essential: printed with ``--quiet`` too: a warning, or what is known in no other way.
        secret: what follows the text in the terminal alone; whoever sees the picture, as in a
            broadcast, must not read it.
        is_for_terminal: window and page show it by themselves, as long as it is so.
    """

    text: str
    is_essential: bool = False
    secret: str = ""
    is_for_terminal: bool = False


@dataclass(frozen=True)
class Control:
    """Something that users change or press; ``window`` says that it concerns the window alone."""

    name: str
    label: str
    keys: tuple[str, ...]
    window: bool = False


@dataclass(frozen=True)
class Slider(Control):
    """A number of :class:`Settings` between ``low`` and ``high``; its keys are for less and for more.

    A step is added, or multiplied by on a ``logarithmic`` slider.
    """

    low: float = 0.0
    high: float = 1.0
    step: float = 0.1
    logarithmic: bool = False
    kind: Literal["slider"] = "slider"

    def after(self, key: str, value: float) -> float:
        """The value once ``key`` was pressed at ``value``."""
        steps = 1 if key == self.keys[1] else -1
        moved = value * self.step**steps if self.logarithmic else value + steps * self.step
        return self.checked(round(moved, 6))

    def part(self, value: float) -> float:
        """Where ``value`` is on the slider, from 0 to 1."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def checked(self, value: Value) -> float:
        """``value``, moved into the range.

        Raises:
            ControlError: it is no number.
        """
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise ControlError(f"{self.name} is a number from {self.low:g} to {self.high:g}")
        return float(min(self.high, max(self.low, value)))


@dataclass(frozen=True)
class Switch(Control):
    """A setting that is on or off."""

    kind: Literal["switch"] = "switch"

    def checked(self, value: Value) -> bool:
        """``value``.

        Raises:
            ControlError: it is neither on nor off.
        """
        if not isinstance(value, bool):
            raise ControlError(f"{self.name} is on or off")
        return value


@dataclass(frozen=True)
class Button(Control):
    """Something that is done once."""

    kind: Literal["button"] = "button"


CONTROLS: tuple[Slider | Switch | Button, ...] = (
    Button("next_style", "Next style", ("n", "right")),
    Button("previous_style", "Previous style", ("p", "left")),
    Slider("strength", "Strength", ("-", "+")),
    Switch("keep_colors", "Keep the source's colours", ("c",)),
    Slider("strokes", "Size of strokes", (",", "."), low=SMALLEST_SCALE, high=LARGEST_SCALE,
           step=2**0.25, logarithmic=True),
    Slider("smooth", "Smoothing", ("[", "]")),
    Switch("mirror", "Mirror", ("m",)),
    Switch("split", "Split view; drag the divider", ("v",)),
    Slider("divider", "Divider", ("<", ">"), step=0.05),
    Switch("freeze", "Freeze", ("space",)),
    Button("snapshot", "Snapshot (PNG)", ("s",)),
    Switch("record", "Record", ("r",)),
    Switch("info", "Rates and delay", ("i",), window=True),
    Switch("full_screen", "Full screen", ("f",), window=True),
    Switch("help", "Help", ("h",), window=True),
    Button("quit", "Quit", ("q", "escape"), window=True),
)  # fmt: skip
"""In the order in which they are shown."""
_CONTROLS = {control.name: control for control in CONTROLS}
_NOT_ON_PAGE = {"info", "quit"}
"""Keys of the window; full screen and help are the page's own."""

PICKED = 9
"""Styles that have a digit of their own."""


class ControlError(StylizeError):
    """A setting does not exist or cannot have that value."""


class Controls:
    """The settings now, for every thread: the loop reads them, window and page change them.

    Args:
        settings: to begin with.
        styles: the names of the styles there are, in order.
        on_notice: called with everything that is reported to the user, in any thread.
    """

    def __init__(
        self,
        settings: Settings,
        styles: Sequence[str],
        *,
        on_notice: Callable[[Notice], None] = lambda _: None,
    ) -> None:
        self.styles = tuple(styles)
        self._on_notice = on_notice
        self._settings = settings
        self._lock = threading.Lock()
        self._pressed: list[str] = []
        self._notice = ""
        self._notices = 0

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def notice(self) -> tuple[int, str]:
        """What window and page show, and its number, so that the same words are seen as new."""
        return self._notices, self._notice

    def say(self, text: str) -> None:
        """Report what ``--quiet`` leaves out."""
        self.report(Notice(text))

    def warn(self, text: str) -> None:
        """Report what goes wrong."""
        self.report(Notice(text, is_essential=True))

    def report(self, notice: Notice) -> None:
        """Report something in the window and on the page, and by ``on_notice``."""
        if not notice.is_for_terminal:
            with self._lock:
                self._notices += 1
                self._notice = notice.text
        self._on_notice(notice)

    def set(self, name: str, value: Value) -> None:
        """Change one setting; numbers beyond their range are moved into it.

        Raises:
            ControlError: there is no such setting, or the value is of another kind.
        """
        checked = self._checked(name, value)
        self._change(name, lambda _: checked)

    def press(self, name: str) -> None:
        """Do what a button does, or flip a switch.

        Raises:
            ControlError: there is neither of that name.
        """
        control = _CONTROLS.get(name)
        if isinstance(control, Switch):
            self._change(name, lambda on: not on)
        elif isinstance(control, Button):
            if name in ("next_style", "previous_style"):
                self._change("style", partial(self._beside, 1 if name == "next_style" else -1))
            else:
                with self._lock:
                    self._pressed.append(name)
        else:
            raise ControlError(f"there is no button {name!r}")

    def press_key(self, key: str) -> bool:
        """Do what a key of the window does; False where it does nothing."""
        if key.isdecimal() and 1 <= int(key) <= PICKED:
            if int(key) > len(self.styles):
                return False
            self.set("style", self.styles[int(key) - 1])
            return True
        control = next((c for c in CONTROLS if key in c.keys), None)
        if isinstance(control, Slider):
            self._change(control.name, partial(control.after, key))
        elif control is not None:
            self.press(control.name)
        return control is not None

    def take_pressed(self) -> list[str]:
        """The buttons pressed since the last call, in order."""
        with self._lock:
            pressed, self._pressed = self._pressed, []
        return pressed

    def _change(self, name: str, change: Callable[[Any], Value]) -> None:
        """Replace a setting by what ``change`` makes of it; two threads never change the same value."""
        with self._lock:
            changed: Any = {name: change(getattr(self._settings, name))}
            self._settings = replace(self._settings, **changed)

    def _beside(self, step: int, style: str) -> str:
        return self.styles[(self.styles.index(style) + step) % len(self.styles)]

    def _checked(self, name: str, value: Value) -> Value:
        if name == "style":
            if value not in self.styles:
                raise ControlError(f"there is no style {value!r} here; there are {', '.join(self.styles)}")
            return value
        control = _CONTROLS.get(name)
        if isinstance(control, Slider | Switch):
            return control.checked(value)
        known = ", ".join(field.name for field in fields(Settings))
        raise ControlError(f"there is no setting {name!r}; there are {known}")


def key_help(*, page: bool = False) -> list[tuple[str, str]]:
    """Every key and what it does, for the window's help, the page's, which has fewer, and the README."""
    shown = {"left": "←", "right": "→", "escape": "Esc", "-": "−"}  # noqa: RUF001  # a real minus
    lines = [
        (" ".join(shown.get(k, k) for k in c.keys), c.label)
        for c in CONTROLS
        if not (page and c.name in _NOT_ON_PAGE)
    ]
    lines.insert(2, (f"1–{PICKED}", "That style"))  # noqa: RUF001
    return lines


def key_table() -> str:
    """The keys as a Markdown table."""
    rows = (f"| {' '.join(f'`{k}`' for k in keys.split())} | {label} |" for keys, label in key_help())
    return "\n".join(["| key | what it does |", "| --- | --- |", *rows])


def page_controls() -> list[dict[str, Any]]:
    """The controls of the page, each as its fields."""
    return [asdict(c) for c in CONTROLS if not c.window]
