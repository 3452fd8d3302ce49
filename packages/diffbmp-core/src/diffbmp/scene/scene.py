"""The scene: a composition as it is saved, loaded, re-rendered, exported and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.rendering.composite import composite, over_background
from diffbmp.rendering.renderer import BLENDS, FILTERS
from diffbmp.rendering.sprites import Sprites
from diffbmp.stamps.part import Part

__all__ = ["Scene"]


class Scene(nn.Module):
    """Canvas, background, atlas and learnable parts painted in order, the first at the back.

    Attributes:
        width: canvas width in pixels.
        height: canvas height in pixels.
        atlas: the textures of all parts.
        parts: the learnable parts.
        background: ``(3,)`` or ``(3, H, W)`` RGB in [0, 1], or None for a transparent canvas.
        alpha_max: factor on every opacity (paper, Eq. 2).
        blend: "over" or "add".
        filter: texture filter; see ``composite``.
    """

    parts: nn.ModuleList
    background: Tensor | None

    def __init__(
        self,
        width: int,
        height: int,
        atlas: Atlas,
        parts: Sequence[Part],
        *,
        background: Tensor | None = None,
        alpha_max: float = 1.0,
        blend: str = "over",
        filter: str = "mipmap",
    ) -> None:
        super().__init__()
        if width < 1 or height < 1:
            raise DiffbmpError(f"A canvas must be at least 1 x 1 pixels, got {width} x {height}.")
        if not parts:
            raise DiffbmpError("A scene needs at least one part.")
        if blend not in BLENDS:
            raise unknown_name("blend mode", blend, BLENDS)
        if filter not in FILTERS:
            raise unknown_name("filter", filter, FILTERS)
        if not 0 <= alpha_max <= 1:
            raise DiffbmpError(f"alpha_max must lie in [0, 1], got {alpha_max}.")
        if background is not None:
            if tuple(background.shape) not in {(3,), (3, height, width)}:
                raise DiffbmpError(
                    f"background must have shape (3,) or (3, {height}, {width}), got {tuple(background.shape)}."
                )
            if not bool(torch.isfinite(background).all()):
                raise DiffbmpError("background holds NaN or infinity.")
        if not parts:
            raise DiffbmpError("A scene needs at least one part.")
        self.width, self.height = width, height
        self.atlas = atlas
        self.parts = nn.ModuleList(parts)
        self.register_buffer("background", background)
        self.alpha_max, self.blend, self.filter = alpha_max, blend, filter

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Take the atlas along in ``to``, ``cuda``, ``double`` and their like, which all come through here."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved = fn(self.atlas.texels.detach()[:0])
        self.atlas = self.atlas.to(moved.device, moved.dtype)
        return self

    def sprites(self, atlas: Atlas | None = None) -> Sprites:
        """Return the sprites of all parts in painting order; ``atlas`` may be a blurred variant."""
        used = self.atlas if atlas is None else atlas
        return Sprites.concatenate([part(used) for part in self.parts])

    def layer(
        self,
        *,
        scale: float = 1.0,
        renderer: str = "auto",
        atlas: Atlas | None = None,
        sprites: Sprites | None = None,
    ) -> Tensor:
        """Render without a background, differentiably.

        Args:
            scale: size of the result relative to the canvas; textures are sampled anew, not enlarged.
            renderer: a registered name, or "auto".
            atlas: a variant of the scene's atlas (blurred).
            sprites: what to draw instead of ``self.sprites(atlas)``.

        Returns:
            Premultiplied RGBA ``(..., 4, round(scale * height), round(scale * width))``.
        """
        size = self.scaled_size(scale)
        used = self.atlas if atlas is None else atlas
        drawn = self.sprites(used) if sprites is None else sprites
        if scale != 1:
            drawn = drawn.scaled(scale)
        return composite(
            drawn.frame, drawn.opacity, drawn.color, drawn.texture, used,
            size=size, color_blend=drawn.color_blend, alpha_max=self.alpha_max,
            blend=self.blend, filter=self.filter, renderer=renderer,
        )  # fmt: skip

    def render(self, *, scale: float = 1.0, renderer: str = "auto") -> Tensor:
        """Render over the scene's background.

        Returns:
            RGB ``(..., 3, H, W)`` where the scene has a background, else premultiplied RGBA ``(..., 4, H, W)``.
        """
        layer = self.layer(scale=scale, renderer=renderer)
        background = self.background_at(scale)
        return layer if background is None else over_background(layer, background)

    def scaled_size(self, scale: float) -> tuple[int, int]:
        """Return height and width at ``scale``, in whole pixels."""
        if not (math.isfinite(scale) and scale > 0):
            raise DiffbmpError(f"scale must be a number above 0, got {scale}.")
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    def background_at(self, scale: float) -> Tensor | None:
        """Return the background as ``(3, 1, 1)`` or ``(3, H, W)`` at ``scale``, or None."""
        if self.background is None:
            return None
        if self.background.dim() == 1:
            return self.background[:, None, None]
        if scale == 1:
            return self.background
        return nn.functional.interpolate(
            self.background[None], size=self.scaled_size(scale), mode="bilinear", antialias=True
        )[0].clamp(0, 1)
