"""Filters of premultiplied images: halving for mip chains, Gaussian blur for soft rasterization."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["gaussian_blur", "halve"]


def halve(image: Tensor) -> Tensor:
    """Return ``(C, h, w)`` at half the size, rounded up, filtered with a triangle over the same area."""
    height, width = image.shape[-2:]
    size = ((height + 1) // 2, (width + 1) // 2)
    return functional.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Convolve ``(C, h, w)`` with a Gaussian of ``sigma`` texels, enlarging it by the kernel's radius all round.

    The kernel reaches four standard deviations, where it has fallen to 3e-4 of its peak; it sums to one, so the
    total coverage is kept.
    """
    radius = max(1, math.ceil(4 * sigma))
    height, width = image.shape[-2:]
    return _blur_matrix(height, radius, sigma, image) @ image @ _blur_matrix(width, radius, sigma, image).T


def _blur_matrix(length: int, radius: int, sigma: float, like: Tensor) -> Tensor:
    """Return ``(length + 2 radius, length)``: as a product, far quicker than a convolution at the sizes of stamps."""
    to = torch.arange(length + 2 * radius, dtype=like.dtype, device=like.device)[:, None]
    distance = to - radius - torch.arange(length, dtype=like.dtype, device=like.device)
    weight = torch.exp(-((distance / sigma) ** 2) / 2) * (distance.abs() <= radius)
    at = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    return weight / torch.exp(-((at / sigma) ** 2) / 2).sum()
