"""Grow: begin with few large stamps and add the rest where the error is, the newest in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.schedules import Stream
from diffbmp.placement.candidates import CandidateSettings
from diffbmp.primitives.sets import shares
from diffbmp.refiners.placing import place, stamps_in_front

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit
from diffbmp.fitting.step import Step

__all__ = ["Grow"]


class Grow(Refiner):
    """Adds stamps in stages until there are n, each the best of many candidates, then leaves them to the fit.

    The initializer places the first stage; ``greedy`` is made for that.
    """

    name = "grow"
    needs_target = True
    serves = ("stamps",)
    places = True

    class Settings(CandidateSettings):
        """Settings of the growth."""

        stages: int = Field(10, ge=1)
        """Stages in which the stamps come, as many in each; the first comes with the start."""
        until: float = Field(0.5, ge=0, le=1)
        """Fraction of the steps after which all stamps are there."""

    settings: Settings

    def start_count(self, n: int, steps: int) -> int:
        """Return the number of stamps in the first stage."""
        return self._count(0, n, steps)

    def due(self, fit: Fit) -> bool:
        """Return whether a stage begins with the next step."""
        return self._count(fit.next_step, fit.count, fit.settings.steps) > len(fit.front)

    def refine(self, fit: Fit, step: Step) -> None:
        """Add the stamps of every stage that begins with the next step."""
        wanted = self._count(fit.next_step, fit.count, fit.settings.steps)
        sets = fit.sets
        for one, share in zip(sets, shares(sets, wanted), strict=True):
            while (missing := share - len(one.members(stamps_in_front(fit).texture))) > 0:
                # A stage may take several goes, each with random numbers of its own.
                generator = fit.generator(Stream.GROW, step=len(fit.front))
                added = place(fit, missing, self.settings, generator, together=wanted, textures=one.textures)
                fit.rearrange(torch.arange(len(fit.front)), added.stamps(fit.color_blend))

    def _count(self, step: int, n: int, steps: int) -> int:
        """Return how many of ``n`` stamps there are when ``step`` of ``steps`` is taken."""
        growing = self.settings.until * steps
        stage = self.settings.stages if step >= growing else int(step / growing * self.settings.stages) + 1
        return max(1, round(n * min(stage, self.settings.stages) / self.settings.stages))
