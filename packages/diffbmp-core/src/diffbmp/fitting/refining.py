"""The refiners of a fit at work: on the whole fit, or on each canvas of a batch as if it stood alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.canvases import canvas_of_fit, take_back
from diffbmp.fitting.holding import Holding
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.step import Step
from diffbmp.plugins.guard import guarded
from diffbmp.scene.scene import Scene

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit

__all__ = ["Refining", "check_refiners"]


def check_refiners(
    refiners: Sequence[Refiner], kinds: Sequence[str], *, has_target: bool, batched: bool, linked: bool
) -> None:
    """Refuse a refiner that cannot act in a fit.

    Args:
        refiners: of the fit.
        kinds: names of its primitives, the last one in front.
        has_target: whether it has a target.
        batched: whether it is of a batch of canvases.
        linked: whether these are linked.

    Raises:
        DiffbmpError: where one is there twice, needs a target, serves none of the primitives, or cannot keep canvases
            linked.
    """
    names = [refiner.name for refiner in refiners]
    for name in names:
        if names.count(name) > 1:  # they would share what a checkpoint keeps of them
            raise DiffbmpError(f"The refiner '{name}' is given twice; give it once, or another name to one of them.")
    placing = next((refiner.name for refiner in refiners if refiner.places and not refiner.batched), None)
    for refiner in refiners:
        where = "leave it out of 'refine'"
        if refiner.needs_target and not has_target:
            raise DiffbmpError(f"The refiner '{refiner.name}' needs a target, and there is none; {where}.")
        served = kinds[-1:] if refiner.places else kinds
        if refiner.serves and not set(served) & set(refiner.serves):
            which = "the primitive in front is" if refiner.places else "this fit has"
            raise DiffbmpError(
                f"The refiner '{refiner.name}' serves {' and '.join(refiner.serves)}, but {which} "
                f"{' and '.join(dict.fromkeys(served))}; {where}."
            )
        if linked and not refiner.batched:
            raise DiffbmpError(
                f"The refiner '{refiner.name}' acts on one canvas at a time, but the canvases of this fit are linked "
                f"and share one painting order; {where}."
            )
        if batched and placing and refiner.batched and type(refiner).rearranged is not Refiner.rearranged:
            raise DiffbmpError(
                f"The refiner '{refiner.name}' keeps something of each instance on all canvases, which '{placing}' "
                f"reorders one canvas at a time; {where}."
            )


class Refining:
    """The refiners of a fit; in a batch those that know of one canvas only are there once for each.

    Attributes:
        refiners: in the order in which they act.
    """

    def __init__(self, refiners: Sequence[Refiner], scene: Scene, *, has_target: bool) -> None:
        """Refuse, before the first step, a refiner that cannot act in this fit.

        Raises:
            DiffbmpError: where it needs a target, serves none of the primitives, or cannot keep canvases linked.
        """
        self.refiners = list(refiners)
        self._copies = [_copies(refiner, scene.batch) for refiner in self.refiners]
        self._holding: Holding | None = None
        kinds = [primitive.name for primitive in scene.primitives]
        check_refiners(
            self.refiners, kinds, has_target=has_target, batched=scene.batch is not None, linked=scene.linked
        )

    def of_canvas(self, index: int) -> list[Refiner]:
        """Return the refiners of one canvas of a batch, those that act on all canvases among them."""
        return [
            copies[index] if copies else refiner for refiner, copies in zip(self.refiners, self._copies, strict=True)
        ]

    def places(self) -> Iterator[tuple[str, Refiner]]:
        """Yield every refiner with the name that its state is kept under: ``NAME``, in a batch ``NAME/CANVAS``."""
        for refiner, copies in zip(self.refiners, self._copies, strict=True):
            if copies:
                yield from ((f"{refiner.name}/{index}", one) for index, one in enumerate(copies))
            else:
                yield refiner.name, refiner

    def held(self, fit: Fit) -> list[Tensor]:
        """Return what each refiner holds of the primitive in front, ``(..., N)`` bool, where it holds anything."""
        front = fit.front
        masks = []
        for refiner, copies in zip(self.refiners, self._copies, strict=True):
            mask = _joint_hold(copies, len(front)) if copies else refiner.held
            if mask is not None:
                masks.append(mask.to(fit.scene.atlas.texels.device).expand(*front.batch, len(front)))
        return masks

    def rearranged(self, kept: Tensor, added: int) -> None:
        """Tell that instances of the primitive in front have been selected, reordered and added to."""
        for refiner in self.refiners:
            if refiner.held is not None:
                held = refiner.held.index_select(-1, kept.to(refiner.held.device))
                refiner.held = torch.cat([held, held.new_zeros((*held.shape[:-1], added))], dim=-1)
            refiner.rearranged(kept, added)

    def before_rearranging(self, kept: Tensor) -> None:
        """Tell that the primitive in front is about to be given a new order."""
        if self._holding is not None:
            self._holding.rearranged(kept)

    def copy_canvas(self, source: int, to: int) -> None:
        """Give the refiners of one canvas the state of those of another."""
        for refiner, copies in zip(self.refiners, self._copies, strict=True):
            if copies:
                copies[to] = copy.deepcopy(copies[source])
            elif refiner.held is not None and refiner.held.dim() == 2:
                refiner.held[to] = refiner.held[source]

    def act(self, fit: Fit, step: Step) -> None:
        """Let every refiner act that is due after ``step``."""
        for refiner, copies in zip(self.refiners, self._copies, strict=True):
            if copies:
                _act_on_canvases(fit, copies, step)
            elif refiner.due(fit):
                self._act(fit, refiner, step)

    def _act(self, fit: Fit, refiner: Refiner, step: Step) -> None:
        """Let a refiner act; locked instances keep their bits whatever it does."""
        self._holding = Holding(fit)
        try:
            with guarded(refiner, f"after step {step.index + 1} of {step.steps}"):
                refiner.refine(fit, step)
            self._holding.put_back()
        finally:
            self._holding = None


def _act_on_canvases(fit: Fit, copies: Sequence[Refiner], step: Step) -> None:
    """Let a refiner act on each canvas of a batch, on a fit that stands alone."""
    due = [refiner.due(fit) for refiner in copies]
    if not any(due):
        return
    alone = [canvas_of_fit(fit, index, fit.refining.of_canvas(index)) for index in range(len(copies))]
    for index, refiner in enumerate(copies):
        if due[index]:
            alone[index].refining._act(alone[index], refiner, step.canvas(index))
    counts = {len(one.front) for one in alone}
    if len(counts) > 1:
        raise DiffbmpError(
            f"The refiner '{copies[0].name}' left the canvases of a batch with {sorted(counts)} instances; all must "
            "have as many."
        )
    take_back(fit, alone)


def _copies(refiner: Refiner, batch: int | None) -> list[Refiner]:
    """Return a refiner for each canvas of a batch, or none where one acts on all."""
    return [] if batch is None or refiner.batched else [copy.deepcopy(refiner) for _ in range(batch)]


def _joint_hold(copies: Sequence[Refiner], count: int) -> Tensor | None:
    if all(refiner.held is None for refiner in copies):
        return None
    nothing = torch.zeros(count, dtype=torch.bool)
    return torch.stack([nothing if refiner.held is None else refiner.held.cpu() for refiner in copies])
