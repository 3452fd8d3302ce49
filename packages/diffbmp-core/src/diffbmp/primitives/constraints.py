"""What a fit may not change: parameters that are frozen, single instances that are locked, and a palette of colours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError

if TYPE_CHECKING:
    from diffbmp.primitives.primitive import Primitive

__all__ = ["Constraints", "locked_mask", "parse_frozen", "parse_locked"]


@dataclass(frozen=True)
class Constraints:
    """What a fit holds fast of one primitive.

    Attributes:
        frozen: names of learnables, each with a value in the parameter's own unit or None for that of the start.
        palette: ``(P, 3)`` colours in [0, 1] that instances may have, or None for any.
    """

    frozen: Mapping[str, float | None] = field(default_factory=dict)
    palette: Tensor | None = None

    def fixed(self, name: str) -> float | None:
        """Return the value that a parameter is frozen at, or None."""
        return self.frozen.get(name)

    @torch.no_grad()
    def hold(self, primitive: Primitive) -> None:
        """Give new instances the values that are frozen, and the palette's colours, in place."""
        for name, value in self.frozen.items():
            if value is not None:
                primitive.set(name, value)
        primitive.constrain(self.palette, 1.0)


def parse_frozen(texts: Sequence[str], said: Mapping[str, str] | None = None) -> dict[str, float | None]:
    """Read ``NAME`` or ``NAME=VALUE``, as ``--freeze`` takes them; the primitive checks names and ranges.

    Args:
        texts: as a person gives them.
        said: what values are, by name, for the sentence about one that is none ("radians").

    Raises:
        DiffbmpError: where there is no name, a name is given twice, or the value is no finite number.
    """
    frozen: dict[str, float | None] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not name:
            raise DiffbmpError(f"A locked parameter is given as NAME or NAME=VALUE, such as rotation=0; got '{text}'.")
        if name in frozen:
            raise DiffbmpError(f"The parameter '{name}' is locked twice; lock it once.")
        frozen[name] = _value(name, number, (said or {}).get(name)) if equals else None
    return frozen


def _value(name: str, text: str, said: str | None) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        kind = f"a number ({said})" if said else "a number"
        raise DiffbmpError(f"The parameter '{name}' is locked at {kind}, got '{text}'.")
    return value


def parse_locked(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Read numbers of instances, ``5`` or ``10-20``, several separated by commas, as ``--lock`` takes them.

    Returns:
        First and last number of each run, 1 being the back.

    Raises:
        DiffbmpError: where something else is given, or a run is backwards.
    """
    runs = []
    for text in (part.strip() for given in texts for part in given.split(",")):
        found = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", text)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last:
            raise DiffbmpError(
                f"Locked stamps are given by number, 1 being the back, such as 5 or 10-20; got '{text}'."
            )
        runs.append((first, last))
    return runs


def locked_mask(texts: Sequence[str], count: int) -> Tensor:
    """Return ``(count,)`` bool: the instances that ``texts`` name.

    Raises:
        DiffbmpError: where there are fewer.
    """
    mask = torch.zeros(count, dtype=torch.bool)
    for first, last in parse_locked(texts):
        if last > count:
            raise DiffbmpError(f"There is no stamp {last} to lock: the fit starts with stamps 1 to {count}.")
        mask[first - 1 : last] = True
    return mask
