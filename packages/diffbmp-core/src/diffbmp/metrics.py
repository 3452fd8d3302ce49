"""Measures of a finished picture: PSNR and SSIM, on values as encoded."""

from __future__ import annotations

import math

import pytorch_msssim
import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError

__all__ = ["psnr", "ssim"]

WINDOW = 11
"""Side in pixels of SSIM's Gaussian window (Wang et al. 2004)."""


@torch.no_grad()
def psnr(image: Tensor, target: Tensor) -> float:
    """Return the peak signal-to-noise ratio, 10 log10(1 / mean squared difference), in dB.

    Args:
        image: ``(C, H, W)``, values in [0, 1] as encoded (no linearisation).
        target: of the same shape.

    Returns:
        dB for a peak of 1, the mean taken over pixels and channels; infinity where both are equal.

    Raises:
        DiffbmpError: where the shapes differ.
    """
    image, target = _comparable(image, target)
    error = float(torch.nn.functional.mse_loss(image, target))
    return math.inf if error == 0 else -10 * math.log10(error)


@torch.no_grad()
def ssim(image: Tensor, target: Tensor) -> float:
    """Return the mean structural similarity (Wang et al. 2004): Gaussian window, side 11, sigma 1.5.

    Only windows that lie within the picture count. A picture narrower than 11 pixels is measured with the
    largest odd window that fits, down to a window of one pixel, which compares brightness alone; such a
    figure is comparable with others of the same size only.

    Args:
        image: ``(C, H, W)``, values in [0, 1] as encoded.
        target: of the same shape.

    Returns:
        The mean over pixels and channels, at most 1 (equal), below 0 for opposed structure.

    Raises:
        DiffbmpError: where the shapes differ.
    """
    image, target = _comparable(image, target)
    shorter = min(image.shape[1:])
    window = min(WINDOW, shorter - 1 + shorter % 2)
    if shorter == 1:  # the library drops axes of length 1; rows or columns twice over have the same mean
        double = (1, 1 + (image.shape[1] == 1), 1 + (image.shape[2] == 1))
        image, target = image.repeat(double), target.repeat(double)
    return float(pytorch_msssim.ssim(image[None], target[None], data_range=1.0, win_size=window))


def _comparable(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if image.shape != target.shape or image.dim() != 3 or 0 in image.shape:
        raise DiffbmpError(
            f"Two pictures of one shape (C, H, W) can be compared, got {tuple(image.shape)} and {tuple(target.shape)}."
        )
    dtype = torch.promote_types(torch.promote_types(image.dtype, target.dtype), torch.float32)
    return image.to(dtype), target.to(dtype)
