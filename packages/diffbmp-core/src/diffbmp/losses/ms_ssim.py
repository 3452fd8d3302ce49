"""Structural similarity at several scales as a loss."""

from __future__ import annotations

import pytorch_msssim
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from diffbmp.errors import DiffbmpError
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.pixelwise import Comparing
from diffbmp.losses.setup import LossSetup
from diffbmp.losses.ssim import StructuralSimilarity

__all__ = ["MultiScaleStructuralSimilarity"]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, the finest first (Wang, Simoncelli and Bovik 2003, section 3.2)."""
LUMINANCE_OFF = (1e4, 0.03)
"""SSIM's constants K1 and K2; with a K1 this large its luminance term is 1 to within 1e-8, contrast and structure
stay."""
LEAST = 1e-4
"""Similarities are raised to powers below 1, whose slope at 0 is infinite; opposed structure counts as this much."""


class MultiScaleStructuralSimilarity(Comparing):
    """1 - MS-SSIM between picture and target over the same background (Wang, Simoncelli and Bovik 2003).

    MS-SSIM = l_M^w_M prod over j of cs_j^w_j: contrast and structure at each scale, luminance at the coarsest, by
    channel, mean over channels. Each scale is half of the one before, by means of 2 x 2 pixels. The exponents are
    those published, in the same proportions for fewer than five scales, divided by their sum. Similarities below 1e-4
    count as that.
    """

    name = "ms-ssim"

    class Settings(StructuralSimilarity.Settings):
        """Settings of the MS-SSIM loss."""

        scales: int | None = Field(None, ge=1, le=5)
        """Number of scales; left out, as many of five as the canvas has room for."""

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, in [0, 1]; 0 where both are equal."""
        image, target = (picture[:, None] for picture in self.pictures(inputs))  # channels as a batch
        window = self.settings.window
        scales = self._scales(tuple(image.shape[-2:]))
        whole = sum(WEIGHTS[:scales])
        product: Tensor | None = None
        for scale, weight in enumerate(WEIGHTS[:scales]):
            constants = LUMINANCE_OFF if scale < scales - 1 else (0.01, 0.03)
            similarity: Tensor = pytorch_msssim.ssim(
                image, target, data_range=1.0, win_size=window, K=constants, size_average=False
            )
            factor = similarity.clamp(min=LEAST) ** (weight / whole)
            product = factor if product is None else product * factor
            if scale < scales - 1:
                padding = [side % 2 for side in image.shape[-2:]]
                image, target = (functional.avg_pool2d(picture, 2, padding=padding) for picture in (image, target))
        assert product is not None
        return 1 - product.mean()

    def prepare(self, setup: LossSetup) -> None:
        """Refuse a canvas whose coarsest scale is smaller than the window."""
        self._scales(setup.size)

    def _scales(self, size: tuple[int, ...]) -> int:
        """Return the number of scales for a canvas of ``size`` (height, width)."""
        window, wanted = self.settings.window, self.settings.scales
        fitting, side = 0, min(size)
        while side >= window and fitting < len(WEIGHTS):
            fitting += 1
            side = side // 2 + side % 2
        if fitting < (wanted or 1):
            height, width = size
            scales = "" if wanted is None else f" at {wanted} scales"
            raise DiffbmpError(
                f"The loss '{self.name}' looks through a window of {window} x {window} pixels{scales}, and the canvas "
                f"of {width} x {height} has room for {fitting}; "
                f"use a larger canvas, a smaller losses.{self.name}.window, or fewer losses.{self.name}.scales."
            )
        return wanted or fitting
