"""The scene: a composition as it is saved, loaded, re-rendered, exported and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.primitives.instances import canvas_of, stacked
from diffbmp.primitives.primitive import Primitive
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.composite import over_background
from diffbmp.rendering.renderer import BLENDS, FILTERS
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.flattening import flattened_primitives
from diffbmp.scene.painting import check_blend, paint, sprites_of

__all__ = ["Scene"]


class Scene(nn.Module):
    """Canvas, background, atlas and primitives painted in order, the first at the back; or a batch of canvases.

    Attributes:
        width: canvas width in pixels.
        height: canvas height in pixels.
        atlas: the textures of all primitives.
        primitives: what is learned and paints. In a batch of B canvases the tensors of all have the leading dimension
            B.
        background: ``(3,)`` or ``(3, H, W)`` RGB in [0, 1], or None for a transparent canvas.
        alpha_max: factor on every opacity (paper, Eq. 2).
        blend: "over" or "add".
        filter: texture filter; see ``composite``.
        linked: whether instance k is one thing on all canvases of a batch, as in the frames of a video.
    """

    background: Tensor | None

    def __init__(
        self,
        width: int,
        height: int,
        atlas: Atlas,
        primitives: Sequence[Primitive],
        *,
        background: Tensor | None = None,
        alpha_max: float = 1.0,
        blend: str = "over",
        filter: str = "mipmap",
        linked: bool = False,
    ) -> None:
        super().__init__()
        if width < 1 or height < 1:
            raise DiffbmpError(f"A canvas must be at least 1 x 1 pixels, got {width} x {height}.")
        if not primitives:
            raise DiffbmpError("A scene needs at least one primitive.")
        for primitive in primitives:
            if not isinstance(primitive, Primitive):
                raise DiffbmpError(f"A scene is made of primitives, got {type(primitive).__name__}.")
            if primitive.batch != primitives[0].batch or len(primitive.batch) > 1:
                batches = ", ".join(f"'{one.name}' {one.batch}" for one in primitives)
                raise DiffbmpError(f"The primitives of a scene share none or one leading dimension, got {batches}.")
        if linked and not primitives[0].batch:
            raise DiffbmpError("Only a batch of canvases can be linked; this scene has one canvas.")
        if blend not in BLENDS:
            raise unknown_name("blend mode", blend, BLENDS)
        for primitive in primitives:
            check_blend(primitive, blend)
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
        self.width, self.height = width, height
        self.atlas = atlas
        self._primitives = nn.ModuleList(primitives)
        self.register_buffer("background", background)
        self.alpha_max, self.blend, self.filter, self.linked = alpha_max, blend, filter, linked

    @property
    def primitives(self) -> list[Primitive]:
        """What is learned and paints, the first at the back."""
        return cast("list[Primitive]", list(self._primitives))

    @property
    def batch(self) -> int | None:
        """Number B of canvases, or None for a scene of one canvas."""
        batch = self.primitives[0].batch
        return batch[0] if batch else None

    @property
    def count(self) -> int:
        """Number of instances of all primitives, on each canvas."""
        return sum(len(primitive) for primitive in self.primitives)

    def canvas(self, index: int) -> Scene:
        """Return one canvas of a batch as a scene that stands alone; tensors are copies, the atlas is shared.

        Raises:
            DiffbmpError: where there is no such canvas.
        """
        if self.batch is None:
            raise DiffbmpError("This scene is one canvas, not a batch.")
        if not 0 <= index < self.batch:
            raise DiffbmpError(f"There is no canvas {index}: the scene has canvases 0 to {self.batch - 1}.")
        return self._like([canvas_of(primitive, index) for primitive in self.primitives])

    @classmethod
    def stacked(cls, scenes: Sequence[Scene], *, linked: bool = False) -> Scene:
        """Return a batch of canvases, of which scenes of one canvas each; all but the primitives is the first one's.

        Raises:
            DiffbmpError: where sizes, textures, or kinds and numbers of primitives differ.
        """
        if not scenes:
            raise DiffbmpError("A batch needs at least one canvas.")
        first = scenes[0]
        for other in scenes:
            same = (other.width, other.height, len(other.primitives)) == (
                first.width, first.height, len(first.primitives),
            )  # fmt: skip
            if not same or other.batch is not None or not _alike(other.atlas, first.atlas):
                raise DiffbmpError("Canvases of a batch share size, textures and kinds of primitives; these differ.")
        columns = zip(*(scene.primitives for scene in scenes), strict=True)
        scene = first._like([stacked(column) for column in columns])
        scene.linked = linked
        return scene

    def flattened(self, scale: float = 1.0, *, renderer: str = "auto") -> Scene:
        """Return the scene as exporters take it: a primitive that draws its own layer is one sprite and one instance.

        Such a layer is drawn at ``scale`` and becomes an RGBA texture; a scene of sprites alone is returned as it is.

        Raises:
            DiffbmpError: for a batch, or for a layer that cannot be laid over others (blend "add").
        """
        if not any(primitive.draws for primitive in self.primitives):
            return self
        if self.batch is not None:
            raise DiffbmpError("The scene is a batch of canvases; export one canvas at a time.")
        atlas, primitives = flattened_primitives(self, scale, renderer)
        return Scene(
            self.width, self.height, atlas, primitives, background=self.background, blend=self.blend, filter=self.filter
        )

    def _like(self, primitives: Sequence[Primitive]) -> Scene:
        return Scene(
            self.width, self.height, self.atlas, primitives,
            background=self.background, alpha_max=self.alpha_max, blend=self.blend, filter=self.filter,
            linked=self.linked and bool(primitives[0].batch),
        )  # fmt: skip

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Take the atlas along in ``to``, ``cuda``, ``double`` and their like, which all come through here."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved = fn(self.atlas.texels.detach()[:0])
        self.atlas = self.atlas.to(moved.device, moved.dtype)
        return self

    def sprites(self, atlas: Atlas | None = None) -> Sprites:
        """Return the sprites of all primitives that are made of sprites, in painting order.

        Args:
            atlas: a variant of the scene's atlas (blurred).
        """
        groups = [group for group in self.sprites_by_primitive(atlas) if group is not None]
        if not groups:
            raise DiffbmpError("No primitive of this scene is made of sprites.")
        return Sprites.concatenate(groups, [len(one) for one in self.primitives if not one.draws])

    def sprites_by_primitive(self, atlas: Atlas | None = None) -> list[Sprites | None]:
        """Return the sprites of each primitive, None for one that draws its own layer."""
        used = self.atlas if atlas is None else atlas
        return [None if one.draws else sprites_of(one, used) for one in self.primitives]

    def drawing(
        self, *, scale: float = 1.0, renderer: str = "auto", atlas: Atlas | None = None, seed: int | None = None
    ) -> Canvas:
        """Return the canvas at ``scale``: what is needed to draw besides the primitives."""
        return Canvas(
            self.atlas if atlas is None else atlas, self.scaled_size(scale), (scale, scale),
            alpha_max=self.alpha_max, blend=self.blend, filter=self.filter, renderer=renderer, seed=seed,
        )  # fmt: skip

    def layer(
        self,
        *,
        scale: float = 1.0,
        renderer: str = "auto",
        atlas: Atlas | None = None,
        sprites: Sequence[Sprites | None] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Render without a background, differentiably.

        Args:
            scale: size of the result relative to the canvas; textures are sampled anew, not enlarged.
            renderer: a registered name, or "auto".
            atlas: a variant of the scene's atlas (blurred).
            sprites: what to draw instead of ``self.sprites_by_primitive(atlas)``, in canvas pixels.
            seed: of a renderer whose gradients are stochastic; others ignore it.

        Returns:
            Premultiplied RGBA ``(..., 4, round(scale * height), round(scale * width))``.
        """
        canvas = self.drawing(scale=scale, renderer=renderer, atlas=atlas, seed=seed)
        return paint(self.primitives, self.sprites_by_primitive(atlas) if sprites is None else sprites, canvas)

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


def _alike(first: Atlas, second: Atlas) -> bool:
    """Return whether two atlases hold the same textures, without comparing what is one object."""
    if first is second:
        return True
    same = [t.name for t in first.textures] == [t.name for t in second.textures]
    return same and first.texels.shape == second.texels.shape and torch.equal(first.texels, second.texels)
