"""What ``import diffbmp`` promises does not change unnoticed."""

from __future__ import annotations

import inspect
from pathlib import Path

import diffbmp
import diffbmp.testing

RECORDED = Path(__file__).with_name("public_names.txt")


def test_names_are_those_recorded() -> None:
    """Adding or removing a public name means changing ``public_names.txt`` too, and saying so in the changelog."""
    assert sorted(diffbmp.__all__) == RECORDED.read_text().split()


def test_every_name_exists_and_is_described() -> None:
    for name in diffbmp.__all__:
        value = getattr(diffbmp, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
    for name in diffbmp.testing.__all__:
        assert hasattr(diffbmp.testing, name), name
