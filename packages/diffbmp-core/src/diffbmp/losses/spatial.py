"""The spatial constraint: stamps stay within the shape of a transparent target."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.losses.pixelwise import target_of
from diffbmp.losses.setup import LossSetup
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Spatial"]


class Spatial(Loss):
    """Colour within a transparent target's shape, and its alpha everywhere (paper, Eq. 9).

    mean over alpha* > 0 of (I - I*)^2  +  alpha_weight * mean of (A - alpha*)^2

    I is the picture over the step's background and I* the target over the same background, so that both are
    plain RGB and a half transparent pixel counts for as much as is seen of it; the first mean is over the
    pixels with alpha* > 0 and the channels, the second over all pixels. A is the alpha of what is drawn.
    Where nothing of the target is visible the first mean is over no pixel and counts as 0.
    """

    name = "spatial"

    class Settings(SettingsModel):
        """Settings of the spatial constraint."""

        alpha_weight: float = Field(1.0, ge=0)
        """Weight of the alpha term, the paper's lambda_alpha (0.3 to 2 there)."""

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, at least 0."""
        target = target_of(inputs, self)
        if inputs.target_alpha is None:
            raise _needs_alpha()
        visible = (inputs.target_alpha > 0).to(inputs.image)  # (1, H, W)
        squared = visible * (inputs.image - target).square()
        color = squared.sum() / (squared.shape[0] * visible.sum()).clamp(min=1)
        alpha = (inputs.layer[3:] - inputs.target_alpha).square().mean()
        return color + self.settings.alpha_weight * alpha

    def prepare(self, setup: LossSetup) -> None:
        """Refuse a target without transparency."""
        if not setup.target_alpha:
            raise _needs_alpha()


def _needs_alpha() -> DiffbmpError:
    return DiffbmpError(
        "The loss 'spatial' needs a target with transparency (RGBA), and this one is opaque; "
        "give a cut-out picture, or use mse."
    )
