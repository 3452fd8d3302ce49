"""The instances of a scene as an exporter places them: a name and sprites in plain numbers for each."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.instances import scene_instances
from diffbmp.exporters.naming import StampName, stamp_names
from diffbmp.rendering.layers import instance_boxes, layer_boxes
from diffbmp.rendering.renderer import CompositeInputs
from diffbmp.rendering.sampling import invert_frames, level_of_detail, mip_levels
from diffbmp.scene.scene import Scene

__all__ = ["PlacedInstance", "PlacedSprite", "identifiers", "level_pixels", "placed_instances", "require_over"]

Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class PlacedSprite:
    """One sprite as it is drawn.

    Attributes:
        number: place in painting order among the sprites of all instances, from 0 at the back.
        texture: number of its texture in the atlas.
        level: the mip level that the "mipmap" filter reads at the scale asked for.
        detail: log2 of the longest axis, in texels of the original, of a pixel's footprint at the scale asked for.
        frame: (a, b, tx, c, d, ty), row by row, from (u, v, 1) in [-1, 1]^2 to canvas pixels at scale 1.
        opacity: in [0, 1], ``alpha_max`` included.
        color: tint, red, green and blue in [0, 1].
        color_blend: 0 paints with the tint, 1 with the texture's own colour; 0 for an alpha-only texture.
        drawn: whether the frame spans an area; one that does not draws nothing.
    """

    number: int
    texture: int
    level: int
    detail: float
    frame: tuple[float, float, float, float, float, float]
    opacity: float
    color: tuple[float, float, float]
    color_blend: float
    drawn: bool


@dataclass(frozen=True)
class PlacedInstance:
    """One instance as it is drawn.

    Attributes:
        name: what it is called, as in every format.
        box: (left, top, width, height) of the canvas pixels that it can touch at the scale asked for.
        sprites: what it is made of, the back first.
    """

    name: StampName
    box: tuple[int, int, int, int]
    sprites: tuple[PlacedSprite, ...]


@torch.no_grad()
def placed_instances(scene: Scene, scale: float = 1.0) -> list[PlacedInstance]:
    """Return the instances of a scene in painting order, with the mip levels that they are drawn from at ``scale``.

    Raises:
        DiffbmpError: for a batch of canvases.
    """
    names, instances = stamp_names(scene), scene_instances(scene)
    sprites, atlas = instances.sprites, scene.atlas
    frame = sprites.frame.double()
    height, width = scene.scaled_size(scale)
    inputs = CompositeInputs(
        frame=frame[None] * scale, opacity=sprites.opacity[None], color=sprites.color[None],
        color_blend=sprites.color_blend[None], texture=sprites.texture[None], texels=atlas.texels,
        levels=atlas.levels, textures=atlas.table, height=height, width=width,
        blend=scene.blend, filter="mipmap",
    )  # fmt: skip
    inverse, drawn = invert_frames(inputs.frame)
    ((rows, _, _),) = mip_levels(inputs, inverse)
    colored = atlas.colored[sprites.texture]
    texture = sprites.texture.tolist()
    detail = level_of_detail(inputs, inverse)[0].tolist()
    level = (rows[0] - atlas.table[sprites.texture, 0]).tolist()
    opacity = (sprites.opacity.double() * scene.alpha_max).tolist()
    blend = torch.where(colored, sprites.color_blend, 0.0).tolist()
    columns = zip(
        texture, level, detail, frame.flatten(-2).tolist(), opacity, sprites.color.tolist(), blend, drawn[0].tolist(),
        strict=True,
    )  # fmt: skip
    placed = (
        PlacedSprite(number, texture, level, detail, tuple(frame), opacity, tuple(color), blend, drawn)
        for number, (texture, level, detail, frame, opacity, color, blend, drawn) in enumerate(columns)
    )
    boxes = instance_boxes(layer_boxes(inputs), sprites.instances.cpu(), len(instances)).tolist()
    return [
        PlacedInstance(name, tuple(box), tuple(itertools.islice(placed, count)))
        for name, box, count in zip(names, boxes, instances.counts.tolist(), strict=True)
    ]


def require_over(scene: Scene, format: str) -> None:
    """Raise a ``DiffbmpError`` for what no viewer of ``format`` draws: blend mode add, and filters without mips."""
    if scene.blend != "over":
        raise DiffbmpError(
            f"{format} cannot hold the blend mode '{scene.blend}', which its viewers do not draw; "
            "export to HTML or PNG, or fit with --blend over."
        )
    if scene.filter in ("bilinear", "nearest_texel"):
        raise DiffbmpError(
            f"{format} cannot hold the filter '{scene.filter}', since its viewers smooth what they shrink; "
            "export to HTML or PNG, or fit with --filter mipmap."
        )


def level_pixels(scene: Scene, texture: int, level: int) -> Pixels:
    """Return a mip level of a texture as it is packed: premultiplied, a border of one zero texel all round.

    Returns:
        ``(h + 2, w + 2, 1)`` coverage, or ``(h + 2, w + 2, 4)`` premultiplied RGBA.
    """
    atlas = scene.atlas
    first, _, channels = atlas.table[texture].tolist()
    offset, width, height = atlas.levels[first + level].tolist()
    count = (height + 2) * (width + 2) * channels
    texels = atlas.texels[offset : offset + count].detach().cpu().double().clamp(0, 1)
    return texels.view(height + 2, width + 2, channels).numpy()


def identifiers(names: list[str]) -> Iterator[str]:
    """Yield an XML id for each name, readable and unlike any other: letters, digits, ``-``, ``_`` and ``.``.

    Letters of every script are kept; whatever else a name holds, markup included, becomes a hyphen.
    """
    taken: set[str] = set()
    for name in names:
        text = unicodedata.normalize("NFC", name)
        text = "".join(letter if letter.isalnum() or letter in "_." else "-" for letter in text)
        text = re.sub(r"-+", "-", text).strip("-.") or "stamp"
        if not (text[0].isalpha() or text[0] == "_"):
            text = f"stamp-{text}"
        result, count = text, 1
        while result in taken:
            count += 1
            result = f"{text}-{count}"
        taken.add(result)
        yield result
