"""Reinitialize: give stamps that hardly show a new start where the target is busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.schedules import Stream
from diffbmp.initializers.structure import Structure
from diffbmp.placement.starting import scale_range
from diffbmp.primitives.start import StartInputs
from diffbmp.refiners.placing import stamps_in_front

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit
from diffbmp.fitting.step import Step

__all__ = ["Reinitialize"]


class Reinitialize(Refiner):
    """Stamps of low opacity start anew at structure-aware places, within the target's shape (paper, section 3).

    They keep their place in the painting order and their texture; position, scale, rotation, opacity and colour are
    those of the start ``structure``, but for what is locked. The optimizer forgets where they were heading.
    ``relocate``, which asks what a stamp is worth rather than how opaque it is, does the same better; this is the
    paper's own.
    """

    name = "reinitialize"
    needs_target = True
    serves = ("stamps",)
    places = True

    class Settings(Structure.Settings):
        """Settings of the reinitialization, and of the start that it gives."""

        below: float = Field(0.3, gt=0, lt=1)
        """Opacity below which a stamp starts anew."""
        every: int = Field(50, ge=1)
        """Steps from one time to the next."""
        after: float = Field(0.15, ge=0, le=1)
        """Fraction of the steps before which nothing starts anew."""
        until: float = Field(0.8, ge=0, le=1)
        """Fraction of the steps after which nothing starts anew, so that the last ones settle."""

    settings: Settings

    def due(self, fit: Fit) -> bool:
        """Return whether it is time to."""
        done, steps, settings = fit.next_step, fit.settings.steps, self.settings
        if done % settings.every or not settings.after * steps <= done < settings.until * steps:
            return False
        return not {"position", "opacity"} & set(fit.constraints.frozen)

    @torch.no_grad()
    def refine(self, fit: Fit, step: Step) -> None:
        """Start stamps anew."""
        settings, frozen = self.settings, fit.constraints.frozen
        stamps, scene, target = stamps_in_front(fit), fit.scene, fit.target
        assert target is not None
        faint = torch.sigmoid(stamps.opacity_logit) < settings.below
        if (held := fit.held()) is not None:
            faint = faint & ~held
        chosen = faint.nonzero()[:, 0]
        if not len(chosen):
            return
        start = StartInputs(
            count=len(stamps),
            height=scene.height,
            width=scene.width,
            target=target.color,
            target_alpha=target.alpha,
            atlas=scene.atlas,
            generator=fit.generator(Stream.REINITIALIZE),
        )
        # As large as in a start of all stamps, and not of these few.
        largest = scale_range(start, settings)[1]
        few = settings.model_copy(update={"maximum_scale": largest, "textures": "dealt"})
        fresh = Structure(few)(StartInputs(**{**vars(start), "count": len(chosen)}))
        fit.constraints.hold(fresh)
        # Large ones behind small ones among themselves, as in the start.
        for name, parameter in stamps.named_parameters():
            if name.removesuffix("_logit") not in frozen:
                parameter[chosen] = getattr(fresh, name)
        fit.reset_moments(chosen)
