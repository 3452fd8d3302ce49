"""Filters of premultiplied images: halving for mip chains, Gaussian blur for soft rasterization."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["gaussian_blur", "halve"]


def halve(image: Tensor) -> Tensor:
    """Return ``(C, h, w)`` at half the size, rounded up: each new texel is the mean of the area that it covers.

    At odd sizes a texel counts for the part of it that is covered, so that the mean of the whole, and with it the
    tone of a picture, is the same at every size.
    """
    height, width = image.shape[-2:]
    return _area_matrix(height, image) @ image @ _area_matrix(width, image).T


def _area_matrix(length: int, like: Tensor) -> Tensor:
    """Return ``(ceil(length / 2), length)``: how much of each new texel each old one covers."""
    count = (length + 1) // 2
    start = torch.arange(count, dtype=torch.float64)[:, None] * (length / count)
    texel = torch.arange(length, dtype=torch.float64)
    overlap = (start + length / count).minimum(texel + 1) - start.maximum(texel)
    return (overlap.clamp(min=0) * (count / length)).to(like)


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
