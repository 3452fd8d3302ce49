"""Uniform random start."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from diffbmp.initializers.initializer import Initializer
from diffbmp.placement.starting import (
    PlacementSettings,
    build_stamps,
    check_start,
    foreground,
    large_first,
    scale_range,
)
from diffbmp.primitives.start import StartInputs
from diffbmp.stamps.stamps import Stamps

__all__ = ["Random"]


class Random(Initializer):
    """Stamps scattered evenly over the canvas, or over the visible part of a transparent target.

    Positions and scales are uniform, small stamps painted in front of large ones. Colours are the target's at
    the position; in a fit without a target they are random too.
    """

    name = "random"

    class Settings(PlacementSettings):
        """Settings of the random start; what the largest scale is where left out, ``scale_range`` says."""

        order: Literal["scale", "random"] = "scale"
        """Small stamps in front of large ones, or stamps in any order."""
        colors: Literal["target", "random"] = "target"
        """Colours of the target at the position, or drawn at random."""

    settings: Settings

    def __call__(self, start: StartInputs) -> Stamps:
        """Return the stamps.

        Raises:
            DiffbmpError: for a fully transparent target.
        """
        check_start(start)
        smallest, largest = scale_range(start, self.settings, canvas_share=1 / 2)
        visible = foreground(start).flatten().nonzero()[:, 0]
        pixel = visible[torch.randint(len(visible), (start.count,), generator=start.generator)]
        corner = torch.stack([pixel % start.width, pixel // start.width], dim=-1)
        position = corner + torch.rand((start.count, 2), generator=start.generator, dtype=torch.float64)
        fraction = torch.rand(start.count, generator=start.generator, dtype=torch.float64)
        scale = smallest + (largest - smallest) * fraction
        if self.settings.order == "scale":
            order = large_first(scale)
            position, scale = position[order], scale[order]
        if self.settings.colors == "random":
            start = replace(start, target=None)
        return build_stamps(start, self.settings, position, scale)
