"""What a loss is given, without a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.target import Target
from diffbmp.losses.inputs import LossInputs
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import Stamps

__all__ = ["loss_inputs"]


def loss_inputs(
    picture: Tensor | None = None,
    *,
    scene: Scene | None = None,
    sprites: Sprites | Sequence[Sprites | None] | None = None,
    target: Tensor | None = None,
    background: Tensor | float | None = None,
    resolution: float = 1.0,
    step: int = 0,
    steps: int = 1,
    generator: torch.Generator | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    renderer: str = "auto",
) -> LossInputs:
    """Return what a loss is given in a step of a fit that has drawn ``picture``, or that is to draw ``scene``::

        image = torch.rand(3, 8, 8, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda drawn: MyLoss()(loss_inputs(drawn)), image)
        assert MyLoss()(loss_inputs(scene=scene, target=target)) > 0

    Args:
        picture: ``(3, H, W)``, an opaque image, or ``(4, H, W)``, a premultiplied RGBA layer; gradients reach it. With
            ``(B, C, H, W)`` it is that of B canvases.
        scene: what is drawn where there is no ``picture``, and whose sprites the loss sees and draws; may be a batch
            of canvases. Left out, there is a canvas of the picture's size with nothing on it.
        sprites: in canvas pixels, instead of the scene's: of its only primitive, or of each. Without a scene the
            texture of each is a full square.
        target: ``(3, H, W)`` or straight ``(4, H, W)`` in [0, 1], of one canvas or of each. Its size is not compared
            with the picture's, so that a test can show what a loss does where they differ.
        background: RGB in [0, 1] that broadcasts to ``(3, H, W)``, ``(3,)``, or one number for all channels; left out,
            the scene's, or white.
        resolution: of the pictures relative to that of the scene's canvas: below 1 in a fit that is coarse still.
        step: number of the step, from 0.
        steps: steps in all.
        generator: the loss's source of randomness; one seeded with 0 where it is left out.
        tensors: named tensors that the caller brought along.
        renderer: who draws the scene.

    Raises:
        DiffbmpError: where there is neither a picture nor a scene, they do not fit together, or one is no picture.
    """
    layer = None if picture is None else _layer(picture)
    if scene is None:
        if layer is None:
            raise DiffbmpError("loss_inputs takes a picture or a scene.")
        scene = _empty(layer, sprites)
    groups = _groups(scene, sprites)
    canvas = scene.drawing(scale=resolution, renderer=renderer)
    if layer is not None and (layer.shape[-2:] != canvas.size or layer.shape[:-3] != scene.primitives[0].batch):
        batch, (height, width) = scene.primitives[0].batch, canvas.size
        raise DiffbmpError(f"The scene's picture has shape {(*batch, 4, height, width)}, not {tuple(layer.shape)}.")
    texels = scene.atlas.texels
    found = None if target is None else Target.from_image(target.to(texels))
    return LossInputs(
        scene,
        groups,
        canvas,
        background=_background(scene, background, resolution),
        target_color=None if found is None else found.color,
        target_alpha=None if found is None else found.alpha,
        step=step,
        steps=steps,
        generator=None if generator is None else lambda: generator,
        tensors=tensors,
        layer=layer,
    )


def _layer(picture: Tensor) -> Tensor:
    if picture.dim() not in (3, 4) or picture.shape[-3] not in (3, 4):
        raise DiffbmpError(f"A picture has shape (3, H, W), (4, H, W) or (B, C, H, W), not {tuple(picture.shape)}.")
    if picture.shape[-3] == 4:
        return picture
    return torch.cat([picture, torch.ones_like(picture[..., :1, :, :])], dim=-3)


def _empty(layer: Tensor, sprites: Sprites | Sequence[Sprites | None] | None) -> Scene:
    """Return a scene of a layer's size, with full squares for the textures of ``sprites`` and nothing painted."""
    groups = [sprites] if isinstance(sprites, Sprites) else [] if sprites is None else sprites
    textures = max((int(group.texture.max()) + 1 for group in groups if group is not None and len(group)), default=1)
    square = Texture("square", layer.new_ones((1, 8, 8)))
    nothing = layer.new_zeros((*layer.shape[:-3], 0)).detach()
    points, colors = nothing[..., None].expand(*nothing.shape, 2), nothing[..., None].expand(*nothing.shape, 3)
    index = torch.zeros(0, dtype=torch.int64, device=layer.device)
    primitives = [Stamps(points, nothing, nothing, nothing, colors, index) for _ in groups or [None]]
    return Scene(layer.shape[-1], layer.shape[-2], Atlas([square] * textures), primitives)


def _groups(scene: Scene, sprites: Sprites | Sequence[Sprites | None] | None) -> Sequence[Sprites | None]:
    if sprites is None:
        return scene.sprites_by_primitive()
    groups = [sprites] if isinstance(sprites, Sprites) else list(sprites)
    if len(groups) != len(scene.primitives):
        raise DiffbmpError(f"Sprites of {len(groups)} primitives are given, but the scene has {len(scene.primitives)}.")
    return groups


def _background(scene: Scene, given: Tensor | float | None, resolution: float) -> Tensor:
    texels = scene.atlas.texels
    if given is None:
        own = scene.background_at(resolution)
        return texels.new_ones((3, 1, 1)) if own is None else own
    background = torch.as_tensor(given).to(texels)
    if background.dim() == 3:
        return background
    return (background.expand(3) if background.dim() == 0 else background)[:, None, None]
