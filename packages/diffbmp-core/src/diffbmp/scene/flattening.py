"""A scene in which a primitive with a layer of its own is one sprite: what exporters take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.primitives.primitive import InstanceName, Primitive
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.painting import own_layer

if TYPE_CHECKING:
    from diffbmp.scene.scene import Scene

__all__ = ["flattened_primitives"]

Outline = Callable[[int, Atlas], str | None]


class _Flattened(Primitive):
    """Sprites that are no longer learned, under the kind, the names and the outlines of what they were made of."""

    name = "flattened"
    axes: ClassVar[Mapping[str, int | None]] = {}

    frame: Tensor
    opacity: Tensor
    color: Tensor
    texture: Tensor
    color_blend: Tensor
    instance: Tensor | None

    def __init__(self, kind: str, sprites: Sprites, names: Sequence[InstanceName], outline: Outline | None) -> None:
        super().__init__()
        object.__setattr__(self, "name", kind)
        for label in ("frame", "opacity", "color", "texture", "color_blend", "instance"):
            self.register_buffer(label, getattr(sprites, label), persistent=False)
        self._names, self._outline = names, outline

    def __len__(self) -> int:
        return len(self._names)

    def forward(self, atlas: Atlas) -> Sprites:
        return Sprites(self.frame, self.opacity, self.color, self.texture, self.color_blend, self.instance)

    def names(self, atlas: Atlas) -> Sequence[InstanceName]:
        return self._names

    def outline(self, index: int, atlas: Atlas) -> str | None:
        return None if self._outline is None else self._outline(index, atlas)


@torch.no_grad()
def flattened_primitives(scene: Scene, scale: float, renderer: str) -> tuple[Atlas, list[Primitive]]:
    """Return the atlas and the primitives of ``scene.flattened``, whose opacities have ``alpha_max`` in them.

    Raises:
        DiffbmpError: where a primitive's own layer cannot be laid over others as one sprite.
    """
    textures = list(scene.atlas.textures)
    primitives: list[Primitive] = []
    for primitive, sprites in zip(scene.primitives, scene.sprites_by_primitive(), strict=True):
        if sprites is not None:
            primitives.append(_with_opacity(primitive, sprites, scene.alpha_max, scene.atlas))
            continue
        if scene.blend != "over":
            raise DiffbmpError(
                f"The primitive '{primitive.name}' draws a layer of its own, which cannot be exported from a scene "
                f"with the blend mode '{scene.blend}'; write PNG, or fit with --blend over."
            )
        layer = own_layer(primitive, scene.drawing(scale=scale, renderer=renderer)).to(scene.atlas.texels)
        whole = _whole_canvas(layer, scale, len(textures))
        textures.append(Texture(primitive.name, _straight(layer), primitive.name))
        primitives.append(_Flattened(primitive.name, whole, [InstanceName(primitive.name)], None))
    return Atlas(textures), primitives


def _with_opacity(primitive: Primitive, sprites: Sprites, factor: float, atlas: Atlas) -> Primitive:
    """Return a primitive of sprites whose opacities and outlines are ``factor`` of what they were."""
    kept = Sprites(
        sprites.frame, sprites.opacity * factor, sprites.color, sprites.texture, sprites.color_blend, sprites.instance
    )

    def outline(index: int, atlas: Atlas) -> str | None:
        text = primitive.outline(index, atlas)
        return text if text is None or factor == 1 else f'<g opacity="{factor:.6f}">{text}</g>'

    return _Flattened(primitive.name, kept, primitive.names(atlas), outline)


def _whole_canvas(layer: Tensor, scale: float, texture: int) -> Sprites:
    """Return the sprite whose texels are the pixels of a layer ``(4, h, w)`` that was drawn at ``scale``."""
    height, width = layer.shape[-2:]
    frame = layer.new_tensor([[[width, 0, width], [0, height, height]]]) / (2 * scale)
    one = layer.new_ones(1)
    return Sprites(frame, one, layer.new_zeros((1, 3)), torch.tensor([texture], device=layer.device), one)


def _straight(layer: Tensor) -> Tensor:
    """Return a premultiplied layer ``(4, h, w)`` with straight colour, in [0, 1]."""
    color, alpha = layer[:3], layer[3:].clamp(0, 1)
    visible = alpha > 0
    return torch.cat([torch.where(visible, color / torch.where(visible, alpha, 1.0), 0.0).clamp(0, 1), alpha])
