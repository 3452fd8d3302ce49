"""What a texture looks like to a viewer of SVG or PDF: its coverage, its picture, or its colours without coverage."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from diffbmp.exporters.instances import picked
from diffbmp.exporters.placed import PlacedSprite, level_pixels
from diffbmp.rendering.layers import draw_layers
from diffbmp.rendering.sampling import texels_per_unit
from diffbmp.scene.scene import Scene

__all__ = ["SHARED", "ImageKind", "Look", "Matrix", "TextureImage", "TextureImages"]

ImageKind = Literal["cover", "picture", "colors"]
"""``cover``: coverage alone. ``picture``: straight RGBA. ``colors``: opaque RGB, carried on where nothing is covered.

A sprite painted with its tint alone needs the first, one in its own colours the second, and one that mixes both the
first and the last: its colour (1 - mu) tint + mu texture is painted opaque, and the coverage cuts it out.
"""

Matrix = tuple[float, float, float, float, float, float]

SHARED = -1
"""In place of a sprite's number: pixels that all sprites of a texture share."""

SHRUNK = 1.45
"""Texels to a pixel along either axis from which a sprite counts as shrunk. A mip level has at most sqrt(2) but where
its sides were rounded up to whole texels, so shrunk sprites are those of a pixel or two."""


class TextureImage(NamedTuple):
    """One image: a mip level of a texture, for all sprites or, where not ``SHARED``, as sampled for ``sprite``."""

    texture: int
    level: int
    sprite: int
    kind: ImageKind


@dataclass(frozen=True)
class Look:
    """How one sprite is drawn.

    Attributes:
        matrix: (a, b, c, d, e, f) as in SVG and PDF: x' = a x + c y + e, y' = b x + d y + f, from texels, 0 at the
            outer corner of the border, y down, to canvas pixels at scale 1.
        size: width and height of its texture in texels, border included.
        images: the texture image of each kind that it is drawn with.
    """

    matrix: Matrix
    size: tuple[int, int]
    images: dict[ImageKind, TextureImage]


class TextureImages:
    """The looks of a scene's sprites, and the pixels that they need, each once.

    Attributes:
        looks: by number of the sprite; a degenerate one has none.
        needed: the pixels of all looks, in order.
    """

    def __init__(self, scene: Scene, sprites: list[PlacedSprite], scale: float, renderer: str) -> None:
        """Choose what to draw ``sprites`` of a scene with where a viewer shows it at ``scale``."""
        drawn = [sprite for sprite in sprites if sprite.drawn]
        shrunk = [sprite for sprite in drawn if _is_shrunk(scene, sprite, scale)]
        self._scene = scene
        self._own = _sampled_texels(scene, shrunk, scale, renderer) if shrunk else {}
        self.looks = {sprite.number: self._look(sprite, scale) for sprite in drawn}
        self.needed = sorted({key for look in self.looks.values() for key in look.images.values()})

    def pixels(self, key: TextureImage, finer: int = 1) -> NDArray[np.uint8]:
        """Return the pixels of an image.

        Args:
            key: one of ``needed``.
            finer: how many times as many rows and columns to return, interpolated by our own filter.

        Returns:
            8-bit ``(h, w, C)``: coverage ``(h, w, 1)``, straight RGBA for ``picture``, RGB for ``colors``.
        """
        shared = key.sprite == SHARED
        texels = level_pixels(self._scene, key.texture, key.level) if shared else self._own[key.sprite][2]
        if finer > 1:
            texels = _interpolated(_interpolated(texels, finer, 0), finer, 1)
        return _image_pixels(texels, key.kind)

    def enlargement(self, scale: float) -> dict[TextureImage, float]:
        """Return by how much each image is enlarged at most, in pixels to a texel of a picture at ``scale``."""
        result = dict.fromkeys(self.needed, 0.0)
        for look in self.looks.values():
            a, b, c, d, _, _ = look.matrix
            for key in look.images.values():
                result[key] = max(result[key], scale * math.hypot(a, b), scale * math.hypot(c, d))
        return result

    def _look(self, sprite: PlacedSprite, scale: float) -> Look:
        own = sprite.number in self._own
        if own:
            left, top, texels = self._own[sprite.number]
            pixel = 1 / scale
            matrix: Matrix = (pixel, 0.0, 0.0, pixel, (left - 1) * pixel, (top - 1) * pixel)
            size = (texels.shape[1], texels.shape[0])
        else:
            matrix, size = _placed_level(self._scene, sprite)
        images = {
            kind: TextureImage(sprite.texture, sprite.level, sprite.number if own else SHARED, kind)
            for kind in _kinds_of(sprite)
        }
        return Look(matrix, size, images)


