"""What the refiners that place stamps share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffbmp.fitting.candidates import CandidateSettings, Comparison, Found, find_stamps, scale_limits

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit

__all__ = ["place"]


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
    scene, goal = fit.scene, fit.goal
    assert goal is not None
    coverage = 1.0 if goal.alpha is None else float(goal.alpha.mean())
    area = max(1.0, coverage * scene.width * scene.height)
    comparison = Comparison.of(
        fit.layer(), fit.backdrop, goal.color, goal.alpha, width=scene.width, height=scene.height
    )
    return find_stamps(
        comparison, scene.atlas, count, scale_limits(settings, area, together, fit.count), settings, generator,
        color_blend=fit.color_blend, alpha_max=scene.alpha_max, blend=scene.blend,
        textures=textures, constraints=fit.constraints,
    )  # fmt: skip
