"""Settings from a TOML file, flags and ``--set``, in this order; unknown names are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.settings import FitSettings
from diffbmp.losses.total import parse_weighted
from diffbmp.primitives.settings import BitmapSettings
from diffbmp.settings import parse_settings

__all__ = ["assign", "gather_settings", "parse_assignment", "parse_blends", "parse_primitives", "read_toml"]


def gather_settings(
    config: Path | None,
    given: Mapping[str, Any],
    losses: Sequence[str],
    shorthands: Mapping[str, str],
    assignments: Sequence[str],
) -> tuple[FitSettings, dict[str, Any]]:
    """Return the settings, and those of them that were given by anyone, as they were given.

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
    return parse_settings(FitSettings, values, ""), values


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


def parse_primitives(given: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    """Return the flags with a table for each ``--primitive``; the flags of a primitive go into the only one.

    Raises:
        DiffbmpError: where there are several and a flag says not whose it is.
    """
    if not kinds:
        return dict(given)
    own = {name: value for name, value in given.items() if name in BitmapSettings.model_fields}
    rest = {name: value for name, value in given.items() if name not in own}
    if own and len(kinds) > 1:
        name = sorted(own)[0]
        raise DiffbmpError(
            f"There are {len(kinds)} primitives, so say whose '{name}' it is: --set primitives.0.{name}=... for the "
            "first at the back, or a table for each in the configuration file."
        )
    return {**rest, "primitives": [{"kind": kind, **own} for kind in kinds]}


def assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested tables; in a list of tables its number, from 0, names one (``primitives.0.n``).

    Raises:
        DiffbmpError: where something on the way is no table, or the list is shorter.
    """
    *tables, last = key.split(".")
    where: Any = values
    for table in tables:
        if isinstance(where, list):
            nested = where[int(table)] if table.isdecimal() and int(table) < len(where) else None
        else:
            nested = where.setdefault(table, {})
        if not isinstance(nested, (dict, list)):
            raise DiffbmpError(f"Setting '{key}' cannot be set: '{table}' is not a table of settings.")
        where = nested
    if isinstance(where, list):
        raise DiffbmpError(f"Setting '{key}' cannot be set: '{last}' is one of a list; set a key of it.")
    where[last] = value
