"""What ``reference`` makes of the suite's scenes in float64."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from diffbmp.rendering.reference import Reference
from diffbmp.rendering.renderer import Gradients
from diffbmp.testing.kinks import in_double, kink_mask
from diffbmp.testing.scenes import ConformanceScene

__all__ = ["Truth", "one_thread", "truth"]


@dataclass(frozen=True)
class Truth:
    """A scene as ``reference`` draws it in float64, with the gradients of sum(image * grad_image)."""

    image: Tensor
    kinks: Tensor
    grad_image: Tensor
    gradients: Gradients


@functools.cache
def truth(scene: ConformanceScene) -> Truth:
    """Draw ``scene`` with ``reference``; ``grad_image`` is random, and zero at kinks."""
    with one_thread():
        inputs = scene.build()
        double = in_double(inputs)
        image, state = Reference().forward(double)
        kinks = kink_mask(inputs)
        random = torch.Generator().manual_seed(len(scene.name))
        grad_image = torch.randn(image.shape, generator=random).masked_fill(kinks[:, None], 0.0)
        gradients = Reference().backward(double, state, grad_image.double(), texel_gradient=True)
        return Truth(image, kinks, grad_image, gradients)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch take one thread: for tensors of this size, more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
