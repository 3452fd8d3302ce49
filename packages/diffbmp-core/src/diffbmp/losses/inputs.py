"""What a loss is given: the step's picture, drawn only where it is asked for, and a way to draw it otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.primitives.instances import canvas_view
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.composite import over_background
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.painting import paint

if TYPE_CHECKING:
    from diffbmp.atlas.atlas import Atlas
    from diffbmp.scene.scene import Scene

__all__ = ["LossInputs"]

T = TypeVar("T")


def _lasting(compute: Callable[[Any], T]) -> cached_property[T]:
    """Return a property that is worked out at the first look: with gradient, even where that look needs none.

    Otherwise a loss of weight 0, or one that looks within ``torch.no_grad``, would take the gradient from all others.
    """

    def worked_out(self: Any) -> T:
        with torch.set_grad_enabled(self._gradient):
            return compute(self)

    worked_out.__doc__ = compute.__doc__
    return cached_property(worked_out)


class _Picture:
    """The picture of a step, drawn at the first look; canvases of a batch share one call of the operator.

    Its sprites are a node of their own in autograd's graph, made before any loss looks at them. Autograd adds up
    gradients in the order in which nodes were made, so that they have the same bits alone and in a batch, in which one
    canvas's loss draws the picture of all.
    """

    def __init__(self, scene: Scene, sprites: Sequence[Sprites | None], canvas: Canvas, background: Tensor) -> None:
        self._scene, self._sprites, self._canvas, self._background = scene, sprites, canvas, background
        self._gradient = torch.is_grad_enabled()

    @_lasting
    def layer(self) -> Tensor:
        return paint(self._scene.primitives, self._sprites, self._canvas)

    @_lasting
    def image(self) -> Tensor:
        return over_background(self.layer, self._background)

    @_lasting
    def layers(self) -> tuple[Tensor, ...]:
        return self.layer.unbind()

    @property
    def drawn(self) -> bool:
        return "layer" in self.__dict__


class _OneOf(_Picture):
    """That of one canvas of a batch."""

    def __init__(self, whole: _Picture, index: int) -> None:
        self._whole, self._index = whole, index
        self._background, self._gradient = whole._background, whole._gradient

    @_lasting
    def layer(self) -> Tensor:
        return self._whole.layers[self._index]


class LossInputs:
    """One step of a fit as a loss sees it, or a trial of one (``Fit.losses_of``).

    Pictures are (H, W) = ``size`` pixels, which is smaller than the canvas while a fit is coarse; sprites, and boxes to
    draw, are in canvas pixels. The picture is drawn at the first look at ``image`` or ``layer``: a loss that asks for
    neither does not pay for it. Leading dimensions "..." are none, or B canvases for a loss that is ``batched``.

    Attributes:
        size: height and width of ``image`` in pixels.
        width: of the canvas, pixels.
        height: of the canvas, pixels.
        target_color: ``(..., 3, H, W)`` straight colour of the target, or None in a fit without one.
        target_alpha: ``(..., 1, H, W)`` alpha of the target, or None where it is opaque or absent.
        background: ``(3, H, W)`` or ``(3, 1, 1)``, this step's background.
        sprites_by_primitive: the sprites of each primitive, with gradient; None for one that draws its own layer.
        step: number of the step, from 0.
        steps: steps in all.
        tensors: named tensors that the caller or a plugin brought along (``Fit.tensors``).
        index: which canvas of a batch this is, or None.
    """

    def __init__(
        self,
        scene: Scene,
        sprites: Sequence[Sprites | None],
        canvas: Canvas,
        *,
        background: Tensor,
        target_color: Tensor | None = None,
        target_alpha: Tensor | None = None,
        step: int = 0,
        steps: int = 1,
        generator: Callable[[], torch.Generator] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
        layer: Tensor | None = None,
    ) -> None:
        """Take what attributes are named after, and ``layer`` where the picture is there already."""
        self._scene, self._canvas = scene, canvas
        self.sprites_by_primitive = list(sprites)
        self._apart = [None if group is None else _unbound(group, scene.batch) for group in sprites]
        self.background = background
        self.target_color, self.target_alpha = target_color, target_alpha
        self.step, self.steps = step, steps
        self._seed = _unseeded if generator is None else generator
        self.tensors: Mapping[str, Tensor] = {} if tensors is None else tensors
        self.index: int | None = None
        self._gradient = torch.is_grad_enabled()
        self._picture = _Picture(scene, self._together(), canvas, background)
        if layer is not None:
            self._picture.layer = layer

    @cached_property
    def generator(self) -> torch.Generator:
        """Seeded for this step and this loss; the only source of randomness that a loss may use."""
        return self._seed()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of ``image`` in pixels."""
        return self._canvas.size

    @property
    def width(self) -> int:
        """Width of the canvas in pixels."""
        return self._scene.width

    @property
    def height(self) -> int:
        """Height of the canvas in pixels."""
        return self._scene.height

    @property
    def atlas(self) -> Atlas:
        """The textures that this step is drawn with, blurred where the fit blurs them."""
        return self._canvas.atlas

    @property
    def scene(self) -> Scene:
        """The scene; of one canvas of a batch a copy, for reading."""
        return self._scene if self.index is None else self._scene.canvas(self.index)

    @property
    def layer(self) -> Tensor:
        """``(..., 4, H, W)`` premultiplied RGBA, no background, with gradient."""
        return self._picture.layer

    @property
    def image(self) -> Tensor:
        """``(..., 3, H, W)`` RGB over this step's background, with gradient."""
        return self._picture.image

    @property
    def drawn(self) -> bool:
        """Whether anybody has looked at the picture."""
        return self._picture.drawn

    @_lasting
    def target(self) -> Tensor | None:
        """``(..., 3, H, W)`` RGB of the target over this step's background, or None in a fit without one."""
        if self.target_color is None or self.target_alpha is None:
            return self.target_color
        return self.target_color * self.target_alpha + (1 - self.target_alpha) * self.background

    @_lasting
    def sprites(self) -> Sprites:
        """The sprites of all primitives in painting order, in canvas pixels, with gradient.

        Raises:
            DiffbmpError: where no primitive is made of sprites.
        """
        groups = [group for group in self.sprites_by_primitive if group is not None]
        if not groups:
            raise DiffbmpError("No primitive of this scene is made of sprites, so there are none to look at.")
        return Sprites.concatenate(groups, [len(one) for one in self._scene.primitives if not one.draws])

    def draw(
        self,
        boxes: Tensor | Sequence[Sequence[float]] | None = None,
        *,
        size: tuple[int, int] | None = None,
        background: Tensor | Sequence[float] | float | None = None,
        sprites: Sprites | None = None,
        blend: str | None = None,
    ) -> Tensor:
        """Draw the step's composition anew, with gradient: another size, or crops at a resolution of their own.

        Args:
            boxes: ``(K, 4)``: left, top, right and bottom in canvas pixels, at any place; all are drawn in one call of
                the operator, unless a primitive draws its own layer. Left out, the whole canvas.
            size: height and width of each result in pixels; ``self.size`` where it is left out.
            background: ``(3,)`` RGB, a picture ``(3, h, w)``, anything that broadcasts to the result, or one number for
                all channels; left out, the result is premultiplied RGBA.
            sprites: what to draw, in canvas pixels, instead of the composition.
            blend: "over" or "add", instead of the scene's.

        Returns:
            ``(..., C, h, w)``, with boxes ``(..., K, C, h, w)``; C is 4, or 3 with a background.

        Raises:
            DiffbmpError: where boxes are no ``(K, 4)`` finite numbers, one spans no area, or the background does not
                fit the result.
        """
        canvas = self._canvas if blend is None else replace(self._canvas, blend=blend)
        wanted = self.size if size is None else size
        if boxes is None:
            if wanted != self.size:
                canvas = canvas.window((0.0, 0.0, float(self.width), float(self.height)), wanted)
            layer = self._painted(sprites, canvas)
        else:
            layer = self._boxed(_checked_boxes(boxes), wanted, sprites, canvas)
        if background is None:
            return layer
        return over_background(layer, _behind(background, layer))

    def _painted(self, sprites: Sprites | None, canvas: Canvas) -> Tensor:
        if sprites is not None:
            return canvas.composite(sprites)
        primitives = self._scene.primitives
        if self.index is not None:  # one that draws its own layer is looked at, so that gradients reach the batch
            primitives = [canvas_view(one, self.index) if one.draws else one for one in primitives]
        return paint(primitives, self.sprites_by_primitive, canvas)

    def _boxed(self, boxes: Tensor, size: tuple[int, int], sprites: Sprites | None, canvas: Canvas) -> Tensor:
        if sprites is None and None in self.sprites_by_primitive:  # a layer of its own is drawn window by window
            windows = [canvas.window((b[0], b[1], b[2], b[3]), size) for b in boxes.tolist()]
            return torch.stack([self._painted(None, window) for window in windows], dim=-4)
        given = self.sprites if sprites is None else sprites
        frame = given.frame.unsqueeze(-4)  # (..., 1, N, 2, 3)
        box = boxes.to(frame)
        across = size[1] / (box[:, 2] - box[:, 0])
        down = size[0] / (box[:, 3] - box[:, 1])
        scale = torch.stack([across, down], dim=-1)[:, None, :, None]  # (K, 1, 2, 1)
        corner = box[:, None, :2, None]
        moved = torch.cat([frame[..., :2].expand(*frame.shape[:-4], len(box), *frame.shape[-3:-1], 2),
                           frame[..., 2:] - corner], dim=-1)  # fmt: skip
        texture = given.texture if given.texture.dim() == 1 else given.texture.unsqueeze(-2)
        placed = Sprites(
            moved * scale, given.opacity.unsqueeze(-2), given.color.unsqueeze(-3), texture,
            given.color_blend.unsqueeze(-2),
        )  # fmt: skip
        return replace(canvas, size=size, scale=(1.0, 1.0)).composite(placed)

    @property
    def batch(self) -> int | None:
        """Number B of canvases, or None where this is one canvas."""
        return self._scene.batch if self.index is None else None

    def seeded(self, generator: Callable[[], torch.Generator]) -> LossInputs:
        """Return the same with a generator that is made where it is asked for; the picture stays shared."""
        other = copy.copy(self)
        other.__dict__.pop("generator", None)
        other._seed = generator
        if self.batch is not None:
            other.__dict__.pop("sprites", None)
            other.sprites_by_primitive = self._together()
        return other

    def _together(self) -> list[Sprites | None]:
        """Return the sprites of each primitive, put together of those of each canvas in nodes of their own."""
        return [None if group is None else _joint(group, self._scene.batch) for group in self._apart]

    def canvases(self) -> list[LossInputs]:
        """Return each canvas of a batch as a loss sees it that takes one at a time; pictures are drawn together."""
        return [self._one(index) for index in range(self._scene.batch or 0)]

    def _one(self, index: int) -> LossInputs:
        one = copy.copy(self)
        for name in ("target", "sprites"):
            one.__dict__.pop(name, None)
        one.index = index
        one.sprites_by_primitive = [None if group is None else group[index] for group in self._apart]
        one.target_color = _of_canvas(self.target_color, index)
        one.target_alpha = _of_canvas(self.target_alpha, index)
        one._picture = _OneOf(self._picture, index)
        return one


