"""The operator ``torch.ops.diffbmp.composite``: schema, fake kernels and autograd; renderers do the drawing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs
from diffbmp.rendering.selection import resolve_renderer

__all__: list[str] = []


@torch.library.custom_op("diffbmp::composite", mutates_args=())
def composite_op(
    frame: Tensor,
    opacity: Tensor,
    color: Tensor,
    color_blend: Tensor,
    texture: Tensor,
    texels: Tensor,
    levels: Tensor,
    textures: Tensor,
    height: int,
    width: int,
    blend: str,
    filter: str,
    renderer: str,
) -> tuple[Tensor, Tensor]:
    """Draw sprites; see ``CompositeInputs`` for the arguments and ``Renderer.forward`` for what is returned."""
    inputs = CompositeInputs(
        frame.contiguous(), opacity.contiguous(), color.contiguous(), color_blend.contiguous(),
        texture.contiguous(), texels.contiguous(), levels, textures, height, width, blend, filter,
    )  # fmt: skip
    return resolve_renderer(renderer).forward(inputs)


@composite_op.register_fake
def _composite_fake(
    frame: Tensor,
    opacity: Tensor,
    color: Tensor,
    color_blend: Tensor,
    texture: Tensor,
    texels: Tensor,
    levels: Tensor,
    textures: Tensor,
    height: int,
    width: int,
    blend: str,
    filter: str,
    renderer: str,
) -> tuple[Tensor, Tensor]:
    image = frame.new_empty((frame.shape[0], 4, height, width))
    planes = resolve_renderer(renderer).state_planes
    return image, frame.new_empty((frame.shape[0], planes, height, width), dtype=torch.float32)


@torch.library.custom_op("diffbmp::composite_backward", mutates_args=())
def composite_backward_op(
    frame: Tensor,
    opacity: Tensor,
    color: Tensor,
    color_blend: Tensor,
    texture: Tensor,
    texels: Tensor,
    levels: Tensor,
    textures: Tensor,
    state: Tensor,
    grad_image: Tensor,
    height: int,
    width: int,
    blend: str,
    filter: str,
    renderer: str,
    texel_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of frame, opacity, color, color_blend and texels (empty where not asked for)."""
    inputs = CompositeInputs(
        frame.contiguous(), opacity.contiguous(), color.contiguous(), color_blend.contiguous(),
        texture.contiguous(), texels.contiguous(), levels, textures, height, width, blend, filter,
    )  # fmt: skip
    gradients = resolve_renderer(renderer).backward(
        inputs, state, grad_image.contiguous(), texel_gradient=texel_gradient
    )
    texel_part = texels.new_empty(0) if gradients.texels is None else gradients.texels
    return gradients.frame, gradients.opacity, gradients.color, gradients.color_blend, texel_part


@composite_backward_op.register_fake
def _composite_backward_fake(
    frame: Tensor,
    opacity: Tensor,
    color: Tensor,
    color_blend: Tensor,
    texture: Tensor,
    texels: Tensor,
    levels: Tensor,
    textures: Tensor,
    state: Tensor,
    grad_image: Tensor,
    height: int,
    width: int,
    blend: str,
    filter: str,
    renderer: str,
    texel_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (frame, opacity, color, color_blend)
    texel_part = torch.empty_like(texels) if texel_gradient else texels.new_empty(0)
    first, second, third, fourth = (
        torch.empty_like(value, memory_format=torch.contiguous_format) for value in inputs
    )
    return first, second, third, fourth, texel_part


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:8], output[1])
    ctx.constants = inputs[8:]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(True)


def _backward(ctx: Any, grad_image: Tensor, _grad_state: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, state = ctx.saved_tensors
    texel_gradient = bool(ctx.needs_input_grad[5])
    gradients = torch.ops.diffbmp.composite_backward(
        *tensors, state, grad_image, *ctx.constants, texel_gradient
    )
    wanted = [
        gradient if needed else None
        for gradient, needed in zip(gradients[:4], ctx.needs_input_grad, strict=False)
    ]
    return (*wanted, None, gradients[4] if texel_gradient else None, *[None] * 7)


composite_op.register_autograd(_backward, setup_context=_save)
