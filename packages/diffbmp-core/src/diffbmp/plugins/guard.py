"""Running a plugin's code: what it raises is said in one sentence that names the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import typer

from diffbmp.errors import DiffbmpError
from diffbmp.plugins.hookspecs import FAMILIES
from diffbmp.plugins.plugin import Plugin
from diffbmp.plugins.record import CORE
from diffbmp.plugins.registry import registry
from diffbmp.plugins.validation import describe

__all__ = ["TyperError", "failure", "guarded", "member_title"]

TyperError = cast(type[Exception], typer.BadParameter.__mro__[-4])
"""Base of the errors that Typer shows itself: just below ``Exception``, in Typer or in Click as its version has it."""

PASSED = (
    DiffbmpError,
    typer.Exit,
    typer.Abort,
    TyperError,
    MemoryError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
)
"""What means the same whoever raises it."""


@contextmanager
def guarded(member: Plugin | type[Plugin], doing: str = "") -> Iterator[None]:
    """Run the code of a plugin within the block; an exception that it did not mean to raise becomes a sentence.

    ``with guarded(loader, "on 'a.foo'"):`` says ``The loader 'foo' of the plugin 'emoji' (diffbmp-emoji 1.2) failed on
    'a.foo': ValueError: no magic number.`` A class that is not registered is named without a plugin. What core's own
    classes raise stays as it is: that is a bug, whose traceback is wanted.

    Args:
        member: whose code it is; a registered class, or an instance of one.
        doing: when or on what, to follow "failed".

    Raises:
        DiffbmpError: with the exception as its cause. ``DiffbmpError``, ``typer.Exit``, Typer's own errors,
            ``MemoryError``, ``KeyboardInterrupt`` and ``SystemExit`` are not changed.
    """
    try:
        yield
    except BaseException as error:
        sentence = failure(member, doing, error)
        if sentence is None:
            raise
        raise sentence from error


def failure(member: Plugin | type[Plugin], doing: str, error: BaseException) -> DiffbmpError | None:
    """Return the sentence about an exception of a plugin's code, or None where ``guarded`` would not change it."""
    if isinstance(error, PASSED) or _of_core(_class(member)):
        return None
    return DiffbmpError(f"{member_title(member)} failed{doing and ' '}{doing}: {describe(error).rstrip('.')}.")


def member_title(member: Plugin | type[Plugin]) -> str:
    """Return how a sentence about a registered class or its instance begins.

    ``The loader 'foo' of the plugin 'emoji' (diffbmp-emoji 1.2)``; without the plugin where it is not registered, and
    with the class's name where it has none of its own.
    """
    cls = _class(member)
    entry = registry().entry_of(cls)
    if entry is not None:
        return f"The {entry.title} of the plugin {registry().record(entry.owner).title}"
    family: Any = getattr(cls, "family", None)
    return f"The {FAMILIES.get(family, 'object')} '{getattr(cls, 'name', cls.__name__)}'"


def _of_core(cls: type[Plugin]) -> bool:
    entry = registry().entry_of(cls)
    return cls.__module__.partition(".")[0] == "diffbmp" if entry is None else entry.owner == CORE


def _class(member: Plugin | type[Plugin]) -> type[Plugin]:
    return member if isinstance(member, type) else type(member)
