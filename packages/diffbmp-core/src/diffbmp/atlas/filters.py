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
    return functional.interpolate(
        image[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0]


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Convolve ``(C, h, w)`` with a Gaussian of ``sigma`` texels, enlarging it by the kernel's radius all round.

    The kernel reaches four standard deviations, where it has fallen to 3e-4 of its peak; it sums to one, so the
    total coverage is kept.
    """
    radius = max(1, math.ceil(4 * sigma))
    at = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-((at / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    blurred = functional.conv2d(image[:, None], kernel[None, None, None, :], padding=(radius, 2 * radius))
    return functional.conv2d(blurred, kernel[None, None, :, None], padding=(radius, 0))[:, 0]
