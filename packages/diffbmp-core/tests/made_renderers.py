"""Renderers that claim less, or other things, than core's own; each is ``reference`` with something taken away."""

from __future__ import annotations

import torch
from torch import Tensor

from diffbmp import CompositeInputs, Gradients
from diffbmp.rendering.reference import Reference
from diffbmp.testing.inputs import mapped

__all__ = ["Narrow", "Noisy", "Sketch"]


class Narrow(Reference):
    """Single precision, over, bilinear, and no gradients of texels; it checks that it is asked for nothing else."""

    name = "narrow"
    dtypes = (torch.float32,)
    blends = ("over",)
    filters = ("bilinear",)
    texel_gradients = False
    draws_layers = False

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        assert (inputs.blend, inputs.filter, inputs.frame.dtype) == ("over", "bilinear", torch.float32)
        return super().forward(inputs)

    def backward(
        self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
    ) -> Gradients:
        assert not texel_gradient
        return super().backward(inputs, state, grad_image, texel_gradient=False)


class Noisy(Reference):
    """Exact on average: noise of mean zero, from the seed, is added to every gradient."""

    name = "noisy"
    dtypes = (torch.float32,)
    draws_layers = False
    stochastic = True
    bias = 0.0

    def backward(
        self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
    ) -> Gradients:
        random = torch.Generator().manual_seed(self.number(inputs))
        gradients = super().backward(inputs, state, grad_image, texel_gradient=texel_gradient)

        def noised(gradient: Tensor) -> Tensor:
            noise = torch.randn(gradient.shape, generator=random).to(gradient)
            size = gradient.square().mean().sqrt() if gradient.numel() else 0.0
            return gradient * (1 + self.bias) + size * noise

        return mapped(gradients, noised)

    def number(self, inputs: CompositeInputs) -> int:
        assert inputs.seed is not None
        return int(inputs.seed)


class Sketch(Reference):
    """A look of its own: pictures in five steps of grey, with the gradients of the smooth ones."""

    name = "sketch"
    dtypes = (torch.float32,)
    filters = ("mipmap", "bilinear")
    exact = False

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        image, state = super().forward(inputs)
        return torch.round(image * 4) / 4, state
