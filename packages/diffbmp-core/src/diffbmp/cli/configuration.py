"""Settings from a TOML file, flags and ``--set``, in this order; unknown names are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.settings import FitSettings
from diffbmp.losses.total import parse_weighted
from diffbmp.settings import parse_settings

__all__ = ["assign", "gather_settings", "parse_assignment", "parse_blends", "read_toml"]


def gather_settings(
    config: Path | None,
    given: Mapping[str, Any],
    losses: Sequence[str],
    shorthands: Mapping[str, str],
    assignments: Sequence[str],
) -> tuple[FitSettings, set[str]]:
    """Return the settings and the names of the top-level ones that were given by anyone.

    Args:
        config: a TOML file, or None.
        given: flags by name of the field.
        losses: ``NAME=WEIGHT`` strings; where there are any, they replace the losses of the file.
        shorthands: dotted keys that flags stand for.
        assignments: ``KEY=VALUE`` strings of ``--set``.

    Raises:
        DiffbmpError: for whatever is unknown, malformed or out of range.
    """
    values: dict[str, Any] = read_toml(config) if config is not None else {}
    values.update(given)
    if losses:
        weighted = [parse_weighted(text) for text in losses]
        values["loss"] = dict(weighted)
        if len(values["loss"]) < len(weighted):
            raise DiffbmpError("A loss is given twice with --loss; give each once, with its whole weight.")
    for key, value in shorthands.items():
        assign(values, key, value)
    for text in assignments:
        assign(values, *parse_assignment(text))
    return parse_settings(FitSettings, values, ""), set(values)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the contents of a TOML file.

    Raises:
        DiffbmpError: where it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DiffbmpError(f"There is no configuration file '{path}'.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DiffbmpError(f"The configuration file '{path}' cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise DiffbmpError(f"The configuration file '{path}' is not valid TOML: {error}.") from error


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; the value is read as TOML where it is that (numbers, true, lists), else as a string."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise DiffbmpError(f"--set takes KEY=VALUE, such as optimizer.position=0.5; got '{text}'.")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def parse_blends(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``MU`` and ``SET=MU``, as ``--color-blend`` takes them, into the settings that they stand for."""
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if equals:
            given.setdefault("color_blends", {})[name] = value
        else:
            given["color_blend"] = value
    return given


def assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested tables."""
    *tables, last = key.split(".")
    for table in tables:
        nested = values.setdefault(table, {})
        if not isinstance(nested, dict):
            raise DiffbmpError(f"Setting '{key}' cannot be set: '{table}' is not a table of settings.")
        values = nested
    values[last] = value
