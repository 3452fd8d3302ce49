"""Sprites: what a renderer draws, and all that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Sprites"]


@dataclass(frozen=True)
class Sprites:
    """Textured parallelograms in painting order: index 0 first (the back), N-1 last (the front).

    Attributes:
        frame: ``(..., N, 2, 3)``, maps sprite coordinates (u, v, 1), u and v in [-1, 1], to canvas pixels.
        opacity: ``(..., N)``, in [0, 1].
        color: ``(..., N, 3)``, tint in [0, 1].
        texture: ``(N,)`` or ``(..., N)`` int64, index into the atlas.
        color_blend: ``(..., N)``, in [0, 1]: 0 paints with ``color``, 1 with the texture's own colour.
    """

    frame: Tensor
    opacity: Tensor
    color: Tensor
    texture: Tensor
    color_blend: Tensor

    def __len__(self) -> int:
        return self.frame.shape[-3]

    def scaled(self, factor: float) -> Sprites:
        """Return the sprites on a canvas ``factor`` times as large."""
        return replace(self, frame=self.frame * factor)

    @staticmethod
    def concatenate(parts: Sequence[Sprites]) -> Sprites:
        """Return the sprites of several parts, the first part at the back."""
        if len(parts) == 1:
            return parts[0]
        batch = torch.broadcast_shapes(*(part.frame.shape[:-3] for part in parts))  # type: ignore[no-untyped-call]

        def join(name: str, trailing: int) -> Tensor:
            values = [getattr(part, name) for part in parts]
            return torch.cat([v.expand(*batch, *v.shape[v.dim() - 1 - trailing :]) for v in values], dim=-1 - trailing)

        return Sprites(
            join("frame", 2), join("opacity", 0), join("color", 1), join("texture", 0), join("color_blend", 0)
        )
