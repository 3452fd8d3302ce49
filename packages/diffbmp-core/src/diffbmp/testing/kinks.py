"""Where the rendering equation has a kink, so that neither side of it is wrong."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs
from diffbmp.rendering.sampling import invert_frames, level_of_detail, mip_levels, texel_position
from diffbmp.testing.tolerances import KINK_MARGIN

__all__ = ["kink_mask", "level_margin"]


def kink_mask(inputs: CompositeInputs, margin: float = KINK_MARGIN) -> Tensor:
    """Find the pixels where a drawn sprite is sampled next to a texel border.

    The bilinear interpolant has a kink where it goes from one square of four texels to the next, and the nearest
    texel a jump; a renderer in float32 may be on the other side. Set ``grad_image`` to zero at these pixels, rather
    than widening a tolerance. Computed in float64.

    Args:
        inputs: B canvases of N sprites, in any dtype.
        margin: distance from a border, in texels of the level that is sampled.

    Returns:
        ``(B, H, W)`` bool, true where any sprite's sample lies within ``margin`` of a border.
    """
    double = in_double(inputs)
    inverse, drawn = invert_frames(double.frame)
    # Bilinear: borders at the texels' centres, from half a texel outside. Nearest: borders between texels.
    shift, first = (0.5, 0.0) if inputs.filter == "nearest_texel" else (0.0, -1.0)
    levels = [level for level, _, _ in mip_levels(double, inverse)]
    index = torch.arange(inputs.height * inputs.width, device=inputs.frame.device)
    mask = torch.zeros(inputs.batch, len(index), dtype=torch.bool, device=index.device)
    step = max(1, PAIRS // max(1, inputs.batch * inputs.count))
    for start in range(0, len(index), step):
        run = index[start : start + step]
        pixel = torch.stack([run % inputs.width, run // inputs.width], dim=-1).double() + 0.5
        offset = pixel - double.frame[:, :, None, :, 2]  # (B, N, P, 2)
        uv = torch.einsum("bnij,bnpj->bnpi", inverse, offset)
        for level in levels:
            size = inputs.levels[level][:, :, None, 1:].double()
            texel = texel_position(uv, size) + shift
            near = (texel - texel.round()).abs() <= margin
            touched = ((texel >= first - margin) & (texel <= size + margin)).all(dim=-1) & drawn[..., None]
            mask[:, run] |= (touched & near.any(dim=-1)).any(dim=1)
    return mask.view(inputs.batch, inputs.height, inputs.width)


PAIRS = 200_000
"""Sprites times pixels looked at at once."""


def level_margin(inputs: CompositeInputs) -> Tensor:
    """Return how far each sprite's level of detail is from where its filter switches level or is clamped.

    Returns:
        ``(B, N)`` in mip levels (a factor of two in scale each); infinity where the filter has no such place or the
        texture has one level.
    """
    double = in_double(inputs)
    inverse, drawn = invert_frames(double.frame)
    detail = level_of_detail(double, inverse)
    count = double.textures[double.texture, 1]
    if inputs.filter == "mipmap":
        tie = (detail.floor().clamp(min=0).minimum((count - 2).clamp(min=0)) + 0.5 - detail).abs()
    elif inputs.filter == "trilinear":
        tie = (detail.round().clamp(min=0).minimum(count - 1) - detail).abs()
    else:
        tie = torch.full_like(detail, torch.inf)
    return torch.where(drawn & (count > 1), tie, torch.inf)


def in_double(inputs: CompositeInputs) -> CompositeInputs:
    """Return the same inputs, floats widened to float64."""
    names = ("frame", "opacity", "color", "color_blend", "texels")
    return dataclasses.replace(inputs, **{name: getattr(inputs, name).double() for name in names})
