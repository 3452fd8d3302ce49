"""The strings by which the operator, whose arguments are strings, finds a renderer: names, settings, objects."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import torch

from diffbmp.errors import DiffbmpError
from diffbmp.plugins.registry import registry
from diffbmp.rendering.claims import claims_problem
from diffbmp.rendering.renderer import Renderer

__all__ = ["renderer_key", "renderer_label", "resolve_renderer", "split_key"]

_objects: weakref.WeakValueDictionary[int, Renderer] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)
_numbering = threading.Lock()


def renderer_key(renderer: str | Renderer, settings: Mapping[str, Any] | None = None) -> str:
    """Return the string by which the operator knows a renderer.

    Args:
        renderer: a registered name, "auto", or a renderer made on the spot. A key is returned as it is.
        settings: of a renderer that is named; an object has its own.

    Returns:
        ``name``, ``name{json}`` with settings, or ``name#17`` for an object: the same one each time. Such a key finds
        the object as long as somebody holds it; a graph of autograd that it has drawn does, a compiled function and the
        key itself do not.

    Raises:
        DiffbmpError: for an object that is no renderer, has no name, or claims what there is not.
    """
    if isinstance(renderer, str):
        return renderer + (json.dumps(dict(settings), sort_keys=True) if settings else "")
    if settings:
        raise DiffbmpError(
            f"The renderer '{renderer_label(renderer)}' is an object; give its settings where it is made."
        )
    key: str = _object_key(renderer)
    return key


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _object_key(renderer: Renderer) -> str:
    if not isinstance(renderer, Renderer):
        given = renderer.__name__ if isinstance(renderer, type) else type(renderer).__name__
        raise DiffbmpError(f"renderer must be a name or an instance of diffbmp.Renderer, got {given}.")
    number = _number(renderer)
    return f"{renderer.name}#{number}"


def _number(renderer: Renderer) -> int:
    """Return the number of an object, which it has from the first time on; a copy of it has another."""
    number = renderer.__dict__.get(NUMBER)
    if number is None or _objects.get(number) is not renderer:
        problem = claims_problem(renderer)
        if problem is not None:
            raise DiffbmpError(f"{problem}.")
        with _numbering:
            number = next(_numbers)
            _objects[number] = renderer
        renderer.__dict__[NUMBER] = number
    return int(number)


NUMBER = "_diffbmp_number"


def split_key(key: str) -> tuple[str, str]:
    """Return the name in a key, and the rest, which begins with "{" or "#" or is empty."""
    for mark in ("{", "#"):
        name, found, rest = key.partition(mark)
        if found:
            return name, found + rest
    return key, ""


def renderer_label(key: str | Renderer) -> str:
    """Return the plain name of a renderer, for reports and messages: that of "mine#17" is "mine"."""
    return split_key(key)[0] if isinstance(key, str) else key.name


def resolve_renderer(key: str) -> Renderer:
    """Return the renderer of a key: of a name always the same instance, of an object that object.

    Raises:
        DiffbmpError: for an unknown name or setting, or an object that is gone.
    """
    name, rest = split_key(key)
    if not rest.startswith("#"):
        cls: Any = registry().get("renderers", name)
        return _created(cls, name, rest)
    found = _objects.get(int(rest[1:])) if rest[1:].isdecimal() else None
    if found is None:
        raise DiffbmpError(
            f"The renderer object '{key}' is gone; hold it as long as it is to draw, since its key alone does not."
        )
    return found


@functools.lru_cache(maxsize=64)
def _created(_cls: Any, name: str, settings: str) -> Renderer:
    """Return an instance of the class that is registered under ``name``; another class makes another."""
    renderer: Renderer = registry().create("renderers", name, json.loads(settings) if settings else {})
    problem = claims_problem(renderer)
    if problem is not None:
        raise DiffbmpError(f"{problem}.")
    return renderer
