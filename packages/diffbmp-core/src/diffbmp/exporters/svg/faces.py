"""What a texture looks like to an SVG viewer: its coverage, its picture, or its colours without coverage."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from diffbmp.exporters.placed import PlacedStamp
from diffbmp.exporters.stack import picked
from diffbmp.rendering.layers import draw_layers
from diffbmp.scene.scene import Scene

__all__ = ["Face", "face_of", "face_pixels", "is_shrunk", "sampled_texels"]

Face = Literal["cover", "picture", "colors"]
"""``cover``: coverage alone. ``picture``: straight RGBA. ``colors``: opaque RGB, carried on where nothing is covered.

A stamp painted with its tint alone needs the first, one in its own colours the second, and one that mixes both the
first and the last: its colour (1 - mu) tint + mu texture is painted opaque, and the coverage cuts it out.
"""

SHRUNK = 1.45
"""Texels to a pixel along either axis from which a stamp counts as shrunk. A mip level has at most sqrt(2) but where
its sides were rounded up to whole texels, so shrunk stamps are those of a pixel or two."""


def is_shrunk(scene: Scene, stamp: PlacedStamp, scale: float) -> bool:
    """Return whether a stamp has clearly more texels than pixels, so that each viewer would filter it in its own way.

    Such a stamp is stored as sampled by our own renderer, once for itself.
    """
    first, _, _ = scene.atlas.table[stamp.texture].tolist()
    _, width, height = scene.atlas.levels[first + stamp.level].tolist()
    a, b, _, c, d, _ = stamp.frame
    return bool(max(width / math.hypot(a, c), height / math.hypot(b, d)) > 2 * scale * SHRUNK)


@torch.no_grad()
def sampled_texels(
    scene: Scene, stamps: list[PlacedStamp], scale: float, renderer: str
) -> dict[int, tuple[int, int, NDArray[np.float64]]]:
    """Return the textures of some stamps as sampled at the pixels of the canvas at ``scale``.

    Returns:
        By number of the stamp: left, top, and ``(h + 2, w + 2, C)`` like ``level_pixels``, with a clear border. Stamps
        that are off the canvas are left out.
    """
    chosen = picked(scene.sprites(), torch.tensor([stamp.number for stamp in stamps], dtype=torch.int64))
    plain = dataclasses.replace(
        chosen, opacity=torch.ones_like(chosen.opacity), color_blend=torch.ones_like(chosen.color_blend)
    )
    layers = draw_layers(
        plain.scaled(scale), scene.atlas, size=scene.scaled_size(scale), filter=scene.filter, renderer=renderer
    )
    found = {}
    for stamp, layer in zip(stamps, layers, strict=True):
        if layer.pixels.numel():
            pixels = layer.pixels.double().cpu().clamp(0, 1).movedim(0, -1).numpy()
            if not scene.atlas.colored[stamp.texture]:
                pixels = pixels[..., 3:]
            found[stamp.number] = (layer.left, layer.top, np.pad(pixels, ((1, 1), (1, 1), (0, 0))))
    return found


def face_of(stamp: PlacedStamp) -> tuple[Face, ...]:
    """Return the faces of its texture that a stamp is drawn with."""
    if stamp.color_blend == 0:
        return ("cover",)
    return ("picture",) if stamp.color_blend == 1 else ("cover", "colors")


def face_pixels(texels: NDArray[np.float64], face: Face) -> NDArray[np.uint8]:
    """Return a face of a texture.

    Args:
        texels: ``(h + 2, w + 2, C)``, premultiplied, with a border of one clear texel (``level_pixels``).
        face: which one.

    Returns:
        8-bit ``(h + 2, w + 2, C)``: white and coverage for ``cover``, straight RGBA for ``picture``, RGB for
        ``colors``.
    """
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
