"""The fit: an iterator over optimisation steps that the command line, a page, a plugin and a test drive alike."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.fitting.candidates import UNKNOWN_CANVAS
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.schedules import Stream, blur_sigma, canvas_scale, generator, noisy_canvas, rate_factor
from diffbmp.fitting.settings import FitSettings
from diffbmp.losses.loss import View
from diffbmp.losses.total import TotalLoss
from diffbmp.metrics import psnr
from diffbmp.rendering.composite import over_background
from diffbmp.rendering.selection import choose_renderer, renderer_key
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene
from diffbmp.stamps.constraints import Constraints, parse_frozen
from diffbmp.stamps.palette import palette_tensor
from diffbmp.stamps.sets import StampSet, set_values, stamp_sets
from diffbmp.stamps.stamps import Stamps

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

    def at(self, size: tuple[int, int]) -> Target:
        """Return the target at another size (height, width), shrunk by area."""
        if tuple(self.color.shape[1:]) == size:
            return self

        def shrunk(image: Tensor) -> Tensor:
            return torch.nn.functional.interpolate(image[None], size=size, mode="area")[0]

        if self.alpha is None:
            return Target(shrunk(self.color), None)
        alpha = shrunk(self.alpha)
        return Target(shrunk(self.color * self.alpha) / alpha.clamp(min=1e-6), alpha)

    def masked(self, alpha: Tensor) -> Target:
        """Return the target with ``alpha`` ``(1, H, W)`` in [0, 1] as a further factor of its own."""
        alpha = alpha.to(self.color)
        return Target(self.color, alpha if self.alpha is None else self.alpha * alpha)

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
        constraints: what stays as it is: locked parameters, and the palette.
        optimizer: Adam over the rates that the scene's parts declare.
        next_step: number of the step that comes next.
        first_step: number of the step that this run began with: 0 unless resumed.
        stopping: set it to end the iteration at the next step boundary.
        losses: loss of each step so far.
        psnrs: ``Step.psnr`` of each step so far.
        step_seconds: ``Step.seconds`` of each step so far.
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
        self.refiners = list(refiners)
        for refiner in self.refiners:
            if refiner.needs_target and self.target is None:
                raise DiffbmpError(
                    f"The refiner '{refiner.name}' needs a target, and there is none; leave it out of 'refine'."
                )
        self.loss = loss
        self.loss.check(
            scene.scaled_size(self._canvas_scale(0)),
            has_target=self.target is not None,
            target_alpha=self.target is not None and self.target.alpha is not None,
        )
        self.observers = list(observers)
        palette = palette_tensor(settings.palette) if settings.palette else None
        self.constraints = Constraints(parse_frozen(settings.freeze), palette)
        name = choose_renderer(settings.renderer, texels.device)
        self.renderer = renderer_key(name, settings.renderers.get(name))
        self.optimizer = self._build_optimizer()
        self.next_step = self.first_step = 0
        self.stopping = False
        self.losses: list[float] = []
        self.psnrs: list[float | None] = []
        self.step_seconds: list[float] = []
        self._atlas = scene.atlas
        self._goals: dict[tuple[int, int], Target] = {}

    @property
    def count(self) -> int:
        """Number of stamps that there will be, with those that a refiner still adds."""
        return max(self.settings.n or 0, len(self.scene.sprites()))

    @property
    def stamps(self) -> Stamps:
        """The part in front, if it is of stamps: what refiners move.

        Raises:
            DiffbmpError: where it is of another kind.
        """
        part = self.scene.parts[-1]
        if not isinstance(part, Stamps):
            raise DiffbmpError(f"This fit's refiners move stamps, but the part in front is of kind '{part.name}'.")
        return part

    @property
    def color_blend(self) -> Tensor:
        """``(T,)``: the colour blend of stamps of each texture."""
        blends = set_values(self.scene.atlas, self.settings.color_blends, self.settings.color_blend)
        return blends.to(self.scene.atlas.texels.device)

    @property
    def sets(self) -> list[StampSet]:
        """The sets of stamps whose numbers are given, and the rest; one set of all where none is."""
        return stamp_sets(self.scene.atlas, self.settings.counts, self.count)

    @property
    def canvas_scale(self) -> float:
        """Size of the working canvas relative to the scene's: below 1 while the fit is coarse."""
        return self._canvas_scale(min(self.next_step, self.settings.steps - 1))

    @property
    def goal(self) -> Target | None:
        """The target at the size of the working canvas."""
        if self.target is None:
            return None
        size = self.scene.scaled_size(self.canvas_scale)
        if size not in self._goals:
            self._goals = {size: self.target.at(size)}
        return self._goals[size]

    @property
    def backdrop(self) -> Tensor:
        """What is behind the stamps, ``(3, 1, 1)`` or ``(3, h, w)`` at the working size; grey where that is open."""
        background = self.scene.background_at(self.canvas_scale)
        if background is None:
            return self.scene.atlas.texels.new_full((3, 1, 1), UNKNOWN_CANVAS)
        return background

    def layer(self, sprites: Sprites | None = None) -> Tensor:
        """Draw the stamps, or ``sprites``, sharply on the working canvas: premultiplied RGBA ``(4, h, w)``."""
        return self.scene.layer(scale=self.canvas_scale, sprites=sprites, renderer=self.renderer)

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

    def generator(self, stream: Stream, *, step: int | None = None) -> torch.Generator:
        """Return a generator for this step, or another; a plugin's refiner uses ``Stream.REFINER``."""
        return generator(self.settings.seed, stream, self.next_step if step is None else step)

    @torch.no_grad()
    def rearrange(self, kept: Tensor, added: Stamps | None = None) -> None:
        """Take stamps away, change their order, or add new ones in front; the optimiser's moments go along.

        Args:
            kept: ``(K,)`` int64, which of ``stamps`` stay, in their new painting order.
            added: stamps in front of them, with no moments yet.
        """
        part = self.stamps
        tensors = {**dict(part.named_parameters()), **dict(part.named_buffers())}
        if added is not None:
            self.constraints.hold(added)
        extra = {} if added is None else added.state_dict()
        for name, tensor in tensors.items():
            kept = kept.to(tensor.device)
            new = [] if added is None else [extra[name].to(tensor)]
            moments = self.optimizer.state.get(tensor, {})
            tensor.data = torch.cat([tensor.data[kept], *new])
            tensor.grad = None
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in moments:
                    fresh = [torch.zeros_like(value) for value in new]
                    moments[moment] = torch.cat([moments[moment][kept], *fresh])

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
        known: set[str] = set()
        for index, part in enumerate(self.scene.parts):
            rates = part.rates()  # type: ignore[operator]
            for name, parameter in rates.items():
                known.add(name)
                rate = 0.0 if name in self.constraints.frozen else self.settings.optimizer.rate(name, self.count)
                if rate is None:
                    raise DiffbmpError(f"No rate is known for the parameter '{name}'; set optimizer.other.{name}.")
                groups.append({"params": [parameter], "lr": rate, "initial_lr": rate, "name": f"{index}/{name}"})
        for name in set(self.constraints.frozen) - known:
            raise unknown_name("parameter to freeze", name, known)
        return torch.optim.Adam(groups, betas=self.settings.optimizer.betas)

    @torch.enable_grad()
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
        self._update()
        loss = float(total.detach())
        quality = None if view.target is None else _psnr(view, terms)
        seconds = time.perf_counter() - started
        self.losses.append(loss)
        self.psnrs.append(quality)
        self.step_seconds.append(seconds)
        self.next_step += 1
        return Step(index, steps, loss, terms, quality, seconds)

    @torch.no_grad()
    def _update(self) -> None:
        """Take the optimiser's step, in which lengths change in units of the stamps' own where that is asked for."""
        lengths: list[tuple[Tensor, Tensor, Tensor]] = []
        if self.settings.optimizer.unit == "stamp":
            for part in self.scene.parts:
                rates = part.rates()  # type: ignore[operator]
                for name, size in part.lengths().items():  # type: ignore[operator]
                    lengths.append((rates[name], rates[name].detach().clone(), size.clone()))
        self.optimizer.step()
        for parameter, before, size in lengths:
            parameter.copy_(torch.lerp(before, parameter, size))
        for part in self.scene.parts:
            part.project()  # type: ignore[operator]
            if isinstance(part, Stamps):
                self.constraints.pull(part, (self.next_step + 1) / self.settings.steps)

    def _canvas_scale(self, step: int) -> float:
        size = (self.scene.height, self.scene.width)
        return canvas_scale(self.settings.canvas, step, self.settings.steps, size)

    def _view(self, index: int) -> View:
        scene, target, scale = self.scene, self.goal, self.canvas_scale
        device, dtype = self._atlas.texels.device, self._atlas.texels.dtype
        sprites = scene.sprites(self._atlas)
        layer = scene.layer(scale=scale, atlas=self._atlas, sprites=sprites, renderer=self.renderer)
        background = scene.background_at(scale)
        if self.settings.noisy_canvas:
            background = noisy_canvas(self.settings.seed, index, scene.scaled_size(scale), device, dtype)
        elif background is None:
            background = torch.ones((3, 1, 1), device=device, dtype=dtype)
        return View(
            image=over_background(layer, background),
            layer=layer,
            target=None if target is None else target.over(background),
            target_alpha=None if target is None else target.alpha,
            target_color=None if target is None else target.color,
            background=background,
            sprites=sprites if scale == 1 else sprites.scaled(scale),
            scene=scene,
            step=index,
            steps=self.settings.steps,
            generator=generator(self.settings.seed, Stream.LOSS, index),
            renderer=self.renderer,
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


def _psnr(view: View, terms: dict[str, float]) -> float:
    """Return the step's PSNR in dB, from the loss ``mse`` where that is worked out anyway."""
    if terms.get("mse"):
        return -10 * math.log10(terms["mse"])
    assert view.target is not None
    return psnr(view.image.detach(), view.target)
