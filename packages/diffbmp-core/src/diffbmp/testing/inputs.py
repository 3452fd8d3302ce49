"""Inputs and gradients of the operator as a whole: moved, cut into canvases, made into leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs, Gradients
from diffbmp.testing.comparison import SPRITE_INPUTS

__all__ = ["TENSORS", "as_double", "canvas_of", "gradients_of", "leaves_of", "mapped", "moved"]

T = TypeVar("T", CompositeInputs, Gradients)

TENSORS = (*SPRITE_INPUTS, "texture", "texels", "levels", "textures")
"""The operator's tensors in order, without the seed."""


def mapped(values: T, change: Callable[[Tensor], Tensor]) -> T:
    """Return the same with every tensor changed but the seed, which is on the CPU whatever the others are."""
    fields = {field.name: getattr(values, field.name) for field in dataclasses.fields(values) if field.name != "seed"}
    changed: dict[str, Any] = {name: change(value) for name, value in fields.items() if isinstance(value, Tensor)}
    return dataclasses.replace(values, **changed)


def moved(values: T, device: str, dtype: torch.dtype | None = None) -> T:
    """Return the same on another device, floats in ``dtype``."""
    return mapped(values, lambda value: value.to(device, dtype if value.is_floating_point() else None))


def as_double(gradients: Gradients) -> Gradients:
    """Return the gradients in float64."""
    return mapped(gradients, lambda value: value.double())


def canvas_of(inputs: CompositeInputs, index: int) -> CompositeInputs:
    """Return one canvas of a batch."""
    one = {name: getattr(inputs, name)[index : index + 1] for name in (*SPRITE_INPUTS, "texture")}
    return dataclasses.replace(inputs, **one)


def leaves_of(inputs: CompositeInputs, *, texels: bool = True) -> CompositeInputs:
    """Return the inputs with every differentiable one a leaf that requires its gradient, ``texels`` where asked for."""
    leaves = mapped(inputs, lambda value: value.detach().requires_grad_() if value.is_floating_point() else value)
    return leaves if texels else dataclasses.replace(leaves, texels=inputs.texels)


def gradients_of(leaves: CompositeInputs) -> Gradients:
    """Return what backward left in the leaves."""
    return Gradients(**{name: getattr(leaves, name).grad for name in (*SPRITE_INPUTS, "texels")})
