"""What the groups of tests share: how the primitives that are tried are made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.start import start_fit
from diffbmp.plugins.registry import registry
from diffbmp.primitives.primitive import Primitive
from diffbmp.primitives.settings import PrimitiveSettings
from diffbmp.primitives.start import StartInputs
from diffbmp.rendering.canvas import Canvas
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings
from diffbmp.testing.primitives.comparing import blends_of, soft_picture
from diffbmp.testing.registering import registered
from diffbmp.testing.scenes import TEXTURE_SETS, random_atlas

__all__ = ["COUNT", "STEPS", "PrimitiveSuite"]

COUNT = 5
"""Instances of the primitives that are tried: odd, since the last few values of a tensor are computed differently."""

STEPS = 4
"""Steps of fits."""


class PrimitiveSuite:
    """A kind of primitive under test; see ``PrimitiveConformance`` for what a subclass may set."""

    primitive: ClassVar[str | type[Primitive]]
    """The class, or the name that it is registered under."""

    settings: ClassVar[Mapping[str, Any]] = {}
    """Values for the kind's settings model."""

    values: ClassVar[Mapping[str, float]] = {}
    """Values that ``set`` must take, by name of the learnable."""

    size: ClassVar[tuple[int, int]] = (20, 28)
    """Height and width of the canvas in pixels."""

    double_precision: ClassVar[bool] = True
    """Whether it can be drawn in float64, in which gradients are checked."""

    def make(self, count: int, seed: int, atlas: Atlas) -> Primitive:
        """Return ``count`` instances on one canvas, in float32; others for another seed."""
        return self.kind.start(self.start_inputs(count, seed, atlas), self.parsed_settings)

    @property
    def kind(self) -> type[Primitive]:
        """The class."""
        return registry().get("primitives", self.primitive) if isinstance(self.primitive, str) else self.primitive

    @property
    def parsed_settings(self) -> PrimitiveSettings:
        """``settings`` as the kind's model reads them."""
        return parse_settings(self.kind.Settings, self.settings, f"primitives.{self.kind.name}")

    def joint_atlas(self) -> tuple[Atlas, Tensor]:
        """Return an atlas with the kind's textures among others, and which of them are its own."""
        own = list(self.kind.textures(self.parsed_settings, {}))
        assert all(isinstance(texture, Texture) for texture in own), "textures must return diffbmp.Texture objects"
        others = random_atlas(TEXTURE_SETS["mixed"]).textures
        return Atlas([*others[:2], *own, *others[2:4]]), torch.arange(2, 2 + len(own))

    def start_inputs(self, count: int, seed: int, atlas: Atlas, **changes: Any) -> StartInputs:
        """Return what ``start`` is given, with a target of soft colours unless ``changes`` say otherwise."""
        _, textures = self.joint_atlas()
        height, width = self.size
        given: dict[str, Any] = {
            "target": soft_picture(self.size),
            "target_alpha": None,
            "generator": torch.Generator().manual_seed(seed),
            "textures": textures,
            "color_blend": self.parsed_settings.blends(atlas),
            "sets": self.parsed_settings.sets(atlas, textures, count),
        }
        return StartInputs(count=count, height=height, width=width, atlas=atlas, **{**given, **changes})

    def build(self, seed: int = 0, count: int = COUNT) -> tuple[Primitive, Atlas]:
        """Return a primitive with its settings and varied values, within their ranges, and its atlas."""
        atlas, _ = self.joint_atlas()
        primitive = self.make(count, seed, atlas)
        primitive.settings = self.parsed_settings
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for learnable in primitive.learnables().values():
                noise = torch.randn(learnable.parameter.shape, generator=random)
                extent = 1.0 if learnable.extent is None else learnable.extent
                learnable.parameter.add_(learnable.rate * noise * extent)
            primitive.constrain(None, 1.0)
        return primitive, atlas

    def canvas(self, atlas: Atlas, primitive: Primitive) -> Canvas:
        """Return a canvas that the primitive can be drawn on."""
        return Canvas(atlas, self.size, renderer="reference", blend=blends_of(primitive)[0])

    def fit(self, primitive: Primitive, atlas: Atlas) -> Fit:
        """Return a short fit of a copy of the primitive, before its first step."""
        height, width = self.size
        scene = Scene(width, height, atlas, [primitive], blend=blends_of(primitive)[0])
        target = soft_picture(self.size)
        if primitive.batch:
            target = torch.stack([target.roll(index, dims=-1) for index in range(primitive.batch[0])])
        return start_fit(target, scene=scene, refine=[], steps=STEPS, loss="mse")

    @contextlib.contextmanager
    def registered(self) -> Iterator[None]:
        """Register the class within the block, where it is not."""
        known = {entry.cls for entry in registry().entries("primitives")}
        with contextlib.nullcontext() if self.kind in known else registered(self.kind):
            yield
