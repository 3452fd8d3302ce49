"""Every sprite drawn alone, into the tightest box of pixels that shows it: what layered files are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.rendering.operator import check_values
from diffbmp.rendering.quantize import split_opacity
from diffbmp.rendering.renderer import FILTERS, CompositeInputs, Renderer
from diffbmp.rendering.returned import draw_layer_bytes, draw_layers_of
from diffbmp.rendering.sampling import invert_frames, mip_levels, texels_per_unit
from diffbmp.rendering.selection import renderer_choices, renderer_for, resolve_renderer
from diffbmp.rendering.sprites import Sprites

__all__ = ["Layer", "draw_layers", "layer_boxes", "sprite_boxes", "straight_layers"]

BATCH_PIXELS = 2**22
"""Pixels that are drawn at once (64 MiB of floats, 16 MiB of bytes), unless one layer alone has more."""


@dataclass(frozen=True)
class Layer:
    """One sprite by itself.

    Attributes:
        sprite: its index; 0 is at the back.
        left: canvas column of the first pixel.
        top: canvas row of the first pixel.
        pixels: RGBA ``(4, height, width)``; nothing shows outside of it on the canvas. Height and width may be 0.
        opacity: what the alpha of all pixels is still to be multiplied by, in 255ths.
    """

    sprite: int
    left: int
    top: int
    pixels: Tensor
    opacity: int = 255


def draw_layers(
    sprites: Sprites,
    atlas: Atlas,
    *,
    size: tuple[int, int],
    alpha_max: float = 1.0,
    filter: str = "mipmap",
    renderer: str | Renderer = "auto",
) -> Iterator[Layer]:
    """Draw each sprite of one canvas alone, in floats, the back first; batch by batch, so that memory stays small.

    Composited in order they give what ``composite`` does, but for the rounding of floats.

    Args:
        sprites: of one canvas, already at the scale wanted (``Sprites.scaled``).
        atlas: the textures; each is sampled from the mip level that fits the scale.
        size: canvas height and width in pixels, at which layers are cut off.
        alpha_max: factor on every opacity.
        filter: texture filter; see ``composite``.
        renderer: the renderer to draw with: a name, "auto", an object or a key of ``renderer_key``. Where it has no
            ``layers`` the best of the CPU's draws, which makes the same picture.

    Yields:
        Premultiplied float32 ``(4, height, width)`` on the device of the renderer that draws.

    Raises:
        DiffbmpError: for a batch of canvases, NaN or infinity, an unknown renderer, or one that lacks the filter or has
            a look of its own and no layers.
    """
    inputs, drawing = _prepared(sprites, atlas, size, alpha_max, filter, renderer)
    boxes = layer_boxes(inputs)
    for batch, part in _batches(inputs, boxes):
        flat = draw_layers_of(drawing, part, boxes[batch])
        yield from _cut(flat, boxes[batch], batch)


def straight_layers(
    sprites: Sprites,
    atlas: Atlas,
    *,
    size: tuple[int, int],
    alpha_max: float = 1.0,
    filter: str = "mipmap",
    renderer: str | Renderer = "auto",
) -> Iterator[Layer]:
    """Draw each sprite of one canvas alone, as files hold layers: 8 bits, straight alpha, an opacity for the whole.

    Arguments and errors are those of ``draw_layers``. How opacity is shared between layer and pixels:
    ``split_opacity``.

    Yields:
        Straight uint8 ``(4, height, width)`` on the CPU, cut to where alpha is not 0; 0 x 0 where nothing shows.
    """
    inputs, drawing = _prepared(sprites, atlas, size, alpha_max, filter, renderer)
    byte, factor = split_opacity(inputs.opacity[0])
    inputs = dataclasses.replace(inputs, opacity=factor[None])
    boxes = layer_boxes(inputs)
    opacity = byte.tolist()
    for batch, part in _batches(inputs, boxes):
        flat, shown = draw_layer_bytes(drawing, part, boxes[batch])
        inner = shown.tolist()
        for layer in _cut(flat.cpu(), boxes[batch], batch):
            left, top, width, height = inner[layer.sprite - batch.start]
            yield Layer(
                layer.sprite,
                layer.left + left,
                layer.top + top,
                layer.pixels[:, top : top + height, left : left + width],
                opacity[layer.sprite],
            )


def sprite_boxes(
    sprites: Sprites, atlas: Atlas, *, size: tuple[int, int], alpha_max: float = 1.0, filter: str = "mipmap"
) -> Tensor:
    """Return the box of pixels that each sprite can touch on a canvas of ``size``; see ``layer_boxes``."""
    return layer_boxes(_inputs(sprites, atlas, size, alpha_max, filter, sprites.frame.device))


@torch.no_grad()
def layer_boxes(inputs: CompositeInputs) -> Tensor:
    """Return the box of canvas pixels that each sprite of one canvas can touch, cut to the canvas.

    The texture's support reaches half a texel of the level that is read beyond its edge (docs/rendering.md).

    Returns:
        ``(N, 4)`` int64 on the CPU: left, top, width, height; all 0 where there is nothing to see.
    """
    double = dataclasses.replace(
        inputs, frame=inputs.frame.double() if inputs.frame.device.type != "mps" else inputs.frame
    )
    inverse, drawn = invert_frames(double.frame)
    reach = torch.ones_like(double.frame[0, :, :, 2])  # (N, 2): of u and v
    for level, _, _ in mip_levels(double, inverse):
        size = inputs.levels[level[0], 1:].to(reach)
        reach = reach.maximum(1 + 0.5 / texels_per_unit(size))
    frame = double.frame[0]
    half = (frame[..., :2].abs() * reach[:, None, :]).sum(dim=-1)
    limit = torch.tensor([inputs.width, inputs.height], device=frame.device, dtype=frame.dtype)
    low = (frame[..., 2] - half).floor().clamp(min=0).minimum(limit)
    high = (frame[..., 2] + half).ceil().clamp(min=0).minimum(limit)
    side = high - low
    seen = drawn[0] & (side > 0).all(dim=-1) & (inputs.opacity[0] > 0)
    boxes = torch.cat([low, side], dim=-1) * seen[:, None]
    return boxes.long().cpu()


def _prepared(
    sprites: Sprites, atlas: Atlas, size: tuple[int, int], alpha_max: float, filter: str, renderer: str | Renderer
) -> tuple[CompositeInputs, Renderer]:
    """Return the sprites as inputs on the device of the renderer that draws them, and that renderer."""
    drawing, device = _drawing(renderer, sprites.frame.device, sprites.frame.dtype, filter)
    return _inputs(sprites, atlas, size, alpha_max, filter, device), drawing


def _inputs(
    sprites: Sprites, atlas: Atlas, size: tuple[int, int], alpha_max: float, filter: str, device: torch.device
) -> CompositeInputs:
    """Return the sprites of one canvas as float32 inputs on ``device``."""
    if sprites.frame.dim() != 3 or sprites.texture.dim() != 1:
        raise DiffbmpError("Layers are drawn of one canvas, not of a batch; pass one canvas at a time.")
    if filter not in FILTERS:
        raise unknown_name("filter", filter, FILTERS)
    atlas = atlas.to(device, torch.float32)

    def moved(value: Tensor) -> Tensor:
        return value.detach().to(device, torch.float32)[None].contiguous()

    frame, texture = moved(sprites.frame), sprites.texture.detach().to(device).long()[None].contiguous()
    if atlas.padded:  # a blurred texture is larger than the stamp
        frame = torch.cat([frame[..., :2] * atlas.extent[texture][..., None, :], frame[..., 2:]], dim=-1)
    inputs = CompositeInputs(
        frame, moved(sprites.opacity) * alpha_max, moved(sprites.color), moved(sprites.color_blend), texture,
        atlas.texels.detach(), atlas.levels, atlas.table, *size, "over", filter,
    )  # fmt: skip
    check_values(frame, inputs.opacity, inputs.color, inputs.color_blend, texture, len(atlas))
    return inputs


def _drawing(
    renderer: str | Renderer, device: torch.device, dtype: torch.dtype, filter: str
) -> tuple[Renderer, torch.device]:
    """Return the renderer that draws the layers, and its device."""
    chosen = renderer_for(renderer, device, dtype, filter=filter)
    if chosen.draws_layers:
        return chosen, device
    if not chosen.exact:
        raise DiffbmpError(
            f"Renderer '{chosen.name}' draws no layers, and has a look of its own that no other renderer can draw them "
            "with; name another renderer for layers."
        )
    cpu = torch.device("cpu")
    for choice in renderer_choices(cpu, filter=filter):
        if choice.automatic and choice.cls.draws_layers:
            return resolve_renderer(choice.name), cpu
    raise DiffbmpError("No renderer of this installation draws layers.")


def _batches(inputs: CompositeInputs, boxes: Tensor) -> Iterator[tuple[slice, CompositeInputs]]:
    """Yield runs of sprites that together have about ``BATCH_PIXELS``, with their inputs."""
    start, pixels = 0, 0
    areas = boxes[:, 2:].prod(dim=1).tolist()
    for index, area in enumerate([*areas, BATCH_PIXELS + 1]):
        if index > start and (pixels + area > BATCH_PIXELS or index == len(areas)):
            run = slice(start, index)
            names = ("frame", "opacity", "color", "color_blend", "texture")
            yield run, dataclasses.replace(inputs, **{n: getattr(inputs, n)[:, run].contiguous() for n in names})
            start, pixels = index, 0
        pixels += area


def _cut(flat: Tensor, boxes: Tensor, batch: slice) -> Iterator[Layer]:
    """Yield the layers of one batch."""
    start = 0
    for index, (left, top, width, height) in enumerate(boxes.tolist(), start=batch.start):
        pixels = flat[start : start + 4 * width * height].view(4, height, width)
        start += pixels.numel()
        yield Layer(index, left, top, pixels)
