"""Losses of how stamps lie, whatever the picture: overlap, boundary, size and opacity. None needs a target."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Boundary", "OpacitySparsity", "Overlap", "Size"]


class Overlap(Loss):
    """How much paint is hidden by other paint: sum of the stamps' alphas less the alpha of all together, per pixel.

    mean over pixels of  sum_k alpha_k - (1 - prod_k (1 - alpha_k))

    It is 0 where no two stamps share a pixel, and 1 where two opaque ones cover everything. The stamps are drawn a
    second time for it, with blend "add", so that a step takes up to twice its time.
    """

    name = "overlap"
    needs_target = False

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, at least 0."""
        sprites = inputs.sprites
        white, plain = torch.ones_like(sprites.color), torch.zeros_like(sprites.color_blend)
        sums = inputs.draw(sprites=replace(sprites, color=white, color_blend=plain), blend="add")
        return (sums[..., 0, :, :] - sums[..., 3, :, :]).mean()


class Boundary(Loss):
    """How far stamps stick out of the canvas, as a part of their own size.

    For the upright box around each stamp, with sides b: the mean over stamps of the sum over left, right, top and
    bottom of (length beyond the edge / b)^2. A stamp that is just off the canvas counts 1, one farther away more.
    """

    name = "boundary"
    needs_target = False

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, at least 0."""
        frame = inputs.sprites.frame
        half = frame[..., :2].abs().sum(dim=-1)  # (..., N, 2), of the box around the parallelogram
        position = frame[..., 2]
        canvas = frame.new_tensor([inputs.width, inputs.height])
        before = (half - position).clamp(min=0)
        behind = (position + half - canvas).clamp(min=0)
        beyond = (before.square() + behind.square()) / (2 * half).square()
        return beyond.sum(dim=-1).mean()


class Size(Loss):
    """How far the stamps' sizes are outside a range: mean of the squared logarithm of the ratio to its nearer end.

    With s the half-extent of a stamp along its longer side over the canvas's shorter side: ln(minimum / s)^2 below
    the range, ln(s / maximum)^2 above, 0 within.
    """

    name = "size"
    needs_target = False

    class Settings(SettingsModel):
        """Settings of the size loss."""

        minimum: float = Field(0.01, gt=0)
        """Smallest half-extent that costs nothing, as a part of the canvas's shorter side."""
        maximum: float = Field(0.1, gt=0)
        """Largest half-extent that costs nothing, as a part of the canvas's shorter side."""

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.maximum < self.minimum:
                raise ValueError(f"its maximum {self.maximum:g} is below its minimum {self.minimum:g}; swap them")
            return self

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, at least 0."""
        axes = torch.linalg.vector_norm(inputs.sprites.frame[..., :2], dim=-2)  # (..., N, 2)
        size = torch.log(axes.amax(dim=-1) / min(inputs.width, inputs.height))
        smallest, largest = (torch.log(size.new_tensor(v)) for v in (self.settings.minimum, self.settings.maximum))
        return ((smallest - size).clamp(min=0).square() + (size - largest).clamp(min=0).square()).mean()


class OpacitySparsity(Loss):
    """Pushes opacities o to nothing, so that few stamps are seen; or to nothing or all, so that none is a veil.

    ``toward = "none"``: mean of o. ``toward = "either"``: mean of 4 o (1 - o), 1 at one half.
    """

    name = "opacity-sparsity"
    needs_target = False

    class Settings(SettingsModel):
        """Settings of the opacity sparsity."""

        toward: Literal["none", "either"] = "none"
        """Where opacities are pushed: to 0, or to 0 or 1, whichever is nearer."""

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, in [0, 1]."""
        opacity = inputs.sprites.opacity
        if self.settings.toward == "none":
            return opacity.mean()
        return (4 * opacity * (1 - opacity)).mean()
