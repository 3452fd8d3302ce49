"""Structure-aware start: many small stamps where the target is busy, few large ones where it is flat."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from diffbmp.errors import DiffbmpError
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

__all__ = ["Structure", "draw_positions", "normalized_variance"]

WINDOW = 7
"""Side in pixels of the window of the local variance."""


class Structure(Initializer):
    """Stamps placed by the target's local variance, small ones on detail (paper, section 3).

    With V the normalised local variance (``normalized_variance``): positions are drawn with probability ~
    (0.1 + 0.9 V) * foreground; s = s_max - V (s_max - s_min) + N(0, (0.1 (s_max - s_min))^2), clipped to
    [s_min, s_max]; the colour is the target's at the position; small stamps are painted in front of large ones.
    """

    name = "structure"
    needs_target = True

    class Settings(PlacementSettings):
        """Settings of the structure-aware start; what the largest scale is where left out, ``scale_range`` says."""

        flat_density: float = Field(0.1, gt=0, le=1)
        """Density of stamps on perfectly flat areas, relative to that on the busiest."""
        scale_noise: float = Field(0.1, ge=0)
        """Standard deviation of the noise on the scale, as a fraction of its range."""

    settings: Settings

    def __call__(self, start: StartInputs) -> Stamps:
        """Return the stamps.

        Raises:
            DiffbmpError: without a target, or with a fully transparent one.
        """
        check_start(start)
        if start.target is None:
            raise DiffbmpError(
                "The initializer 'structure' follows a target, and there is none; use random or grid instead."
            )
        settings = self.settings
        smallest, largest = scale_range(start, settings)
        variance = normalized_variance(start.target, start.target_alpha)
        weight = (settings.flat_density + (1 - settings.flat_density) * variance) * foreground(start)
        position, pixel = draw_positions(weight, start.count, start.generator)
        deviation = torch.randn(start.count, generator=start.generator, dtype=torch.float64)
        span = largest - smallest
        scale = largest - span * variance.flatten()[pixel] + settings.scale_noise * span * deviation
        scale = scale.clamp(smallest, largest)
        order = large_first(scale)
        return build_stamps(start, settings, position[order], scale[order])


def normalized_variance(target: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Return the 7 x 7 local variance, summed over channels and divided by its maximum.

    Args:
        target: ``(3, H, W)`` straight colour in [0, 1].
        alpha: ``(1, H, W)`` in [0, 1], or None where opaque.

    Returns:
        ``(H, W)`` float64 in [0, 1] on the CPU; 0 everywhere for a flat target. At the border only the pixels
        within the canvas count. Of a transparent target the premultiplied colour and the alpha are measured, so
        that outlines count and the invisible colour under alpha 0 does not; an alpha of 1 changes nothing.
    """
    channels = target.detach().to("cpu", torch.float64)
    if alpha is not None:
        opaque = alpha.detach().to("cpu", torch.float64)
        channels = torch.cat([channels * opaque, opaque])
    # E[c^2] - E[c]^2 cancels where c is large against its spread. About the middle of each channel's range, in
    # float64, the error is at most 1e-16 of the range squared, and a flat channel is exactly 0.
    lowest, highest = channels.amin(dim=(1, 2), keepdim=True), channels.amax(dim=(1, 2), keepdim=True)
    centred = channels - (lowest + highest) / 2
    mean, mean_square = (
        functional.avg_pool2d(value, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
        for value in (centred, centred.square())
    )
    variance = (mean_square - mean.square()).clamp(min=0).sum(dim=0)
    largest = variance.max()
    return variance / largest if largest > 0 else variance


def draw_positions(weight: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pixels without replacement, with probability proportional to their weight.

    Where there are fewer pixels of a weight above 0 than stamps, all of them are drawn again in further rounds,
    from the second on with a shift within the pixel, so that no two stamps start at one point.

    Args:
        weight: ``(H, W)``, at least 0, not 0 everywhere.
        count: number of positions N.
        generator: of the CPU.

    Returns:
        Positions ``(N, 2)`` float64 (x, y), pixel centres in the first round, and pixels ``(N,)`` int64, row-major.
    """
    flat = weight.flatten()
    candidates = flat.nonzero()[:, 0]
    chances = flat[candidates]
    pixels: list[Tensor] = []
    shifts: list[Tensor] = []
    remaining = count
    while remaining > 0:
        taken = min(remaining, len(candidates))
        # Efraimidis and Spirakis (2006): the smallest of exponential variates with these rates are a weighted
        # sample without replacement. torch.multinomial would stop at 2^24 pixels.
        uniform = torch.rand(len(candidates), generator=generator, dtype=torch.float64)
        arrival = -torch.log1p(-uniform) / chances
        pixels.append(candidates[torch.topk(arrival, taken, largest=False).indices])
        if remaining == count:
            shifts.append(torch.full((taken, 2), 0.5, dtype=torch.float64))
        else:
            shifts.append(torch.rand((taken, 2), generator=generator, dtype=torch.float64))
        remaining -= taken
    pixel = torch.cat(pixels)
    width = weight.shape[1]
    corner = torch.stack([pixel % width, pixel // width], dim=-1)
    return corner + torch.cat(shifts), pixel
