"""The initializer interface: where stamps start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.plugins.plugin import Plugin
from diffbmp.stamps.constraints import Constraints
from diffbmp.stamps.sets import StampSet
from diffbmp.stamps.stamps import Stamps

__all__ = ["Initializer", "Start"]


@dataclass(frozen=True)
class Start:
    """What an initializer is given.

    Attributes:
        count: number N of stamps to place, at least 1.
        height: canvas height in pixels.
        width: canvas width in pixels.
        target: ``(3, H, W)`` straight colour in [0, 1], or None in a fit without a target.
        target_alpha: ``(1, H, W)`` in [0, 1], or None where the target is opaque or absent.
        atlas: the textures to choose from.
        generator: seeded; the only source of randomness.
        total: number of stamps that there will be in the end, where a refiner adds more; None where that is ``count``.
        background: ``(3,)`` or ``(3, H, W)`` RGB in [0, 1] behind the stamps, or None where it is transparent.
        color_blend: ``(T,)``, mu of stamps of each texture, or None where it is 0 for all.
        alpha_max: factor on every opacity.
        blend: "over" or "add".
        sets: the sets of stamps, with their shares of ``total``; empty where any texture will do.
        constraints: what will be locked once the stamps are placed, for an initializer that chooses with it in mind.
    """

    count: int
    height: int
    width: int
    target: Tensor | None
    target_alpha: Tensor | None
    atlas: Atlas
    generator: torch.Generator
    total: int | None = None
    background: Tensor | None = None
    color_blend: Tensor | None = None
    alpha_max: float = 1.0
    blend: str = "over"
    sets: Sequence[StampSet] = ()
    constraints: Constraints = field(default_factory=Constraints)


class Initializer(Plugin, ABC):
    """Base of every initializer."""

    family: ClassVar[str] = "initializers"

    whole: ClassVar[bool] = False
    """Whether all stamps are to be placed at once, whatever a refiner would rather add later."""

    @abstractmethod
    def __call__(self, start: Start) -> Stamps:
        """Return ``start.count`` stamps in painting order, on the atlas's device.

        Raises:
            DiffbmpError: where it cannot place them (no foreground, no target where one is needed).
        """

    def prescribed_count(self) -> int | None:
        """Return the number of stamps that this start is made for, or None where any number will do."""
        return None
