"""The primitive: cubic Bezier curves, each painted with a row of textured quads."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

import diffbmp
from diffbmp_strokes.brush import brush_texture
from diffbmp_strokes.laying import lay, stroke_width

RANGES = {"width": (1.0, math.inf), "taper": (0.0, 1.0), "opacity": (0.0, 1.0), "color": (0.0, 1.0)}
"""What no step may leave. Values in their own units that are clamped need no logits, and a palette is met exactly."""

MOST_QUADS = 64


class Strokes(diffbmp.Primitive):
    """Brush strokes along cubic Bezier curves.

    Attributes:
        points: ``(..., N, 4, 2)`` control points (x, y), canvas pixels.
        width: ``(..., N)`` of the stroke in its middle, pixels.
        taper: ``(..., N)`` in [0, 1], by how much the width falls towards both ends.
        opacity: ``(..., N)`` in [0, 1].
        color: ``(..., N, 3)`` in [0, 1].
        brush: ``(N,)`` or ``(..., N)`` int64, the texture that paints a stroke, index into the atlas; not learned.
        quads: number K of quads that a stroke is painted with.
    """

    name = "strokes"
    axes: ClassVar = {"points": -3, "width": -1, "taper": -1, "opacity": -1, "color": -2, "brush": -1}

    class Settings(diffbmp.PrimitiveSettings):
        """Settings of strokes."""

        quads: int = Field(6, ge=1, le=MOST_QUADS)
        """Quads that a stroke is painted with."""
        length: float = Field(4.0, gt=0)
        """Length of a stroke at the start, in its widths."""
        coverage: float = Field(2.0, gt=0)
        """Area of all strokes at the start together, in canvases; it gives their width."""
        softness: float = Field(0.3, gt=0, le=1)
        """Part of the brush that is its soft rim."""

    def __init__(self, points, width, taper, opacity, color, brush, quads=6):
        super().__init__()
        shape = tuple(width.shape)
        parameters = {
            "points": (points, (*shape, 4, 2)),
            "width": (width, shape),
            "taper": (taper, shape),
            "opacity": (opacity, shape),
            "color": (color, (*shape, 3)),
        }
        for label, (value, expected) in parameters.items():
            if tuple(value.shape) != expected or value.dtype != width.dtype or not value.is_floating_point():
                raise diffbmp.DiffbmpError(
                    f"{label} of strokes must hold floats of shape {expected}, got {value.dtype} {tuple(value.shape)}."
                )
            # Contiguous, so that a fit that is resumed goes on with the same bits.
            self.register_parameter(label, nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format)))
        if tuple(brush.shape) not in {shape, shape[-1:]} or brush.dtype != torch.int64:
            raise diffbmp.DiffbmpError(f"brush of strokes must be int64 of shape {shape}, got {tuple(brush.shape)}.")
        self.register_buffer("brush", brush.detach().clone())
        self.quads = quads

    def forward(self, atlas):
        """Return K quads for each stroke, one after the other along the curve."""
        t = (torch.arange(self.quads).to(self.points) + 0.5) / self.quads
        center, tangent, half = self._curve(t)
        unit = _unit(tangent)
        along = tangent * (1.5 / self.quads) + unit * half[..., None]  # neighbours overlap by their width
        across = _turned(unit) * half[..., None]
        frame = torch.stack([along, across, center], dim=-1)  # (..., N, K, 2, 3)
        opacity = self._repeated(self.opacity)
        return diffbmp.Sprites(
            frame=frame.flatten(-4, -3),
            opacity=opacity,
            color=self.color[..., None, :].expand(*self.color.shape[:-1], self.quads, 3).flatten(-3, -2),
            texture=self._repeated(self.brush),
            color_blend=torch.zeros_like(opacity),
            instance=self._repeated(torch.arange(len(self), device=self.brush.device)),
        )

    def learnables(self):
        """Return what is learned; the control points and the width are measured by the width."""
        width = self.width.detach()
        return {
            "points": diffbmp.Learnable(self.points, 0.1, width[..., None, None]),
            "width": diffbmp.Learnable(self.width, 0.03, width),
            "taper": diffbmp.Learnable(self.taper, 0.02),
            "opacity": diffbmp.Learnable(self.opacity, 0.02),
            "color": diffbmp.Learnable(self.color, 0.02),
        }

    @torch.no_grad()
    def set(self, name, value):
        """Set width (pixels), taper or opacity of all strokes, in place."""
        if name not in RANGES or name == "color":
            super().set(name, value)  # says what is wrong
        low, high = RANGES[name]
        if not low <= value <= high or math.isinf(value):
            raise diffbmp.DiffbmpError(f"{name} of strokes must lie within {low:g} to {high:g}, got {value:g}.")
        getattr(self, name).fill_(value)

    @torch.no_grad()
    def constrain(self, palette, progress):
        """Bring values back into their ranges and, ever more strongly, colours to the palette."""
        for name, (low, high) in RANGES.items():
            getattr(self, name).clamp_(low, high)
        if palette is not None:
            palette = palette.to(self.color)
            distance = (self.color[..., None, :] - palette).square().sum(dim=-1)
            self.color.lerp_(palette[distance.argmin(dim=-1)], progress)

    @classmethod
    def textures(cls, settings, loaders):
        """Return the brush."""
        return [brush_texture(settings.softness)]

    @classmethod
    def start(cls, inputs, settings):
        """Lay strokes all over what there is to paint, along the structure of the target and in its colours."""
        density = torch.ones(inputs.height, inputs.width) if inputs.target_alpha is None else inputs.target_alpha[0]
        values = lay(
            inputs.count,
            density,
            inputs.target,
            size=(inputs.height, inputs.width),
            width=stroke_width(inputs.height * inputs.width, inputs.count, settings),
            length=settings.length,
            generator=inputs.generator,
        )
        texels = inputs.atlas.texels
        brush = inputs.usable[:1].expand(inputs.count).to(texels.device)
        return cls(**{name: value.to(texels) for name, value in values.items()}, brush=brush, quads=settings.quads)

    def names(self, atlas):
        """Return the name of each stroke."""
        return [diffbmp.InstanceName("stroke")] * len(self)

    @torch.no_grad()
    def outline(self, index, atlas):
        """Return a stroke as one filled path, which tapers as it does."""
        center, tangent, half = self._curve(torch.linspace(0, 1, 17).to(self.points))
        side = (_turned(_unit(tangent)) * half[..., None])[index]
        rim = torch.cat([center[index] - side, (center[index] + side).flip(0)])
        path = " L ".join(f"{x:.2f} {y:.2f}" for x, y in rim.tolist())
        red, green, blue = (self.color[index] * 255).round().int().tolist()
        return (
            f'<path d="M {path} Z" fill="#{red:02x}{green:02x}{blue:02x}" opacity="{float(self.opacity[index]):.3f}"/>'
        )

    def metadata(self):
        """Return what is saved besides the tensors."""
        return {"quads": self.quads}

    @classmethod
    def from_saved(cls, tensors, metadata, atlas):
        """Build strokes from a file, which may be a stranger's."""
        quads = metadata.get("quads")
        if set(tensors) != set(cls.axes) or set(metadata) != {"quads"}:
            raise diffbmp.DiffbmpError(f"Saved strokes hold {sorted(cls.axes)} and quads, and nothing else.")
        if type(quads) is not int or not 1 <= quads <= MOST_QUADS:
            raise diffbmp.DiffbmpError(f"Saved strokes have 1 to {MOST_QUADS} quads, got {quads!r:.40}.")
        strokes = cls(**tensors, quads=quads)
        if not bool(((strokes.brush >= 0) & (strokes.brush < len(atlas))).all()):
            raise diffbmp.DiffbmpError(f"Saved strokes use textures outside the atlas of {len(atlas)}.")
        return strokes

    def _curve(self, t):
        """Return points ``(..., N, K, 2)`` at ``t`` ``(K,)``, a third of the derivative there, and half the width."""
        t = t[:, None, None]
        points = self.points[..., None, :, :]  # (..., N, 1, 4, 2)
        for _ in range(2):  # De Casteljau's algorithm
            points = points[..., :-1, :] + t * points.diff(dim=-2)
        tangent = points.diff(dim=-2)[..., 0, :]
        t = t[:, 0, 0]
        half = self.width[..., None] / 2 * (1 - self.taper[..., None] * (2 * t - 1).abs())
        return points[..., 0, :] + t[:, None] * tangent, tangent, half

    def _repeated(self, value):
        """Return a value ``(..., N)`` of strokes for each of their quads, ``(..., N K)``."""
        return value[..., None].expand(*value.shape, self.quads).flatten(-2)


def _unit(vector):
    return vector / (vector.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()


def _turned(vector):
    return torch.stack([-vector[..., 1], vector[..., 0]], dim=-1)
