"""Tables and JSON on stdout: for a person at a terminal, plain columns for a pipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_json", "print_table"]

PIPE_WIDTH = 100_000
"""Columns of a table that nobody looks at in a terminal: a row stays on one line, to be searched and cut."""


def print_json(value: Any) -> None:
    """Write JSON without colours or wrapping, whatever stdout is."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Write a table: fitted to the width of a terminal, else as plain columns without lines, colours or wrapping.

    Args:
        header: a name for each column.
        rows: cells; nothing in them is read as markup.
        title: a line above the table.
    """
    console = Console()
    fancy = console.is_terminal
    table = Table(box=box.SIMPLE_HEAD if fancy else None, pad_edge=False, header_style="bold", show_edge=False)
    for index, name in enumerate(header):
        last = index == len(header) - 1
        table.add_column(Text(name), overflow="fold", ratio=1 if last and fancy else None, no_wrap=not fancy)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    if fancy:
        console.print(table)
        return
    plain = Console(width=PIPE_WIDTH, color_system=None)
    with plain.capture() as captured:
        plain.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
