"""Filters of premultiplied images: halving for mip chains, Gaussian blur for soft rasterization.

Both are products with a matrix each way, which are kept: a fit packs its textures anew at every stage of the blur.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["gaussian_blur", "halve"]


def halve(images: Tensor) -> Tensor:
    """Return ``(..., h, w)`` at half the size, rounded up: each new texel is the mean of the area that it covers.

    At odd sizes a texel counts for the part of it that is covered, so that the mean of the whole, and with it the
    tone of a picture, is the same at every size.
    """
    height, width = images.shape[-2:]
    down = _area_matrix(height, images.dtype, images.device)
    across = _area_matrix(width, images.dtype, images.device)
    return down @ (images @ across.T)


@lru_cache(maxsize=256)
def _area_matrix(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``(ceil(length / 2), length)``: how much of each new texel each old one covers."""
    count = (length + 1) // 2
    start = torch.arange(count, dtype=torch.float64)[:, None] * (length / count)
    texel = torch.arange(length, dtype=torch.float64)
    overlap = (start + length / count).minimum(texel + 1) - start.maximum(texel)
    return (overlap.clamp(min=0) * (count / length)).to(device=device, dtype=dtype)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Convolve ``(..., h, w)`` with a Gaussian of ``sigma`` texels, enlarging it by the kernel's radius all round.

    The kernel reaches four standard deviations, where it has fallen to 3e-4 of its peak; it sums to one, so the
    total coverage is kept.
    """
    height, width = images.shape[-2:]
    down = _blur_matrix(height, sigma, images.dtype, images.device)
    across = _blur_matrix(width, sigma, images.dtype, images.device)
    return down @ (images @ across.T)


@lru_cache(maxsize=256)
def _blur_matrix(length: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``(length + 2 radius, length)``: as a product, far quicker than a convolution at the sizes of stamps."""
    radius = max(1, math.ceil(4 * sigma))
    to = torch.arange(length + 2 * radius, dtype=dtype, device=device)[:, None]
    distance = to - radius - torch.arange(length, dtype=dtype, device=device)
    weight = torch.exp(-((distance / sigma) ** 2) / 2) * (distance.abs() <= radius)
    at = torch.arange(-radius, radius + 1, dtype=dtype, device=device)
    return weight / torch.exp(-((at / sigma) ** 2) / 2).sum()
