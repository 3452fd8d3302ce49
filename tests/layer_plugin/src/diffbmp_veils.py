"""Soft rectangles for DiffBMP, drawn by a few lines of PyTorch: ``diffbmp fit photo.jpg --primitive veils``."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

import diffbmp

RANGES = {"half_size": (0.5, math.inf), "softness": (0.5, math.inf), "opacity": (0.0, 1.0), "color": (0.0, 1.0)}
"""What no step may leave."""


class Veils(diffbmp.Primitive):
    """Rectangles of one colour with soft edges, which no texture is needed for.

    Attributes:
        center: ``(..., N, 2)`` (x, y), canvas pixels.
        half_size: ``(..., N, 2)`` half width and half height, pixels.
        rotation: ``(..., N)`` radians, clockwise on screen (y points down).
        softness: ``(..., N)`` width of the soft edge, pixels.
        opacity: ``(..., N)`` in [0, 1].
        color: ``(..., N, 3)`` in [0, 1].
    """

    name = "veils"
    axes: ClassVar = {"center": -2, "half_size": -2, "rotation": -1, "softness": -1, "opacity": -1, "color": -2}

    class Settings(diffbmp.PrimitiveSettings):
        """Settings of veils."""

        opacity: float = Field(0.5, gt=0, le=1)
        """Opacity at the start."""

    def __init__(self, center, half_size, rotation, softness, opacity, color):
        super().__init__()
        shape = tuple(rotation.shape)
        parameters = {
            "center": (center, (*shape, 2)),
            "half_size": (half_size, (*shape, 2)),
            "rotation": (rotation, shape),
            "softness": (softness, shape),
            "opacity": (opacity, shape),
            "color": (color, (*shape, 3)),
        }
        for label, (value, expected) in parameters.items():
            if tuple(value.shape) != expected or value.dtype != rotation.dtype or not value.is_floating_point():
                raise diffbmp.DiffbmpError(
                    f"{label} of veils must hold floats of shape {expected}, got {value.dtype} {tuple(value.shape)}."
                )
            # Contiguous, so that a fit that is resumed goes on with the same bits.
            self.register_parameter(label, nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format)))

    def draw(self, canvas):
        """Return all veils upon each other, premultiplied RGBA ``(..., 4, h, w)``."""
        alpha = self._coverage(canvas) * (self.opacity * canvas.alpha_max)[..., None, None]  # (..., N, h, w)
        color = torch.zeros_like(alpha[..., :1, :, :])
        transmittance = torch.ones_like(color)
        for one, tint in zip(alpha.unbind(dim=-3), self.color.unbind(dim=-2), strict=True):
            one = one[..., None, :, :]
            behind = color if canvas.blend == "add" else (1 - one) * color
            color = one * tint[..., None, None] + behind
            transmittance = (1 - one) * transmittance
        return torch.cat([color, 1 - transmittance], dim=-3)

    def _coverage(self, canvas):
        """Return how much of each pixel each veil covers, ``(..., N, h, w)`` in [0, 1]."""
        height, width = canvas.size
        pixels = [(torch.arange(side).to(self.center) + 0.5) for side in (width, height)]
        x, y = (p / scale + offset for p, scale, offset in zip(pixels, canvas.scale, canvas.offset, strict=True))
        x = x - self.center[..., 0, None, None]  # (..., N, 1, w)
        y = y[:, None] - self.center[..., 1, None, None]  # (..., N, h, 1)
        cosine, sine = torch.cos(self.rotation)[..., None, None], torch.sin(self.rotation)[..., None, None]
        u, v = cosine * x + sine * y, cosine * y - sine * x
        softness = self.softness[..., None, None]
        across = _smooth((self.half_size[..., 0, None, None] - u.abs()) / softness + 0.5)
        down = _smooth((self.half_size[..., 1, None, None] - v.abs()) / softness + 0.5)
        return across * down

    def learnables(self):
        """Return what is learned; lengths are measured by the veil's own size."""
        size = self.half_size.detach()
        return {
            "center": diffbmp.Learnable(self.center, 0.1, size),
            "half_size": diffbmp.Learnable(self.half_size, 0.05, size),
            "rotation": diffbmp.Learnable(self.rotation, 0.03),
            "softness": diffbmp.Learnable(self.softness, 0.05, self.softness.detach()),
            "opacity": diffbmp.Learnable(self.opacity, 0.02),
            "color": diffbmp.Learnable(self.color, 0.02),
        }

    @torch.no_grad()
    def set(self, name, value):
        """Set rotation (radians), softness (pixels) or opacity of all veils, in place."""
        if name not in ("rotation", "softness", "opacity"):
            super().set(name, value)  # says what is wrong
        low, high = RANGES.get(name, (-math.inf, math.inf))
        if not low <= value <= high or math.isinf(value):
            raise diffbmp.DiffbmpError(f"{name} of veils must lie within {low:g} to {high:g}, got {value:g}.")
        getattr(self, name).fill_(value)

    @torch.no_grad()
    def constrain(self, palette, progress):
        """Bring values back into their ranges; a palette is refused."""
        super().constrain(palette, progress)
        for name, (low, high) in RANGES.items():
            getattr(self, name).clamp_(low, high)

    @classmethod
    def start(cls, inputs, settings):
        """Spread veils at random, in the colours that the target has there."""

        def random(*shape):
            return torch.rand(inputs.count, *shape, generator=inputs.generator, dtype=torch.float64)

        center = random(2) * torch.tensor([inputs.width, inputs.height])
        color = random(3)
        if inputs.target is not None:
            column, row = center.long().unbind(dim=-1)
            color = inputs.target.cpu()[:, row, column].T
        spacing = math.sqrt(inputs.height * inputs.width / inputs.count)
        values = {
            "center": center,
            "half_size": spacing * (0.4 + 0.6 * random(2)),
            "rotation": math.pi * random(),
            "softness": torch.full((inputs.count,), spacing / 4),
            "opacity": torch.full((inputs.count,), settings.opacity),
            "color": color,
        }
        return cls(**{name: value.to(inputs.atlas.texels) for name, value in values.items()})

    def names(self, atlas):
        """Return the name of each veil."""
        return [diffbmp.InstanceName("veil")] * len(self)


def _smooth(t):
    """Return a step from 0 to 1 within [0, 1], whose derivative has no jump."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


@diffbmp.hookimpl
def register_primitives(register):
    register(Veils)
