"""What is learned, and how: Adam over the learnables of primitives, measured by their extents, within locks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.fitting.settings import NAMED_RATES, OptimizerSettings
from diffbmp.primitives.constraints import Constraints
from diffbmp.primitives.instances import check_axes, instance_axis, keeping, tensors_of
from diffbmp.primitives.primitive import Learnable, Primitive

__all__ = ["MOMENTS", "Learning", "everything_held"]

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What Adam keeps of each value of a parameter."""


class Learning:
    """Adam over the learnables of several primitives.

    Attributes:
        optimizer: a group for each learnable, called ``INDEX/NAME``, whose ``initial_lr`` is its learning rate.
        primitives: whose learnables they are.
        constraints: what is frozen of each primitive, and its palette.
    """

    def __init__(
        self,
        primitives: Sequence[Primitive],
        constraints: Sequence[Constraints],
        counts: Sequence[int],
        settings: OptimizerSettings,
    ) -> None:
        """Check what the primitives declare and set up the optimiser.

        Args:
            primitives: of a scene, in its order.
            constraints: of each.
            counts: number of instances that each will have in the end.
            settings: learning rates and betas.

        Raises:
            DiffbmpError: where a primitive's declarations would fail later or silently, or a rate or a frozen parameter
                has an unknown name.
        """
        self.primitives, self.constraints = list(primitives), list(constraints)
        self._counts = list(counts)
        groups = []
        for index, primitive in enumerate(self.primitives):
            learnables = checked_learnables(primitive)
            for name in self.constraints[index].frozen:
                if name not in learnables:
                    raise unknown_name(f"parameter to freeze of the primitive '{primitive.name}'", name, learnables)
            for name in primitive.settings.learning_rates:
                if name not in learnables:
                    raise unknown_name(f"parameter of the primitive '{primitive.name}'", name, learnables)
            for name, learnable in learnables.items():
                rate = self._rate(index, name, learnable, settings)
                groups.append(
                    {"params": [learnable.parameter], "lr": rate, "initial_lr": rate, "name": f"{index}/{name}"}
                )
            self._check_locks(index, learnables)
        self.check(settings)
        self.optimizer = torch.optim.Adam(groups, betas=settings.betas)

    def check(self, settings: OptimizerSettings) -> None:
        """Raise ``DiffbmpError`` where a learning rate is given to a parameter that no primitive has."""
        known = {name for primitive in self.primitives for name in primitive.learnables()}
        for name in settings.other:
            if name not in known:
                raise unknown_name("parameter in optimizer.other", name, known - set(NAMED_RATES))

    def change(self, settings: OptimizerSettings) -> None:
        """Take over other learning rates and betas; moments stay."""
        for index, primitive in enumerate(self.primitives):
            for name, learnable in primitive.learnables().items():
                group = self._group(index, name)
                group["initial_lr"] = self._rate(index, name, learnable, settings)
                group["betas"] = settings.betas

    def step(self, factor: float, unit: str, held: Sequence[Tensor | None], progress: float) -> None:
        """Take a step of the optimiser by the gradients that the parameters have.

        Args:
            factor: on all learning rates.
            unit: "stamp", where lengths are measured by their extents, or "pixel".
            held: for each primitive ``(..., N)`` bool, the instances that keep their bits, or None.
            progress: part of the steps that are taken with this one, in [0, 1].
        """
        if everything_held(held):
            return
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        measured: list[tuple[Tensor, Tensor, Tensor]] = []
        if unit == "stamp":
            for primitive in self.primitives:
                for learnable in primitive.learnables().values():
                    if learnable.extent is not None:
                        before = learnable.parameter.detach().clone()
                        measured.append((learnable.parameter, before, learnable.extent.detach().clone()))
        with ExitStack() as kept:
            for primitive, mask in zip(self.primitives, held, strict=True):
                kept.enter_context(keeping(primitive, mask))
            self.optimizer.step()
            for parameter, before, extent in measured:
                parameter.copy_(torch.lerp(before, parameter, extent))
            for primitive, constraints in zip(self.primitives, self.constraints, strict=True):
                primitive.constrain(constraints.palette, progress)

    def rearrange(self, index: int, kept: Tensor, added: Primitive | None) -> None:
        """Select, reorder and add instances of a primitive in place; moments go along, and are 0 for added ones.

        Args:
            index: which primitive.
            kept: ``(K,)`` int64 instances that stay, or ``(B, K)`` for each canvas of a batch.
            added: instances in front of them, of the same kind and batch.
        """
        primitive = self.primitives[index]
        extra = {} if added is None else tensors_of(added)
        for name, tensor in tensors_of(primitive).items():
            axis = instance_axis(primitive, name)
            if axis is None:
                continue
            moments = self.optimizer.state.get(tensor, {})
            new = [] if added is None else [extra[name].detach().to(tensor)]
            tensor.data = torch.cat([_taken(tensor.data, kept, axis), *new], dim=axis)
            tensor.grad = None
            for moment in MOMENTS:
                if moment in moments:
                    fresh = [torch.zeros_like(value) for value in new]
                    moments[moment] = torch.cat([_taken(moments[moment], kept, axis), *fresh], dim=axis)
        if primitive.locked is not None:
            locked = _taken(primitive.locked, kept, -1)
            more = 0 if added is None else len(added)
            primitive.locked = torch.cat([locked, locked.new_zeros((*locked.shape[:-1], more))], dim=-1)

    def reset(self, index: int, chosen: Tensor | None = None) -> None:
        """Forget the moments of some instances of a primitive, or of all.

        Args:
            index: which primitive.
            chosen: ``(N,)`` bool or integer indices of instances; None for everything.
        """
        primitive = self.primitives[index]
        names = {id(tensor): name for name, tensor in tensors_of(primitive).items()}
        for learnable in primitive.learnables().values():
            state = self.optimizer.state.get(learnable.parameter, {})
            axis = instance_axis(primitive, names[id(learnable.parameter)])
            for moment in MOMENTS:
                if moment not in state:
                    continue
                if chosen is None:
                    state[moment].zero_()
                elif axis is not None:
                    state[moment].movedim(axis, 0)[chosen.to(state[moment].device)] = 0

    def rates(self, index: int) -> dict[str, float]:
        """Return the learning rates of a primitive by name, without the schedule's factor; 0 where frozen."""
        split = [(_split(group["name"]), group["initial_lr"]) for group in self.optimizer.param_groups]
        return {name: rate for (of, name), rate in split if of == index}

    def moments(self) -> Iterator[tuple[str, str, Tensor]]:
        """Yield the group's name, the moment's (or ``step``) and its value."""
        for group in self.optimizer.param_groups:
            for moment, value in self.optimizer.state[group["params"][0]].items():
                yield group["name"], moment, value

    def restore(self, group_name: str, values: Mapping[str, Tensor]) -> None:
        """Put the state of a group back.

        Raises:
            DiffbmpError: where it does not fit the parameter.
        """
        group = self._group(*_split(group_name))
        parameter = group["params"][0]
        for moment in ("step", *MOMENTS):
            value = values.get(moment)
            expected = () if moment == "step" else tuple(parameter.shape)
            if value is None or tuple(value.shape) != expected:
                raise DiffbmpError(f"the optimiser's state of '{group_name}' does not fit")
            self.optimizer.state[parameter][moment] = value.clone() if moment == "step" else value.to(parameter.device)

    def _rate(self, index: int, name: str, learnable: Learnable, settings: OptimizerSettings) -> float:
        if name in self.constraints[index].frozen:
            return 0.0
        own = self.primitives[index].settings.learning_rates.get(name)
        asked = settings.rate(name, self._counts[index]) if own is None else own
        return learnable.rate if asked is None else asked

    def _group(self, index: int, name: str) -> dict[str, Any]:
        return next(group for group in self.optimizer.param_groups if group["name"] == f"{index}/{name}")

    def _check_locks(self, index: int, learnables: Mapping[str, Learnable]) -> None:
        """Refuse to lock single instances whose look depends on a parameter that all share and that is learned."""
        primitive = self.primitives[index]
        if primitive.locked is None or bool(primitive.locked.all()):
            return
        names = {id(tensor): name for name, tensor in tensors_of(primitive).items()}
        for name, learnable in learnables.items():
            shared = instance_axis(primitive, names[id(learnable.parameter)]) is None
            if shared and name not in self.constraints[index].frozen:
                raise DiffbmpError(
                    f"Single instances of '{primitive.name}' cannot be locked while all share the learned parameter "
                    f"'{name}'; freeze it too (freeze {name})."
                )


