"""The fit: an iterator over optimisation steps that the command line, a page, a plugin and a test drive alike."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.canvases import canvas_of_fit, copy_canvas
from diffbmp.fitting.holding import check_kept
from diffbmp.fitting.learning import Learning, everything_held
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.refining import Refining
from diffbmp.fitting.schedules import Stream, generator, rate_factor
from diffbmp.fitting.settings import FitSettings
from diffbmp.fitting.step import Step, mean, picture_psnrs
from diffbmp.fitting.step_inputs import StepInputs
from diffbmp.fitting.target import Target
from diffbmp.losses.setup import check_tensors
from diffbmp.losses.total import TotalLoss
from diffbmp.primitives.constraints import Constraints
from diffbmp.primitives.primitive import Primitive
from diffbmp.primitives.sets import TextureSet
from diffbmp.primitives.start import UNKNOWN_BACKGROUND
from diffbmp.rendering.renderer import Renderer
from diffbmp.rendering.selection import choose_renderer, renderer_key
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene

__all__ = ["Fit"]


class Fit:
    """Gradient descent on a scene; ``for step in fit:`` takes one optimisation step at a time.

    It knows primitives, losses, refiners and an optimiser, and nothing of any kind of primitive. All randomness is a
    function of ``settings.seed`` and the step, so a fit that is built from a checkpoint goes on exactly as if it had
    not stopped. ``diffbmp.start_fit`` makes one.

    Attributes:
        scene: what is optimised, in place: one canvas, or a batch of B.
        target: what it is compared with, or None.
        settings: all settings.
        loss: the losses with their weights.
        refiners: what acts between steps.
        observers: what watches.
        tensors: named tensors that a caller or a plugin brings along, on the fit's device; losses see them, and
            checkpoints keep them.
        learning: the optimiser, and what it learns.
        renderer: what draws, as ``Scene.render`` takes it.
        next_step: number of the step that comes next.
        first_step: number of the step that this run began with: 0 unless resumed.
        stopping: set it to end the iteration at the next step boundary.
        losses: loss of each step so far.
        psnrs: ``Step.psnr`` of each step so far.
        step_seconds: ``Step.seconds`` of each step so far.
        canvas_losses: ``Step.canvas_losses`` of each step so far.
        canvas_psnrs: ``Step.canvas_psnrs`` of each step so far.
        objects: names of losses, refiners and so on that were given as objects, such as ``loss 'darkness'``.
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
        renderer: Renderer | None = None,
        tensors: Mapping[str, Tensor] | None = None,
        objects: Sequence[str] = (),
    ) -> None:
        texels = scene.atlas.texels
        self.scene, self.settings = scene, settings
        self.target: Target | None = None
        self.loss, self.observers = loss, list(observers)
        check_tensors(tensors or {})
        self.tensors = {name: value.to(texels.device) for name, value in (tensors or {}).items()}
        self.objects = tuple(objects)
        chosen = choose_renderer(
            renderer or settings.renderer, texels.device, texels.dtype, blend=scene.blend, filter=scene.filter
        )
        self.renderer = renderer_key(chosen, None if renderer else settings.renderers.get(chosen))
        self._renderer = renderer  # held, for a key alone does not keep an object
        self._constraints = [primitive.settings.constraints() for primitive in scene.primitives]
        self.learning = Learning(
            scene.primitives, self._constraints, [self._final(one) for one in scene.primitives], settings.optimizer
        )
        self.refining = Refining(refiners, scene, has_target=target is not None)
        self.next_step = self.first_step = 0
        self.stopping = False
        self.losses: list[float] = []
        self.psnrs: list[float | None] = []
        self.step_seconds: list[float] = []
        self.canvas_losses: list[tuple[float, ...]] = []
        self.canvas_psnrs: list[tuple[float, ...]] = []
        self._set_target(target)

    # What there is.

    @property
    def optimizer(self) -> torch.optim.Adam:
        """Adam over the learnables of the scene's primitives."""
        return self.learning.optimizer

    @property
    def refiners(self) -> list[Refiner]:
        """What acts between steps, in its order."""
        return self.refining.refiners

    @property
    def batch(self) -> int | None:
        """Number B of canvases, or None for a fit of one canvas."""
        return self.scene.batch

    @property
    def front(self) -> Primitive:
        """The primitive in front: the one that refiners which place act on."""
        return self.scene.primitives[-1]

    @property
    def count(self) -> int:
        """Number of instances that the primitive in front will have, with those that a refiner still adds."""
        return self._final(self.front)

    @property
    def constraints(self) -> Constraints:
        """What is frozen of the primitive in front, and its palette."""
        return self._constraints[-1]

    @property
    def usable_textures(self) -> Tensor:
        """``(K,)`` int64: the textures that the primitive in front may use."""
        own = self.front.own_textures
        if own is not None:
            return own.cpu()
        usable = torch.ones(len(self.scene.atlas), dtype=torch.bool)
        if len(self.scene.primitives) > 1:  # of a scene from a file: all but those of the others
            with torch.no_grad():
                groups = self.scene.sprites_by_primitive()
            for sprites in groups:
                if sprites is not None:
                    usable[sprites.texture.flatten().cpu()] = sprites is groups[-1]
        return usable.nonzero()[:, 0]

    @property
    def color_blend(self) -> Tensor:
        """``(T,)``: the colour blend that new instances of each texture get."""
        return self.front.settings.blends(self.scene.atlas).to(self.scene.atlas.texels.device)

    @property
    def sets(self) -> Sequence[TextureSet]:
        """The sets of textures of the primitive in front and their numbers; one of all where none is given."""
        usable = self.usable_textures
        return self.front.settings.sets(self.scene.atlas, usable, self.count) or [TextureSet(usable, self.count)]

    @property
    def resolution(self) -> float:
        """Resolution that is worked at relative to the scene's: below 1 while the fit is coarse."""
        return self.step_inputs.resolution(self._coming)

    @property
    def working_target(self) -> Target | None:
        """The target at the resolution that is worked at."""
        return self.step_inputs.target(self._coming)

    @property
    def working_background(self) -> Tensor:
        """What is behind everything, ``(3, 1, 1)`` or ``(3, h, w)`` at that resolution; grey where that is open."""
        background = self.scene.background_at(self.resolution)
        if background is None:
            return self.scene.atlas.texels.new_full((3, 1, 1), UNKNOWN_BACKGROUND)
        return background

    def layer(self, sprites: Sequence[Sprites | None] | None = None) -> Tensor:
        """Draw the primitives sharply at the resolution that is worked at: premultiplied RGBA ``(..., 4, h, w)``.

        Args:
            sprites: what to draw instead of the sprites of each primitive, in canvas pixels.
        """
        seed = self.step_inputs.seed(self._coming)
        return self.scene.layer(scale=self.resolution, sprites=sprites, renderer=self.renderer, seed=seed)

    def held(self, primitive: Primitive | None = None) -> Tensor | None:
        """Return ``(..., N)`` bool: instances that no step changes, locked by a person or held by a refiner; or None.

        Args:
            primitive: of the scene; the one in front where it is left out.
        """
        chosen = self.front if primitive is None else primitive
        masks = [] if chosen.locked is None else [chosen.locked]
        if chosen is self.front:
            masks += self.refining.held(self)
        if not masks:
            return None
        return torch.stack([mask.to(masks[0].device) for mask in masks]).any(dim=0)

    def generator(self, stream: Stream | str, *, step: int | None = None) -> torch.Generator:
        """Return a generator for this step, or another; a plugin gives its own name, which has its own stream."""
        return generator(self.settings.seed, stream, self.next_step if step is None else step)

    # What happens.

    def __iter__(self) -> Iterator[Step]:
        """Take steps until ``settings.steps`` or until ``stopping`` is set."""
        self._tell("started")
        try:
            while self.next_step < self.settings.steps and not self.stopping:
                step = self._step()
                self.refining.act(self, step)
                self._tell("stepped", step)
                yield step
        finally:
            self._tell("finished")

    def run(self) -> Fit:
        """Take all remaining steps."""
        for _ in self:
            pass
        return self

    @torch.no_grad()
    def rearrange(self, kept: Tensor, added: Primitive | None = None) -> None:
        """Take instances of the primitive in front away, change their order, or add new ones in front of them.

        The optimiser's moments, locks and what refiners hold go along.

        Args:
            kept: ``(K,)`` int64, which instances stay, in their new painting order; in a batch of canvases that are not
                linked also ``(B, K)``.
            added: instances in front of them, of the same kind, with no moments yet.

        Raises:
            DiffbmpError: where a locked instance would be taken away, or canvases are linked and ``kept`` differs.
        """
        if kept.dim() == 2 and self.scene.linked:
            raise DiffbmpError("Canvases that are linked share one painting order; give kept for all, (K,).")
        if added is not None:
            if type(added) is not type(self.front) or added.batch != self.front.batch:
                raise DiffbmpError(
                    f"Instances of '{added.name}' (batch {added.batch}) cannot be added to those of "
                    f"'{self.front.name}' (batch {self.front.batch})."
                )
            self.constraints.hold(added)
        check_kept(self.front, kept)
        self.refining.before_rearranging(kept)
        more = 0 if added is None else len(added)
        self.learning.rearrange(len(self.scene.primitives) - 1, kept, added)
        self.refining.rearranged(kept, more)

    @torch.no_grad()
    def reset_moments(self, chosen: Tensor | None = None) -> None:
        """Forget the optimiser's moments of some instances of the primitive in front, after a refiner has moved them.

        Args:
            chosen: ``(N,)`` bool or integer indices; left out, the moments of all primitives are forgotten.
        """
        if chosen is not None:
            self.learning.reset(len(self.scene.primitives) - 1, chosen)
            return
        for index in range(len(self.scene.primitives)):
            self.learning.reset(index)

    @torch.no_grad()
    def losses_of(self, primitives: Sequence[Primitive]) -> Tensor:
        """Return the weighted loss that other primitives would have in the next step, without gradient.

        It is worked out over that step's noise and with its random numbers, so that trials compare.

        Args:
            primitives: in place of the scene's, in painting order. In a fit of one canvas they may be a batch of any
                number of canvases, which are all compared with the target.

        Returns:
            A scalar, or ``(B,)`` for a batch.
        """
        trial = self.scene._like(primitives)
        self.step_inputs.prepare(self._coming)
        return self.loss(self.step_inputs.make(self._coming, trial), self.step_inputs.generators(self._coming))[0]

    @torch.no_grad()
    def copy_canvas(self, source: int, to: int) -> None:
        """Give canvas ``to`` of a batch what canvas ``source`` has: parameters, moments, locks and refiners' state.

        Raises:
            DiffbmpError: where there are no such canvases.
        """
        copy_canvas(self, source, to)

    def _set_target(self, target: Target | None) -> None:
        """Compare with another target from here on, and prepare the losses for it; ``retarget`` starts over besides.

        Raises:
            DiffbmpError: where its size or number of canvases is not the scene's, or a loss needs one.
        """
        texels = self.scene.atlas.texels
        if target is not None:
            if target.size != (self.scene.height, self.scene.width):
                height, width = target.size
                raise DiffbmpError(
                    f"The target is {width} x {height} pixels but the canvas is {self.scene.width} x "
                    f"{self.scene.height}; they must be of one size."
                )
            if target.batch != self.scene.batch:
                raise DiffbmpError(
                    f"There are targets for {target.batch or 1} canvases, but the scene has {self.scene.batch or 1}."
                )
            target = target.to(texels.device, texels.dtype)
        self.target = target
        self.step_inputs = StepInputs(self)
        self.step_inputs.prepare(self._coming)

    def retarget(self, target: Any, *, steps: int | None = None, moments: bool = True) -> None:
        """Go on towards another target, for ``steps`` steps that begin gently, sharp and at full resolution.

        Learning rates fall from half of what they are (``optimizer.initial``, unless that is lower) as they do in a fit
        that goes on from a scene. Step numbers, and so noise and random numbers, start over.

        Args:
            target: as in ``diffbmp.start_fit``, of this fit's size, or None for none; a file is resized and a target
                masked as the first one was.
            steps: number of steps; as many as before where it is left out.
            moments: whether the optimiser's moments go on, or are forgotten.

        Raises:
            DiffbmpError: where a loss or a refiner needs a target and there is none, or it does not fit the canvas; the
                fit then stays as it was.
        """
        from diffbmp.fitting.changing import retarget

        retarget(self, target, steps=steps, moments=moments)

    def change(self, **settings: Any) -> None:
        """Change settings of a running fit: steps, learning rates, losses and their settings, and what is written.

        ``fit.change(steps=500, optimizer={"position": 0.05}, loss={"mse": 1, "ssim": 0.2})``; tables are merged into
        those that there are, but for ``loss``, which replaces all losses.

        Raises:
            DiffbmpError: for a setting that is part of what has been done already, or a value out of its range.
        """
        from diffbmp.fitting.changing import change

        change(self, settings)

    def all_held(self) -> bool:
        """Return whether every instance of every primitive is locked or held, so that no step changes anything."""
        return everything_held([self.held(primitive) for primitive in self.scene.primitives])

    def canvas(self, index: int) -> Fit:
        """Return a fit of one canvas of a batch that stands alone: copies of its parameters, moments and refiners."""
        return canvas_of_fit(self, index)

    # How it happens.

    @property
    def _coming(self) -> int:
        """Number of the step that comes next; of the last one where all are taken."""
        return min(self.next_step, self.settings.steps - 1)

    def _final(self, primitive: Primitive) -> int:
        return max(primitive.settings.n or 0, len(primitive))

    @torch.enable_grad()
    def _step(self) -> Step:
        started = time.perf_counter()
        index, steps = self.next_step, self.settings.steps
        self.step_inputs.prepare(index)
        inputs = self.step_inputs.make(index, self.scene)
        total, values = self.loss(inputs, self.step_inputs.generators(index))
        self.optimizer.zero_grad(set_to_none=True)
        if not total.requires_grad:
            raise DiffbmpError(
                "No loss depends on anything that is learned, so there is nothing to follow; use a loss that looks at "
                "the picture or at the sprites."
            )
        (total if total.dim() == 0 else total.sum()).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            held = [self.held(primitive) for primitive in self.scene.primitives]
            factor = rate_factor(self.settings.optimizer, index, steps)
            self.learning.step(factor, self.settings.optimizer.unit, held, (index + 1) / steps)
        losses = tuple(total.detach().reshape(-1).tolist())
        quality = picture_psnrs(inputs, values, self.loss.losses) if self.target is not None else ()
        seconds = time.perf_counter() - started
        step = Step(
            index, steps, mean(losses), {name: mean(each) for name, each in values.items()},
            mean(quality) if quality else None, seconds, losses, quality,
            {name: tuple(each) for name, each in values.items()},
        )  # fmt: skip
        self.losses.append(step.loss)
        self.psnrs.append(step.psnr)
        self.canvas_losses.append(losses)
        self.canvas_psnrs.append(quality)
        self.step_seconds.append(seconds)
        self.next_step += 1
        return step

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
