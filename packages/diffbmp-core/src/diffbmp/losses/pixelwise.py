"""Losses that compare pixel by pixel: mse, l1 and huber, each a mean over pixels and channels.

All compare the picture over the step's background with the target over the same background. With a
transparent target and the noisy canvas this constrains alpha too: where the target lets the noise through,
the picture has to (paper, Eq. 8).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from diffbmp.errors import DiffbmpError
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Comparing", "Huber", "MeanAbsoluteError", "MeanSquaredError", "target_of"]


def target_of(inputs: LossInputs, loss: Loss) -> Tensor:
    """Return the target ``(3, H, W)`` over the step's background.

    Raises:
        DiffbmpError: where the fit has none, or it is not of the picture's shape.
    """
    if inputs.target is None:
        raise DiffbmpError(f"The loss '{loss.name}' compares with a target, and this fit has none.")
    if inputs.target.shape != inputs.image.shape:
        raise DiffbmpError(
            f"The loss '{loss.name}' compares pictures of one shape, "
            f"got {tuple(inputs.image.shape)} and the target {tuple(inputs.target.shape)}."
        )
    return inputs.target


class Comparing(Loss):
    """Base of the losses that compare two pictures."""

    def pictures(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Return what is compared: the picture and the target over the step's background, ``(C, H, W)`` each."""
        return inputs.image, target_of(inputs, self)


class MeanSquaredError(Comparing):
    """Mean of (image - target)^2 over pixels and channels (paper, Eq. 7)."""

    name = "mse"

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, in [0, 1]."""
        return functional.mse_loss(*self.pictures(inputs))


class MeanAbsoluteError(Comparing):
    """Mean of |image - target| over pixels and channels: edges stay sharper, outliers weigh less than in mse."""

    name = "l1"

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, in [0, 1]."""
        return functional.l1_loss(*self.pictures(inputs))


class Huber(Comparing):
    """Half the squared difference up to ``delta`` and linear beyond, mean over pixels and channels.

    With d = |image - target|: d^2 / 2 where d <= delta, else delta (d - delta / 2) (Huber 1964).
    """

    name = "huber"

    class Settings(SettingsModel):
        """Settings of the Huber loss."""

        delta: float = Field(0.1, gt=0)
        """Difference at which the square turns into a line, in colour values of [0, 1]."""

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, at least 0."""
        return functional.huber_loss(*self.pictures(inputs), delta=self.settings.delta)
