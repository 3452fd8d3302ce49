"""Losses of brightness alone: what a picture made of letters or of stamps in few colours is judged by."""

from __future__ import annotations

from torch import Tensor

from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.ms_ssim import MultiScaleStructuralSimilarity
from diffbmp.losses.pixelwise import Comparing, Huber, MeanAbsoluteError, MeanSquaredError
from diffbmp.losses.ssim import StructuralSimilarity

__all__ = [
    "GrayHuber",
    "GrayMeanAbsoluteError",
    "GrayMeanSquaredError",
    "GrayMultiScaleStructuralSimilarity",
    "GrayStructuralSimilarity",
    "luma",
]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, as encoded (ITU-R BT.601)."""


def luma(color: Tensor) -> Tensor:
    """Return the brightness ``(1, H, W)`` of colours ``(3, H, W)``."""
    weights = color.new_tensor(LUMA)
    return (color * weights[:, None, None]).sum(dim=0, keepdim=True)


class _Gray(Comparing):
    """Compares the luma of both pictures."""

    def pictures(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Return the luma of the picture and of the target, ``(1, H, W)`` each."""
        image, target = super().pictures(inputs)
        return luma(image), luma(target)


class GrayMeanSquaredError(_Gray, MeanSquaredError):
    """Mean of the squared difference in brightness (luma, BT.601): ``mse`` of the pictures in grey."""

    name = "gray-mse"


class GrayMeanAbsoluteError(_Gray, MeanAbsoluteError):
    """Mean of the absolute difference in brightness (luma, BT.601): ``l1`` of the pictures in grey."""

    name = "gray-l1"


class GrayHuber(_Gray, Huber):
    """Huber's function of the difference in brightness (luma, BT.601): ``huber`` of the pictures in grey."""

    name = "gray-huber"


class GrayStructuralSimilarity(_Gray, StructuralSimilarity):
    """1 - SSIM of the brightness (luma, BT.601), as SSIM was first defined: ``ssim`` of the pictures in grey."""

    name = "gray-ssim"


class GrayMultiScaleStructuralSimilarity(_Gray, MultiScaleStructuralSimilarity):
    """1 - MS-SSIM of the brightness (luma, BT.601): ``ms-ssim`` of the pictures in grey."""

    name = "gray-ms-ssim"
