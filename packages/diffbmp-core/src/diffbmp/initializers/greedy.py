"""Greedy start: stamps placed one layer upon the other, each as the best of many candidates."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.initializers.initializer import Initializer
from diffbmp.placement.candidates import (
    CandidateSettings,
    Comparison,
    find_stamps,
    scale_limits,
)
from diffbmp.placement.starting import check_start, foreground
from diffbmp.primitives.sets import shares
from diffbmp.primitives.start import UNKNOWN_BACKGROUND, StartInputs
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.composite import put_upon
from diffbmp.stamps.stamps import Stamps

__all__ = ["Greedy"]


class Greedy(Initializer):
    """Each stamp is the best of many candidates: place, size, turn, texture and, in closed form, colour.

    Stamps are placed in rounds of those that keep clear of each other; after each round the picture is drawn anew.
    With the refiner ``grow`` only the first, largest ones are placed at the start.
    """

    name = "greedy"
    needs_target = True

    class Settings(CandidateSettings):
        """Settings of the greedy start."""

        stages: int = Field(8, ge=1)
        """Stages in which the stamps are placed, ever smaller ones; all in one where a refiner adds more later."""

    settings: Settings

    def __call__(self, start: StartInputs) -> Stamps:
        """Return the stamps, the first placed at the back.

        Raises:
            DiffbmpError: without a target, or with a fully transparent one.
        """
        check_start(start)
        if start.target is None:
            raise DiffbmpError(
                "The initializer 'greedy' follows a target, and there is none; use random or grid instead."
            )
        area = float(foreground(start).sum())
        total = start.count if start.total is None else start.total
        share = start.count if total > start.count else -(-start.count // self.settings.stages)
        blend = torch.zeros(len(start.atlas)) if start.color_blend is None else start.color_blend
        placed: Stamps | None = None
        while placed is None or len(placed) < start.count:
            done = 0 if placed is None else len(placed)
            stage_end = min(start.count, (done // share + 1) * share)
            textures, missing = _next_set(start, placed, stage_end)
            found = find_stamps(
                _comparison(start, start.target, placed),
                start.atlas,
                missing,
                scale_limits(self.settings, area, stage_end, total),
                self.settings,
                start.generator,
                color_blend=blend,
                alpha_max=start.alpha_max,
                blend=start.blend,
                textures=textures,
                constraints=start.constraints,
            )
            added = found.stamps(blend)
            start.constraints.hold(added)
            placed = added if placed is None else placed.joined(added)
        return placed


def _next_set(start: StartInputs, placed: Stamps | None, stage_end: int) -> tuple[Tensor | None, int]:
    """Return the textures that are next to choose from, None for all, and how many stamps of them are missing."""
    if not start.sets:
        return start.textures, stage_end - (0 if placed is None else len(placed))
    for one, share in zip(start.sets, shares(start.sets, stage_end), strict=True):
        missing = share - (0 if placed is None else len(one.members(placed.texture)))
        if missing > 0:
            return one.textures, missing
    return start.textures, stage_end - (0 if placed is None else len(placed))


@torch.no_grad()
def _comparison(start: StartInputs, target: Tensor, placed: Stamps | None) -> Comparison:
    size = (start.height, start.width)
    layer = target.new_zeros((4, *size)) if start.layer is None else start.layer
    if placed is not None:
        canvas = Canvas(start.atlas, size, alpha_max=start.alpha_max, blend=start.blend)
        front = canvas.composite(placed(start.atlas))
        layer = front if start.layer is None else put_upon(front, layer, start.blend)
    background = target.new_full((3,), UNKNOWN_BACKGROUND) if start.background is None else start.background.to(target)
    if background.dim() == 1:
        background = background[:, None, None]
    return Comparison.of(layer, background, target, start.target_alpha, width=start.width, height=start.height)
