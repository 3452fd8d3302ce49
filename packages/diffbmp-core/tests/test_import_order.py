"""Data flows one way: a folder imports from those before it in the order, at run time, and never from those after."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffbmp

ROOT = Path(diffbmp.__file__).parent

ORDER = ("primitives", "stamps", "placement", "initializers", "fitting", "refiners")
"""Folders, each of which may import those before it; ``ALLOWED`` has what is stricter."""

ALLOWED: dict[str, set[str]] = {
    "primitives": set(),
    "stamps": {"primitives"},
    "placement": {"primitives", "stamps"},
    "initializers": {"primitives", "stamps", "placement"},
    "fitting": {"primitives", "initializers"},
    "refiners": {"primitives", "stamps", "placement", "initializers", "fitting"},
}
"""What each folder may import of the others. Fits know no kind of primitive, and so neither stamps nor their places."""


def run_time_imports(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports at run time, also within functions, and not for types alone."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                yield from visit(other)
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")))


def folders_of(modules: Iterator[str]) -> set[str]:
    """Return the folders of core that modules are in."""
    parts = [module.split(".") for module in modules]
    return {part[1] for part in parts if part[0] == "diffbmp" and len(part) > 1}


def imported_folders(folder: str) -> dict[str, set[str]]:
    """Return what each file of a folder imports of the folders in the order, itself left out."""
    return {
        str(file.relative_to(ROOT)): (folders_of(run_time_imports(file)) & set(ORDER)) - {folder}
        for file in sorted((ROOT / folder).rglob("*.py"))
    }


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_what_it_may(folder: str) -> None:
    files = imported_folders(folder)
    assert len(files) > 1
    wrong = {file: sorted(used - ALLOWED[folder]) for file, used in files.items() if used - ALLOWED[folder]}
    assert wrong == {}


def test_the_order_has_no_circle() -> None:
    for place, folder in enumerate(ORDER):
        assert ALLOWED[folder] <= set(ORDER[:place])


def test_fits_know_nothing_of_stamps() -> None:
    """Not for types either: nothing in ``fitting/`` names the folder."""
    for file in sorted((ROOT / "fitting").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in named if name.split(".")[:2] == ["diffbmp", "stamps"]], file
        assert not [name for name in named if name == "diffbmp"], file  # whose names stamps are among


def test_imports_of_both_kinds_are_found(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "import diffbmp.stamps.stamps\n"
        "from diffbmp import refiners\n"
        "if TYPE_CHECKING:\n    from diffbmp.fitting.fit import Fit\n"
        "def late():\n    from diffbmp.placement.candidates import Found\n"
    )
    assert folders_of(run_time_imports(file)) == {"stamps", "refiners", "placement"}
