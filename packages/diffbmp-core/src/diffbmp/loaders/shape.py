"""Built-in shapes as stamps, drawn from formulas."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from diffbmp.atlas.atlas import Texture
from diffbmp.errors import unknown_name
from diffbmp.loaders.loader import Loader
from diffbmp.settings import Settings as SettingsModel

__all__ = ["SHAPES", "ShapeLoader"]

Alpha = NDArray[np.float64]


class ShapeLoader(Loader):
    """Built-in alpha-only shape: ``shape:disc``, square, ring, star, brush or gaussian.

    Edges are smoothed over one texel. ``gaussian`` is the exact bell, whose standard deviation is a quarter
    of the stamp's half side; ``brush`` is a dry brush stroke from left to right, three times as long as wide,
    the same on every machine.
    """

    name = "shape"

    class Settings(SettingsModel):
        """Settings of the shape loader."""

        size: int = Field(128, ge=4, le=2048)
        """Longest side in texels; the ragged ends of ``brush`` make it a little shorter."""

    settings: Settings

    def load(self, source: str) -> list[Texture]:
        """Return the shape named ``source``; see ``Loader.load``."""
        if source not in SHAPES:
            raise unknown_name("shape", source, SHAPES)
        alpha = SHAPES[source](self.settings.size)
        rows, columns = (np.flatnonzero(alpha.any(axis=axis)) for axis in (1, 0))
        alpha = alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return [Texture(source, torch.from_numpy(alpha.astype(np.float32))[None])]


def disc(size: int) -> Alpha:
    """Return a disc that touches the four sides."""
    x, y = texel_centres(size, size)
    return covered(np.hypot(x, y) - size / 2)


def square(size: int) -> Alpha:
    """Return a square, opaque throughout."""
    return np.ones((size, size))


def ring(size: int) -> Alpha:
    """Return a ring whose band is a quarter of the radius wide."""
    x, y = texel_centres(size, size)
    band = size / 8
    return covered(np.abs(np.hypot(x, y) - (size - band) / 2) - band / 2)


def star(size: int) -> Alpha:
    """Return a regular five-pointed star (pentagram), one point up, ``size`` texels wide."""
    fifth = 2 * math.pi / 5
    radius = size / (2 * math.sin(fifth))
    inner = radius * math.cos(fifth) / math.cos(fifth / 2)
    height = round(radius * (1 + math.cos(fifth / 2)))
    x, y = texel_centres(height, size)
    y = y + height / 2 - radius  # the centre of the points, measured from their top
    corners = [
        (r * math.sin(k * fifth / 2), -r * math.cos(k * fifth / 2))
        for k in range(10)
        for r in [inner if k % 2 else radius]
    ]
    return covered(polygon_distance(x, y, corners))


def gaussian(size: int) -> Alpha:
    """Return exp(-r^2 / 2 sigma^2) at the texel centres, sigma an eighth of the side (3e-4 at the sides)."""
    x, y = texel_centres(size, size)
    return np.exp(-(x**2 + y**2) / (2 * (size / 8) ** 2))


def brush(size: int) -> Alpha:
    """Return a dry brush stroke: bristles that start and lift unevenly and run out of paint."""
    noise = random.Random(7)  # the Mersenne twister gives the same numbers in every version of Python
    height = max(2, round(size / 3))
    x, y = texel_centres(height, size)
    along, across = x / size + 0.5, y / height + 0.5  # in [0, 1], left to right and top to bottom

    def octaves(u: Alpha, v: Alpha, cells: tuple[tuple[int, int, float], ...]) -> Alpha:
        return sum(
            (weight * value_noise(u, v, columns, rows, noise) for columns, rows, weight in cells),
            np.zeros(()),
        )

    bristle = octaves(along, across, ((2, 9, 0.2), (3, 27, 0.4), (5, 60, 0.4)))  # streaks along the stroke
    grain = octaves(along, across, ((60, 24, 1.0),))  # the paper
    start = 0.02 + 0.06 * octaves(np.zeros_like(across), across, ((1, 14, 0.6), (1, 45, 0.4)))
    lift = 0.82 + 0.20 * octaves(np.zeros_like(across), across, ((1, 10, 0.5), (1, 40, 0.5)))
    rim = np.minimum(across, 1 - across) + 0.04 * octaves(along, across, ((9, 3, 1.0),))
    dryness = 0.22 + 0.33 * along**1.6 + 0.18 * np.exp(-rim / 0.06)
    paint = smoothstep((bristle + 0.22 * (grain - 0.5) - dryness) / 0.12 + 0.5)
    ends = smoothstep((along - start) / 0.02 + 0.5) * smoothstep((lift - along) / 0.05 + 0.5)
    return paint * ends * smoothstep((rim - 0.02) / 0.03)


def texel_centres(height: int, width: int) -> tuple[Alpha, Alpha]:
    """Return x and y ``(height, width)`` of the texel centres in texels, 0 in the middle."""
    x = np.arange(width) + 0.5 - width / 2
    y = np.arange(height) + 0.5 - height / 2
    return np.broadcast_to(x, (height, width)).copy(), np.broadcast_to(y[:, None], (height, width)).copy()


def covered(distance: Alpha) -> Alpha:
    """Return the part of a texel inside an edge ``distance`` texels from its centre (negative inside)."""
    return np.clip(0.5 - distance, 0, 1)


def polygon_distance(x: Alpha, y: Alpha, corners: list[tuple[float, float]]) -> Alpha:
    """Return the signed distance of points to a simple polygon, negative inside (even-odd)."""
    nearest = np.full_like(x, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
        if dy:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * dx / dy)
    return np.where(inside, -nearest, nearest)


def value_noise(u: Alpha, v: Alpha, columns: int, rows: int, noise: random.Random) -> Alpha:
    """Return smooth noise in [0, 1] at (u, v) in [0, 1]^2: random at grid nodes, eased between them."""
    grid: Alpha = np.array([[noise.random() for _ in range(columns + 1)] for _ in range(rows + 1)])
    column, row = np.clip(u, 0, 1) * columns, np.clip(v, 0, 1) * rows
    left, top = np.minimum(column.astype(int), columns - 1), np.minimum(row.astype(int), rows - 1)
    s, t = smoothstep(column - left), smoothstep(row - top)
    upper = grid[top, left] * (1 - s) + grid[top, left + 1] * s
    lower = grid[top + 1, left] * (1 - s) + grid[top + 1, left + 1] * s
    result: Alpha = upper * (1 - t) + lower * t
    return result


def smoothstep(t: Alpha) -> Alpha:
    """Return 0 below 0, 1 above 1 and a smooth rise between."""
    clipped: Alpha = np.clip(t, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


SHAPES: dict[str, Callable[[int], Alpha]] = {
    "disc": disc,
    "square": square,
    "ring": ring,
    "star": star,
    "brush": brush,
    "gaussian": gaussian,
}
"""Every shape by name: from its longest side in texels to alpha ``(h, w)`` in [0, 1]."""
