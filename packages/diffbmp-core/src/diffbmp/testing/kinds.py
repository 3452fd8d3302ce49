"""Small kinds of primitives besides stamps: one of several sprites an instance, one that draws a layer of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from diffbmp.atlas.atlas import Atlas
from diffbmp.primitives.primitive import Learnable, Primitive
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.composite import put_upon
from diffbmp.rendering.sprites import Sprites

__all__ = ["Ribbons", "SoftRectangles"]

QUADS = 6
"""Sprites of a ribbon."""


class Ribbons(Primitive):
    """Curves of six overlapping sprites each, of the atlas's first texture.

    Attributes:
        points: ``(..., N, 3, 2)`` start, control point and end of a quadratic Bezier curve, canvas pixels.
        width: ``(..., N)``, pixels.
        opacity: ``(..., N)`` of every sprite, in [0, 1].
        color: ``(..., N, 3)``, in [0, 1].
    """

    name = "ribbons"
    axes: ClassVar[Mapping[str, int | None]] = {"points": -3, "width": -1, "opacity": -1, "color": -2}

    def __init__(self, points: Tensor, width: Tensor, opacity: Tensor, color: Tensor) -> None:
        super().__init__()
        self.points, self.width = _parameter(points), _parameter(width)
        self.opacity, self.color = _parameter(opacity), _parameter(color)

    def forward(self, atlas: Atlas) -> Sprites:
        """Return sprites along the curves, each from one of seven places to the next and a little beyond."""
        t = torch.linspace(0, 1, QUADS + 1, dtype=self.points.dtype, device=self.points.device)[:, None]
        start, control, end = self.points[..., None, :].unbind(dim=-3)  # (..., N, 1, 2)
        place = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end  # (..., N, 7, 2)
        along = 0.65 * place.diff(dim=-2)
        normal = torch.stack([-along[..., 1], along[..., 0]], dim=-1)
        across = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-9) * (self.width / 2)[..., None, None]
        middle = (place[..., 1:, :] + place[..., :-1, :]) / 2
        frame = torch.stack([along, across, middle], dim=-1).flatten(-4, -3)
        opacity = self.opacity.repeat_interleave(QUADS, dim=-1)
        instance = torch.arange(len(self), device=frame.device).repeat_interleave(QUADS)
        return Sprites(
            frame, opacity, self.color.repeat_interleave(QUADS, dim=-2), torch.zeros_like(instance),
            torch.zeros_like(opacity), instance,
        )  # fmt: skip

    def learnables(self) -> Mapping[str, Learnable]:
        """Return points, width, opacity and color."""
        return {
            "points": Learnable(self.points, 1.0),
            "width": Learnable(self.width, 0.2),
            "opacity": Learnable(self.opacity, 0.02),
            "color": Learnable(self.color, 0.02),
        }

    @torch.no_grad()
    def constrain(self, palette: Tensor | None, progress: float) -> None:
        """Keep widths at a pixel or more, opacities and colours in range."""
        super().constrain(palette, progress)
        self.width.clamp_(min=1)
        self.opacity.clamp_(0.01, 1)
        self.color.clamp_(0, 1)

    def outline(self, index: int, atlas: Atlas) -> str:
        """Return the curve as a path."""
        values = [f"{value:.3f}" for value in self.points[index].flatten().tolist()]
        red, green, blue = (round(255 * value) for value in self.color[index].tolist())
        return (
            f'<path d="M{values[0]} {values[1]}Q{" ".join(values[2:])}" fill="none" stroke="rgb({red},{green},{blue})" '
            f'stroke-width="{float(self.width[index]):.3f}" stroke-opacity="{float(self.opacity[index]):.4f}"/>'
        )


class SoftRectangles(Primitive):
    """Upright rectangles whose rim fades over two pixels, drawn by plain PyTorch as a layer of their own.

    Attributes:
        center: ``(..., N, 2)``, canvas pixels.
        reach: ``(..., N, 2)`` half width and half height, canvas pixels.
        opacity: ``(..., N)``, in [0, 1].
        color: ``(..., N, 3)``, in [0, 1].
    """

    name = "soft-rectangles"
    axes: ClassVar[Mapping[str, int | None]] = {"center": -2, "reach": -2, "opacity": -1, "color": -2}

    def __init__(self, center: Tensor, reach: Tensor, opacity: Tensor, color: Tensor) -> None:
        super().__init__()
        self.center, self.reach = _parameter(center), _parameter(reach)
        self.opacity, self.color = _parameter(opacity), _parameter(color)

    def draw(self, canvas: Canvas) -> Tensor:
        """Lay the rectangles over each other, or add them up."""
        inside = []
        for axis, count in enumerate(reversed(canvas.size)):
            pixels = torch.arange(count, dtype=self.center.dtype, device=self.center.device) + 0.5
            place = pixels / canvas.scale[axis] + canvas.offset[axis]
            far = (place - self.center[..., axis, None]).abs()
            inside.append(((self.reach[..., axis, None] - far) / 2 + 0.5).clamp(0, 1))
        cover = inside[1][..., :, None] * inside[0][..., None, :]  # (..., N, h, w)
        alpha = canvas.alpha_max * self.opacity[..., None, None] * cover
        layers = torch.cat([alpha[..., None, :, :] * self.color[..., None, None], alpha[..., None, :, :]], dim=-3)
        picture = layers.new_zeros((*layers.shape[:-4], 4, *canvas.size))
        for layer in layers.unbind(dim=-4):
            picture = put_upon(layer, picture, canvas.blend)
        return picture

    def learnables(self) -> Mapping[str, Learnable]:
        """Return center, reach, opacity and color."""
        return {
            "center": Learnable(self.center, 0.5),
            "reach": Learnable(self.reach, 0.5),
            "opacity": Learnable(self.opacity, 0.02),
            "color": Learnable(self.color, 0.02),
        }

    @torch.no_grad()
    def constrain(self, palette: Tensor | None, progress: float) -> None:
        """Keep sides at two pixels or more, opacities and colours in range."""
        super().constrain(palette, progress)
        self.reach.clamp_(min=1)
        self.opacity.clamp_(0.01, 1)
        self.color.clamp_(0, 1)


def _parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format))
