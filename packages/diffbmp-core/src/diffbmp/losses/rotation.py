"""Losses of how stamps are turned: like their neighbours, or along the target's edges."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from diffbmp.losses.grayscale import luma
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.losses.pixelwise import target_of
from diffbmp.settings import Settings as SettingsModel

__all__ = ["RotationAlignment", "RotationSmoothness", "edge_field"]

MOST_COMPARED = 2048
"""Most stamps whose neighbours are looked for in one step, which bounds time and memory."""


class RotationSettings(SettingsModel):
    """Settings that both rotation losses have."""

    symmetry: int = Field(1, ge=1, le=360)
    """Turns by 360 / symmetry degrees look alike: 1 for letters, 2 for strokes, 4 for squares."""


class RotationSmoothness(Loss):
    """Stamps are turned like their nearest neighbours.

    Mean over stamps k and their nearest neighbours j of (1 - cos(symmetry (theta_k - theta_j))) / 2. Where there are
    more than 2048 stamps, as many are drawn at random in each step and compared with their neighbours among all.
    """

    name = "rotation-smoothness"
    needs_target = False

    class Settings(RotationSettings):
        """Settings of the rotation smoothness."""

        neighbors: int = Field(6, ge=1, le=64)
        """Number of nearest stamps that each is compared with."""

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, in [0, 1]."""
        frame = inputs.sprites.frame
        batch, count = frame.shape[:-3], frame.shape[-3]
        angle = _rotation(frame).reshape(-1, count)
        position = frame[..., 2].detach().reshape(-1, count, 2)
        if count > MOST_COMPARED:
            chosen = torch.randperm(count, generator=inputs.generator)[:MOST_COMPARED].to(frame.device)
        else:
            chosen = torch.arange(count, device=frame.device)
        neighbors = min(self.settings.neighbors, count - 1)
        if neighbors == 0:
            nothing: Tensor = (angle * 0).sum()
            return nothing
        terms = []
        for one in range(math.prod(batch)):
            distance = torch.cdist(position[one, chosen], position[one])
            distance[torch.arange(len(chosen), device=frame.device), chosen] = math.inf
            near = torch.topk(distance, neighbors, largest=False).indices
            difference = angle[one, chosen, None] - angle[one, near]
            terms.append(_unlike(self.settings.symmetry * difference))
        return torch.stack(terms).mean()


class RotationAlignment(Loss):
    """Stamps are turned along the target's edges, or all to one angle.

    Along edges: mean over stamps of w (1 - cos(2 (theta - phi))) / 2, with phi the direction of the edge under the
    stamp's centre and w in [0, 1] how clear a direction there is (the coherence of the structure tensor; Bigun and
    Granlund 1987). Both are read from the target as constants, so that stamps turn and do not wander. To one
    angle: mean of (1 - cos(symmetry (theta - angle))) / 2, which needs no target.
    """

    name = "rotation-alignment"

    class Settings(RotationSettings):
        """Settings of the rotation alignment."""

        angle: float | None = None
        """Angle that all stamps are turned to, in degrees clockwise; left out, along the target's edges."""
        reach: float = Field(0.01, gt=0, le=0.5)
        """Standard deviation of the neighbourhood that tells an edge's direction, over the canvas's shorter side."""

    settings: Settings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.needs_target = self.settings.angle is None  # type: ignore[misc] # true of this one, whatever the class says

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, in [0, 1]."""
        frame = inputs.sprites.frame
        angle = _rotation(frame)
        if self.settings.angle is not None:
            return _unlike(self.settings.symmetry * (angle - math.radians(self.settings.angle)))
        target = target_of(inputs, self)
        if inputs.target_alpha is not None and inputs.target_color is not None:
            target = inputs.target_color * inputs.target_alpha  # whatever this step's background, which may be noise
        field = edge_field(luma(target.detach()), max(0.5, self.settings.reach * min(target.shape[-2:])))
        size = frame.new_tensor([inputs.width, inputs.height])
        points = frame[..., 2].detach() / size * 2 - 1
        sampled = functional.grid_sample(
            field[None], points.reshape(1, 1, -1, 2), padding_mode="border", align_corners=False
        )
        cosine, sine = sampled[0, :, 0].reshape(2, *angle.shape)  # w cos(2 phi), w sin(2 phi)
        clear = torch.hypot(cosine, sine)
        unlike: Tensor = (clear - cosine * torch.cos(2 * angle) - sine * torch.sin(2 * angle)) / 2
        return unlike.mean()


def edge_field(brightness: Tensor, sigma: float) -> Tensor:
    """Return where edges run: ``(2, H, W)``, w cos(2 phi) and w sin(2 phi).

    phi is the edge's angle, clockwise on screen from the x axis; w in [0, 1] is 1 on a straight edge, 0 where there
    is no direction or nothing at all.

    Args:
        brightness: ``(1, H, W)``.
        sigma: standard deviation of the Gaussian neighbourhood, pixels.
    """
    padded = functional.pad(brightness[None], (1, 1, 1, 1), mode="replicate")[0, 0]
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    products = torch.stack([across * across, across * down, down * down])
    xx, xy, yy = _blurred(products, sigma).unbind()
    # The tensor's first axis is across the edge, hence the signs. A faint floor keeps flat areas at 0.
    return torch.stack([yy - xx, -2 * xy]) / (xx + yy + 1e-6)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    at = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-((at / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(images[:, None], (radius, radius, radius, radius), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def _rotation(frame: Tensor) -> Tensor:
    """Return how far each sprite is turned, ``(..., N)`` radians clockwise on screen."""
    return torch.atan2(frame[..., 1, 0], frame[..., 0, 0])


def _unlike(difference: Tensor) -> Tensor:
    return ((1 - torch.cos(difference)) / 2).mean()
