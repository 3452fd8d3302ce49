"""Classes that are registered for the length of a test."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from diffbmp.plugins import registry as module
from diffbmp.plugins.hookspecs import hookimpl
from diffbmp.plugins.plugin import Plugin

__all__ = ["registered"]


@contextmanager
def registered(*classes: type[Plugin]) -> Iterator[None]:
    """Register classes as an installed plugin would, until the block is left::

        with diffbmp.testing.registered(Dots, Darkness):
            diffbmp.fit("photo.png", primitives="dots", loss="darkness")

    Args:
        classes: of any families.

    Raises:
        AssertionError: where a class is not fit to be registered, with the sentence that ``diffbmp plugins`` shows.
    """
    before = module.registry()
    during = copy.copy(before)
    for name, value in vars(before).items():  # so that what is registered now is not there afterwards
        setattr(during, name, copy.copy(value) if isinstance(value, (list, dict, set)) else value)
    hooks = {f"of_{family}": _hook(family, classes) for family in sorted({cls.family for cls in classes})}
    record = during.add(SimpleNamespace(**hooks), f"test-{len(before.plugins)}")
    assert not record.problems, "; ".join(record.problems)
    module._registry = during
    try:
        yield
    finally:
        module._registry = before


def _hook(family: str, classes: tuple[type[Plugin], ...]) -> Callable[..., None]:
    @hookimpl(specname=f"register_{family}")
    def hook(register: Callable[[type[Any]], None]) -> None:
        for cls in classes:
            if cls.family == family:
                register(cls)

    return hook
