"""A perceptual loss without weights: the normalised Laplacian pyramid distance."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from diffbmp.atlas.filters import halve
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.pixelwise import Comparing
from diffbmp.settings import Settings as SettingsModel

__all__ = ["NormalizedLaplacianPyramid", "laplacian_pyramid", "normalized_distance"]


class NormalizedLaplacianPyramid(Comparing):
    """Squared difference of contrast, as the eye takes it in: each scale divided by the local amplitude there.

    With z_k the levels of the pictures' Laplacian pyramids and P the mean over 5 x 5 pixels,
    y_k = z_k / (constant + P |z_k|), and the loss is the mean over levels of the mean of (y_k - y*_k)^2 (Laparra et al.
    2016). Of the measures that need no trained network it is with MS-SSIM the one that pictures are best optimised by
    (Ding et al. 2021); unlike MS-SSIM it also weighs faint structure and works on the smallest canvas. It sees
    little of absolute brightness, so use it beside ``mse``. What differs from the paper: values are taken as encoded,
    instead of by a power of luminance; P is a plain mean; and levels add up squared, for a root has no gradient at 0.
    """

    name = "nlpd"

    class Settings(SettingsModel):
        """Settings of the normalised Laplacian pyramid distance."""

        levels: int = Field(6, ge=1, le=16)
        """Levels of the pyramid, the coarsest being what is left; fewer where the canvas is one pixel before."""
        constant: float = Field(0.17, gt=0)
        """Contrast, in colour values of [0, 1], below which differences count in full."""

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, at least 0; 0 where both are equal."""
        return normalized_distance(*self.pictures(inputs), self.settings.levels, self.settings.constant)


def normalized_distance(image: Tensor, target: Tensor, levels: int = 6, constant: float = 0.17) -> Tensor:
    """Return the normalised Laplacian pyramid distance of two pictures ``(C, H, W)``, a scalar."""
    pyramids = [_normalized(picture, levels, constant) for picture in (image, target)]
    terms = [functional.mse_loss(ours, theirs) for ours, theirs in zip(*pyramids, strict=True)]
    return sum(terms[1:], start=terms[0]) / len(terms)


def _normalized(picture: Tensor, levels: int, constant: float) -> list[Tensor]:
    return [
        level / (constant + functional.avg_pool2d(level.abs(), 5, 1, 2, count_include_pad=False))
        for level in laplacian_pyramid(picture, levels)
    ]


def laplacian_pyramid(picture: Tensor, levels: int) -> list[Tensor]:
    """Return the differences between each scale and the next coarser one, and the coarsest (Burt and Adelson 1983).

    Args:
        picture: ``(C, H, W)``.
        levels: at most this many, fewer where a scale of one pixel comes first.

    Returns:
        ``(C, ceil(H / 2^k), ceil(W / 2^k))`` for k = 0, 1, ...; bilinearly enlarged and added up they give the picture.
    """
    pyramid: list[Tensor] = []
    while len(pyramid) < levels - 1 and max(picture.shape[-2:]) > 1:
        coarser = halve(picture)
        pyramid.append(picture - functional.interpolate(coarser[None], size=picture.shape[-2:], mode="bilinear")[0])
        picture = coarser
    return [*pyramid, picture]
