"""A composition as the numbers and 8-bit textures that the page draws from; ``data.js`` is its reader."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffbmp.exporters.markup import script_data
from diffbmp.exporters.placed import PlacedInstance, PlacedSprite, level_pixels
from diffbmp.scene.encoding import exact_bytes
from diffbmp.scene.scene import Scene

__all__ = ["packed"]

Values = NDArray[Any]
KINDS = {"float32": "f4", "uint32": "u4", "uint16": "u2", "uint8": "u1"}


def packed(scene: Scene, instances: list[PlacedInstance], detail: float) -> tuple[str, str]:
    """Return what the page knows by name, as JSON, and the numbers, compressed and in base64.

    Args:
        scene: what is packed.
        instances: its instances at scale 1.
        detail: how many times larger than the canvas the picture may be shown with textures still sharp; whatever
            mip levels are finer than that are left out.
    """
    sprites = [sprite for instance in instances for sprite in instance.sprites]
    sections: dict[str, Values] = {
        "frame": _numbers([sprite.frame for sprite in sprites]),
        "opacity": _numbers([sprite.opacity for sprite in sprites]),
        "color": _numbers([sprite.color for sprite in sprites]),
        "blend": _numbers([sprite.color_blend for sprite in sprites]),
        "detail": _numbers([sprite.detail for sprite in sprites]),
        "texture": np.array([sprite.texture for sprite in sprites], dtype=np.uint32),
    }
    labels = [instance.name.text.rpartition(" ")[0] for instance in instances]
    by_texture = {
        sprite.texture: label for instance, label in zip(instances, labels, strict=True) for sprite in instance.sprites
    }
    textures = []
    for number in range(len(scene.atlas)):
        first = _finest_level(scene, number, sprites, detail)
        values = _texture_values(scene, number, first)
        channels, height, width = values.shape
        sections[f"texture-{number}"] = _differences(values)
        textures.append(
            {
                "label": by_texture.get(number, ""), "channels": channels, "width": width, "height": height,
                "first": first,
            }
        )  # fmt: skip
    # Where each instance is one sprite that is called by its texture, as a stamp is, these say nothing new.
    distinct: list[str] = []
    if [[by_texture[sprite.texture] for sprite in instance.sprites] for instance in instances] != [[x] for x in labels]:
        distinct = list(dict.fromkeys(labels))
        numbers = {label: number for number, label in enumerate(distinct)}
        sections["sprites"] = np.array([len(instance.sprites) for instance in instances], dtype=np.uint32)
        sections["label"] = np.array([numbers[label] for label in labels], dtype=np.uint32)
    ground = None
    if scene.background is not None and scene.background.dim() == 1:
        ground = scene.background.tolist()
    elif scene.background is not None:
        sections["backdrop"] = _differences(_exact_values(scene.background))
    about = {
        "width": scene.width,
        "height": scene.height,
        "count": len(instances),
        "mode": scene.blend,
        "filter": scene.filter,
        "ground": ground,
        "textures": textures,
        **({"labels": distinct} if distinct else {}),
        "sections": [[name, KINDS[values.dtype.name], values.size] for name, values in sections.items()],
    }
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    data = b"".join(compressor.compress(_aligned(values)) for values in sections.values()) + compressor.flush()
    return script_data(about), base64.b64encode(data).decode("ascii")


def _finest_level(scene: Scene, texture: int, sprites: list[PlacedSprite], detail: float) -> int:
    """Return the finest mip level that is read where the picture is shown ``detail`` times enlarged."""
    _, count, _ = scene.atlas.table[texture].tolist()
    if scene.filter in ("bilinear", "nearest_texel"):  # these read the original at any size
        return 0
    wanted = [sprite.detail for sprite in sprites if sprite.texture == texture and sprite.drawn]
    finest = math.floor(min(wanted) - math.log2(detail)) if wanted else int(count) - 1
    return min(max(finest, 0), int(count) - 1)


def _texture_values(scene: Scene, texture: int, level: int) -> Values:
    """Return straight values ``(C, h, w)``: 8 bits, or 16 where the original has finer steps that would be seen."""
    if level == 0:
        return _exact_values(scene.atlas.textures[texture].pixels)
    texels = level_pixels(scene, texture, level)[1:-1, 1:-1]
    alpha = texels[..., -1:]
    color = np.divide(texels[..., :-1], alpha, out=np.zeros_like(texels[..., :-1]), where=alpha > 0)
    straight = np.concatenate([color, alpha], axis=-1)
    return np.ascontiguousarray(np.rint(straight * 255).clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def _exact_values(pixels: Tensor) -> Values:
    """Return ``pixels`` in [0, 1] as 8 bits, or as 16 where they are not exactly that."""
    pixels = pixels.detach().cpu()
    exact = exact_bytes(pixels)
    values: Values
    if exact is not None:
        values = exact.contiguous().numpy()
    else:
        values = np.rint(pixels.double().clamp(0, 1).numpy() * 65535).astype(np.uint16)
    return values


def _differences(values: Values) -> Values:
    """Return each value less the one to its left, modulo the type's range: smaller once compressed."""
    return np.diff(values, axis=-1, prepend=values.dtype.type(0))


def _numbers(values: list[Any]) -> Values:
    return np.array(values, dtype=np.float32)


def _aligned(values: Values) -> bytes:
    data: bytes = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return data + bytes(-len(data) % 4)