def _is_shrunk(scene: Scene, sprite: PlacedSprite, scale: float) -> bool:
    """Return whether a sprite has clearly more texels than pixels, so that each viewer would filter it in its own way.

    Such a sprite is stored as sampled by our own renderer, once for itself.
    """
    first, _, _ = scene.atlas.table[sprite.texture].tolist()
    _, width, height = scene.atlas.levels[first + sprite.level].tolist()
    a, b, _, c, d, _ = sprite.frame
    across, down = texels_per_unit(width) / math.hypot(a, c), texels_per_unit(height) / math.hypot(b, d)
    return bool(max(across, down) > scale * SHRUNK)


@torch.no_grad()
def _sampled_texels(
    scene: Scene, sprites: list[PlacedSprite], scale: float, renderer: str
) -> dict[int, tuple[int, int, NDArray[np.float64]]]:
    """Return the textures of some sprites as sampled at the pixels of the canvas at ``scale``.

    Returns:
        By number of the sprite: left, top, and ``(h + 2, w + 2, C)`` like ``level_pixels``, with a clear border.
        Sprites that are off the canvas are left out.
    """
    chosen = picked(scene.sprites(), torch.tensor([sprite.number for sprite in sprites], dtype=torch.int64))
    plain = dataclasses.replace(
        chosen, opacity=torch.ones_like(chosen.opacity), color_blend=torch.ones_like(chosen.color_blend)
    )
    layers = draw_layers(plain, dataclasses.replace(scene.drawing(scale=scale, renderer=renderer), alpha_max=1.0))
    found = {}
    for sprite, layer in zip(sprites, layers, strict=True):
        if layer.pixels.numel():
            pixels = layer.pixels.double().cpu().clamp(0, 1).movedim(0, -1).numpy()
            if not scene.atlas.colored[sprite.texture]:
                pixels = pixels[..., 3:]
            found[sprite.number] = (layer.left, layer.top, np.pad(pixels, ((1, 1), (1, 1), (0, 0))))
    return found


def _placed_level(scene: Scene, sprite: PlacedSprite) -> tuple[Matrix, tuple[int, int]]:
    """Return the transform from texels of a sprite's mip level with its border to canvas pixels, and its size.

    Texel coordinates (x, y), 0 at the outer corner of the border, are u = 2 (x - 1) / w - 1, v = 2 (y - 1) / h - 1.
    """
    first, _, _ = scene.atlas.table[sprite.texture].tolist()
    _, width, height = scene.atlas.levels[first + sprite.level].tolist()
    a, b, tx, c, d, ty = sprite.frame
    across, down = texels_per_unit(width), texels_per_unit(height)
    ax, cx, by, dy = a / across, c / across, b / down, d / down
    return (ax, cx, by, dy, tx - a - b - ax - by, ty - c - d - cx - dy), (width + 2, height + 2)


def _kinds_of(sprite: PlacedSprite) -> tuple[ImageKind, ...]:
    """Return the kinds of texture images that a sprite is drawn with."""
    if sprite.color_blend == 0:
        return ("cover",)
    return ("picture",) if sprite.color_blend == 1 else ("cover", "colors")


def _image_pixels(texels: NDArray[np.float64], kind: ImageKind) -> NDArray[np.uint8]:
    """Return the image of premultiplied texels ``(h, w, C)``, whose border of one texel is clear."""
    cover = texels[..., -1:]
    if kind == "cover":
        return _eight_bit(cover)
    straight = np.divide(texels[..., :3], cover, out=np.zeros_like(texels[..., :3]), where=cover > 0)
    if kind == "picture":
        return _eight_bit(np.concatenate([straight, cover], axis=-1))
    return _eight_bit(_carried_on(straight, cover[..., 0] > 0))


def _interpolated(texels: NDArray[np.float64], finer: int, axis: int) -> NDArray[np.float64]:
    """Return ``finer`` values for each texel along an axis, in a straight line between the texels' centres."""
    count = texels.shape[axis]
    place = ((np.arange(count * finer) + 0.5) / finer - 0.5).clip(0, count - 1)
    low = np.minimum(place.astype(np.int64), count - 2)
    part = np.expand_dims(place - low, [k for k in range(texels.ndim) if k != axis])
    between: NDArray[np.float64] = np.take(texels, low, axis) * (1 - part) + np.take(texels, low + 1, axis) * part
    return between


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
