"""Designated start: stamps where a table says."""

from __future__ import annotations

import csv
import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.initializers.initializer import Initializer
from diffbmp.paths import require_file
from diffbmp.placement.starting import PlacementSettings, build_stamps, check_start, scale_range
from diffbmp.primitives.start import StartInputs
from diffbmp.stamps.stamps import COLOR_MARGIN, LOGIT_MARGIN, MINIMUM_SCALE, Stamps

__all__ = ["Positions"]

COLUMNS = ("x", "y", "scale", "rotation", "opacity", "red", "green", "blue", "texture")
MOST_ROWS = 10_000_000


class Positions(Initializer):
    """Stamps at the positions in a file, in its order, the first at the back.

    The file is a table (``.csv``; values apart by commas, semicolons, tabs or spaces) whose first line names its
    columns: x, y, and as many of scale, rotation (radians), opacity, red, green, blue (in [0, 1]) and texture (a name)
    as it wants to determine. A file of bare numbers holds x and y. What is left out is chosen as by the other starts:
    colours of the target, random turns, dealt textures, one size for all. The number of stamps is that of the rows.
    """

    name = "positions"
    whole = True

    class Settings(PlacementSettings):
        """Settings of the start at given positions."""

        path: str = ""
        """The table of positions."""
        unit: Literal["pixel", "canvas"] = "pixel"
        """Unit of x, y and scale: pixels of the target, or its width (x), height (y) and shorter side (scale)."""
        spacing: float = Field(1.0, gt=0)
        """Half-extent of stamps without a scale, in units of half the spacing sqrt(H W / n) of as many in a grid."""

    settings: Settings

    def prescribed_count(self) -> int | None:
        """Return the number of rows."""
        return len(self._table()["x"])

    def __call__(self, start: StartInputs) -> Stamps:
        """Return the stamps.

        Raises:
            DiffbmpError: where the file cannot be read as a table, has another number of rows than stamps are to be
                placed, holds values out of range, or names a texture that is not among the stamps.
        """
        check_start(start)
        table, path = self._table(), self.settings.path
        count = len(table["x"])
        if count != start.count:
            raise DiffbmpError(
                f"'{path}' holds {count} positions, but {start.count} stamps are to be placed; leave -n out."
            )
        numbers = {
            name: torch.tensor([float(value) for value in values], dtype=torch.float64)
            for name, values in table.items()
            if name != "texture"
        }
        width, height = (start.width, start.height) if self.settings.unit == "canvas" else (1, 1)
        position = torch.stack([numbers["x"] * width, numbers["y"] * height], dim=-1)
        smallest, largest = scale_range(start, self.settings)
        if "scale" in numbers:
            scale = (numbers["scale"] * min(width, height)).clamp(min=MINIMUM_SCALE)
        else:
            even = self.settings.spacing * math.sqrt(start.width * start.height / count) / 2
            scale = torch.full((count,), min(max(even, smallest), largest), dtype=torch.float64)
        stamps = build_stamps(start, self.settings, position, scale)
        with torch.no_grad():
            if "rotation" in numbers:
                stamps.rotation.copy_(numbers["rotation"])
            if "opacity" in numbers:
                stamps.opacity_logit.copy_(torch.logit(numbers["opacity"], eps=LOGIT_MARGIN))
            if "red" in numbers:
                color = torch.stack([numbers[name] for name in ("red", "green", "blue")], dim=-1)
                stamps.color_logit.copy_(torch.logit(color, eps=COLOR_MARGIN))
            if "texture" in table:
                stamps.texture.copy_(self._textures(table["texture"], start))
        return stamps

    def _textures(self, names: list[str], start: StartInputs) -> Tensor:
        known = {start.atlas.textures[k].name: k for k in start.usable.tolist()}
        missing = [name for name in names if name not in known]
        if missing:
            raise unknown_name(f"texture in '{self.settings.path}'", missing[0], known)
        return torch.tensor([known[name] for name in names])

    def _table(self) -> dict[str, list[str]]:
        """Return the columns of the file by name, all of one length, their numbers checked."""
        path = self.settings.path
        if not path:
            raise DiffbmpError(
                "The initializer 'positions' needs a table: set initializers.positions.path to a file of x and y."
            )
        try:
            text = require_file(path, "table of positions").read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DiffbmpError(f"The positions '{path}' cannot be read: {error}.") from error
        rows = [row for row in _rows(text) if row]
        if not rows:
            raise DiffbmpError(f"The positions '{path}' are empty; give a line with x and y for each stamp.")
        header = [name.lower() for name in rows[0]]
        if all(_number(value) is not None for value in header):
            header = list(COLUMNS[: len(header)]) if len(header) == 2 else header
            if len(header) != 2:
                raise DiffbmpError(
                    f"The positions '{path}' have {len(header)} columns without names; "
                    f"name them in the first line: {', '.join(COLUMNS)}."
                )
            body = rows
        else:
            body = rows[1:]
        self._check_header(header)
        for number, row in enumerate(body, start=len(rows) - len(body) + 1):
            if len(row) != len(header):
                raise DiffbmpError(
                    f"The positions '{path}', row {number}: {len(row)} values for {len(header)} columns; give each one."
                )
            for name, value in zip(header, row, strict=True):
                _check_value(f"The positions '{path}', row {number}", name, value)
        if not body or len(body) > MOST_ROWS:
            raise DiffbmpError(f"The positions '{path}' hold {len(body)} rows; there must be 1 to {MOST_ROWS}.")
        return {name: [row[k] for row in body] for k, name in enumerate(header)}

    def _check_header(self, header: list[str]) -> None:
        path = self.settings.path
        for name in header:
            if name not in COLUMNS:
                raise unknown_name(f"column in '{path}'", name, COLUMNS)
        if len(set(header)) < len(header):
            raise DiffbmpError(f"The positions '{path}' name a column twice.")
        if not {"x", "y"} <= set(header):
            raise DiffbmpError(f"The positions '{path}' need the columns x and y.")
        if len({"red", "green", "blue"} & set(header)) not in (0, 3):
            raise DiffbmpError(f"The positions '{path}' need all of red, green and blue, or none.")


def _rows(text: str) -> list[list[str]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in ",;\t" if mark in first), None)
    if delimiter is None:
        return [line.split() for line in text.splitlines()]
    return [[value.strip() for value in row] for row in csv.reader(text.splitlines(), delimiter=delimiter)]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_value(where: str, name: str, text: str) -> None:
    if name == "texture":
        return
    value = _number(text)
    if value is None:
        raise DiffbmpError(f"{where}: {name} must be a number, got '{text}'.")
    if name in ("opacity", "red", "green", "blue") and not 0 <= value <= 1:
        raise DiffbmpError(f"{where}: {name} must be in [0, 1], got {text}.")
    if name == "scale" and value <= 0:
        raise DiffbmpError(f"{where}: scale must be above 0, got {text}.")
