"""docs/plugins.md is complete: what a class of each hook may define, and what it is given, by introspection."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import diffbmp
from diffbmp.plugins.hookspecs import FAMILIES

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTIONS = {
    re.sub(r"\W*register_(\w+)\(register\)\W*", r"\1", title): text
    for title, text in re.findall(r"^(?:## |### )(.+)\n((?:(?!^##? |^### ).*\n?)*)", PAGE, flags=re.MULTILINE)
}
"""Each section below the title, by its heading; those of hooks by their family."""

SPECIAL = ("__call__", "__len__", "__init__")
BASES = {
    cls.family: cls
    for cls in vars(diffbmp).values()
    if inspect.isclass(cls) and issubclass(cls, diffbmp.Plugin) and "family" in vars(cls)
}
GIVEN = {
    diffbmp.CompositeInputs: "renderers",
    diffbmp.Gradients: "renderers",
    diffbmp.Texture: "loaders",
    diffbmp.Sprites: "primitives",
    diffbmp.Canvas: "primitives",
    diffbmp.Learnable: "primitives",
    diffbmp.InstanceName: "primitives",
    diffbmp.PrimitiveSettings: "primitives",
    diffbmp.BitmapSettings: "primitives",
    diffbmp.LossInputs: "losses",
    diffbmp.LossSetup: "losses",
    diffbmp.StartInputs: "initializers",
    diffbmp.TextureSet: "initializers",
    diffbmp.Fit: "refiners",
    diffbmp.Step: "refiners",
    diffbmp.ExportOptions: "exporters",
    diffbmp.LayerStack: "exporters",
    diffbmp.StackLayer: "exporters",
}
"""What a plugin's code is given or returns, and the section that it is described in."""

SETTINGS_METHODS = {"constraints", "sets", "blends", "least_count"}
"""Of primitives' settings, asked by the fit and not by a plugin."""


def signature(name: str, function: Any) -> str:
    """Return how a method is called: ``backward(inputs, state, grad_image, *, texel_gradient)``."""
    found = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name not in ("self", "cls")]
    return f"{name}{found.replace(parameters=parameters, return_annotation=found.empty)}"


def members(cls: type[Any]) -> Iterator[str]:
    """Yield what a class defines for others: its variables and properties by name, methods with their arguments."""
    described = re.findall(r"^    (\w+): ", (inspect.getdoc(cls) or "").partition("Attributes:")[2], flags=re.MULTILINE)
    for name in dict.fromkeys([*inspect.get_annotations(cls), *described, *vars(cls)]):
        if name == "family" or name.startswith("model_") or (name.startswith("_") and name not in SPECIAL):
            continue
        if name == "__init__" and not issubclass(cls, diffbmp.Plugin):
            continue  # the program makes it
        value = vars(cls).get(name)
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        yield signature(name, function) if inspect.isfunction(function) else name


def in_code(member: str, text: str) -> bool:
    """Return whether a text has just this in code."""
    return f"`{member}`" in text


def test_every_family_has_a_base_class() -> None:
    assert set(BASES) == set(FAMILIES)


@pytest.mark.parametrize("member", sorted(set(members(diffbmp.Plugin)) | {"family"}))
def test_what_every_class_has(member: str) -> None:
    assert in_code(member, SECTIONS["What every class has"])


@pytest.mark.parametrize(
    ("family", "member"), [(family, member) for family in FAMILIES for member in members(BASES[family])]
)
def test_member_of_a_base_class(family: str, member: str) -> None:
    assert in_code(member, SECTIONS[family]), f"the section on {family} does not describe `{member}`"


@pytest.mark.parametrize(
    ("cls", "member"),
    [(cls, member) for cls in GIVEN for member in members(cls)],
)
def test_member_of_what_is_given(cls: type[Any], member: str) -> None:
    if member.partition("(")[0] in SETTINGS_METHODS and issubclass(cls, diffbmp.PrimitiveSettings):
        return
    assert in_code(member, SECTIONS[GIVEN[cls]]), f"the section on {GIVEN[cls]} does not describe `{member}`"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tables_name_nothing_else(family: str) -> None:
    classes = [diffbmp.Plugin, BASES[family], *(cls for cls, where in GIVEN.items() if where == family)]
    known = {member for cls in classes for member in members(cls)}
    rows = re.findall(r"^\| (`[^|]+) \|", SECTIONS[family], flags=re.MULTILINE)
    assert rows
    for member in (member for row in rows for member in re.findall(r"`([^`]+)`", row)):
        assert member in known, f"the section on {family} describes `{member}`, which there is not"
