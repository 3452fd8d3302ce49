"""Rendering a large picture a band of rows at a time, so that memory does not grow with the scale of an export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from diffbmp.images import eight_bits
from diffbmp.rendering.composite import composite, over_background
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene

__all__ = ["BAND_PIXELS", "render_bands"]

BAND_PIXELS = 2**22
"""Pixels that are rendered at once: 64 MiB of floats."""


@torch.no_grad()
def render_bands(
    scene: Scene, sprites: Sprites, *, scale: float, renderer: str, background: Tensor | None
) -> Iterator[tuple[int, Tensor]]:
    """Render ``sprites`` as ``scene`` would, from the top down.

    Args:
        scene: gives canvas, textures, blend mode and filter.
        sprites: of one canvas, at scale 1.
        scale: size of the picture relative to the canvas.
        renderer: the renderer to draw with, or "auto".
        background: ``(3, 1, 1)`` or ``(3, H, W)`` at this scale, or None for a transparent canvas.

    Yields:
        The first row of a band, and the band: uint8, RGB ``(3, rows, W)`` over a background, else straight RGBA
        ``(4, rows, W)``, on the CPU.
    """
    height, width = scene.scaled_size(scale)
    step = max(1, BAND_PIXELS // width)
    scaled = sprites.scaled(scale)
    for top in range(0, height, step):
        rows = min(step, height - top)
        frame = scaled.frame
        if top:
            frame = torch.cat([frame[..., :2], frame[..., 2:] - frame.new_tensor([[0.0], [top]])], dim=-1)
        band = replace(scaled, frame=frame)
        image = composite(
            band.frame, band.opacity, band.color, band.texture, scene.atlas,
            size=(rows, width), color_blend=band.color_blend, alpha_max=scene.alpha_max,
            blend=scene.blend, filter=scene.filter, renderer=renderer,
        )  # fmt: skip
        if background is None:
            yield top, eight_bits(image, premultiplied=True)
        else:
            behind = background if background.shape[1] == 1 else background[:, top : top + rows]
            yield top, eight_bits(over_background(image, behind))
