"""What ``import diffbmp`` promises does not change unnoticed."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def named_classes(annotation: Any) -> Iterator[type]:
    """Yield the classes in an annotation, inside unions, lists and callables too."""
    if isinstance(annotation, (list, tuple)):
        for one in annotation:
            yield from named_classes(one)
    elif typing.get_origin(annotation) is not None:
        yield from named_classes(typing.get_args(annotation))
    elif isinstance(annotation, type):
        yield annotation


def signatures() -> Iterator[tuple[str, Any]]:
    """Yield every public function, and every public method, property and annotated attribute of a public class."""
    for name in diffbmp.__all__:
        value = getattr(diffbmp, name)
        if inspect.isfunction(value):
            yield name, value
        if not inspect.isclass(value):
            continue
        yield name, value
        for member, function in vars(value).items():
            plain = function.fget if isinstance(function, property) else getattr(function, "__func__", function)
            if inspect.isfunction(plain) and (not member.startswith("_") or member in ("__init__", "__call__")):
                yield f"{name}.{member}", inspect.unwrap(plain)


def test_what_public_signatures_name_is_public() -> None:
    public = {getattr(diffbmp, name) for name in diffbmp.__all__}
    missing = {}
    for where, thing in signatures():
        hints = typing.get_type_hints(thing, localns=dict(vars(diffbmp)))
        for attribute, hint in hints.items():
            for cls in named_classes(hint):
                ours = cls.__module__.partition(".")[0] == "diffbmp"
                if ours and cls not in public and not attribute.startswith("_"):
                    missing[cls.__qualname__] = f"{where}: {attribute}"
    assert missing == {}
