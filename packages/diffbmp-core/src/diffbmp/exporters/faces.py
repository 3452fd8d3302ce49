"""What a texture looks like to a viewer of SVG or PDF: its coverage, its picture, or its colours without coverage."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from diffbmp.exporters.placed import PlacedStamp, level_pixels
from diffbmp.exporters.stack import picked
from diffbmp.rendering.layers import draw_layers
from diffbmp.rendering.sampling import texels_per_unit
from diffbmp.scene.scene import Scene

__all__ = ["SHARED", "Face", "FacePixels", "Faces", "Look", "Matrix"]

Face = Literal["cover", "picture", "colors"]
"""``cover``: coverage alone. ``picture``: straight RGBA. ``colors``: opaque RGB, carried on where nothing is covered.

A stamp painted with its tint alone needs the first, one in its own colours the second, and one that mixes both the
first and the last: its colour (1 - mu) tint + mu texture is painted opaque, and the coverage cuts it out.
"""

Matrix = tuple[float, float, float, float, float, float]

SHARED = -1
"""In place of a stamp's number: pixels that all stamps of a texture share."""

SHRUNK = 1.45
"""Texels to a pixel along either axis from which a stamp counts as shrunk. A mip level has at most sqrt(2) but where
its sides were rounded up to whole texels, so shrunk stamps are those of a pixel or two."""


class FacePixels(NamedTuple):
    """Which pixels: a face of a mip level of a texture, for all stamps or (where not ``SHARED``) as sampled for one."""

    texture: int
    level: int
    stamp: int
    face: Face


@dataclass(frozen=True)
class Look:
    """How one stamp is drawn.

    Attributes:
        matrix: (a, b, c, d, e, f) as in SVG and PDF: x' = a x + c y + e, y' = b x + d y + f, from texels, 0 at the
            outer corner of the border, y down, to canvas pixels at scale 1.
        size: width and height of its texture in texels, border included.
        faces: the pixels of each face that it is drawn with.
    """

    matrix: Matrix
    size: tuple[int, int]
    faces: dict[Face, FacePixels]


class Faces:
    """The looks of a scene's stamps, and the pixels that they need, each once.

    Attributes:
        looks: by number of the stamp; a degenerate one has none.
        needed: the pixels of all looks, in order.
    """

    def __init__(self, scene: Scene, stamps: list[PlacedStamp], scale: float, renderer: str) -> None:
        """Choose what to draw ``stamps`` of a scene with where a viewer shows it at ``scale``."""
        drawn = [stamp for stamp in stamps if stamp.drawn]
        shrunk = [stamp for stamp in drawn if _is_shrunk(scene, stamp, scale)]
        self._scene = scene
        self._own = _sampled_texels(scene, shrunk, scale, renderer) if shrunk else {}
        self.looks = {stamp.number: self._look(stamp, scale) for stamp in drawn}
        self.needed = sorted({key for look in self.looks.values() for key in look.faces.values()})

    def pixels(self, key: FacePixels, finer: int = 1) -> NDArray[np.uint8]:
        """Return the pixels of a face.

        Args:
            key: one of ``needed``.
            finer: how many times as many rows and columns to return, interpolated by our own filter.

        Returns:
            8-bit ``(h, w, C)``: coverage ``(h, w, 1)``, straight RGBA for ``picture``, RGB for ``colors``.
        """
        shared = key.stamp == SHARED
        texels = level_pixels(self._scene, key.texture, key.level) if shared else self._own[key.stamp][2]
        if finer > 1:
            texels = _interpolated(_interpolated(texels, finer, 0), finer, 1)
        return _face_pixels(texels, key.face)

    def enlargement(self, scale: float) -> dict[FacePixels, float]:
        """Return by how much each face is enlarged at most, in pixels to a texel of a picture at ``scale``."""
        result = dict.fromkeys(self.needed, 0.0)
        for look in self.looks.values():
            a, b, c, d, _, _ = look.matrix
            for key in look.faces.values():
                result[key] = max(result[key], scale * math.hypot(a, b), scale * math.hypot(c, d))
        return result

    def _look(self, stamp: PlacedStamp, scale: float) -> Look:
        own = stamp.number in self._own
        if own:
            left, top, texels = self._own[stamp.number]
            pixel = 1 / scale
            matrix: Matrix = (pixel, 0.0, 0.0, pixel, (left - 1) * pixel, (top - 1) * pixel)
            size = (texels.shape[1], texels.shape[0])
        else:
            matrix, size = _placed_level(self._scene, stamp)
        faces = {
            face: FacePixels(stamp.texture, stamp.level, stamp.number if own else SHARED, face)
            for face in _faces_of(stamp)
        }
        return Look(matrix, size, faces)


def _is_shrunk(scene: Scene, stamp: PlacedStamp, scale: float) -> bool:
    """Return whether a stamp has clearly more texels than pixels, so that each viewer would filter it in its own way.

    Such a stamp is stored as sampled by our own renderer, once for itself.
    """
    first, _, _ = scene.atlas.table[stamp.texture].tolist()
    _, width, height = scene.atlas.levels[first + stamp.level].tolist()
    a, b, _, c, d, _ = stamp.frame
    across, down = texels_per_unit(width) / math.hypot(a, c), texels_per_unit(height) / math.hypot(b, d)
    return bool(max(across, down) > scale * SHRUNK)


@torch.no_grad()
def _sampled_texels(
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


def _placed_level(scene: Scene, stamp: PlacedStamp) -> tuple[Matrix, tuple[int, int]]:
    """Return the transform from texels of a stamp's mip level with its border to canvas pixels, and its size.

    Texel coordinates (x, y), 0 at the outer corner of the border, are u = 2 (x - 1) / w - 1, v = 2 (y - 1) / h - 1.
    """
    first, _, _ = scene.atlas.table[stamp.texture].tolist()
    _, width, height = scene.atlas.levels[first + stamp.level].tolist()
    a, b, tx, c, d, ty = stamp.frame
    across, down = texels_per_unit(width), texels_per_unit(height)
    ax, cx, by, dy = a / across, c / across, b / down, d / down
    return (ax, cx, by, dy, tx - a - b - ax - by, ty - c - d - cx - dy), (width + 2, height + 2)


def _faces_of(stamp: PlacedStamp) -> tuple[Face, ...]:
    """Return the faces of its texture that a stamp is drawn with."""
    if stamp.color_blend == 0:
        return ("cover",)
    return ("picture",) if stamp.color_blend == 1 else ("cover", "colors")


def _face_pixels(texels: NDArray[np.float64], face: Face) -> NDArray[np.uint8]:
    """Return a face of premultiplied texels ``(h, w, C)``, whose border of one texel is clear."""
    cover = texels[..., -1:]
    if face == "cover":
        return _eight_bit(cover)
    straight = np.divide(texels[..., :3], cover, out=np.zeros_like(texels[..., :3]), where=cover > 0)
    if face == "picture":
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
