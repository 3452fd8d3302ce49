"""Laying new strokes where a map says, along the structure of a picture and in its colours."""

import math

import torch


def stroke_width(area, count, settings):
    """Return the width of ``count`` strokes that cover an area in square pixels as often as the settings say."""
    return max(1.0, math.sqrt(settings.coverage * area / (settings.length * count)))


def lay(count, density, picture, *, size, width, length, generator):
    """Return the parameters of ``count`` new strokes, by name.

    Random numbers are drawn in float64 on the CPU, so that strokes depend on the seed and never on the device.

    Args:
        count: how many.
        density: ``(h, w)``, how many there are to be of each pixel, up to a factor.
        picture: ``(3, h, w)`` what they follow and take their colours from, or None for any directions and colours.
        size: canvas height and width in pixels, which (h, w) may be a smaller picture of.
        width: of the strokes, canvas pixels.
        length: of the strokes, in widths.
        generator: where random numbers come from.
    """

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    columns = density.shape[1]
    cumulative = density.detach().to("cpu", torch.float64).flatten().cumsum(0)
    pixel = torch.searchsorted(cumulative, random(count) * cumulative[-1]).clamp(max=len(cumulative) - 1)
    row, column = pixel // columns, pixel % columns
    place = torch.stack([column, row], dim=-1) + random(count, 2)
    center = place * torch.tensor([size[1] / columns, size[0] / density.shape[0]], dtype=torch.float64)

    direction = (random(count, 2) - 0.5) / 50  # decides where the picture has no direction of its own
    color = random(count, 3)
    if picture is not None:
        picture = picture.detach().to("cpu", torch.float64)
        down, across = torch.gradient(picture.mean(dim=0))
        direction += torch.stack([-down[row, column], across[row, column]], dim=-1)
        color = picture[:, row, column].T
    direction /= direction.norm(dim=-1, keepdim=True).clamp(min=1e-9)

    side = torch.stack([-direction[:, 1], direction[:, 0]], dim=-1)
    along = torch.linspace(-0.5, 0.5, 4, dtype=torch.float64)[:, None]
    bend = (random(count, 1, 1) - 0.5) * torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)[:, None]
    points = center[:, None] + width * length * (along * direction[:, None] + bend * side[:, None])
    return {
        "points": points,
        "width": torch.full((count,), width, dtype=torch.float64),
        "taper": torch.full((count,), 0.5, dtype=torch.float64),
        "opacity": torch.full((count,), 0.7, dtype=torch.float64),
        "color": color,
    }
