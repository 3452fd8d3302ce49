"""A renderer is called, and what comes back is held to its contract, in a sentence that names it and its plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.plugins.guard import failure, member_title
from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer

__all__ = ["draw", "draw_layer_bytes", "draw_layers_of", "take_gradients"]


def draw(renderer: Renderer, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
    """Return image and state of ``renderer.forward``."""
    canvas = (inputs.height, inputs.width)
    with _named(renderer, "forward"):
        image, state = renderer.forward(inputs)
        _check("an image", image, (inputs.batch, 4, *canvas), inputs.frame.dtype, inputs.frame.device)
        _check("a state", state, (inputs.batch, renderer.state_planes, *canvas), torch.float32, inputs.frame.device)
    return image, state


def take_gradients(
    renderer: Renderer, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of ``renderer.backward``, contiguous; that of the texels is empty if not asked for."""
    with _named(renderer, "backward"):
        found = renderer.backward(inputs, state, grad_image, texel_gradient=texel_gradient)
        if not isinstance(found, Gradients):
            raise _ContractError(f"gives a {type(found).__name__} and not diffbmp.Gradients")
        if texel_gradient and found.texels is None:
            raise _ContractError("gives no gradient of texels, though it was asked for")
        for name in ("frame", "opacity", "color", "color_blend", *(("texels",) if texel_gradient else ())):
            like: Tensor = getattr(inputs, name)
            _check(f"a gradient of {name}", getattr(found, name), like.shape, like.dtype, like.device, any_layout=True)
    texels = found.texels if texel_gradient and found.texels is not None else inputs.texels.new_empty(0)
    return (
        found.frame.contiguous(),
        found.opacity.contiguous(),
        found.color.contiguous(),
        found.color_blend.contiguous(),
        texels.contiguous(),
    )


def draw_layers_of(renderer: Renderer, inputs: CompositeInputs, boxes: Tensor) -> Tensor:
    """Return ``renderer.layers``."""
    with _named(renderer, "layers"):
        drawn = renderer.layers(inputs, boxes)
        _check("layers", drawn, (_room(boxes),), torch.float32, inputs.frame.device)
    return drawn


def draw_layer_bytes(renderer: Renderer, inputs: CompositeInputs, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``renderer.layer_bytes``."""
    with _named(renderer, "layer_bytes"):
        drawn, shown = renderer.layer_bytes(inputs, boxes)
        _check("layers", drawn, (_room(boxes),), torch.uint8, drawn.device)
        _check("boxes", shown, tuple(boxes.shape), torch.int64, boxes.device)
    return drawn, shown


def _room(boxes: Tensor) -> int:
    """Return how many values the layers in ``boxes`` have."""
    return 4 * int(boxes[:, 2:].prod(dim=1).sum())


class _ContractError(Exception):
    """What is wrong with what a renderer gave back: the end of a sentence that begins with the renderer."""


@contextmanager
def _named(renderer: Renderer, function: str) -> Iterator[None]:
    """Name the renderer, and the plugin that it comes from, in whatever goes wrong in ``function``.

    Errors that are sentences already pass, and so does a want of memory, which is nobody's mistake.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except _ContractError as problem:
        raise DiffbmpError(f"{member_title(renderer)} breaks its contract: {function} {problem}.") from None
    except Exception as error:
        sentence = failure(renderer, f"in {function}", error)
        if sentence is None:
            raise
        raise sentence from error


def _check(
    what: str,
    value: object,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    *,
    any_layout: bool = False,
) -> None:
    """Raise ``_ContractError`` where ``value`` is not a tensor of this shape, dtype and device, and contiguous."""
    if not isinstance(value, Tensor):
        raise _ContractError(f"gives {what} that is a {type(value).__name__} and not a tensor")
    if value.shape != shape or value.dtype != dtype or value.device != device:
        raise _ContractError(
            f"gives {what} of shape {tuple(value.shape)}, {value.dtype} on {value.device}, "
            f"and not of shape {tuple(shape)}, {dtype} on {device}"
        )
    if not any_layout and not value.is_contiguous():
        raise _ContractError(f"gives {what} that is not contiguous")
