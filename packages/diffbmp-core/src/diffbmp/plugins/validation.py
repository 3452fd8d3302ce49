"""Whether a plugin's hooks and classes can be registered: each flaw in a sentence for its author.

What is refused here would fail later, far from its author, or take something else down with it.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any, ClassVar, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.plugins.hookspecs import FAMILIES, HOOKS
from diffbmp.plugins.plugin import Plugin
from diffbmp.settings import Settings, parse_settings, setting_rows, type_text

__all__ = ["RESERVED", "class_problem", "describe", "hook_problem", "unmarked_hooks"]

NAME = re.compile(r"[a-z][a-z0-9_-]+")
"""Names are typed as flags, ``NAME:`` schemes, ``NAME=WEIGHT`` and keys of settings; one letter is a drive."""

SUFFIX = re.compile(r"(\.[a-z0-9]+)+")

RESERVED: Mapping[str, frozenset[str]] = {
    "renderers": frozenset({"auto"}),
    "commands": frozenset({"fit", "render", "export", "plugins", "doctor", "bench", "layers"}),
}
"""Names that mean something else already."""


def hook_problem(plugin: object, name: str, options: Mapping[str, Any]) -> str | None:
    """Return why the function ``name`` of ``plugin``, marked as an implementation of a hook, cannot be called.

    Args:
        plugin: a module, or an object with methods.
        name: the attribute; the hook is called the same unless ``options`` give a ``specname``.
        options: what ``diffbmp.hookimpl`` was given. With ``optionalhook`` it may be a hook that this version does
            not have, and is then left out without a word.
    """
    hook = options.get("specname") or name
    if hook not in HOOKS:
        return None if options.get("optionalhook") else str(unknown_name("hook", hook, HOOKS))
    if options.get("wrapper") or options.get("hookwrapper"):
        return f"{hook} is a hook wrapper, and there is nothing to wrap: each plugin registers for itself"
    function = getattr(plugin, name)
    if inspect.isclass(plugin) and inspect.isfunction(inspect.getattr_static(plugin, name)):
        return f"{hook} is a method of the class {plugin.__name__}; the entry point must name an instance of it"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return f"{hook} must be an ordinary function, neither async nor with yield"
    parameters = inspect.signature(function).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if [p.name for p in required] != ["register"] or required[0].kind is inspect.Parameter.KEYWORD_ONLY:
        return f"{hook} must take one argument called 'register', got ({', '.join(map(str, parameters))})"
    return None


def unmarked_hooks(plugin: object, marked: list[str]) -> list[str]:
    """Return the functions of ``plugin`` that are called like a hook but lack the marker."""
    found = [name for name in HOOKS if name not in marked and inspect.isroutine(getattr(plugin, name, None))]
    return [name for name in found if not hasattr(getattr(plugin, name), "diffbmp_impl")]


def class_problem(family: str, cls: object) -> str | None:
    """Return why ``cls`` cannot be registered in ``family``, or None."""
    hook = f"register_{family}"
    if not inspect.isclass(cls):
        return f"{hook} was given {_short(cls)}, which is not a class"
    title = cls.__name__
    belongs = str(getattr(cls, "family", "")) if issubclass(cls, Plugin) else ""
    if belongs != family:
        what = f"is a {FAMILIES[belongs]}" if belongs in FAMILIES else "belongs to no family of plugins"
        return f"{hook} was given {title}, which {what}, not a {FAMILIES[family]}"
    assert issubclass(cls, Plugin)
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        return f"{title} has no `name`"
    title = f"{title} ('{name}')"
    if not NAME.fullmatch(name):
        return f"{title} must have a name of two or more lower-case letters, digits, '_' and '-', a letter first"
    if name in RESERVED.get(family, ()):
        return f"{title} has a name that is taken by the program itself"
    documentation = cls.__dict__.get("__doc__")
    if not isinstance(documentation, str) or not documentation.strip():
        return f"{title} has no docstring"
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    if abstract:
        return f"{title} does not define {', '.join(sorted(abstract))}"
    problem = _variable_problem(title, cls) or _settings_problem(title, cls)
    if problem is None and (flaw := cls.registration_problem()) is not None:
        problem = f"{title} {flaw}"
    return problem


def _variable_problem(title: str, cls: type[Plugin]) -> str | None:
    """Compare the class variables that the family's base declares with what ``cls`` gives."""
    base = next(c for c in cls.__mro__ if "family" in c.__dict__)
    declared: Mapping[str, Any] = inspect.get_annotations(base, eval_str=True)
    for variable, annotation in declared.items():
        if get_origin(annotation) is not ClassVar:
            continue
        if not hasattr(cls, variable):
            return f"{title} has no `{variable}`"
        (expected,) = annotation.__args__
        if not _is_of(expected, getattr(cls, variable)):
            given = _short(getattr(cls, variable))
            return f"{title} has a `{variable}` that is not of type {type_text(expected)}: {given}"
    for suffix in getattr(cls, "suffixes", ()):
        if not SUFFIX.fullmatch(suffix):
            return f"{title} has the suffix '{suffix}'; suffixes are lower case with the dot, such as '.png'"
    return None


def _is_of(expected: Any, value: object) -> bool:
    try:
        _adapter(expected).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@functools.cache
def _adapter(expected: Any) -> TypeAdapter[Any]:
    return TypeAdapter(expected, config=ConfigDict(arbitrary_types_allowed=True))


def _settings_problem(title: str, cls: type[Plugin]) -> str | None:
    model = cls.Settings
    if not (inspect.isclass(model) and issubclass(model, Settings)):
        return f"{title} has Settings that are not a diffbmp.Settings model"
    try:
        required = [row["name"] for row in setting_rows(model) if row["required"]]
        if not required:
            parse_settings(model, {}, f"{cls.family}.{cls.name}")
    except DiffbmpError as error:
        return f"{title} has a default out of its own range: {error}".rstrip(".")
    except Exception as error:  # validators and default factories are a stranger's code
        return f"{title} has Settings that cannot be shown: {describe(error)}"
    return None


def describe(error: BaseException) -> str:
    """Return the kind and message of an error on one line, whatever its ``__str__`` does."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # a stranger's exception class
        message = "(its message cannot be shown)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _short(value: object) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a stranger's __repr__
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
