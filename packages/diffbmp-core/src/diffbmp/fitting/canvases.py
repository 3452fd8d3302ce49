"""One canvas of a fit of many, standing alone: what starts and refiners are given that know of one canvas only."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.learning import Learning
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.step import Step
from diffbmp.fitting.step_inputs import StepInputs
from diffbmp.primitives.instances import instance_axis, stacked, tensors_of

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit

__all__ = ["canvas_of_fit", "copy_canvas", "take_back"]


class _Holds(Refiner):
    """Stands for a refiner of all canvases on one of them: what it holds there follows the order of instances."""

    name = "holds"
    batched = True

    def __init__(self, held: Tensor | None, index: int) -> None:
        super().__init__()
        self.held = _of_canvas(held, index)

    def refine(self, fit: Fit, step: Step) -> None:
        """Do nothing."""


@torch.no_grad()
def canvas_of_fit(fit: Fit, index: int, refiners: Sequence[Refiner] | None = None) -> Fit:
    """Return a fit of one canvas of a batch: copies of its parameters, moments and locks, and its target.

    It has no observers; changes to it reach the batch by ``take_back`` only.

    Args:
        fit: of the batch.
        index: of the canvas.
        refiners: those that are of this canvas (``Refining.of_canvas``), to act on it; in place of one that acts on all
            canvases there is one that only holds what it holds. Left out, copies of them.
    """
    from diffbmp.fitting.refining import Refining  # which lets refiners act on what this returns

    if fit.batch is None:
        raise DiffbmpError("This fit is of one canvas, not of a batch.")
    alone = copy.copy(fit)
    alone.scene = fit.scene.canvas(index)
    alone.observers = []
    if refiners is None:
        refiners = copy.deepcopy(fit.refining.of_canvas(index))
        for refiner in refiners:
            refiner.held = _of_canvas(refiner.held, index)
    else:
        refiners = [_Holds(one.held, index) if one.batched else one for one in refiners]
    alone.refining = Refining(refiners, alone.scene, has_target=fit.target is not None)
    alone.learning = Learning(
        alone.scene.primitives, fit._constraints, [fit._final(one) for one in fit.scene.primitives],
        fit.settings.optimizer,
    )  # fmt: skip
    states: dict[str, dict[str, Tensor]] = {}
    for group, moment, value in fit.learning.moments():
        states.setdefault(group, {})[moment] = value.clone() if moment == "step" else value[index].clone()
    for group, values in states.items():
        alone.learning.restore(group, values)
    alone.target = None if fit.target is None else fit.target.canvas(index)
    alone.losses = [losses[index] for losses in fit.canvas_losses]
    alone.psnrs = [psnrs[index] if psnrs else None for psnrs in fit.canvas_psnrs]
    alone.canvas_losses = [(loss,) for loss in alone.losses]
    alone.canvas_psnrs = [() if psnr is None else (psnr,) for psnr in alone.psnrs]
    alone.step_seconds = list(fit.step_seconds)
    alone.step_inputs = StepInputs(alone)
    return alone


def _of_canvas(held: Tensor | None, index: int) -> Tensor | None:
    """Return what is held of one canvas; ``(N,)`` is held of all."""
    return held if held is None or held.dim() == 1 else held[index]


@torch.no_grad()
def take_back(fit: Fit, canvases: Sequence[Fit]) -> None:
    """Give a batch what its canvases have become, each as ``canvas_of_fit`` gave it."""
    for number, primitive in enumerate(fit.scene.primitives):
        joint = stacked([one.scene.primitives[number] for one in canvases])
        new = tensors_of(joint)
        for name, tensor in tensors_of(primitive).items():
            tensor.data = new[name].detach()
            tensor.grad = None
        primitive._locked = joint._locked
    for number, refiner in enumerate(fit.refiners):
        if refiner.batched and refiner.held is not None:
            held = [one.refiners[number].held for one in canvases]
            refiner.held = torch.stack([mask for mask in held if mask is not None])
    columns = [{(group, moment): value for group, moment, value in one.learning.moments()} for one in canvases]
    for group in fit.optimizer.param_groups:
        state = fit.optimizer.state[group["params"][0]]
        for moment in state:
            if moment != "step":
                state[moment] = torch.stack([column[group["name"], moment] for column in columns])


@torch.no_grad()
def copy_canvas(fit: Fit, source: int, to: int) -> None:
    """Give canvas ``to`` of a batch what canvas ``source`` has: parameters, moments, locks and refiners' state.

    Raises:
        DiffbmpError: where there are no such canvases.
    """
    batch = fit.batch
    if batch is None or not (0 <= source < batch and 0 <= to < batch):
        raise DiffbmpError(f"There are no canvases {source} and {to} in this fit of {batch or 'one canvas'}.")
    for primitive in fit.scene.primitives:
        for name, tensor in tensors_of(primitive).items():
            axis = instance_axis(primitive, name)
            if axis is None or tensor.dim() + axis > 0:  # else all canvases share it
                tensor.data[to] = tensor.data[source]
        if primitive.locked is not None:
            locked = primitive.locked.clone()
            locked[to] = locked[source]
            primitive.locked = locked
    for _, moment, value in fit.learning.moments():
        if moment != "step":
            value[to] = value[source]
    fit.refining.copy_canvas(source, to)
