"""What a fit may not change: parameters that are locked, and colours that are kept to a palette."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.stamps.palette import nearest_color
from diffbmp.stamps.stamps import MINIMUM_SCALE, Stamps

__all__ = ["Constraints", "parse_frozen"]

RANGES = {"rotation": (-math.inf, math.inf), "scale": (MINIMUM_SCALE, math.inf), "opacity": (0.0, 1.0)}
"""Parameters that can be locked at a value, and its range."""
MARGIN = 1e-4
"""Locked opacities and colours of a palette keep this distance from 0 and 1, so that their logits stay finite: less
than a tenth of a step of 8 bits."""
HARD_FROM = 0.3
"""Part of the steps after which colours are those of the palette, having been pulled to it ever more strongly."""


@dataclass(frozen=True)
class Constraints:
    """What a fit holds fast.

    Attributes:
        frozen: names of rates, each with a value in the parameter's own unit or None for that of the start.
        palette: ``(P, 3)`` colours in [0, 1] that stamps may have, or None for any.
    """

    frozen: Mapping[str, float | None] = field(default_factory=dict)
    palette: Tensor | None = None

    def fixed(self, name: str) -> float | None:
        """Return the value that a parameter is locked at, or None."""
        return self.frozen.get(name)

    @torch.no_grad()
    def hold(self, stamps: Stamps) -> None:
        """Give new stamps the values that are locked, and the colours of the palette that are nearest to theirs."""
        if (rotation := self.fixed("rotation")) is not None:
            stamps.rotation.fill_(rotation)
        if (scale := self.fixed("scale")) is not None:
            stamps.scale.fill_(scale)
        if (opacity := self.fixed("opacity")) is not None:
            stamps.opacity_logit.fill_(_logit(min(max(opacity, MARGIN), 1 - MARGIN)))
        self.pull(stamps, 1.0)

    @torch.no_grad()
    def pull(self, stamps: Stamps, progress: float) -> None:
        """Bring colours nearer to their nearest of the palette, after a step.

        Args:
            stamps: what to change, in place.
            progress: part of the steps that are taken, in [0, 1]. From 0.3 on colours are those of the palette, and
                before they go a part of the way that grows as the square.
        """
        strength = min(1.0, progress / HARD_FROM) ** 2
        if self.palette is None:
            return
        color = torch.sigmoid(stamps.color_logit)
        kept = torch.lerp(color, nearest_color(color, self.palette), strength)
        stamps.color_logit.copy_(torch.logit(kept, eps=MARGIN))


def parse_frozen(texts: Sequence[str]) -> dict[str, float | None]:
    """Read ``NAME`` or ``NAME=VALUE``, as ``--freeze`` takes them.

    Raises:
        DiffbmpError: where there is no name, a name is given twice, or the parameter cannot have the value.
    """
    frozen: dict[str, float | None] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not name:
            raise DiffbmpError(f"A locked parameter is given as NAME or NAME=VALUE, such as rotation=0; got '{text}'.")
        if name in frozen:
            raise DiffbmpError(f"The parameter '{name}' is locked twice; lock it once.")
        frozen[name] = _value(name, number) if equals else None
    return frozen


def _value(name: str, text: str) -> float:
    if name not in RANGES:
        hint = "; for one colour use --palette" if name == "color" else ""
        raise DiffbmpError(
            f"The parameter '{name}' cannot be locked at a value, only where it starts (freeze {name}){hint}; "
            f"those that can: {', '.join(sorted(RANGES))}."
        )
    smallest, largest = RANGES[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and smallest <= value <= largest):
        bounds = {"rotation": "radians", "scale": f"pixels, at least {MINIMUM_SCALE:g}", "opacity": "in [0, 1]"}[name]
        raise DiffbmpError(f"The parameter '{name}' is locked at a number ({bounds}), got '{text}'.")
    return value


def _logit(value: float) -> float:
    return math.log(value / (1 - value))
