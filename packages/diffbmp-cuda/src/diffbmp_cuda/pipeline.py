"""The order of launches and the memory between them: all of the renderer that is neither a kernel nor a card.

Every size follows from the shapes of the inputs, so nothing here waits for the card, and a CUDA graph can capture it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

import diffbmp
from diffbmp import CompositeInputs, Gradients
from diffbmp_cuda.sources import Kernel

__all__ = ["THREADS", "Argument", "Choices", "Launcher", "backward", "backward_kernel", "forward", "forward_kernel"]

THREADS = 128
"""Threads of every block (kThreads in scene.cuh)."""

TILE, BIN, CHUNK = 16, 64, 32
PLAN_BYTES, BOUNDS_INTS = 120, 14
PARTS, ACCUMULATOR = 12, 10
LOOKUPS = {"mipmap": 0, "trilinear": 1, "bilinear": 0, "nearest_texel": 2}
"""The number of Lookup (diffbmp/codes.h) that each filter comes to: what kernels are compiled for."""

MOST_SPRITES = 2**30
MOST_PIXELS = 2**23
MOST_TILES = 2**31 - 1

Argument: TypeAlias = "Tensor | ctypes.c_int | ctypes.c_longlong"


class Launcher(Protocol):
    """Whoever runs kernels: a card, or in the tests the host."""

    def launch(self, kernel: Kernel, blocks: int, arguments: Sequence[Argument]) -> None:
        """Run ``blocks`` blocks of ``THREADS`` threads, in order with what was launched before."""

    def resident_blocks(self, kernel: Kernel) -> int:
        """Return how many blocks of a kernel can run at once."""


@dataclass(frozen=True)
class Choices:
    """How to draw.

    Attributes:
        half_texels: whether texels are stored and read in half precision.
        exact: whether sums are taken in integers, so that they have the same bits every time.
        checkpoints: how many the backward pass keeps of each tile before it thins them out; even.
    """

    half_texels: bool = False
    exact: bool = True
    checkpoints: int = 32


def forward_kernel(inputs: CompositeInputs, choices: Choices) -> Kernel:
    """Return the kernel that draws."""
    return Kernel(
        "forward",
        (
            ("DIFFBMP_LOOKUP", LOOKUPS[inputs.filter]),
            ("DIFFBMP_BLEND", inputs.blend_code),
            ("DIFFBMP_HALF_TEXELS", int(choices.half_texels)),
        ),
    )


def backward_kernel(inputs: CompositeInputs, choices: Choices, *, texel_gradient: bool) -> Kernel:
    """Return the kernel that takes the gradient."""
    own = (("DIFFBMP_TEXEL_GRADIENT", int(texel_gradient)), ("DIFFBMP_EXACT", int(choices.exact)))
    return Kernel("backward", forward_kernel(inputs, choices).macros + own)


def forward(inputs: CompositeInputs, launcher: Launcher, choices: Choices) -> Tensor:
    """Draw; return the image ``(B, 4, H, W)``.

    Raises:
        DiffbmpError: where the inputs are larger than the kernels can count.
    """
    _check_sizes(inputs)
    shape = (inputs.batch, 4, inputs.height, inputs.width)
    if inputs.batch * inputs.count == 0:
        return inputs.frame.new_zeros(shape)
    image = inputs.frame.new_empty(shape)
    prepared = _prepare(inputs, launcher)
    arguments = [*prepared, _texels(inputs, choices), *_sizes(inputs), image]
    launcher.launch(forward_kernel(inputs, choices), _tiles(inputs), arguments)
    return image


def backward(
    inputs: CompositeInputs, grad_image: Tensor, launcher: Launcher, choices: Choices, *, texel_gradient: bool
) -> Gradients:
    """Return the gradients of sum(image * grad_image)."""
    _check_sizes(inputs)
    values = (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend)
    if inputs.batch * inputs.count == 0:
        texels = torch.zeros_like(inputs.texels) if texel_gradient else None
        frame, opacity, color, color_blend = (torch.zeros_like(value) for value in values)
        return Gradients(frame, opacity, color, color_blend, texels)
    sprites, tiles = inputs.batch * inputs.count, _tiles(inputs)
    plans, bounds, masks = _prepare(inputs, launcher)
    kernel = backward_kernel(inputs, choices, texel_gradient=texel_gradient)
    blocks = min(tiles, launcher.resident_blocks(kernel))
    slots, between = _checkpoints(inputs.count, choices.checkpoints)
    scratch = inputs.frame.new_empty((blocks, slots + between, TILE * TILE))
    cursors = _ints(inputs, (blocks, slots + between))
    ticket = _ints(inputs, (1,)).zero_()
    if choices.exact:
        sums = inputs.frame.new_zeros((sprites, ACCUMULATOR, PARTS), dtype=torch.int64)
    else:
        sums = inputs.frame.new_zeros((sprites, PARTS))
    scale = (
        _texel_scale(inputs, grad_image, bounds)
        if texel_gradient and choices.exact
        else sums.new_ones((), dtype=torch.float32)
    )
    length = inputs.texels.shape[0] if texel_gradient else 0
    texel_sums = inputs.texels.new_zeros(length, dtype=torch.int64 if choices.exact else torch.float32)
    arguments: list[Argument] = [
        plans, bounds, masks, _texels(inputs, choices), grad_image, *_sizes(inputs), ctypes.c_int(tiles),
        ticket, scratch, cursors, ctypes.c_int(slots), ctypes.c_int(between), sums, texel_sums, scale,
    ]  # fmt: skip
    launcher.launch(kernel, blocks, arguments)

    totals = [torch.empty_like(value) for value in values]
    arguments = [
        inputs.frame, inputs.texture, inputs.levels, inputs.textures, plans, bounds, sums,
        ctypes.c_int(int(choices.exact)), ctypes.c_int(inputs.filter_code), ctypes.c_longlong(sprites),
        ctypes.c_longlong(inputs.textures.shape[0]), *totals,
    ]  # fmt: skip
    launcher.launch(Kernel("reduce"), -(-sprites // THREADS), arguments)
    texels = None
    if texel_gradient:
        texels = (texel_sums.double() / scale.double()).float() if choices.exact else texel_sums
    frame, opacity, color, color_blend = totals
    return Gradients(frame, opacity, color, color_blend, texels)


def _prepare(inputs: CompositeInputs, launcher: Launcher) -> tuple[Tensor, Tensor, Tensor]:
    """Set up every sprite and mark which it may touch of the bins.

    Returns:
        Plans ``(B N, PLAN_BYTES)``, bounds ``(B N, BOUNDS_INTS)`` and masks ``(B, bins, words)`` of 32 sprites each.
    """
    sprites = inputs.batch * inputs.count
    plans = inputs.frame.new_empty((sprites, PLAN_BYTES), dtype=torch.uint8)
    bounds = _ints(inputs, (sprites, BOUNDS_INTS))
    arguments: list[Argument] = [
        inputs.frame, inputs.opacity, inputs.color, inputs.color_blend, inputs.texture, inputs.levels, inputs.textures,
        ctypes.c_longlong(sprites), ctypes.c_longlong(inputs.textures.shape[0]), ctypes.c_int(inputs.width),
        ctypes.c_int(inputs.height), ctypes.c_int(inputs.filter_code), plans, bounds,
    ]  # fmt: skip
    launcher.launch(Kernel("setup"), -(-sprites // THREADS), arguments)

    lines, columns, words = -(-inputs.height // BIN), -(-inputs.width // BIN), -(-inputs.count // 32)
    masks = _ints(inputs, (inputs.batch, lines * columns, words))
    jobs = inputs.batch * lines * -(-words // (THREADS // 32))
    launcher.launch(
        Kernel("bin"),
        jobs,
        [
            bounds,
            ctypes.c_int(inputs.width),
            ctypes.c_int(inputs.height),
            ctypes.c_int(inputs.count),
            ctypes.c_longlong(jobs),
            masks,
        ],
    )
    return plans, bounds, masks


def _checkpoints(count: int, most: int) -> tuple[int, int]:
    """Return how many checkpoints a tile may need, and how many between two of them where there are not enough."""
    chunks = -(-count // CHUNK)
    if chunks <= most:
        return chunks, 0
    every = 1
    while most * every < chunks:
        every *= 2
    return most, every


def _texel_scale(inputs: CompositeInputs, grad_image: Tensor, bounds: Tensor) -> Tensor:
    """Return the power of two, float32 ``()``, that gradients of texels are counted in units of one over.

    As fine as can be without an overflow of 63 bits if every pair of pixel and sprite gave one texel the most that it
    can: |dL/dM| is at most opacity (|g . color| + |g_alpha| + |what is behind|), and the last is a mean of the same.
    """
    boxes = bounds[:, :4].double()
    pairs = ((boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])).sum().clamp(min=1)
    gradient, opacity = grad_image.abs().amax().double(), inputs.opacity.abs().amax().double()
    color = torch.maximum(inputs.color.abs().amax(), inputs.texels.abs().amax()).double().clamp(min=1)
    largest = (8 * gradient * color * opacity).clamp(min=1e-300)
    exponent = torch.floor(62 - torch.log2(pairs) - torch.log2(largest))
    return torch.exp2(exponent.clamp(-126, 126)).float()


def _texels(inputs: CompositeInputs, choices: Choices) -> Tensor:
    return inputs.texels.half() if choices.half_texels else inputs.texels


def _sizes(inputs: CompositeInputs) -> list[Argument]:
    return [ctypes.c_int(inputs.count), ctypes.c_int(inputs.width), ctypes.c_int(inputs.height)]


def _ints(inputs: CompositeInputs, shape: tuple[int, ...]) -> Tensor:
    return inputs.frame.new_empty(shape, dtype=torch.int32)


def _tiles(inputs: CompositeInputs) -> int:
    return inputs.batch * -(-inputs.height // TILE) * -(-inputs.width // TILE)


def _check_sizes(inputs: CompositeInputs) -> None:
    if inputs.count > MOST_SPRITES:
        raise diffbmp.DiffbmpError(
            f"Renderer 'cuda' draws at most {MOST_SPRITES} sprites on a canvas, not {inputs.count}."
        )
    if max(inputs.height, inputs.width) > MOST_PIXELS:
        raise diffbmp.DiffbmpError(
            f"Renderer 'cuda' draws canvases of at most {MOST_PIXELS} pixels a side, not "
            f"{inputs.width} x {inputs.height}."
        )
    if _tiles(inputs) > MOST_TILES:
        raise diffbmp.DiffbmpError(
            f"Renderer 'cuda' draws at most {MOST_TILES} tiles of {TILE} x {TILE} pixels at once; draw fewer than "
            f"{inputs.batch} canvases in one call."
        )
