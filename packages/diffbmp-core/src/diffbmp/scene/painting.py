"""From primitives to one layer: runs of sprites and layers of primitives' own, put upon each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.plugins.guard import guarded, member_title
from diffbmp.primitives.primitive import Primitive
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.composite import put_upon
from diffbmp.rendering.sprites import Sprites

__all__ = ["check_blend", "own_layer", "paint", "sprites_of"]


def paint(primitives: Sequence[Primitive], sprites: Sequence[Sprites | None], canvas: Canvas) -> Tensor:
    """Draw primitives in painting order, the first at the back: premultiplied RGBA ``(..., 4, h, w)``.

    Neighbouring primitives of sprites are drawn in one call of the operator. Layers are put upon each other from back
    to front: C <- C_k + (1 - A_k) C where the blend is "over", C <- C + C_k where it is "add"; A <- 1 - (1 - A)(1 -
    A_k) in both.

    Args:
        primitives: what is painted.
        sprites: those of each primitive in canvas pixels, or None for one that draws a layer of its own.
        canvas: where and how.

    Raises:
        DiffbmpError: where a primitive's layer is not what it should be.
    """
    picture: Tensor | None = None
    for layer in _layers(primitives, sprites, canvas):
        picture = layer if picture is None else put_upon(layer, picture, canvas.blend)
    assert picture is not None
    return picture


def _layers(primitives: Sequence[Primitive], sprites: Sequence[Sprites | None], canvas: Canvas) -> Iterator[Tensor]:
    run: list[Sprites] = []
    for primitive, group in zip(primitives, sprites, strict=True):
        if group is not None:
            run.append(group)
            continue
        if run:
            yield canvas.composite(Sprites.concatenate(run))
            run = []
        yield own_layer(primitive, canvas)
    if run:
        yield canvas.composite(Sprites.concatenate(run))


def check_blend(primitive: Primitive, blend: str) -> None:
    """Raise ``DiffbmpError`` where a primitive draws a layer of its own, and not with this blend mode."""
    if primitive.draws and blend not in primitive.blends:
        raise DiffbmpError(
            f"The primitive '{primitive.name}' cannot be drawn with the blend mode '{blend}', only with "
            f"{' and '.join(primitive.blends)}."
        )


def own_layer(primitive: Primitive, canvas: Canvas) -> Tensor:
    """Return the layer that a primitive draws, or raise ``DiffbmpError`` where it is not what it should be."""
    check_blend(primitive, canvas.blend)
    with guarded(primitive, "to draw its layer"):
        layer = primitive.draw(canvas)
    expected = (*primitive.batch, 4, *canvas.size)
    if not isinstance(layer, Tensor) or tuple(layer.shape) != expected or not layer.is_floating_point():
        got = f"{layer.dtype} of {tuple(layer.shape)}" if isinstance(layer, Tensor) else type(layer).__name__
        raise DiffbmpError(
            f"{member_title(primitive)} must draw a premultiplied RGBA layer of shape {expected}, got {got}."
        )
    return layer


def sprites_of(primitive: Primitive, atlas: Atlas) -> Sprites:
    """Return the sprites of a primitive, or raise ``DiffbmpError`` where they cannot be drawn or counted."""
    with guarded(primitive, "to give its sprites"):
        sprites = primitive(atlas)
    if not isinstance(sprites, Sprites):
        raise DiffbmpError(f"{member_title(primitive)} must give Sprites, got {type(sprites).__name__}.")
    count, instance = len(primitive), sprites.instance
    if instance is None:
        if len(sprites) != count:
            raise DiffbmpError(
                f"{member_title(primitive)} has {count} instances but gives {len(sprites)} sprites; name the "
                "instance of each sprite in Sprites.instance."
            )
        return sprites
    if tuple(instance.shape) != (len(sprites),) or instance.dtype != torch.int64:
        raise DiffbmpError(
            f"Sprites.instance of the primitive '{primitive.name}' must be int64 of shape ({len(sprites)},), got "
            f"{instance.dtype} of {tuple(instance.shape)}."
        )
    if len(instance):
        steps = instance.diff()
        if bool((steps < 0).any()) or int(instance[0]) < 0 or int(instance[-1]) >= count:
            raise DiffbmpError(
                f"{member_title(primitive)} has {count} instances, whose sprites must lie next to each other in "
                "painting order: Sprites.instance must ascend within 0 to the number of instances."
            )
    return sprites
