"""What all starts of stamps share: settings, the target's foreground, start colours, and the dealing of textures.

All random numbers are drawn in float64 on the CPU and moved afterwards, so that a start depends on the seed
and never on the device.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.primitives.sets import TextureSet, shares
from diffbmp.primitives.start import StartInputs
from diffbmp.settings import Settings
from diffbmp.stamps.stamps import COLOR_MARGIN, MINIMUM_SCALE, Stamps

__all__ = [
    "PlacementSettings",
    "build_stamps",
    "check_start",
    "deal_textures",
    "foreground",
    "large_first",
    "scale_range",
    "target_colors",
]


class PlacementSettings(Settings):
    """Settings that all initializers which place stamps anew have in common."""

    minimum_scale: float = Field(2.0, ge=MINIMUM_SCALE)
    """Smallest half-extent of a stamp at the start, in pixels."""
    maximum_scale: float | None = Field(None, gt=0)
    """Largest half-extent of a stamp at the start, in pixels; left out, the rule gives it."""
    scale_rule: Literal["spacing", "canvas"] = "spacing"
    """What gives the largest half-extent: the spacing of the stamps, or the canvas alone, as in the paper."""
    opacity_logit: float = Field(-2.0, ge=-20, le=20)
    """Opacity of every stamp at the start, as a logit; -2 is about 12 %."""
    color_noise: float = Field(0.02, ge=0, le=1)
    """Standard deviation of the noise on start colours taken from the target, in colour values of [0, 1]."""
    textures: Literal["dealt", "in_order"] = "dealt"
    """Textures dealt at random, each as often as any other, or in their order from the first stamp on: with a grid,
    a text can be read."""


def check_start(start: StartInputs) -> None:
    """Raise ``DiffbmpError`` where count, canvas, target and target alpha do not fit together."""
    if start.count < 1:
        raise DiffbmpError(f"The number of stamps must be at least 1, got {start.count}.")
    size = (start.height, start.width)
    if min(size) < 1:
        raise DiffbmpError(f"A canvas must be at least 1 x 1 pixels, got {start.width} x {start.height}.")
    for what, value, channels in (("target", start.target, 3), ("target's alpha", start.target_alpha, 1)):
        if value is not None and tuple(value.shape) != (channels, *size):
            raise DiffbmpError(f"The {what} must have shape {(channels, *size)}, got {tuple(value.shape)}.")


def scale_range(start: StartInputs, settings: PlacementSettings, canvas_share: float = 1 / 4) -> tuple[float, float]:
    """Return the smallest and the largest start scale, pixels.

    Where the settings give no largest, the rule "canvas" takes ``canvas_share`` of the canvas's shorter side, as
    the paper does. With the rule "spacing" it is twice the spacing that N stamps would have if they were spread evenly,
    2 sqrt(H W / N), and at most that share of the canvas (which alone piles many stamps dozens deep). It is never
    less than the smallest.

    Raises:
        DiffbmpError: where the settings' largest is below their smallest.
    """
    smallest, largest = settings.minimum_scale, settings.maximum_scale
    if largest is None:
        largest = canvas_share * min(start.height, start.width)
        if settings.scale_rule == "spacing":
            largest = min(largest, 2 * math.sqrt(start.height * start.width / start.count))
        return smallest, max(smallest, largest)
    if largest < smallest:
        raise DiffbmpError(f"maximum_scale is {largest:g} px, below minimum_scale, {smallest:g} px; swap or raise it.")
    return smallest, largest


def foreground(start: StartInputs) -> Tensor:
    """Return how much of each pixel there is to paint, ``(H, W)`` float64 in [0, 1] on the CPU.

    It is the target's alpha, or 1 everywhere where the target is opaque or there is none.

    Raises:
        DiffbmpError: where the target is fully transparent.
    """
    if start.target_alpha is None:
        return torch.ones((start.height, start.width), dtype=torch.float64)
    alpha = start.target_alpha[0].detach().to("cpu", torch.float64)
    if not bool((alpha > 0).any()):
        raise DiffbmpError("The target is fully transparent, so there is nothing to place stamps on.")
    return alpha


def target_colors(start: StartInputs, position: Tensor, noise: float) -> Tensor:
    """Return the start colour of each stamp, ``(N, 3)`` float64 in [0, 1].

    Args:
        start: what the initializer was given.
        position: ``(N, 2)`` centres, pixels; a position off the canvas takes the nearest pixel.
        noise: standard deviation of Gaussian noise added to the target's colour at the position.

    Without a target, colours are drawn from U[0, 1]^3 and ``noise`` plays no part.
    """
    if start.target is None:
        return torch.rand((len(position), 3), generator=start.generator, dtype=torch.float64)
    limit = torch.tensor([start.width - 1, start.height - 1])
    column, row = position.floor().long().clamp(min=torch.zeros_like(limit), max=limit).unbind(-1)
    target = start.target.detach().to("cpu", torch.float64)
    colors = target[:, row, column].T
    deviation = torch.randn(colors.shape, generator=start.generator, dtype=torch.float64)
    return (colors + noise * deviation).clamp(0, 1)


def deal_textures(count: int, textures: int, generator: torch.Generator) -> Tensor:
    """Return a texture for each of ``count`` stamps, ``(count,)`` int64.

    Every texture comes equally often, give or take one, as if dealt in turn from a shuffled pile; the result is
    shuffled, so that a texture says nothing about a stamp's place in the painting order.
    """
    pile = torch.randperm(textures, generator=generator)
    dealt = pile[torch.arange(count) % textures]
    return dealt[torch.randperm(count, generator=generator)]


def _textures(start: StartInputs, settings: PlacementSettings, count: int) -> Tensor:
    """Return the texture of each stamp, ``(count,)``: of each set as many as it has a share of."""
    usable = start.usable
    sets = start.sets or [TextureSet(usable, count)]
    if settings.textures == "in_order":
        if len(sets) > 1:
            raise DiffbmpError("Textures in order and numbers of single sets exclude each other; leave one out.")
        return usable[torch.arange(count) % len(usable)]
    if len(sets) == 1:
        return usable[deal_textures(count, len(usable), start.generator)]
    dealt = [
        one.textures[deal_textures(share, len(one.textures), start.generator)]
        for one, share in zip(sets, shares(sets, count), strict=True)
    ]
    return torch.cat(dealt)[torch.randperm(count, generator=start.generator)]


def large_first(scale: Tensor) -> Tensor:
    """Return the painting order that puts small stamps in front of large ones, ``(N,)`` int64; ties keep theirs."""
    return torch.argsort(scale, descending=True, stable=True)


def build_stamps(start: StartInputs, settings: PlacementSettings, position: Tensor, scale: Tensor) -> Stamps:
    """Return stamps at given places, with start colours, random rotations and dealt textures.

    Args:
        start: what the initializer was given.
        settings: opacity and colour noise.
        position: ``(N, 2)`` centres in painting order, pixels.
        scale: ``(N,)`` half-extents, pixels.
    """
    count = len(scale)
    colors = target_colors(start, position, settings.color_noise)
    rotation = 2 * math.pi * torch.rand(count, generator=start.generator, dtype=torch.float64)
    texels = start.atlas.texels
    texture = _textures(start, settings, count).to(texels.device)
    blends = texels.new_zeros(len(start.atlas)) if start.color_blend is None else start.color_blend.to(texels)
    return Stamps(
        position=position.to(texels),
        scale=scale.to(texels),
        rotation=rotation.to(texels),
        opacity_logit=torch.full_like(scale, settings.opacity_logit).to(texels),
        color_logit=torch.logit(colors, eps=COLOR_MARGIN).to(texels),
        texture=texture,
        color_blend=blends[texture],
    )
