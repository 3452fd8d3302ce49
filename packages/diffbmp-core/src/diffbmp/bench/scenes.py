"""Standard scenes: seeded, so that every machine and every renderer draws the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.rendering.renderer import CompositeInputs

__all__ = ["STANDARD_SCENES", "BenchScene", "count_pairs"]

RADII = {"small": (2.0, 10.0), "mixed": (10.0, 64.0), "large": (48.0, 128.0), "paper": (2.0, 50.0)}
"""Half-extents in pixels, drawn uniformly. "paper" is the range that ``pydiffbmp`` was measured with."""


@dataclass(frozen=True)
class BenchScene:
    """N turned stamps on a square canvas.

    Attributes:
        count: number of stamps N.
        side: canvas side in pixels.
        radii: name of a range in ``RADII``.
        textures: number of textures in the atlas, alpha-only, 64 to 128 texels a side.
    """

    count: int
    side: int
    radii: str
    textures: int = 1

    @property
    def name(self) -> str:
        """``1k-512-mixed``, or ``1k-512-mixed-200t`` with two hundred textures."""
        thousands = f"{self.count // 1000}k" if self.count % 1000 == 0 else str(self.count)
        return f"{thousands}-{self.side}-{self.radii}" + (f"-{self.textures}t" if self.textures > 1 else "")

    def inputs(self, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> CompositeInputs:
        """Return the operator's inputs: one canvas, opacities of 0.1 to 0.5, tints of any colour."""
        random = torch.Generator().manual_seed(self.count * 1_000_003 + self.side)

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(*shape, generator=random, dtype=torch.float64)

        low, high = RADII[self.radii]
        radius, angle = uniform(low, high, self.count), uniform(0, 2 * math.pi, self.count)
        position = uniform(0, self.side, self.count, 2)
        across = torch.stack([angle.cos(), angle.sin()], dim=-1) * radius[:, None]
        down = torch.stack([-angle.sin(), angle.cos()], dim=-1) * radius[:, None]
        atlas = Atlas([_texture(k) for k in range(self.textures)]).to(device, dtype)
        values = {
            "frame": torch.stack([across, down, position], dim=-1),
            "opacity": uniform(0.1, 0.5, self.count),
            "color": uniform(0, 1, self.count, 3),
            "color_blend": torch.zeros(self.count, dtype=torch.float64),
        }
        flat = {name: value[None].to(device, dtype) for name, value in values.items()}
        texture = torch.arange(self.count, device=device)[None] % self.textures
        return CompositeInputs(
            **flat,
            texture=texture,
            texels=atlas.texels,
            levels=atlas.levels,
            textures=atlas.table,
            height=self.side,
            width=self.side,
            blend="over",
            filter="mipmap",
        )


STANDARD_SCENES = (
    BenchScene(1000, 512, "small"),
    BenchScene(1000, 512, "mixed"),
    BenchScene(1000, 512, "mixed", textures=200),
    BenchScene(1000, 512, "large"),
    BenchScene(1000, 512, "paper"),
    BenchScene(2000, 512, "paper"),
    BenchScene(4000, 1024, "mixed"),
    BenchScene(10_000, 2048, "mixed"),
    BenchScene(10_000, 2048, "mixed", textures=200),
    BenchScene(100_000, 4096, "small"),
    BenchScene(100_000, 4096, "mixed"),
)


def _texture(index: int) -> Texture:
    """Return a soft blob with grain: neither empty nor flat, different for each index."""
    random = np.random.default_rng(index)
    height, width = (int(v) for v in random.integers(64, 129, size=2))
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    alpha = np.clip((1 - radius) * 4, 0, 1) * random.uniform(0.4, 1.0, size=(height, width))
    return Texture(str(index), torch.from_numpy(alpha.astype(np.float32))[None])


def count_pairs(inputs: CompositeInputs) -> int:
    """Return the number of pairs: pixels whose centre lies inside a sprite's parallelogram, over all sprites.

    Each row of pixels is clipped against the two pairs of parallel edges, in closed form.
    """
    total = 0
    for frame in inputs.frame.double().cpu().numpy().reshape(-1, 2, 3):
        (a, b, x), (c, d, y) = frame
        determinant = a * d - b * c
        if abs(determinant) <= 1e-12:
            continue
        reach = abs(c) + abs(d)
        first, last = max(0, math.ceil(y - reach - 0.5)), min(inputs.height - 1, math.floor(y + reach - 0.5))
        if last < first:
            continue
        row = np.arange(first, last + 1) + 0.5 - y
        low = np.full(row.shape, 0.5 - x)
        high = np.full(row.shape, inputs.width - 0.5 - x)
        # |slope column + offset| <= 1 for u = (d dx - b dy) / det and v = (a dy - c dx) / det
        for slope, offset in ((d / determinant, -b * row / determinant), (-c / determinant, a * row / determinant)):
            if slope == 0:
                low = np.where(np.abs(offset) <= 1, low, np.inf)
                continue
            ends = np.stack([(-1 - offset) / slope, (1 - offset) / slope])
            low, high = np.maximum(low, ends.min(axis=0)), np.minimum(high, ends.max(axis=0))
        inside = high >= low
        columns = np.floor(high[inside] + x - 0.5) - np.ceil(low[inside] + x - 0.5) + 1
        total += int(columns.clip(min=0).sum())
    return total
