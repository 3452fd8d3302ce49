"""Relocate: move stamps that hardly matter to where the error is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.schedules import Stream
from diffbmp.placement.candidates import CandidateSettings
from diffbmp.refiners.placing import place, stamps_in_front
from diffbmp.rendering.composite import over_background

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit
from diffbmp.fitting.step import Step

__all__ = ["Relocate", "removal_costs"]


class Relocate(Refiner):
    """Takes away the stamps whose removal costs least and puts as many in front, where each gains more than that.

    The costs are those of the squared error, exact but for the curvature, which is estimated; see ``removal_costs``.
    """

    name = "relocate"
    needs_target = True
    serves = ("stamps",)
    places = True

    class Settings(CandidateSettings):
        """Settings of the relocation."""

        every: int = Field(20, ge=1)
        """Steps from one relocation to the next."""
        after: float = Field(0.5, ge=0, le=1)
        """Fraction of the steps before which nothing is moved; never while stamps are still to come."""
        until: float = Field(0.85, ge=0, le=1)
        """Fraction of the steps after which nothing is moved, so that the last ones settle."""
        share: float = Field(0.04, gt=0, le=1)
        """Largest part of the stamps that is moved at once."""
        margin: float = Field(1.5, ge=0)
        """A stamp is moved where it gains more than this many times what its removal costs."""
        probes: int = Field(8, ge=1)
        """Random probes of the curvature; more give a better estimate, at a backward pass each."""

    settings: Settings

    def due(self, fit: Fit) -> bool:
        """Return whether it is time to: now and then in the middle of the fit, once all stamps are there."""
        done, steps, settings = fit.next_step, fit.settings.steps, self.settings
        if done % settings.every or not settings.after * steps <= done < settings.until * steps:
            return False
        # A frozen place is what a person has chosen.
        return len(fit.front) >= fit.count and "position" not in fit.constraints.frozen

    def refine(self, fit: Fit, step: Step) -> None:
        """Move stamps."""
        settings, count = self.settings, len(fit.front)
        generator = fit.generator(Stream.RELOCATE)
        for one in fit.sets:  # a stamp gives way to one of its own set
            members = one.members(stamps_in_front(fit).texture)
            if (held := fit.held()) is not None:
                members = members[~held[members]]
                if not len(members):
                    continue
            costs = removal_costs(fit, settings.probes, generator)
            number = max(1, round(settings.share * len(members)))
            found = place(fit, number, settings, generator, together=count, textures=one.textures)
            cheapest = members[torch.argsort(costs[members], stable=True)][: len(found)]
            found = found[: len(cheapest)]
            # Both are sorted, so that the first pair that is not worth it ends the list.
            moved = int((found.gain > settings.margin * costs[cheapest]).long().cumprod(0).sum())
            if moved:
                kept = torch.ones(count, dtype=torch.bool, device=costs.device)
                kept[cheapest[:moved]] = False
                fit.rearrange(kept.nonzero()[:, 0], found[:moved].stamps(fit.color_blend))


def removal_costs(fit: Fit, probes: int, generator: torch.Generator) -> Tensor:
    """Return by how much the squared error of the picture grows where a stamp in front is removed, ``(N,)``.

    The picture is linear in each single opacity a, so the error along it is a parabola, and removal costs
    -g a + h a^2 with the gradient g and h = sum of (d picture / d a)^2. The sums h are the diagonal of J^T J, which is
    estimated with random signs v: the mean of (J^T v)^2 (Hutchinson; Bekas et al. 2007). The result is summed over
    channels and pixels of the working canvas, like ``Found.gain``.
    """
    target = fit.working_target
    assert target is not None
    with torch.no_grad():
        *behind, sprites = fit.scene.sprites_by_primitive()
    assert sprites is not None
    opacity = sprites.opacity.detach().requires_grad_(True)
    layer = fit.layer([*behind, replace(sprites, opacity=opacity)])
    picture, wanted = over_background(layer, fit.working_background), target.over(fit.working_background)
    if target.alpha is not None:
        picture, wanted = torch.cat([picture, layer[3:]]), torch.cat([wanted, target.alpha])
    (gradient,) = torch.autograd.grad((picture - wanted).square().sum(), opacity, retain_graph=True)
    curvature = torch.zeros_like(gradient)
    for _ in range(probes):
        signs = torch.randint(0, 2, picture.shape, generator=generator).to(picture) * 2 - 1
        (probe,) = torch.autograd.grad((picture * signs).sum(), opacity, retain_graph=True)
        curvature += probe.square() / probes
    a = opacity.detach()
    return curvature * a * a - gradient * a
