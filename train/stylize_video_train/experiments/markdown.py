"""Tables in Markdown that names cannot break."""

from __future__ import annotations

from stylize_video.text import printable


def cell(text: str) -> str:
    """``text`` as it may stand in a table: what ends a cell or a line, or moves a cursor, is written out."""
    return printable(text).replace("|", r"\|")
