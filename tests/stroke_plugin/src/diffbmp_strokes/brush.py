"""The texture that strokes are painted with."""

import torch

import diffbmp

TEXELS = 32
"""Side of the brush in texels."""


def brush_texture(softness):
    """Return a rounded square of full coverage with a soft rim, ``softness`` of its half side wide."""
    across = (torch.arange(TEXELS) + 0.5) / TEXELS * 2 - 1
    radius = (across[:, None] ** 4 + across**4) ** 0.25
    return diffbmp.Texture("brush", ((1 - radius) / softness).clamp(0, 1)[None], set="brush")
