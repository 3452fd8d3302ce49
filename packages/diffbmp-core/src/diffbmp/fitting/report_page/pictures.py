"""The pictures of a report: target and composition as 8 bits, and where they differ."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from diffbmp.images import eight_bits

__all__ = ["error_map", "page_picture"]

LARGEST_SIDE = 2048
"""Pixels that the longer side of a picture is reduced to; the files beside the report have them all."""

PALETTE = np.array(
    [(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39)],
    dtype=np.float64,
)
"""Dark to light, ever lighter, and told apart by those who see few colours: stations of matplotlib's ``inferno``."""


def page_picture(image: Tensor) -> NDArray[np.uint8]:
    """Return RGB ``(3, H, W)`` in [0, 1] as 8-bit ``(h, w, 3)``, reduced where it is very large."""
    pixels: NDArray[np.uint8] = eight_bits(_reduced(image)).cpu().movedim(0, -1).contiguous().numpy()
    return pixels


def error_map(image: Tensor, target: Tensor) -> tuple[NDArray[np.uint8], float]:
    """Return where two pictures differ.

    Args:
        image: RGB ``(3, H, W)`` in [0, 1].
        target: the same shape.

    Returns:
        8-bit RGB ``(h, w, 3)``, and the error that its last colour stands for. The error of a pixel is the root of the
        mean squared difference over its channels, so that the mean of its square is what the PSNR is made of.
    """
    error = (image.double() - target.double()).square().mean(dim=0, keepdim=True).sqrt()
    shown = _reduced(error)[0].cpu().numpy()
    # A few stray pixels shall not darken all others; in steps of 0.05, so that reports can be compared.
    peak = min(1.0, max(0.05, math.ceil(float(np.quantile(shown, 0.995)) * 20) / 20))
    place = np.clip(shown / peak, 0, 1) * (len(PALETTE) - 1)
    stations = np.arange(len(PALETTE))
    colors = np.stack([np.interp(place, stations, PALETTE[:, channel]) for channel in range(3)], axis=-1)
    return np.rint(colors).astype(np.uint8), peak


def _reduced(image: Tensor) -> Tensor:
    """Return ``(C, H, W)`` with its longer side at most ``LARGEST_SIDE``."""
    height, width = image.shape[-2:]
    factor = LARGEST_SIDE / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    reduced: Tensor = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
    return reduced.clamp(0, 1)
