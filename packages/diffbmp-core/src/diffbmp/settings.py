"""Typed settings: the one model from which flags, files, errors and pages are derived."""

from __future__ import annotations

import re
import reprlib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python

from diffbmp.errors import DiffbmpError, nearest, unknown_name

__all__ = ["Settings", "parse_settings", "setting_rows", "type_text"]

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of every settings model: immutable, unknown keys refused, finite numbers only.

    Strings are read as the field's type, since flags give strings; true and false are never read as numbers.
    Give each field a type, a default, a range where it has one, and a description as the string below it::

        class Settings(diffbmp.Settings):
            window: int = Field(11, ge=3)
            \"\"\"Side of the Gaussian window, in pixels.\"\"\"
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _keep_booleans_apart(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where the type has no place for them; pydantic would read them as 1 and 0."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if _holds_boolean(value) and not _takes_boolean(annotation):
            raise ValueError(f"it must be {type_text(annotation)}, not true or false")
        return value


def parse_settings(model: type[S], values: Mapping[str, Any], where: str) -> S:
    """Build ``model`` from ``values``.

    Args:
        model: the settings model.
        values: keys and values as given by a person; strings are read as the field's type.
        where: the dotted place that the values belong to, for the sentence ("losses.ssim"; "" for the top).

    Raises:
        DiffbmpError: for an unknown key (with the nearest known one), a value out of its type or range, or
            ``values`` that are no table.
    """
    if not isinstance(values, Mapping):
        place = f"'{where}'" if where else "Settings"
        raise DiffbmpError(f"{place} must be a table of settings by name, got {_shown(values)}.")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _explain(model, error.errors(include_url=False), where) from error


def setting_rows(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Yield what there is to know of each field, for listings and reference pages; JSON values only.

    A row has ``name`` (dotted for the fields of nested models), ``type`` ("alpha | luminance", "float | None"),
    ``default`` (None where there is none), ``required``, ``range`` (">= 0, < 1", or "") and ``description``.
    """
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            for row in setting_rows(field.annotation):
                yield {**row, "name": f"{name}.{row['name']}"}
            continue
        yield {
            "name": name,
            "type": type_text(field.annotation),
            "default": _default(field),
            "required": field.is_required(),
            "range": ", ".join(_bounds(field.metadata, field.annotation)),
            "description": " ".join((field.description or "").split()),
        }


def type_text(annotation: Any) -> str:
    """Return a type as a person reads it: ``Literal["a", "b"] | None`` as ``a | b | None``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Any:
        return "any"
    if annotation is Ellipsis:
        return "..."
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (Union, types.UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    if origin is Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin is not None and arguments:
        return f"{_type_name(origin)}[{', '.join(type_text(argument) for argument in arguments)}]"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(str(member.value) for member in annotation)
    return _type_name(annotation)


def _type_name(annotation: Any) -> str:
    name = getattr(annotation, "__name__", None)
    return name if isinstance(name, str) else str(annotation).replace("typing.", "")


def _default(field: FieldInfo) -> Any:
    if field.is_required() or getattr(field, "default_factory_takes_validated_data", False):
        return None
    value = field.get_default(call_default_factory=True)
    return to_jsonable_python(value, fallback=str, inf_nan_mode="strings")


BOUND_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
LENGTH_SIGNS = {"min_length": ">=", "max_length": "<="}


def _bounds(metadata: Iterable[Any], annotation: Any) -> Iterator[str]:
    """Yield the bounds of a field: its own, then those inside ``Annotated`` members of its type."""
    for item in metadata:
        for attribute, sign in BOUND_SIGNS.items():
            if getattr(item, attribute, None) is not None:
                yield f"{sign} {getattr(item, attribute)}"
        for attribute, sign in LENGTH_SIGNS.items():
            if getattr(item, attribute, None):
                yield f"length {sign} {getattr(item, attribute)}"
        if getattr(item, "pattern", None) is not None:
            yield f"matching {getattr(item.pattern, 'pattern', item.pattern)}"
        if isinstance(item, FieldInfo):
            yield from _bounds(item.metadata, None)
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        yield from _bounds(extra, inner)
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _bounds((), member)


def _members(annotation: Any) -> list[Any]:
    """Return the members of a union other than None, or the type itself, without ``Annotated``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for argument in get_args(annotation) if argument is not type(None) for m in _members(argument)]
    return [annotation]


PLAIN_TYPES = (int, float, Decimal, str, bytes, Path, type(None), Ellipsis)
"""None of these is meant where a person writes true or false."""


def _takes_boolean(annotation: Any) -> bool:
    """Return whether a value of this type may hold true or false; models inside it look after themselves."""
    if get_origin(annotation) is Literal:
        return any(isinstance(argument, bool) for argument in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _takes_boolean(get_args(annotation)[0])
    if get_args(annotation):
        return any(_takes_boolean(argument) for argument in get_args(annotation))
    return annotation not in PLAIN_TYPES


def _holds_boolean(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_boolean(item) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_holds_boolean(item) for item in value)
    return isinstance(value, bool)


def _explain(model: type[BaseModel], details: Sequence[ErrorDetails], where: str) -> DiffbmpError:
    """Return one sentence about the first mistake; a value that fits no member of a union has several."""
    first = details[0]
    path, owner, annotation = _place(model, first["loc"])
    key = ".".join([where, *path] if where else path).replace(".[", "[")
    if first["type"] == "extra_forbidden":
        place = ".".join([where, *path[:-1]] if where else path[:-1]).replace(".[", "[")
        what = f"setting in '{place}'" if place else "setting"
        return unknown_name(what, path[-1], owner.model_fields if owner else ())
    if first["type"] == "missing":
        return DiffbmpError(f"Setting '{key}' is required; give it a value.")
    given = first.get("input")
    reasons = [_reason(detail) for detail in details if _place(model, detail["loc"])[0] == path]
    sentence = ", or ".join(dict.fromkeys(reasons))
    if first["type"] in ("literal_error", "enum") and isinstance(given, str):
        near = nearest(given, [choice for choice in _choices(annotation) if isinstance(choice, str)])
        sentence += f"; did you mean '{near}'?" if near is not None else "."
    else:
        sentence += "."
    return DiffbmpError(f"Setting '{key}' is {_shown(given)}: {sentence}" if key else f"Settings: {sentence}")


def _reason(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    if message.startswith("Input should "):
        message = "it must " + message.removeprefix("Input should ")
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a table of settings", message)
    message = re.sub(r" for <class .*>", "", message)
    return message[:1].lower() + message[1:]


def _choices(annotation: Any) -> list[Any]:
    """Return what a ``Literal`` or an enumeration, alone or in a union, allows."""
    found: list[Any] = []
    for member in _members(annotation):
        if get_origin(member) is Literal:
            found += get_args(member)
        elif isinstance(member, type) and issubclass(member, Enum):
            found += [item.value for item in member]
    return found


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None, Any]:
    """Return where a mistake is, as a person writes it: ``["optimizer", "betas", "[1]"]``.

    Besides, the model that the last part belongs to, or None, and the type of the value. Pydantic's location
    also names the member of a union that was tried, which is left out here.
    """
    path: list[str] = []
    owner: type[BaseModel] | None = None
    current: list[Any] = [model]
    for part in location:
        owner = None
        following: list[Any] = [Any]
        if part == "[key]" and model not in current:  # the mistake is in a key of a table, which came before
            continue
        for candidate in current:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                owner = candidate
                if part in candidate.model_fields:
                    following = _members(candidate.model_fields[str(part)].annotation)
                break
            if get_origin(candidate) in (dict, Mapping) and len(get_args(candidate)) == 2:
                following = _members(get_args(candidate)[1])
                break
            if isinstance(part, int) and get_args(candidate):
                following = _members(get_args(candidate)[min(part, len(get_args(candidate)) - 1)])
                break
        if len(current) > 1 and isinstance(part, str) and _names_member(part, current):
            current = [member for member in current if _type_name(member) == part] or current
            continue
        path.append(f"[{part}]" if isinstance(part, int) else part)
        current = following
    annotation: Any = Union[tuple(current)] if len(current) > 1 else current[0]  # noqa: UP007 - of a run-time list
    return path, owner, annotation


def _names_member(part: str, members: list[Any]) -> bool:
    """Return whether ``part`` of a location is pydantic's name of a union's member, such as ``int``."""
    return any(part == _type_name(m) or part.partition("[")[0] in (_origin_name(m), "literal") for m in members)


def _origin_name(annotation: Any) -> str:
    return _type_name(get_origin(annotation) or annotation)


SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = LONGEST = 80


def _shown(value: Any) -> str:
    """Return a value for a sentence: short, on one line."""
    text = "a table" if isinstance(value, Mapping) else " ".join(SHORT.repr(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
