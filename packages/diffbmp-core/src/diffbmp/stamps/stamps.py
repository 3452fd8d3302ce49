"""Stamps: N instances of the atlas's textures, with the paper's parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.loaders.sources import load_textures
from diffbmp.primitives.constraints import parse_frozen
from diffbmp.primitives.instances import joined
from diffbmp.primitives.palette import nearest_color
from diffbmp.primitives.primitive import InstanceName, Learnable, Primitive
from diffbmp.primitives.settings import BitmapSettings
from diffbmp.rendering.sprites import Sprites

__all__ = ["COLOR_MARGIN", "LOGIT_MARGIN", "MINIMUM_SCALE", "Stamps"]

MINIMUM_SCALE = 0.5
"""Smallest half-extent in pixels that an optimizer step may leave: a stamp one pixel across."""
COLOR_MARGIN = 1 / 510
"""Start colours keep this distance from 0 and 1, half a step of 8 bits, so that their logits stay finite."""
LOGIT_MARGIN = 1e-4
"""Opacities that are set, and colours of a palette, keep this distance from 0 and 1, so that their logits stay finite:
less than a tenth of a step of 8 bits."""
HARD_FROM = 0.3
"""Part of the steps after which colours are those of the palette, having been pulled to it ever more strongly."""

LEARNED = ("position", "scale", "rotation", "opacity", "color")
RANGES = {
    "rotation": (-math.inf, math.inf, "radians"),
    "scale": (MINIMUM_SCALE, math.inf, f"pixels, at least {MINIMUM_SCALE:g}"),
    "opacity": (0.0, 1.0, "in [0, 1]"),
}
"""Parameters that can be set to one value, its range, and how that is said."""


class Stamps(Primitive):
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
    axes: ClassVar[Mapping[str, int | None]] = {
        "position": -2, "scale": -1, "rotation": -1, "opacity_logit": -1, "color_logit": -2, "texture": -1,
        "color_blend": -1,
    }  # fmt: skip

    class Settings(BitmapSettings):
        """Settings of stamps."""

        initializer: str = Field("greedy", description="Where stamps start.")

        @field_validator("freeze")
        @classmethod
        def _check_frozen(cls, value: list[str]) -> list[str]:
            for text in value:
                name, equals, _ = text.partition("=")
                if equals and name.strip() in LEARNED:
                    _check_settable(name.strip())
            for name, fixed in parse_frozen(value, {name: said for name, (_, _, said) in RANGES.items()}).items():
                if name not in LEARNED:
                    raise unknown_name("parameter to freeze", name, LEARNED)
                if fixed is not None:
                    _check_value(name, fixed)
            return value

    settings: Settings

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
            opacity=_sigmoid(self.opacity_logit, 1),
            color=_sigmoid(self.color_logit, 2),
            texture=self.texture,
            color_blend=self.color_blend,
        )

    def learnables(self) -> Mapping[str, Learnable]:
        """Return position, scale, rotation, opacity and color; the first two are measured by the stamp's size."""
        extent = self.scale.detach()
        return {
            "position": Learnable(self.position, 0.1, extent[..., None]),
            "scale": Learnable(self.scale, 0.1, extent),
            "rotation": Learnable(self.rotation, 0.1),
            "opacity": Learnable(self.opacity_logit, 0.1),
            "color": Learnable(self.color_logit, 0.1),
        }

    @torch.no_grad()
    def set(self, name: str, value: float) -> None:
        """Set rotation (radians), scale (pixels) or opacity (in [0, 1]) of all stamps, in place."""
        if name not in LEARNED:
            raise unknown_name("parameter to freeze", name, LEARNED)
        _check_value(name, value)
        if name == "opacity":
            kept = min(max(value, LOGIT_MARGIN), 1 - LOGIT_MARGIN)
            self.opacity_logit.fill_(math.log(kept / (1 - kept)))
        else:
            getattr(self, name).fill_(value)

    @torch.no_grad()
    def constrain(self, palette: Tensor | None, progress: float) -> None:
        """Keep every stamp at least one pixel across, and bring colours nearer to their nearest of the palette.

        From 30 % of the steps on colours are those of the palette; before, they go a part of the way that grows as the
        square.
        """
        self.scale.clamp_(min=MINIMUM_SCALE)
        if palette is not None:
            strength = min(1.0, progress / HARD_FROM) ** 2
            color = _sigmoid(self.color_logit, 2)
            canvases = color.view(math.prod(color.shape[:-2]), *color.shape[-2:])  # one by one, as in _sigmoid
            near = [nearest_color(canvas, palette) for canvas in canvases]
            kept = torch.lerp(color, torch.stack(near).view(color.shape), strength)
            self.color_logit.copy_(torch.logit(kept, eps=LOGIT_MARGIN))

    def joined(self, other: Stamps) -> Stamps:
        """Return these stamps with ``other`` in front of them."""
        return joined(self, other)

    @classmethod
    def textures(cls, settings: Any, loaders: Mapping[str, Mapping[str, Any]]) -> Sequence[Texture]:
        """Return the textures of the sources that the settings name."""
        if not settings.stamps:
            raise DiffbmpError("A fit needs stamps: give a file, a folder, a glob, text:WORDS or shape:NAME.")
        return load_textures(settings.stamps, loaders)

    def names(self, atlas: Atlas) -> list[InstanceName]:
        """Return the names of texture and set of each stamp."""
        labels = [InstanceName(texture.name, texture.set) for texture in atlas.textures]
        return [labels[index] for index in self.texture.tolist()]

    @classmethod
    def from_saved(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], atlas: Atlas) -> Self:
        """Build the stamps from saved tensors; see ``Primitive.from_saved``."""
        for label in set(cls.axes) & set(tensors) - {"texture"}:
            if tensors[label].dtype not in (torch.float32, torch.float64):
                raise DiffbmpError(f"Saved stamps: {label} must hold float32 or float64, got {tensors[label].dtype}.")
        stamps = super().from_saved(tensors, metadata, atlas)
        texture = stamps.texture
        if texture.numel() and not (int(texture.min()) >= 0 and int(texture.max()) < len(atlas)):
            raise DiffbmpError(f"Saved stamps use textures outside the atlas of {len(atlas)}.")
        return stamps


def _sigmoid(logit: Tensor, trailing: int) -> Tensor:
    """Return the sigmoid, canvas by canvas where ``logit`` has more than ``trailing`` dimensions.

    PyTorch's vectorised loop computes the last few values of a tensor by another formula, so that a canvas would have
    other bits in a batch than alone.
    """
    if logit.dim() == trailing:
        return torch.sigmoid(logit)
    canvases = logit.flatten(0, logit.dim() - 1 - trailing).unbind()
    return torch.stack([torch.sigmoid(canvas) for canvas in canvases]).view(logit.shape)


def _check_settable(name: str) -> None:
    if name not in RANGES:
        hint = "; for one colour use --palette" if name == "color" else ""
        raise DiffbmpError(
            f"The parameter '{name}' cannot be locked at a value, only where it starts (freeze {name}){hint}; "
            f"those that can: {', '.join(sorted(RANGES))}."
        )


def _check_value(name: str, value: float) -> None:
    _check_settable(name)
    smallest, largest, said = RANGES[name]
    if not (math.isfinite(value) and smallest <= value <= largest):
        raise DiffbmpError(f"The parameter '{name}' is locked at a number ({said}), got '{value:g}'.")
