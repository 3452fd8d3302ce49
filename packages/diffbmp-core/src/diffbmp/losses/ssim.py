"""Structural similarity as a loss."""

from __future__ import annotations

import pytorch_msssim
from pydantic import Field, field_validator
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.pixelwise import Comparing
from diffbmp.losses.setup import LossSetup
from diffbmp.settings import Settings as SettingsModel

__all__ = ["StructuralSimilarity"]


class StructuralSimilarity(Comparing):
    """1 - SSIM between picture and target over the same background (Wang et al. 2004).

    Gaussian window of sigma 1.5; only windows that lie within the canvas count, mean over them and channels.
    """

    name = "ssim"

    class Settings(SettingsModel):
        """Settings of the SSIM loss."""

        window: int = Field(11, ge=3)
        """Side of the Gaussian window in pixels, odd; no side of the canvas may be shorter."""

        @field_validator("window")
        @classmethod
        def _odd(cls, value: int) -> int:
            if value % 2 == 0:
                raise ValueError(f"a window has an odd side, such as {value + 1}")
            return value

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, in [0, 2]; 0 where both are equal."""
        image, target = self.pictures(inputs)
        similarity: Tensor = pytorch_msssim.ssim(
            image[None], target[None], data_range=1.0, win_size=self.settings.window
        )
        return 1 - similarity

    def prepare(self, setup: LossSetup) -> None:
        """Refuse a canvas that is smaller than the window."""
        height, width = setup.size
        window = self.settings.window
        if min(height, width) < window:
            raise DiffbmpError(
                f"The loss '{self.name}' looks through a window of {window} x {window} pixels, "
                f"and the canvas is only {width} x {height}; "
                f"use a larger canvas, a smaller losses.{self.name}.window, or another loss."
            )
