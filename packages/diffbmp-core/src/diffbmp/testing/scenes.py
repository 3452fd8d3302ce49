"""Seeded random scenes that a renderer must draw like ``reference``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.rendering.renderer import BLENDS, FILTERS, CompositeInputs
from diffbmp.testing.kinks import level_margin

__all__ = ["SCENES", "TEXTURE_SETS", "ConformanceScene", "random_atlas", "random_inputs"]

TextureSizes = Sequence[tuple[int, int, int]]

TEXTURE_SETS: dict[str, TextureSizes] = {
    "mixed": [(1, 8, 8), (4, 16, 11), (1, 1, 1), (4, 5, 7), (1, 33, 20), (4, 1, 1), (1, 1, 9)],
    "alpha": [(1, 16, 16)],
    "rgba": [(4, 13, 16)],
    "one_texel": [(1, 1, 1), (4, 1, 1)],
    "large": [(1, 128, 96), (4, 70, 90)],
    "solid": [(0, 6, 6), (0, 1, 1), (1, 9, 9)],
    "cut_out": [(1, 40, 40), (4, 40, 36)],
}
"""Channels, height and width of each texture; 0 channels stand for an alpha of 1 throughout, and those of "cut_out" are
clear outside of the ellipse that they enclose."""


def random_atlas(sizes: TextureSizes, seed: int = 0, dtype: torch.dtype = torch.float32) -> Atlas:
    """Return textures of noise, sized as in ``TEXTURE_SETS``: what is most sensitive to being sampled wrongly."""
    random = torch.Generator().manual_seed(seed)
    textures = []
    for number, (channels, height, width) in enumerate(sizes):
        noise = torch.rand(max(1, channels), height, width, generator=random, dtype=torch.float64)
        pixels = torch.ones_like(noise) if channels == 0 else noise
        if sizes is TEXTURE_SETS["cut_out"]:
            y, x = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in (height, width))
            pixels = pixels * (y[:, None] ** 2 + x**2 < 0.5)
        textures.append(Texture(f"noise-{number}", pixels.to(dtype)))
    return Atlas(textures)


def random_inputs(
    seed: int,
    *,
    count: int = 24,
    size: tuple[int, int] = (40, 48),
    batch: int = 1,
    radius: tuple[float, float] = (3.0, 14.0),
    stretch: float = 1.0,
    shear: float = 0.0,
    aspect: bool = False,
    margin: float = 0.0,
    opacity: tuple[float, float] = (0.05, 0.95),
    color_blend: float | None = None,
    textures: str = "mixed",
    blend: str = "over",
    filter: str = "mipmap",
) -> CompositeInputs:
    """Return B canvases of randomly turned sprites, in float32 on the CPU.

    No sprite's level of detail is close to where its filter switches level, since float32 may fall on either side.

    Args:
        seed: of everything random.
        count: number of sprites N.
        size: canvas height and width in pixels.
        batch: number of canvases B.
        radius: range of half-extents in pixels, drawn evenly over the logarithm.
        stretch: largest ratio of a sprite's two axes.
        shear: largest shear, over the half-extent.
        aspect: whether sprites have the proportions of their textures, as stamps have; else they are square.
        margin: how far outside the canvas centres may lie, over its sides.
        opacity: range of opacities.
        color_blend: mu of all sprites, or None for a random one each.
        textures: a name in ``TEXTURE_SETS``.
        blend: "over" or "add".
        filter: texture filter.
    """
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, count, *shape, generator=random, dtype=torch.float64)

    atlas = random_atlas(TEXTURE_SETS[textures], seed)
    extent = torch.exp(uniform(math.log(radius[0]), math.log(radius[1])))
    ratio = torch.exp(uniform(-1, 1) * math.log(stretch) / 2)
    across = torch.stack([extent * ratio, torch.zeros_like(extent)], dim=-1)
    down = torch.stack([uniform(-1, 1) * shear * extent, extent / ratio], dim=-1)
    angle = uniform(0, 2 * math.pi)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).unflatten(-1, (2, 2))  # type: ignore[no-untyped-call]
    linear = turn @ torch.stack([across, down], dim=-1)
    canvas = torch.tensor([size[1], size[0]], dtype=torch.float64)
    position = uniform(-margin, 1 + margin, 2) * canvas
    mu = uniform(0, 1)
    inputs = CompositeInputs(
        frame=torch.cat([linear, position[..., None]], dim=-1).float(),
        opacity=uniform(*opacity).float(),
        color=uniform(0, 1, 3).float(),
        color_blend=(mu if color_blend is None else torch.full_like(mu, color_blend)).float(),
        texture=torch.randint(len(atlas), (batch, count), generator=random),
        texels=atlas.texels,
        levels=atlas.levels,
        textures=atlas.table,
        height=size[0],
        width=size[1],
        blend=blend,
        filter=filter,
    )
    if aspect:
        inputs.frame[..., :2] *= atlas.aspect[inputs.texture][..., None, :]
    while count and bool((close := level_margin(inputs) < LEVEL_MARGIN).any()):
        grown = torch.where(close[..., None, None], inputs.frame[..., :2] * 1.01, inputs.frame[..., :2])
        inputs = dataclasses.replace(inputs, frame=torch.cat([grown, inputs.frame[..., 2:]], dim=-1))
    return inputs


LEVEL_MARGIN = 1e-3
"""Least distance of a sprite's level of detail from a switch, in levels."""


