"""A canvas: all that is needed to draw sprites besides the sprites."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.rendering.composite import composite
from diffbmp.rendering.renderer import Renderer
from diffbmp.rendering.sprites import Sprites

__all__ = ["Canvas"]


@dataclass(frozen=True)
class Canvas:
    """Textures, size, place and equation by which sprites become a picture.

    Canvas pixel (x, y) lies at ((x - offset_x) scale_x, (y - offset_y) scale_y) of the picture, so that a crop, a band
    or a picture of another size is drawn anew and not cut out or resized.

    Attributes:
        atlas: the textures.
        size: height and width of the picture, pixels.
        scale: pixels of the picture per canvas pixel, across and down.
        offset: canvas point (x, y) at the picture's upper left corner.
        alpha_max: factor on every opacity.
        blend: "over" or "add".
        filter: texture filter; see ``composite``.
        renderer: a registered name, "auto", an object, or a key made by ``renderer_key``.
        seed: of a renderer whose gradients are stochastic; others ignore it.
    """

    atlas: Atlas
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    alpha_max: float = 1.0
    blend: str = "over"
    filter: str = "mipmap"
    renderer: str | Renderer = "auto"
    seed: int | None = None

    def composite(self, sprites: Sprites) -> Tensor:
        """Draw sprites, given in canvas pixels: premultiplied RGBA ``(..., 4, h, w)``, differentiable."""
        placed = self.placed(sprites)
        return composite(
            placed.frame, placed.opacity, placed.color, placed.texture, self.atlas,
            size=self.size, color_blend=placed.color_blend, alpha_max=self.alpha_max, blend=self.blend,
            filter=self.filter, renderer=self.renderer, seed=self.seed,
        )  # fmt: skip

    def placed(self, sprites: Sprites) -> Sprites:
        """Return sprites, given in canvas pixels, in pixels of the picture.

        They are scaled before they are moved, so that a band of a large picture has the bits of the whole.
        """
        frame = sprites.frame
        across, down = self.scale
        if across != down:
            frame = frame * frame.new_tensor([across, down])[:, None]
        elif across != 1:
            frame = frame * across
        if self.offset != (0.0, 0.0):
            corner = frame.new_tensor([self.offset[0] * across, self.offset[1] * down])[:, None]
            frame = torch.cat([frame[..., :2], frame[..., 2:] - corner], dim=-1)
        return sprites if frame is sprites.frame else replace(sprites, frame=frame)

    def window(self, box: tuple[float, float, float, float], size: tuple[int, int]) -> Canvas:
        """Return the canvas of a box (left, top, right, bottom) in canvas pixels, drawn at ``size``."""
        left, top, right, bottom = box
        height, width = size
        return replace(
            self, size=size, offset=(left, top), scale=(width / (right - left), height / (bottom - top))
        )  # fmt: skip
