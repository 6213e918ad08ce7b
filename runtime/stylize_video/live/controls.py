"""What can be changed while it runs: one state, and one table of the ways to change it.

The keys of the window, its help, the page of ``--serve`` and the key table of the
README are all made from :data:`CONTROLS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from stylize_video.errors import StylizeError

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
class Slider:
    """A number of :class:`Settings` between ``low`` and ``high``, with a key for less and one for more."""

    name: str
    label: str
    less: str
    more: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.1
    kind: Literal["slider"] = "slider"


@dataclass(frozen=True)
class Switch:
    """A setting that is on or off; ``window`` says that it concerns the window alone."""

    name: str
    label: str
    key: str
    window: bool = False
    kind: Literal["switch"] = "switch"


@dataclass(frozen=True)
class Button:
    """Something that is done once."""

    name: str
    label: str
    keys: tuple[str, ...]
    window: bool = False
    kind: Literal["button"] = "button"


Control = Slider | Switch | Button

CONTROLS: tuple[Control, ...] = (
    Button("next_style", "Next style", ("n", "right")),
    Button("previous_style", "Previous style", ("p", "left")),
    Slider("strength", "Strength", "-", "+"),
    Switch("keep_colors", "Keep the source's colours", "c"),
    Slider("strokes", "Size of strokes", ",", ".", low=0.5, high=4.0, step=0.25),
    Slider("smooth", "Smoothing", "[", "]"),
    Switch("mirror", "Mirror", "m"),
    Switch("split", "Split view; drag the divider", "v"),
    Slider("divider", "Divider", "<", ">", step=0.05),
    Switch("freeze", "Freeze", "space"),
    Button("snapshot", "Snapshot (PNG)", ("s",)),
    Switch("record", "Record", "r"),
    Switch("info", "Rates and delay", "i", window=True),
    Switch("full_screen", "Full screen", "f", window=True),
    Switch("help", "Help", "h", window=True),
    Button("quit", "Quit", ("q", "escape"), window=True),
)
"""In the order in which they are shown."""

PICKED = 9
"""Styles that have a digit of their own."""


class ControlError(StylizeError):
    """A setting does not exist or cannot have that value."""


class Controls:
    """The settings now, for every thread: the loop reads them, window and page change them.

    Args:
        settings: to begin with.
        styles: the names of the styles there are, in order.
        on_notice: called with everything that users are told.
    """

    def __init__(
        self,
        settings: Settings,
        styles: Sequence[str],
        *,
        on_notice: Callable[[str], None] = lambda _: None,
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
        """What was said last to the user, and its number, so that the same words are seen as new."""
        return self._notices, self._notice

    def say(self, text: str) -> None:
        """Tell the user something, in the window and on the page."""
        with self._lock:
            self._notices += 1
            self._notice = text
        self._on_notice(text)

    def set(self, name: str, value: Value) -> None:
        """Change one setting; numbers beyond their range are moved into it.

        Raises:
            ControlError: there is no such setting, or the value is of another kind.
        """
        checked: Any = self._checked(name, value)
        with self._lock:
            self._settings = replace(self._settings, **{name: checked})

    def press(self, name: str) -> None:
        """Do what a button does, or flip a switch.

        Raises:
            ControlError: there is neither of that name.
        """
        control = next((c for c in CONTROLS if c.name == name), None)
        if isinstance(control, Switch):
            self.set(name, not getattr(self._settings, name))
        elif isinstance(control, Button):
            if name in ("next_style", "previous_style"):
                place = self.styles.index(self._settings.style) + (1 if name == "next_style" else -1)
                self.set("style", self.styles[place % len(self.styles)])
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
        for control in CONTROLS:
            if isinstance(control, Slider) and key in (control.less, control.more):
                step = control.step if key == control.more else -control.step
                self.set(control.name, round(getattr(self._settings, control.name) + step, 6))
                return True
            if isinstance(control, Switch) and key == control.key:
                self.press(control.name)
                return True
            if isinstance(control, Button) and key in control.keys:
                self.press(control.name)
                return True
        return False

    def take_pressed(self) -> list[str]:
        """The buttons pressed since the last call, in order."""
        with self._lock:
            pressed, self._pressed = self._pressed, []
        return pressed

    def _checked(self, name: str, value: Value) -> Value:
        if name == "style":
            if value not in self.styles:
                raise ControlError(f"there is no style {value!r} here; there are {', '.join(self.styles)}")
            return value
        control = next((c for c in CONTROLS if c.name == name and not isinstance(c, Button)), None)
        if isinstance(control, Slider):
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise ControlError(f"{name} is a number from {control.low:g} to {control.high:g}")
            return float(min(control.high, max(control.low, value)))
        if control is None or not isinstance(value, bool):
            known = ", ".join(field.name for field in fields(Settings))
            raise ControlError(
                f"{name} is on or off" if control else f"there is no setting {name!r}; there are {known}"
            )
        return value


def keys_of(control: Control) -> tuple[str, ...]:
    """The keys of a control, as they are called here."""
    match control:
        case Slider():
            return (control.less, control.more)
        case Switch():
            return (control.key,)
        case Button():
            return control.keys


def key_help() -> list[tuple[str, str]]:
    """Every key and what it does, for the window's help and the README."""
    shown = {"left": "←", "right": "→", "escape": "Esc", "-": "−"}  # noqa: RUF001  # a real minus
    lines = [(" ".join(shown.get(k, k) for k in keys_of(c)), c.label) for c in CONTROLS]
    lines.insert(2, (f"1–{PICKED}", "That style"))  # noqa: RUF001
    return lines


def key_table() -> str:
    """The keys as a Markdown table."""
    rows = (f"| {' '.join(f'`{k}`' for k in keys.split())} | {label} |" for keys, label in key_help())
    return "\n".join(["| key | what it does |", "| --- | --- |", *rows])


def as_json(controls: Sequence[Control]) -> list[dict[str, Any]]:
    """For the page: every control as its fields."""
    return [{f.name: getattr(c, f.name) for f in fields(c)} for c in controls]
