"""The operator ``torch.ops.diffbmp.composite``: schema, fake kernels and autograd; renderers do the drawing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.rendering.renderer import CompositeInputs
from diffbmp.rendering.selection import renderer_for

__all__ = ["check_values"]


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
    """Draw sprites; see ``CompositeInputs`` for the arguments and ``Renderer.forward`` for what is returned.

    Raises:
        DiffbmpError: on the CPU, for a NaN or an infinity or an index that is none of a texture.
    """
    if frame.device.type == "cpu":
        check_values(frame, opacity, color, color_blend, texture, len(textures))
    inputs = CompositeInputs(
        frame.contiguous(), opacity.contiguous(), color.contiguous(), color_blend.contiguous(),
        texture.contiguous(), texels.contiguous(), levels.contiguous(), textures.contiguous(),
        height, width, blend, filter,
    )  # fmt: skip
    return renderer_for(renderer, frame.device, frame.dtype).forward(inputs)


def check_values(
    frame: Tensor, opacity: Tensor, color: Tensor, color_blend: Tensor, texture: Tensor, textures: int
) -> None:
    """Refuse what is wrong in value and not in shape: here, so that compiled code is checked too."""
    rows = (("frame", frame), ("opacity", opacity), ("color", color), ("color_blend", color_blend))
    for label, value in rows:
        if not bool(torch.isfinite(value).all()):
            raise DiffbmpError(f"{label} holds NaN or infinity.")
    if texture.numel():
        lowest, highest = (int(bound) for bound in torch.aminmax(texture))
        if lowest < 0 or highest >= textures:
            raise DiffbmpError(
                f"texture holds indices from {lowest} to {highest}, but the atlas has {textures} textures "
                f"(0 to {textures - 1})."
            )


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
    planes = renderer_for(renderer, frame.device, frame.dtype).state_planes
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
        texture.contiguous(), texels.contiguous(), levels.contiguous(), textures.contiguous(),
        height, width, blend, filter,
    )  # fmt: skip
    drawing = renderer_for(renderer, frame.device, frame.dtype)
    gradients = drawing.backward(inputs, state, grad_image.contiguous(), texel_gradient=texel_gradient)
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
    first, second, third, fourth = (torch.empty_like(value, memory_format=torch.contiguous_format) for value in inputs)
    return first, second, third, fourth, texel_part


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:8], output[1])
    ctx.constants = inputs[8:]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # the state has no gradient, and is large


def _backward(ctx: Any, grad_image: Tensor | None, _grad_state: None) -> tuple[Tensor | None, ...]:
    if grad_image is None:  # the image took no part in the loss
        return (None,) * len(ctx.needs_input_grad)
    *tensors, state = ctx.saved_tensors
    texel_gradient = bool(ctx.needs_input_grad[5])
    gradients = torch.ops.diffbmp.composite_backward(*tensors, state, grad_image, *ctx.constants, texel_gradient)
    wanted = [gradients[index] if ctx.needs_input_grad[index] else None for index in range(4)]
    return (*wanted, None, gradients[4] if texel_gradient else None, *[None] * 7)


composite_op.register_autograd(_backward, setup_context=_save)
