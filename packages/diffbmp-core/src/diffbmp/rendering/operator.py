"""The operator ``torch.ops.diffbmp.composite``: schema, fake kernels and autograd; renderers do the drawing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.rendering.keys import split_key
from diffbmp.rendering.renderer import CompositeInputs, Renderer
from diffbmp.rendering.returned import draw, take_gradients
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
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw sprites; see ``CompositeInputs`` for the arguments and ``Renderer.forward`` for what is returned.

    Raises:
        DiffbmpError: where the renderer cannot draw this; on the CPU also for a NaN or an infinity or an out-of-range
            texture index.
    """
    if frame.device.type == "cpu":
        check_values(frame, opacity, color, color_blend, texture, len(textures))
    inputs = CompositeInputs(
        frame.contiguous(), opacity.contiguous(), color.contiguous(), color_blend.contiguous(),
        texture.contiguous(), texels.contiguous(), levels.contiguous(), textures.contiguous(),
        height, width, blend, filter, seed,
    )  # fmt: skip
    return draw(_renderer(renderer, frame, blend, filter), inputs)


def _renderer(key: str, frame: Tensor, blend: str, filter: str, *, texel_gradient: bool = False) -> Renderer:
    """Return the renderer that draws.

    Where it is "auto" it has gradients of texels, since forward cannot know whether backward will ask for them, and
    both must be the same renderer.
    """
    texel_gradient = texel_gradient or split_key(key)[0] == "auto"
    return renderer_for(key, frame.device, frame.dtype, blend=blend, filter=filter, texel_gradient=texel_gradient)


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
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    image = frame.new_empty((frame.shape[0], 4, height, width))
    planes = _renderer(renderer, frame, blend, filter).state_planes
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
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of frame, opacity, color, color_blend and texels (empty where not asked for)."""
    inputs = CompositeInputs(
        frame.contiguous(), opacity.contiguous(), color.contiguous(), color_blend.contiguous(),
        texture.contiguous(), texels.contiguous(), levels.contiguous(), textures.contiguous(),
        height, width, blend, filter, seed,
    )  # fmt: skip
    drawing = _renderer(renderer, frame, blend, filter, texel_gradient=texel_gradient)
    _require_seed(drawing, seed)
    return take_gradients(drawing, inputs, state, grad_image.contiguous(), texel_gradient=texel_gradient)


def _require_seed(renderer: Renderer, seed: Tensor | None) -> None:
    if renderer.stochastic and seed is None:
        raise DiffbmpError(
            f"Renderer '{renderer.name}' estimates its gradients at random and has no seed; pass seed=, another one "
            "for each step."
        )


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
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (frame, opacity, color, color_blend)
    texel_part = torch.empty_like(texels) if texel_gradient else texels.new_empty(0)
    first, second, third, fourth = (torch.empty_like(value, memory_format=torch.contiguous_format) for value in inputs)
    return first, second, third, fourth, texel_part


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *constants, seed = inputs[8:]
    blend, filter, renderer = constants[2:]
    # What backward would refuse is refused here, before a loss is made of the image.
    drawing = _renderer(renderer, inputs[0], blend, filter, texel_gradient=ctx.needs_input_grad[5])
    _require_seed(drawing, seed)
    ctx.renderer = drawing  # an object made on the spot lives as long as the graph
    ctx.save_for_backward(*inputs[:8], output[1], seed)
    ctx.constants = constants
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # the state has no gradient, and is large


def _backward(ctx: Any, grad_image: Tensor | None, _grad_state: None) -> tuple[Tensor | None, ...]:
    if grad_image is None:  # the image took no part in the loss
        return (None,) * len(ctx.needs_input_grad)
    *tensors, state, seed = ctx.saved_tensors
    texel_gradient = bool(ctx.needs_input_grad[5])
    gradients = torch.ops.diffbmp.composite_backward(*tensors, state, grad_image, *ctx.constants, texel_gradient, seed)
    wanted = [gradients[index] if ctx.needs_input_grad[index] else None for index in range(4)]
    return (*wanted, None, gradients[4] if texel_gradient else None, *[None] * 8)


composite_op.register_autograd(_backward, setup_context=_save)
