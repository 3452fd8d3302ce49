"""Every sprite or instance drawn alone, into the box of pixels that shows it: what layered files are made of."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.operator import check_values
from diffbmp.rendering.quantize import split_opacity, straight_bytes
from diffbmp.rendering.renderer import FILTERS, CompositeInputs, Renderer
from diffbmp.rendering.returned import draw_layer_bytes, draw_layers_of
from diffbmp.rendering.sampling import invert_frames, mip_levels, texels_per_unit
from diffbmp.rendering.selection import renderer_choices, renderer_for, resolve_renderer
from diffbmp.rendering.sprites import Sprites

__all__ = ["Layer", "draw_layers", "instance_boxes", "layer_boxes", "sprite_boxes", "straight_layers"]

BATCH_PIXELS = 2**22
"""Pixels that are drawn at once (64 MiB of floats, 16 MiB of bytes), unless one layer alone has more."""


@dataclass(frozen=True)
class Layer:
    """One sprite or one instance by itself.

    Attributes:
        index: of the sprite, or of the instance; 0 is at the back.
        left: canvas column of the first pixel.
        top: canvas row of the first pixel.
        pixels: RGBA ``(4, height, width)``; nothing shows outside of it on the canvas. Height and width may be 0.
        opacity: what the alpha of all pixels is still to be multiplied by, in 255ths.
    """

    index: int
    left: int
    top: int
    pixels: Tensor
    opacity: int = 255


def draw_layers(
    sprites: Sprites,
    canvas: Canvas,
) -> Iterator[Layer]:
    """Draw each sprite of one canvas alone, in floats, the back first; batch by batch, so that memory stays small.

    Composited in order they give what ``composite`` does, but for the rounding of floats.

    Args:
        sprites: of one canvas, in canvas pixels.
        canvas: where and how; layers are cut off at its size, and its blend plays no part. Where its renderer has no
            ``layers`` the best of the CPU's draws, which makes the same picture.

    Yields:
        Premultiplied float32 ``(4, height, width)`` on the device of the renderer that draws.

    Raises:
        DiffbmpError: for a batch of canvases, NaN or infinity, an unknown renderer, or one that lacks the filter or has
            a look of its own and no layers.
    """
    inputs, drawing = _prepared(sprites, canvas)
    boxes = layer_boxes(inputs)
    for batch, part in _batches(inputs, boxes):
        flat = draw_layers_of(drawing, part, boxes[batch])
        yield from _cut(flat, boxes[batch], batch)


def straight_layers(sprites: Sprites, canvas: Canvas) -> Iterator[Layer]:
    """Draw each instance of one canvas alone, as files hold layers: 8 bits, straight alpha, an opacity for the whole.

    An instance of several sprites is these composited, within the box that holds all of theirs; one of no sprites is
    left out. Where the canvas's blend is "add", a layer has the colours of their sum, at the least alpha that can hold
    them. Arguments and errors are those of ``draw_layers``. How opacity is shared between layer and pixels:
    ``split_opacity``.

    Yields:
        Straight uint8 ``(4, height, width)`` on the CPU, cut to where alpha is not 0; 0 x 0 where nothing shows.
    """
    inputs, drawing = _prepared(sprites, canvas)
    instances, counts = torch.unique_consecutive(sprites.instances, return_counts=True)
    ends = counts.cumsum(0).tolist()
    spans = list(zip(instances.tolist(), [0, *ends[:-1]], ends, strict=True))
    for composed, run in itertools.groupby(spans, lambda span: span[2] - span[1] > 1):
        chosen = list(run)
        numbers, first, last = [span[0] for span in chosen], chosen[0][1], chosen[-1][2]
        if not composed:
            for number, layer in zip(numbers, _alone(_slice(inputs, slice(first, last)), drawing), strict=True):
                yield dataclasses.replace(layer, index=number)
            continue
        for number, start, end in chosen:
            yield _composited(_slice(inputs, slice(start, end)), drawing, number)


def _alone(inputs: CompositeInputs, drawing: Renderer) -> Iterator[Layer]:
    """Yield the layer of each sprite."""
    byte, factor = split_opacity(inputs.opacity[0])
    inputs = dataclasses.replace(inputs, opacity=factor[None])
    boxes = layer_boxes(inputs)
    opacity = byte.tolist()
    for batch, part in _batches(inputs, boxes):
        flat, shown = draw_layer_bytes(drawing, part, boxes[batch])
        inner = shown.tolist()
        for layer in _cut(flat.cpu(), boxes[batch], batch):
            left, top, width, height = inner[layer.index - batch.start]
            yield Layer(
                layer.index,
                layer.left + left,
                layer.top + top,
                layer.pixels[:, top : top + height, left : left + width],
                opacity[layer.index],
            )


@torch.no_grad()
def _composited(inputs: CompositeInputs, drawing: Renderer, number: int) -> Layer:
    """Return the layer of an instance, all of whose sprites these are."""
    box = instance_boxes(layer_boxes(inputs), torch.zeros(inputs.count, dtype=torch.int64), 1)
    left, top, width, height = box[0].tolist()
    if not width * height:
        return Layer(number, 0, 0, torch.empty((4, 0, 0), dtype=torch.uint8))
    corner = inputs.frame.new_tensor([left, top])[:, None]
    frame = torch.cat([inputs.frame[..., :2], inputs.frame[..., 2:] - corner], dim=-1)
    drawn, _ = drawing.forward(dataclasses.replace(inputs, frame=frame, height=height, width=width))
    image = drawn[0].cpu()
    if inputs.blend == "add":  # a sum may be brighter than what shows through it
        image = torch.cat([image[:3], image.amax(dim=0, keepdim=True).clamp(max=1)])
    byte, _ = split_opacity(image[3].amax()[None].clamp(0, 1))
    box[:, :2] = 0
    tint = torch.full((1, 3), torch.nan)
    pixels, shown = straight_bytes((image * (255 / byte)).flatten(), box, tint)
    x, y, across, down = shown[0].tolist()
    return Layer(
        number, left + x, top + y, pixels.view(4, height, width)[:, y : y + down, x : x + across], int(byte)
    )  # fmt: skip


def sprite_boxes(sprites: Sprites, canvas: Canvas) -> Tensor:
    """Return the box of pixels that each sprite, given in canvas pixels, can touch; see ``layer_boxes``."""
    return layer_boxes(_inputs(sprites, canvas, sprites.frame.device))


def instance_boxes(boxes: Tensor, instances: Tensor, count: int) -> Tensor:
    """Return the box that holds all sprites of each instance.

    Args:
        boxes: ``(N, 4)`` int64, left, top, width and height of each sprite; 0 x 0 where there is nothing to see.
        instances: ``(N,)`` int64, the instance of each sprite.
        count: number of instances.

    Returns:
        ``(count, 4)`` int64; all 0 where there is nothing to see.
    """
    shown = (boxes[:, 2:] > 0).all(dim=1)
    place = instances[shown, None].expand(-1, 2)
    low, high = boxes[shown, :2], boxes[shown, :2] + boxes[shown, 2:]
    first = torch.zeros((count, 2), dtype=boxes.dtype).scatter_reduce(0, place, low, "amin", include_self=False)
    last = torch.zeros((count, 2), dtype=boxes.dtype).scatter_reduce(0, place, high, "amax", include_self=False)
    return torch.cat([first, last - first], dim=1)


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


def _prepared(sprites: Sprites, canvas: Canvas) -> tuple[CompositeInputs, Renderer]:
    """Return the sprites as inputs on the device of the renderer that draws them, and that renderer."""
    drawing, device = _drawing(canvas.renderer, sprites.frame.device, sprites.frame.dtype, canvas.filter)
    return _inputs(sprites, canvas, device), drawing


def _inputs(sprites: Sprites, canvas: Canvas, device: torch.device) -> CompositeInputs:
    """Return the sprites of one canvas as float32 inputs on ``device``."""
    if sprites.frame.dim() != 3 or sprites.texture.dim() != 1:
        raise DiffbmpError("Layers are drawn of one canvas, not of a batch; pass one canvas at a time.")
    if canvas.filter not in FILTERS:
        raise unknown_name("filter", canvas.filter, FILTERS)
    atlas = canvas.atlas.to(device, torch.float32)
    sprites = canvas.placed(sprites)

    def moved(value: Tensor) -> Tensor:
        return value.detach().to(device, torch.float32)[None].contiguous()

    frame, texture = moved(sprites.frame), sprites.texture.detach().to(device).long()[None].contiguous()
    if atlas.padded:  # a blurred texture is larger than the stamp
        frame = torch.cat([frame[..., :2] * atlas.extent[texture][..., None, :], frame[..., 2:]], dim=-1)
    inputs = CompositeInputs(
        frame, moved(sprites.opacity) * canvas.alpha_max, moved(sprites.color), moved(sprites.color_blend), texture,
        atlas.texels.detach(), atlas.levels, atlas.table, *canvas.size, canvas.blend, canvas.filter,
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
            yield run, _slice(inputs, run)
            start, pixels = index, 0
        pixels += area


def _slice(inputs: CompositeInputs, run: slice) -> CompositeInputs:
    """Return the inputs of some sprites."""
    names = ("frame", "opacity", "color", "color_blend", "texture")
    return dataclasses.replace(inputs, **{n: getattr(inputs, n)[:, run].contiguous() for n in names})


def _cut(flat: Tensor, boxes: Tensor, batch: slice) -> Iterator[Layer]:
    """Yield the layers of one batch."""
    start = 0
    for index, (left, top, width, height) in enumerate(boxes.tolist(), start=batch.start):
        pixels = flat[start : start + 4 * width * height].view(4, height, width)
        start += pixels.numel()
        yield Layer(index, left, top, pixels)
