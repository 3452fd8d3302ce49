"""Placing stamps in front of a fit's present picture: what the refiners that place stamps share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.placement.candidates import CandidateSettings, Comparison, Found, find_stamps, scale_limits
from diffbmp.stamps.stamps import Stamps

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit

__all__ = ["place", "stamps_in_front"]


def stamps_in_front(fit: Fit) -> Stamps:
    """Return the primitive in front, which must be of stamps.

    Raises:
        DiffbmpError: where it is of another kind.
    """
    if not isinstance(fit.front, Stamps):
        raise DiffbmpError(f"Stamps are placed in front of everything, but the front is of '{fit.front.name}'.")
    return fit.front


@torch.no_grad()
def place(
    fit: Fit,
    count: int,
    settings: CandidateSettings,
    generator: torch.Generator,
    *,
    together: int,
    textures: Tensor | None = None,
) -> Found:
    """Return at most ``count`` stamps that bring the fit's present picture closest to its target.

    Args:
        fit: the fit, which needs a target.
        count: how many.
        settings: how many candidates, and of which sizes.
        generator: on the CPU.
        together: how many stamps share the canvas with them, for their largest size.
        textures: ``(K,)`` indices of those to choose from; all where it is left out.
    """
    scene, target = fit.scene, fit.working_target
    assert target is not None
    coverage = 1.0 if target.alpha is None else float(target.alpha.mean())
    area = max(1.0, coverage * scene.width * scene.height)
    comparison = Comparison.of(
        fit.layer(), fit.working_background, target.color, target.alpha, width=scene.width, height=scene.height
    )
    return find_stamps(
        comparison, scene.atlas, count, scale_limits(settings, area, together, fit.count), settings, generator,
        color_blend=fit.color_blend, alpha_max=scene.alpha_max, blend=scene.blend,
        textures=textures, constraints=fit.constraints,
    )  # fmt: skip
