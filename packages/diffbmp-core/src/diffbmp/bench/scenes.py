"""Standard scenes: seeded, so that every machine and every renderer draws the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import unknown_name
from diffbmp.rendering.renderer import CompositeInputs

__all__ = ["RADII", "STANDARD_SCENES", "BenchScene", "count_pairs", "estimated_pairs", "find_scene"]

Float64 = npt.NDArray[np.float64]


RADII = {"small": (2.0, 10.0), "mixed": (10.0, 64.0), "large": (48.0, 128.0), "paper": (2.0, 50.0)}
"""Half-extents in pixels, drawn uniformly. "paper" is the range that ``pydiffbmp`` was measured with."""


@dataclass(frozen=True)
class BenchScene:
    """N turned stamps on a square canvas.

    Attributes:
        count: number of stamps N.
        side: canvas side in pixels.
        radii: name of a range in ``RADII``.
        textures: number of textures in the atlas, alpha-only: the first 128 texels a side, the others 64 to 128.
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

    def grad_image(self) -> Tensor:
        """Return the gradient ``(1, 4, side, side)`` of the picture that a backward pass starts from, in [0, 1)."""
        return torch.rand((1, 4, self.side, self.side), generator=torch.Generator().manual_seed(0))


STANDARD_SCENES = (
    BenchScene(100, 256, "mixed"),
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
    height, width = (int(v) for v in random.integers(64, 129, size=2)) if index else (128, 128)
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    alpha = np.clip((1 - radius) * 4, 0, 1) * random.uniform(0.4, 1.0, size=(height, width))
    return Texture(str(index), torch.from_numpy(alpha.astype(np.float32))[None])


def find_scene(name: str) -> BenchScene:
    """Return a standard scene by name.

    Raises:
        DiffbmpError: for an unknown name, with the nearest known one.
    """
    known = {scene.name: scene for scene in STANDARD_SCENES}
    if name not in known:
        raise unknown_name("scene", name, known)
    return known[name]


def estimated_pairs(scene: BenchScene) -> float:
    """Return about how many pairs a scene has: the area of all stamps, as if none hung over the canvas's edge."""
    low, high = RADII[scene.radii]
    return scene.count * 4 * (low**2 + low * high + high**2) / 3


def count_pairs(inputs: CompositeInputs) -> int:
    """Return the number of pairs: pixels whose centre lies inside a sprite's parallelogram, over all sprites.

    A renderer touches a little more, for a texture's border fades to zero over half a texel outside of the
    parallelogram.
    """
    frames = inputs.frame.double().cpu().numpy().reshape(-1, 2, 3)
    blocks = range(0, len(frames), BLOCK)
    return sum(_count_block(frames[first : first + BLOCK], inputs.height, inputs.width) for first in blocks)


BLOCK = 4096
"""Sprites that are counted at once, which bounds the memory of counting."""


def _count_block(frames: Float64, height: int, width: int) -> int:
    """Clip each row of pixels that a sprite may cross against its two pairs of parallel edges, in closed form."""
    a, b, x, c, d, y = frames.reshape(-1, 6).T
    determinant = a * d - b * c
    reach = np.abs(c) + np.abs(d)
    top = np.clip(np.ceil(y - reach - 0.5), 0, height)
    bottom = np.clip(np.floor(y + reach - 0.5), -1, height - 1)
    rows = np.where(np.abs(determinant) > 1e-12, np.maximum(bottom - top + 1, 0), 0).astype(np.int64)

    sprite = np.repeat(np.arange(len(frames)), rows)
    nth = np.arange(len(sprite)) - np.repeat(np.cumsum(rows) - rows, rows)
    a, b, c, d, determinant, x, y, top = (value[sprite] for value in (a, b, c, d, determinant, x, y, top))
    down = top + nth + 0.5 - y
    low, high = 0.5 - x, width - 0.5 - x
    # u = (d across - b down) / det and v = (a down - c across) / det must both lie in [-1, 1]
    for slope, offset in ((d / determinant, -b * down / determinant), (-c / determinant, a * down / determinant)):
        level = slope == 0
        steep = np.where(level, 1, slope)
        ends = np.stack([(-1 - offset) / steep, (1 - offset) / steep])
        outside = level & (np.abs(offset) > 1)
        low = np.maximum(low, np.where(level, np.where(outside, np.inf, -np.inf), ends.min(axis=0)))
        high = np.minimum(high, np.where(level, np.inf, ends.max(axis=0)))
    crossed = high >= low
    columns = np.floor(high[crossed] + x[crossed] - 0.5) - np.ceil(low[crossed] + x[crossed] - 0.5) + 1
    return int(columns.clip(min=0).sum())
