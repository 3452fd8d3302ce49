"""Stamps: N instances of the atlas's textures, with the paper's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.rendering.sprites import Sprites
from diffbmp.stamps.part import Part

__all__ = ["Stamps"]

MINIMUM_SCALE = 0.5
"""Smallest half-extent in pixels that an optimizer step may leave: a stamp one pixel across."""


class Stamps(Part):
    """Bitmaps placed by position, scale, rotation, opacity and colour (paper, section 3).

    Attributes:
        position: ``(..., N, 2)`` centre (x, y), canvas pixels.
        scale: ``(..., N)`` half of the stamp's longer side, pixels.
        rotation: ``(..., N)`` radians, clockwise on screen (y points down).
        opacity_logit: ``(..., N)``, opacity = sigmoid.
        color_logit: ``(..., N, 3)``, tint = sigmoid.
        texture: ``(N,)`` or ``(..., N)`` int64, index into the atlas.
        color_blend: ``(..., N)``, mu in [0, 1], not learned.
    """

    name = "stamps"

    position: nn.Parameter
    scale: nn.Parameter
    rotation: nn.Parameter
    opacity_logit: nn.Parameter
    color_logit: nn.Parameter
    texture: Tensor
    color_blend: Tensor

    def __init__(
        self,
        position: Tensor,
        scale: Tensor,
        rotation: Tensor,
        opacity_logit: Tensor,
        color_logit: Tensor,
        texture: Tensor,
        color_blend: Tensor | float = 0.0,
    ) -> None:
        """Take the start values (copied).

        Raises:
            DiffbmpError: where shapes or types do not agree or a value is NaN or infinite.
        """
        super().__init__()
        shape = tuple(scale.shape)
        if not shape:
            raise DiffbmpError("scale must have shape (..., N), got a single number.")
        if not isinstance(color_blend, Tensor):
            color_blend = torch.full_like(scale, color_blend)
        values = {
            "position": (position, (*shape, 2)),
            "scale": (scale, shape),
            "rotation": (rotation, shape),
            "opacity_logit": (opacity_logit, shape),
            "color_logit": (color_logit, (*shape, 3)),
        }
        for label, (value, expected) in {**values, "color_blend": (color_blend, shape)}.items():
            if tuple(value.shape) != expected:
                raise DiffbmpError(f"{label} must have shape {expected} like scale, got {tuple(value.shape)}.")
            if not bool(torch.isfinite(value).all()):
                raise DiffbmpError(f"{label} holds NaN or infinity.")
            if value.dtype != scale.dtype or not value.is_floating_point():
                raise DiffbmpError(
                    f"{label} must hold floats of one type like scale, got {value.dtype}, {scale.dtype}."
                )
        if texture.is_floating_point() or texture.is_complex() or texture.dtype == torch.bool:
            raise DiffbmpError(f"texture must hold integers, got {texture.dtype}.")
        if tuple(texture.shape) not in {shape, shape[-1:]}:
            raise DiffbmpError(
                f"texture must be integers of shape {shape[-1:]} or {shape}, got {tuple(texture.shape)}."
            )
        for label, (value, _) in values.items():
            # Contiguous, for a saved one will be, and a resumed fit must go on with the same bits.
            setattr(self, label, nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format)))
        self.register_buffer("texture", texture.detach().long().clone())
        self.register_buffer("color_blend", color_blend.detach().clone())

    def __len__(self) -> int:
        return self.scale.shape[-1]

    def forward(self, atlas: Atlas) -> Sprites:
        """Return a rotated, scaled frame for each stamp, the longer side of its texture spanning 2 ``scale``."""
        half = self.scale[..., None] * atlas.aspect[self.texture]  # (..., N, 2)
        cosine, sine = torch.cos(self.rotation), torch.sin(self.rotation)
        across = torch.stack([cosine, sine], dim=-1) * half[..., :1]
        down = torch.stack([-sine, cosine], dim=-1) * half[..., 1:]
        return Sprites(
            frame=torch.stack([across, down, self.position], dim=-1),
            opacity=torch.sigmoid(self.opacity_logit),
            color=torch.sigmoid(self.color_logit),
            texture=self.texture,
            color_blend=self.color_blend,
        )

    def rates(self) -> Mapping[str, Tensor]:
        """Return position, scale, rotation, opacity and color."""
        return {
            "position": self.position,
            "scale": self.scale,
            "rotation": self.rotation,
            "opacity": self.opacity_logit,
            "color": self.color_logit,
        }

    def lengths(self) -> Mapping[str, Tensor]:
        """Return the half-extents, which position and scale are measured by."""
        scale = self.scale.detach()
        return {"position": scale[..., None], "scale": scale}

    def joined(self, other: Stamps) -> Stamps:
        """Return these stamps with ``other`` in front of them."""
        axes = {"position": -2, "color_logit": -2}
        values, others = self.state_dict(), other.state_dict()
        return Stamps(**{name: torch.cat([values[name], others[name]], axes.get(name, -1)) for name in values})

    @torch.no_grad()
    def project(self) -> None:
        """Keep every stamp at least one pixel across."""
        self.scale.clamp_(min=MINIMUM_SCALE)

    @classmethod
    def from_saved(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], atlas: Atlas) -> Self:
        """Build the stamps from saved tensors; see ``Part.from_saved``."""
        names = ("position", "scale", "rotation", "opacity_logit", "color_logit", "texture", "color_blend")
        if set(tensors) != set(names):
            missing, extra = sorted(set(names) - set(tensors)), sorted(set(tensors) - set(names))
            raise DiffbmpError(f"Saved stamps lack {missing or 'nothing'} and have {extra or 'nothing'} too many.")
        if metadata:
            raise DiffbmpError(f"Saved stamps have unknown metadata: {sorted(metadata)}.")
        for label in names:
            if label != "texture" and tensors[label].dtype not in (torch.float32, torch.float64):
                raise DiffbmpError(f"Saved stamps: {label} must hold float32 or float64, got {tensors[label].dtype}.")
        stamps = cls(**tensors)
        texture = stamps.texture
        if texture.numel() and not (int(texture.min()) >= 0 and int(texture.max()) < len(atlas)):
            raise DiffbmpError(f"Saved stamps use textures outside the atlas of {len(atlas)}.")
        return stamps
