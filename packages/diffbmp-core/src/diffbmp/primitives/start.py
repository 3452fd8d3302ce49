"""What a start is given: the canvas, the target, the textures, and how many instances to place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.primitives.constraints import Constraints
from diffbmp.primitives.sets import TextureSet

__all__ = ["UNKNOWN_BACKGROUND", "StartInputs"]

UNKNOWN_BACKGROUND = 0.5
"""Grey that stands for a background whose colour is not known."""


@dataclass(frozen=True)
class StartInputs:
    """The inputs of an initializer, or of a primitive's own start.

    Attributes:
        count: number N of instances to place, at least 1.
        height: canvas height in pixels.
        width: canvas width in pixels.
        target: ``(3, H, W)`` straight colour in [0, 1], or None in a fit without a target.
        target_alpha: ``(1, H, W)`` in [0, 1], or None where the target is opaque or absent.
        atlas: the textures of all primitives.
        generator: seeded; the only source of randomness.
        total: number of instances that there will be in the end, where a refiner adds more; None where that is
            ``count``.
        textures: ``(K,)`` int64, which of the atlas's textures this primitive may use; None for all.
        background: ``(3,)`` or ``(3, H, W)`` RGB in [0, 1] behind everything, or None where it is transparent.
        layer: ``(4, H, W)`` premultiplied RGBA of the primitives behind this one, or None where there are none.
        color_blend: ``(T,)``, mu of instances of each texture, or None where it is 0 for all.
        alpha_max: factor on every opacity.
        blend: "over" or "add".
        sets: the sets of textures, with their shares of ``total``; empty where any texture will do.
        constraints: what will be locked once the instances are placed, for a start that chooses with it in mind.
    """

    count: int
    height: int
    width: int
    target: Tensor | None
    target_alpha: Tensor | None
    atlas: Atlas
    generator: torch.Generator
    total: int | None = None
    textures: Tensor | None = None
    background: Tensor | None = None
    layer: Tensor | None = None
    color_blend: Tensor | None = None
    alpha_max: float = 1.0
    blend: str = "over"
    sets: Sequence[TextureSet] = ()
    constraints: Constraints = field(default_factory=Constraints)

    @property
    def usable(self) -> Tensor:
        """``(K,)`` int64: the textures that may be used."""
        return torch.arange(len(self.atlas)) if self.textures is None else self.textures.cpu()