FLOATS = ("frame", "opacity", "color", "color_blend")


def _unbound(sprites: Sprites, batch: int | None) -> list[Sprites]:
    """Return the sprites of each canvas, in one node of the graph for all; of a single canvas as they are."""
    if batch is None:
        return [sprites]
    parts = {name: getattr(sprites, name).unbind() for name in FLOATS}
    return [
        replace(sprites.canvas(index), **{name: values[index] for name, values in parts.items()})
        for index in range(batch)
    ]


def _joint(groups: Sequence[Sprites], batch: int | None) -> Sprites:
    """Return what ``_unbound`` took apart, in a node of its own."""
    if batch is None:
        (sprites,) = groups
        return replace(sprites, **{name: getattr(sprites, name).view_as(getattr(sprites, name)) for name in FLOATS})
    joint = {name: torch.stack([getattr(group, name) for group in groups]) for name in FLOATS}
    texture = groups[0].texture if all(group.texture is groups[0].texture for group in groups) else None
    return replace(
        groups[0], **joint, texture=torch.stack([group.texture for group in groups]) if texture is None else texture
    )


def _unseeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _of_canvas(picture: Tensor | None, index: int) -> Tensor | None:
    """Return that of one canvas; a target ``(C, H, W)`` is that of all."""
    return picture if picture is None or picture.dim() == 3 else picture[index]


