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
        instance: ``(N,)`` int64, the instance that each sprite is of, ascending from 0, since sprites of an instance
            lie next to each other; None where every sprite is an instance of its own.
    """

    frame: Tensor
    opacity: Tensor
    color: Tensor
    texture: Tensor
    color_blend: Tensor
    instance: Tensor | None = None

    def __len__(self) -> int:
        return self.frame.shape[-3]

    @property
    def batch(self) -> tuple[int, ...]:
        """Leading dimensions; empty for one canvas."""
        return tuple(self.frame.shape[:-3])

    @property
    def instances(self) -> Tensor:
        """``(N,)`` int64: the instance of each sprite."""
        if self.instance is not None:
            return self.instance
        return torch.arange(len(self), device=self.frame.device)

    def scaled(self, factor: float) -> Sprites:
        """Return the sprites on a canvas ``factor`` times as large."""
        return replace(self, frame=self.frame * factor)

    def canvas(self, index: int) -> Sprites:
        """Return those of one canvas of a batch ``(B, N)``."""
        texture = self.texture if self.texture.dim() == 1 else self.texture[index]
        return Sprites(
            self.frame[index], self.opacity[index], self.color[index], texture, self.color_blend[index], self.instance
        )

    @staticmethod
    def concatenate(groups: Sequence[Sprites], counts: Sequence[int] | None = None) -> Sprites:
        """Return the sprites of several primitives, the first at the back; their instances are counted on.

        Args:
            groups: the sprites of each.
            counts: how many instances each has, for those whose last instances give no sprites.
        """
        if len(groups) == 1:
            return groups[0]
        batch = torch.broadcast_shapes(*(group.frame.shape[:-3] for group in groups))  # type: ignore[no-untyped-call]

        def join(name: str, trailing: int) -> Tensor:
            values = [getattr(group, name) for group in groups]
            return torch.cat([v.expand(*batch, *v.shape[v.dim() - 1 - trailing :]) for v in values], dim=-1 - trailing)

        instance = None
        if any(group.instance is not None for group in groups):
            counted, total = [], 0
            for index, group in enumerate(groups):
                counted.append(group.instances + total)
                shown = int(group.instances[-1]) + 1 if len(group) else 0
                total += shown if counts is None else counts[index]
            instance = torch.cat(counted)
        return Sprites(
            join("frame", 2), join("opacity", 0), join("color", 1), join("texture", 0), join("color_blend", 0), instance
        )
