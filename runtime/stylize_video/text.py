"""Text for terminals: what comes out of files made fit for them, and numbers of things."""

from __future__ import annotations

import unicodedata

_CONTROLS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that do something instead of showing something."""

_JOINERS = "\u200c\u200d"
"""Characters of that kind which some scripts cannot be written without."""


def printable(text: str) -> str:
    """``text`` with its control characters made visible.

    Names and titles come out of files: what they hold must not move the cursor, change
    the terminal's title, or turn the direction of what follows.
    """
    return "".join(c if _shows(c) else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _shows(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in _CONTROLS
