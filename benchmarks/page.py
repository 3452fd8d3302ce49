"""The tables that benchmarks write into the pages of docs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path


def write_tables(path: Path, script: str, tables: dict[str, Iterator[str]]) -> None:
    """Replace what stands between the markers of each table.

    Args:
        path: the page.
        script: name of the benchmark, as the markers have it.
        tables: lines of each table by its name.
    """
    page = path.read_text(encoding="utf-8")
    for name, lines in tables.items():
        begin, end = f"<!-- {name}: written by benchmarks/{script} -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            sys.exit(f"{path} lacks the markers of '{name}'.")
        page = "\n".join([before + begin, "", *lines, "", end + after])
    path.write_text(page, encoding="utf-8")
