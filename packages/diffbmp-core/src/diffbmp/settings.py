"""Typed settings: the one model from which flags, files, errors and pages are derived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from diffbmp.errors import DiffbmpError, unknown_name

__all__ = ["Settings", "parse_settings", "setting_rows"]

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of every settings model: immutable, unknown keys refused, finite numbers only.

    Give each field a type, a default, a range where it has one and a ``description``::

        class Settings(diffbmp.Settings):
            window: int = Field(11, ge=3, description="Side of the Gaussian window, in pixels.")
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )


def parse_settings(model: type[S], values: Mapping[str, Any], where: str) -> S:
    """Build ``model`` from ``values``.

    Args:
        model: the settings model.
        values: keys and values as given by a person; strings are read as the field's type.
        where: the dotted place that the values belong to, for the sentence ("losses.ssim"; "" for the top).

    Raises:
        DiffbmpError: for an unknown key (with the nearest known one) or a value out of its type or range.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _explain(model, error.errors()[0], where) from error


def _explain(model: type[Settings], detail: ErrorDetails, where: str) -> DiffbmpError:
    path = [part for part in detail["loc"] if isinstance(part, str)]
    key = ".".join([part for part in [where] if part] + path)
    if detail["type"] == "extra_forbidden":
        owner: type[BaseModel] = model
        for part in path[:-1]:
            owner = _nested_model(owner, part) or owner
        place = ".".join(key.split(".")[:-1])
        what = f"setting in '{place}'" if place else "setting"
        return unknown_name(what, path[-1], owner.model_fields)
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = detail.get("input")
    shown = repr(given) if not isinstance(given, dict) else "a table"
    return DiffbmpError(f"Setting '{key}' is {shown}: {message}." if key else f"Settings: {message}.")


def _nested_model(model: type[BaseModel], field: str) -> type[BaseModel] | None:
    info = model.model_fields.get(field)
    if info is None or info.annotation is None:
        return None
    for candidate in (info.annotation, *get_args(info.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def setting_rows(model: type[Settings]) -> Iterator[dict[str, Any]]:
    """Yield name, type, default and description of each field, for listings and reference pages."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        yield {
            "name": name,
            "type": shown.replace("typing.", "").replace("pathlib.", ""),
            "default": None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            "description": field.description or "",
        }


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)
