"""Rendering a large picture a band of rows at a time, so that memory does not grow with the scale of an export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from diffbmp.images import eight_bits
from diffbmp.rendering.composite import over_background
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.painting import paint
from diffbmp.scene.scene import Scene

__all__ = ["BAND_PIXELS", "render_bands"]

BAND_PIXELS = 2**22
"""Pixels that are rendered at once: 64 MiB of floats."""


@torch.no_grad()
def render_bands(
    scene: Scene, *, scale: float, renderer: str, background: Tensor | None, sprites: Sprites | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Render one canvas from the top down.

    Args:
        scene: what to render.
        scale: size of the picture relative to the canvas.
        renderer: the renderer to draw with, or "auto".
        background: ``(3, 1, 1)`` or ``(3, H, W)`` at this scale, or None for a transparent canvas.
        sprites: what to paint instead of the scene's primitives, in canvas pixels.

    Yields:
        The first row of a band, and the band: uint8, RGB ``(3, rows, W)`` over a background, else straight RGBA
        ``(4, rows, W)``, on the CPU.
    """
    height, width = scene.scaled_size(scale)
    step = max(1, BAND_PIXELS // width)
    groups = scene.sprites_by_primitive() if sprites is None else []
    whole = scene.drawing(scale=scale, renderer=renderer)
    for top in range(0, height, step):
        rows = min(step, height - top)
        band = replace(whole, size=(rows, width), offset=(0.0, top / scale))
        image = band.composite(sprites) if sprites is not None else paint(scene.primitives, groups, band)
        if background is None:
            yield top, eight_bits(image, premultiplied=True)
        else:
            behind = background if background.shape[1] == 1 else background[:, top : top + rows]
            yield top, eight_bits(over_background(image, behind))
