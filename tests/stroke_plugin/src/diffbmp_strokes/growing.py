"""A refiner: few broad strokes first, then finer ones where they are needed."""

import torch
from pydantic import Field

import diffbmp
from diffbmp_strokes.laying import lay, stroke_width
from diffbmp_strokes.strokes import Strokes


class GrowStrokes(diffbmp.Refiner):
    """Adds strokes in stages, each finer than the one before, where the picture is furthest from its target."""

    name = "grow-strokes"
    serves = ("strokes",)
    places = True
    needs_target = True

    class Settings(diffbmp.Settings):
        """Settings of the growth."""

        stages: int = Field(4, ge=1)
        """Stages in which the strokes come, as many in each; the first comes with the start."""
        until: float = Field(0.5, ge=0, le=1)
        """Fraction of the steps after which all strokes are there."""

    def start_count(self, n, steps):
        """Return the number of strokes in the first stage."""
        return self._count(0, n, steps)

    def due(self, fit):
        """Return whether a stage begins with the next step."""
        return self._count(fit.next_step, fit.count, fit.settings.steps) > len(fit.front)

    @torch.no_grad()
    def refine(self, fit, step):
        """Add the strokes of every stage that begins with the next step, in front of the others."""
        strokes, scene, target, background = fit.front, fit.scene, fit.working_target, fit.working_background
        wanted = self._count(fit.next_step, fit.count, fit.settings.steps)
        picture = diffbmp.over_background(fit.layer(), background)
        error = (picture - target.over(background)).square().sum(dim=0)
        values = lay(
            wanted - len(strokes),
            error.square(),  # the largest errors first
            target.color,
            size=(scene.height, scene.width),
            width=stroke_width(scene.height * scene.width, wanted, strokes.settings),
            length=strokes.settings.length,
            generator=fit.generator(self.name),
        )
        values = {name: value.to(strokes.points) for name, value in values.items()}
        brush = fit.usable_textures[:1].expand(wanted - len(strokes)).to(strokes.brush)
        fit.rearrange(torch.arange(len(strokes)), Strokes(**values, brush=brush, quads=strokes.quads))

    def _count(self, step, n, steps):
        """Return how many of ``n`` strokes there are when ``step`` of ``steps`` is taken."""
        growing = self.settings.until * steps
        stage = self.settings.stages if step >= growing else 1 + int(step / growing * self.settings.stages)
        return max(1, round(n * stage / self.settings.stages))