@dataclass(frozen=True)
class ConformanceScene:
    """A scene by name.

    Attributes:
        name: what it tries.
        make: returns the inputs for a ``blend`` and a ``filter``, in float32 on the CPU; the same at every call.
        blend: the blend mode.
        filter: the filter.
        of_blend: whether it tries this blend mode; else any other does as well.
        of_filter: whether it tries this filter; else any other does as well.
    """

    name: str
    make: Callable[..., CompositeInputs]
    blend: str = "over"
    filter: str = "mipmap"
    of_blend: bool = False
    of_filter: bool = False

    def __str__(self) -> str:
        return self.name

    def build(self) -> CompositeInputs:
        """Return the inputs, in float32 on the CPU."""
        return self.make(blend=self.blend, filter=self.filter)

    def drawn_with(self, blends: Sequence[str], filters: Sequence[str]) -> ConformanceScene | None:
        """Return the scene with a blend mode and a filter out of these; None where it tries another one."""
        if (self.of_blend and self.blend not in blends) or (self.of_filter and self.filter not in filters):
            return None
        blend = self.blend if self.blend in blends else blends[0]
        return replace(self, blend=blend, filter=self.filter if self.filter in filters else filters[0])


def _opaque(**options: str) -> CompositeInputs:
    """Sprites of alpha exactly 1 between translucent ones."""
    inputs = random_inputs(11, textures="solid", radius=(4, 12), **options)  # type: ignore[arg-type]
    inputs.opacity[:, ::2] = 1.0
    return inputs


def _degenerate(**options: str) -> CompositeInputs:
    """Frames without area, in every way, between ordinary ones."""
    inputs = random_inputs(12, count=30, **options)  # type: ignore[arg-type]
    frame = inputs.frame
    frame[:, 3, :, 0] = 0.0
    frame[:, 7, :, 1] = 0.0
    frame[:, 11, :, :2] = 0.0
    frame[:, 15, :, 1] = frame[:, 15, :, 0]
    frame[:, 19, :, 1] = -2 * frame[:, 19, :, 0]
    frame[:, 23, 0, :2] = 0.0
    frame[:, 27] = 0.0
    return inputs


def _scenes() -> list[ConformanceScene]:
    def scene(name: str, seed: int, **options: Any) -> ConformanceScene:
        tried = {key: options.pop(key) for key in ("blend", "filter") if key in options}
        make = partial(random_inputs, seed, **options)
        return ConformanceScene(name, make, **tried, of_blend="blend" in tried, of_filter="filter" in tried)

    general = [
        scene(f"{blend}-{filter}", 1 + number, blend=blend, filter=filter, stretch=2.0, shear=0.5, margin=0.1)
        for number, (blend, filter) in enumerate((b, f) for b in BLENDS for f in FILTERS)
    ]
    return [
        *general,
        scene("round-trilinear", 20, filter="trilinear", textures="large", radius=(1.2, 20), aspect=True),
        scene("one-texture", 21, textures="alpha"),
        scene("rgba", 22, textures="rgba"),
        scene("color-blend-0", 23, textures="rgba", color_blend=0.0),
        scene("color-blend-1", 24, textures="rgba", color_blend=1.0),
        scene("cut-out", 44, textures="cut_out", shear=0.5),
        scene("one-texel-textures", 25, textures="one_texel"),
        scene("stretched", 26, stretch=40.0, radius=(4, 10)),
        scene("sheared", 27, shear=5.0),
        scene("minified", 28, textures="large", radius=(1, 8)),
        scene("minified-trilinear", 29, textures="large", radius=(1, 8), stretch=3.0, filter="trilinear"),
        scene("minified-bilinear", 30, textures="large", radius=(3, 12), filter="bilinear"),
        scene("magnified", 31, radius=(60, 200), margin=1.0),
        scene("tiny", 32, count=120, radius=(0.02, 0.8)),
        scene("huge", 33, radius=(500, 5000), margin=20.0),
        scene("off-canvas", 34, count=60, margin=1.5, radius=(3, 30)),
        ConformanceScene("opaque", _opaque),
        ConformanceScene("degenerate", _degenerate),
        scene("deep", 35, count=1050, size=(9, 11), radius=(20, 60), opacity=(0.0005, 0.003)),
        scene("deep-add", 36, count=1050, size=(9, 11), radius=(20, 60), opacity=(0.0005, 0.003), blend="add"),
        scene("deep-hidden", 37, count=1050, size=(9, 11), radius=(20, 60)),
        scene("batch", 38, batch=3, count=16),
        scene("no-sprites", 39, count=0),
        scene("no-sprites-batch", 40, count=0, batch=2),
        scene("one-pixel", 41, size=(1, 1), radius=(0.5, 3)),
        scene("wide", 42, size=(1, 1536), radius=(4, 60), count=40),
        scene("tall", 43, size=(1536, 1), radius=(4, 60), count=40),
    ]


SCENES: tuple[ConformanceScene, ...] = tuple(_scenes())
"""Every scene of the conformance suite."""
