"""The suite that every kind of primitive must pass, core's own and a stranger's alike."""

from __future__ import annotations

from diffbmp.testing.primitives.declarations import Declarations
from diffbmp.testing.primitives.fits import Fits
from diffbmp.testing.primitives.instances import Instances
from diffbmp.testing.primitives.painting import Painting
from diffbmp.testing.primitives.saving import Saving
from diffbmp.testing.primitives.values import Values

__all__ = ["PrimitiveConformance"]


class PrimitiveConformance(Declarations, Instances, Painting, Values, Saving, Fits):
    """Subclass it in a test module, and pytest runs the whole suite on your kind of primitive::

        import diffbmp
        import torch
        from diffbmp.testing import PrimitiveConformance
        from torch import nn


        class Dots(diffbmp.Primitive):
            \"\"\"Soft dots of one size and any colour.\"\"\"

            name = "dots"
            axes = {"position": -2, "color": -2, "texture": -1}

            class Settings(diffbmp.PrimitiveSettings):
                radius: float = 4.0

            def __init__(self, position, color, texture, radius):
                super().__init__()
                self.position, self.color = nn.Parameter(position.clone()), nn.Parameter(color.clone())
                self.register_buffer("texture", texture.clone())
                self.radius = radius

            def forward(self, atlas):
                square = self.radius * torch.eye(2).to(self.position).expand(*self.position.shape, 2)
                one = torch.ones_like(self.position[..., 0])
                frame = torch.cat([square, self.position[..., None]], dim=-1)
                return diffbmp.Sprites(frame, one, self.color, self.texture, 0 * one)

            def learnables(self):
                radius = torch.tensor(self.radius)
                return {
                    "position": diffbmp.Learnable(self.position, 0.1, radius),
                    "color": diffbmp.Learnable(self.color, 0.02),
                }

            def constrain(self, palette, progress):
                super().constrain(palette, progress)
                self.color.data.clamp_(0, 1)

            @classmethod
            def textures(cls, settings, loaders):
                across = torch.linspace(-1, 1, 16)
                return [diffbmp.Texture("dot", (1 - across[:, None] ** 2 - across**2).clamp(0, 1)[None])]

            @classmethod
            def start(cls, inputs, settings):
                place, color = torch.rand(2, inputs.count, 3, generator=inputs.generator).to(inputs.atlas.texels)
                position = place[:, :2] * torch.tensor([inputs.width, inputs.height]).to(place)
                return cls(position, color, inputs.usable[:1].expand(inputs.count).to(place.device), settings.radius)

            def metadata(self):
                return {"radius": self.radius}

            @classmethod
            def from_saved(cls, tensors, metadata, atlas):
                if set(tensors) != set(cls.axes) or set(metadata) != {"radius"}:
                    raise diffbmp.DiffbmpError("Saved dots hold position, color, texture and radius.")
                return cls(**tensors, **metadata)


        class TestDots(PrimitiveConformance):
            primitive = Dots
            settings = {"radius": 3.0}

    It tries what a fit, a scene file and an exporter rely on: declared axes, instances and their numbers, batches of
    canvases (the same bits as alone), learnables, gradients (``gradcheck`` in float64), ``set`` and ``constrain``,
    locks, saving, a resumed fit, the start, and layers of a primitive's own.

    The primitives that are tried come from ``start``, and are then varied at random. A kind without a start of its own
    overrides ``make``. A subclass may also set ``settings`` (values for the kind's settings model), ``values`` (values
    that ``set`` must take, by name of the learnable), ``size`` (of the canvas) and ``double_precision = False`` for a
    kind that cannot be drawn in float64, whose gradients are then not checked.
    """
