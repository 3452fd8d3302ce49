"""The fit: an iterator over optimisation steps that the command line, a page, a plugin and a test drive alike."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.schedules import Stream, blur_sigma, generator, noisy_canvas, rate_factor
from diffbmp.fitting.settings import FitSettings
from diffbmp.losses.loss import View
from diffbmp.losses.total import TotalLoss
from diffbmp.metrics import psnr
from diffbmp.rendering.composite import over_background
from diffbmp.rendering.selection import choose_renderer, renderer_key
from diffbmp.scene.scene import Scene

__all__ = ["Fit", "Step", "Target"]


@dataclass(frozen=True)
class Target:
    """The picture to compose: straight colour ``(3, H, W)`` and alpha ``(1, H, W)``, or None where opaque."""

    color: Tensor
    alpha: Tensor | None

    @classmethod
    def from_image(cls, image: Tensor) -> Target:
        """Take an image ``(3, H, W)`` or straight ``(4, H, W)`` in [0, 1].

        Raises:
            DiffbmpError: for another shape, an integer dtype, NaN or infinity, or values outside [0, 1].
        """
        if image.dim() != 3 or image.shape[0] not in (3, 4) or 0 in image.shape:
            raise DiffbmpError(f"A target must have shape (3, H, W) or (4, H, W), got {tuple(image.shape)}.")
        if not image.is_floating_point():
            raise DiffbmpError(f"A target must hold floats in [0, 1], got {image.dtype}; divide 8-bit values by 255.")
        if not bool(torch.isfinite(image).all()):
            raise DiffbmpError("The target holds NaN or infinity.")
        if float(image.min()) < 0 or float(image.max()) > 1:
            low, high = float(image.min()), float(image.max())
            raise DiffbmpError(f"The target holds values from {low:g} to {high:g}; they must be in [0, 1].")
        return cls(image[:3], image[3:] if image.shape[0] == 4 else None)

    def image(self) -> Tensor:
        """Return ``(3, H, W)`` or straight ``(4, H, W)``: what ``from_image`` takes."""
        return self.color if self.alpha is None else torch.cat([self.color, self.alpha])

    def over(self, background: Tensor) -> Tensor:
        """Return the target over an opaque background, ``(3, H, W)``."""
        if self.alpha is None:
            return self.color
        return self.color * self.alpha + (1 - self.alpha) * background

    def to(self, device: torch.device, dtype: torch.dtype) -> Target:
        """Return the target on another device or in another dtype."""
        return Target(self.color.to(device, dtype), None if self.alpha is None else self.alpha.to(device, dtype))


@dataclass(frozen=True)
class Step:
    """What one step came to.

    Attributes:
        index: number of the step, from 0.
        steps: steps in all.
        loss: weighted sum of the losses, before the step's update.
        terms: each loss by name, unweighted.
        psnr: PSNR in dB of the picture as drawn in this step (blurred, over this step's canvas), or None
            without a target.
        seconds: time that the step took.
    """

    index: int
    steps: int
    loss: float
    terms: dict[str, float]
    psnr: float | None
    seconds: float


class Fit:
    """Gradient descent on a scene; ``for step in fit:`` takes one optimisation step at a time.

    All randomness is a function of ``settings.seed`` and the step, so a fit that is built from a checkpoint
    (``diffbmp.fitting.checkpoint``) goes on exactly as if it had not stopped.

    Attributes:
        scene: what is optimised, in place.
        target: what it is compared with, or None.
        settings: all settings.
        optimizer: Adam over the rates that the scene's parts declare.
        next_step: number of the step that comes next.
        first_step: number of the step that this run began with: 0 unless resumed.
        stopping: set it to end the iteration at the next step boundary.
        losses: loss of each step so far.
    """

    def __init__(
        self,
        scene: Scene,
        target: Target | None,
        settings: FitSettings,
        *,
        loss: TotalLoss,
        refiners: Sequence[Refiner] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        texels = scene.atlas.texels
        self.scene = scene
        self.settings = settings
        self.target = None if target is None else target.to(texels.device, texels.dtype)
        if self.target is not None and tuple(self.target.color.shape[1:]) != (scene.height, scene.width):
            height, width = self.target.color.shape[1:]
            raise DiffbmpError(
                f"The target is {width} x {height} pixels but the canvas is {scene.width} x {scene.height}; "
                "they must be of one size."
            )
        self.loss = loss
        self.loss.check(
            (scene.height, scene.width),
            has_target=self.target is not None,
            target_alpha=self.target is not None and self.target.alpha is not None,
        )
        self.refiners = list(refiners)
        self.observers = list(observers)
        name = choose_renderer(settings.renderer, texels.device)
        self.renderer = renderer_key(name, settings.renderers.get(name))
        self.optimizer = self._build_optimizer()
        self.next_step = self.first_step = 0
        self.stopping = False
        self.losses: list[float] = []
        self._atlas = scene.atlas

    def __iter__(self) -> Iterator[Step]:
        """Take steps until ``settings.steps`` or until ``stopping`` is set."""
        self._tell("started")
        try:
            while self.next_step < self.settings.steps and not self.stopping:
                step = self._step()
                for refiner in self.refiners:
                    refiner.refine(self, step)
                self._tell("stepped", step)
                yield step
        finally:
            self._tell("finished")

    def run(self) -> Fit:
        """Take all remaining steps."""
        for _ in self:
            pass
        return self

    def generator(self, stream: Stream, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator for this step; refiners use ``Stream.REFINER``."""
        return generator(self.settings.seed, stream, self.next_step, device)

    @torch.no_grad()
    def reset_moments(self, chosen: Tensor, part: int = 0) -> None:
        """Forget the optimiser's moments of some primitives, after a refiner has moved them.

        Args:
            chosen: ``(N,)`` bool or integer indices of the part's instances.
            part: which of the scene's parts.
        """
        for parameter in self.scene.parts[part].rates().values():  # type: ignore[operator]
            for name in ("exp_avg", "exp_avg_sq"):
                if name in self.optimizer.state[parameter]:
                    self.optimizer.state[parameter][name][chosen] = 0

    def _build_optimizer(self) -> torch.optim.Adam:
        groups = []
        count = len(self.scene.sprites())
        for index, part in enumerate(self.scene.parts):
            rates = part.rates()  # type: ignore[operator]
            for name, parameter in rates.items():
                rate = self.settings.optimizer.rate(name, count)
                if rate is None:
                    raise DiffbmpError(f"No rate is known for the parameter '{name}'; set optimizer.other.{name}.")
                groups.append({"params": [parameter], "lr": rate, "initial_lr": rate, "name": f"{index}/{name}"})
        return torch.optim.Adam(groups, betas=self.settings.optimizer.betas)

    def _step(self) -> Step:
        started = time.perf_counter()
        index, steps, scene = self.next_step, self.settings.steps, self.scene
        sigma = blur_sigma(self.settings.blur, index, steps)
        if sigma != self._atlas.blur:
            self._atlas = scene.atlas.blurred(sigma)
        factor = rate_factor(self.settings.optimizer, index, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

        view = self._view(index)
        total, terms = self.loss(view)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        for part in scene.parts:
            part.project()  # type: ignore[operator]
        loss = float(total.detach())
        quality = None if view.target is None else psnr(view.image.detach(), view.target)
        self.losses.append(loss)
        self.next_step += 1
        return Step(index, steps, loss, terms, quality, time.perf_counter() - started)

    def _view(self, index: int) -> View:
        scene, target = self.scene, self.target
        device, dtype = self._atlas.texels.device, self._atlas.texels.dtype
        sprites = scene.sprites(self._atlas)
        layer = scene.layer(atlas=self._atlas, sprites=sprites, renderer=self.renderer)
        background = scene.background_at(1.0)
        if self.settings.noisy_canvas:
            background = noisy_canvas(self.settings.seed, index, (scene.height, scene.width), device, dtype)
        elif background is None:
            background = torch.ones((3, 1, 1), device=device, dtype=dtype)
        return View(
            image=over_background(layer, background),
            layer=layer,
            target=None if target is None else target.over(background),
            target_alpha=None if target is None else target.alpha,
            target_color=None if target is None else target.color,
            background=background,
            sprites=sprites,
            scene=scene,
            step=index,
            steps=self.settings.steps,
            generator=generator(self.settings.seed, Stream.LOSS, index),
        )

    def _tell(self, event: str, *arguments: Step) -> None:
        """Call the observers; one that fails is said and dropped, for what only watches must cost no result."""
        for observer in list(self.observers):
            try:
                getattr(observer, event)(self, *arguments)
            except Exception as error:
                self.observers.remove(observer)
                warnings.warn(
                    f"Observer '{observer.name}' failed and is left out from here on: {type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
