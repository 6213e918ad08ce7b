"""Command lines: options that may stand alone, and ``--help`` in groups of options.

``--help`` is plain text: typer has it drawn by rich, which takes longer to load than all else that it needs.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class GroupedCommand(TyperCommand):
    """A command that lists its options under their ``rich_help_panel``, the others under "Options"."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # click's, or typer's copy of it
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row:
                group = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or group, []).append(row)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def run(command: Callable[..., None]) -> None:
    """Call ``command`` with what the command line says for its parameters."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(cls=GroupedCommand, context_settings={"max_content_width": 100})(command)
    app()


def with_value(
    arguments: Sequence[str], option: str, value: str, is_value: Callable[[str], object]
) -> list[str]:
    """The arguments, with ``value`` behind an ``option`` that is not followed by one."""
    complete = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        complete.append(argument)
        if argument == option and not is_value(following):
            complete.append(value)
    return complete
