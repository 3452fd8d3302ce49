"""What the losses of a step are given: the scene at the step's resolution and blur, over its background."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from diffbmp.fitting.schedules import Stream, blur_sigma, generator, noisy_canvas, resolution_scale
from diffbmp.fitting.target import Target
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.setup import LossSetup
from diffbmp.plugins.record import CORE
from diffbmp.plugins.registry import registry
from diffbmp.rendering.selection import resolve_renderer
from diffbmp.scene.scene import Scene

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit

__all__ = ["StepInputs"]


class StepInputs:
    """Makes what the losses of a fit's steps are given, and prepares losses where anything that matters changes."""

    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        self._atlas = fit.scene.atlas
        self._working: dict[tuple[int, int], Target] = {}
        self._stochastic = resolve_renderer(fit.renderer).stochastic

    def resolution(self, step: int) -> float:
        """Return the resolution of a step relative to that of the canvas."""
        scene, settings = self._fit.scene, self._fit.settings
        return resolution_scale(settings.resolution, step, settings.steps, (scene.height, scene.width))

    def target(self, step: int) -> Target | None:
        """Return the target at the resolution of a step."""
        target = self._fit.target
        if target is None:
            return None
        size = self._fit.scene.scaled_size(self.resolution(step))
        if size not in self._working:
            self._working = {size: target.at(size)}
        return self._working[size]

    def prepare(self, step: int) -> None:
        """Prepare the losses for a step, where anything that matters to them has changed."""
        fit = self._fit
        texels, target, resolution = fit.scene.atlas.texels, fit.target, self.resolution(step)
        setup = LossSetup(
            fit.scene.scaled_size(resolution),
            canvas_size=(fit.scene.height, fit.scene.width),
            device=texels.device,
            dtype=texels.dtype,
            has_target=target is not None,
            target_alpha=target is not None and target.alpha is not None,
            tensors=fit.tensors,
        )
        fit.loss.prepare(setup)

    def make(self, step: int, scene: Scene) -> LossInputs:
        """Return what the losses of a step are given, of the fit's scene or of a trial in its place."""
        fit, settings, resolution = self._fit, self._fit.settings, self.resolution(step)
        sigma = blur_sigma(settings.blur, step, settings.steps)
        if sigma != self._atlas.blur:
            self._atlas = fit.scene.atlas.blurred(sigma)
        texels = self._atlas.texels
        background = fit.scene.background_at(resolution)
        if settings.noisy_canvas:
            size = fit.scene.scaled_size(resolution)
            background = noisy_canvas(settings.seed, step, size, texels.device, texels.dtype)
        elif background is None:
            background = texels.new_ones((3, 1, 1))
        target = self.target(step)
        return LossInputs(
            scene,
            scene.sprites_by_primitive(self._atlas),
            scene.drawing(scale=resolution, renderer=fit.renderer, atlas=self._atlas, seed=self.seed(step)),
            background=background,
            target_color=None if target is None else target.color,
            target_alpha=None if target is None else target.alpha,
            step=step,
            steps=settings.steps,
            tensors=fit.tensors,
        )

    def seed(self, step: int) -> int | None:
        """Return the seed of a step for a renderer whose gradients are stochastic; None for any other."""
        if not self._stochastic:
            return None
        drawn = torch.randint(2**62, (), generator=generator(self._fit.settings.seed, "renderer", step))
        return int(drawn)

    def generators(self, step: int) -> Callable[[str], torch.Generator]:
        """Return what gives each loss its generator: core's have a common stream, a plugin's one of its own."""

        def of(name: str) -> torch.Generator:
            entry = registry().entry_of(type(self._fit.loss.losses[name]))
            stream = Stream.LOSS if entry is not None and entry.owner == CORE else f"losses/{name}"
            return generator(self._fit.settings.seed, stream, step)

        return of