def checked_learnables(primitive: Primitive) -> Mapping[str, Learnable]:
    """Return what a primitive declares to be learned, after refusing what would go wrong silently.

    Raises:
        DiffbmpError: for a parameter that requires a gradient and nobody learns, one that is not the primitive's own,
            not contiguous, without a gradient or learned twice, or an extent that does not broadcast to its parameter.
    """
    check_axes(primitive)
    learnables = primitive.learnables()
    parameters = dict(primitive.named_parameters())
    learned: dict[str, str] = {}
    for name, learnable in learnables.items():
        where = f"The parameter '{name}' of the primitive '{primitive.name}'"
        if not isinstance(learnable, Learnable):
            raise DiffbmpError(f"{where} must be a diffbmp.Learnable, got {type(learnable).__name__}.")
        parameter = learnable.parameter
        owned = next((own for own, value in parameters.items() if value is parameter), None)
        if owned is None:
            raise DiffbmpError(f"{where} is not one of its parameters, so it would be neither learned nor saved.")
        if owned in learned:
            raise DiffbmpError(f"{where} is learned twice, also as '{learned[owned]}'; list it once.")
        learned[owned] = name
        if not parameter.requires_grad:
            raise DiffbmpError(
                f"{where} does not require a gradient, so it would never change; make it an nn.Parameter that does, or "
                "leave it out of learnables()."
            )
        if not parameter.is_contiguous():
            raise DiffbmpError(
                f"{where} is not contiguous in memory, so a resumed fit would differ; make it with .contiguous()."
            )
        if not 0 <= learnable.rate < float("inf"):
            raise DiffbmpError(f"{where} must have a learning rate of at least 0, got {learnable.rate}.")
        if learnable.extent is not None and not _broadcasts(learnable.extent, parameter):
            raise DiffbmpError(
                f"{where} has shape {tuple(parameter.shape)}, to which its extent of shape "
                f"{tuple(learnable.extent.shape)} does not broadcast."
            )
    for own, value in parameters.items():
        if value.requires_grad and own not in learned:
            raise DiffbmpError(
                f"The parameter '{own}' of the primitive '{primitive.name}' requires a gradient, but no learnable is "
                "made of it; name it in learnables(), or make it a buffer."
            )
    return learnables


def _broadcasts(extent: Tensor, parameter: Tensor) -> bool:
    try:
        joint: torch.Size = torch.broadcast_shapes(extent.shape, parameter.shape)  # type: ignore[no-untyped-call]
        return joint == parameter.shape
    except RuntimeError:
        return False


def _taken(tensor: Tensor, kept: Tensor, axis: int) -> Tensor:
    """Return the instances ``kept``, ``(K,)`` of all canvases or ``(B, K)`` of each, of a tensor."""
    kept = kept.to(tensor.device)
    if kept.dim() == 1:
        return tensor.index_select(tensor.dim() + axis, kept)
    if tensor.dim() + axis == 0:  # all canvases share it, and no longer do
        tensor = tensor.expand(len(kept), *tensor.shape)
    return torch.stack([one.index_select(one.dim() + axis, of_one) for one, of_one in zip(tensor, kept, strict=True)])


def everything_held(held: Sequence[Tensor | None]) -> bool:
    """Return whether the masks of all primitives, as ``Learning.step`` takes them, leave nothing to change."""
    return all(mask is not None and bool(mask.all()) for mask in held)


def _split(name: str) -> tuple[int, str]:
    index, _, rest = name.partition("/")
    return int(index), rest