def _behind(background: Tensor | Sequence[float] | float, layer: Tensor) -> Tensor:
    """Return a background that broadcasts to the colours of a layer ``(..., 4, h, w)``."""
    behind = torch.as_tensor(background, dtype=layer.dtype, device=layer.device)
    if behind.dim() == 0 or tuple(behind.shape) == (3,):
        return behind.expand(3)[:, None, None]
    wanted = (*layer.shape[:-3], 3, *layer.shape[-2:])
    fits = behind.dim() >= 3 and behind.dim() <= len(wanted)
    if not fits or any(own not in (1, side) for own, side in zip(behind.shape[::-1], wanted[::-1], strict=False)):
        raise DiffbmpError(f"background must broadcast to {wanted}, or be (3,) or a number; got {tuple(behind.shape)}.")
    return behind


def _checked_boxes(boxes: Tensor | Sequence[Sequence[float]]) -> Tensor:
    values = torch.as_tensor(boxes, dtype=torch.float64)
    if values.dim() != 2 or values.shape[1] != 4 or not len(values):
        raise DiffbmpError(f"boxes must have shape (K, 4), left, top, right, bottom; got {tuple(values.shape)}.")
    if not bool(torch.isfinite(values).all()) or bool((values[:, 2:] <= values[:, :2]).any()):
        raise DiffbmpError("Each box must be finite, its right and bottom beyond its left and top.")
    return values
