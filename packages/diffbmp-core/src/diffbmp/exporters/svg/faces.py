"""What a texture looks like to an SVG or PDF viewer: its coverage, its picture, or its colours without coverage."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffbmp.exporters.placed import PlacedStamp, level_pixels
from diffbmp.scene.scene import Scene

__all__ = ["Face", "face_of", "face_pixels"]

Face = Literal["cover", "picture", "colors"]
"""``cover``: coverage alone. ``picture``: straight RGBA. ``colors``: opaque RGB, carried on where nothing is covered.

A stamp painted with its tint alone needs the first, one in its own colours the second, and one that mixes both the
first and the last: its colour (1 - mu) tint + mu texture is painted opaque, and the coverage cuts it out.
"""


def face_of(stamp: PlacedStamp) -> tuple[Face, ...]:
    """Return the faces of its texture that a stamp is drawn with."""
    if stamp.color_blend == 0:
        return ("cover",)
    return ("picture",) if stamp.color_blend == 1 else ("cover", "colors")


def face_pixels(scene: Scene, texture: int, level: int, face: Face) -> NDArray[np.uint8]:
    """Return a face of a mip level with its border of one clear texel.

    Returns:
        8-bit ``(h + 2, w + 2, C)``: white and coverage for ``cover``, straight RGBA for ``picture``, RGB for
        ``colors``.
    """
    texels = level_pixels(scene, texture, level)
    cover = texels[..., -1:]
    if face == "cover":
        return _eight_bit(np.concatenate([np.ones_like(cover), cover], axis=-1))
    straight = np.divide(texels[..., :3], cover, out=np.zeros_like(texels[..., :3]), where=cover > 0)
    if face == "picture":
        return _eight_bit(np.concatenate([straight, cover], axis=-1))
    return _eight_bit(_carried_on(straight, cover[..., 0] > 0))


def _carried_on(color: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return ``color`` (h, w, 3) with each unknown texel next to known ones set to their mean, then the rest.

    A viewer blends neighbouring texels, at the rim those without coverage too, so they carry on the rim's colour.
    """
    color, known = color.copy(), known.copy()
    if not known.any():
        return color
    mean = color[known].mean(axis=0)
    height, width = known.shape
    for _ in range(2):  # a viewer's widest common filter, bicubic, reaches two texels
        around = np.zeros_like(color)
        count = np.zeros((height, width, 1))
        padded, mask = np.pad(color, ((1, 1), (1, 1), (0, 0))), np.pad(known, 1)[..., None]
        for dy in range(3):
            for dx in range(3):
                window = (slice(dy, dy + height), slice(dx, dx + width))
                around += padded[window] * mask[window]
                count += mask[window]
        fresh = ~known & (count[..., 0] > 0)
        color[fresh] = around[fresh] / count[fresh]
        known |= fresh
    color[~known] = mean
    return color


def _eight_bit(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(values * 255).astype(np.uint8)
