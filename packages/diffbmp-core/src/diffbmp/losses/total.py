"""The weighted sum of losses that a fit minimises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.losses.setup import LossSetup
from diffbmp.plugins.guard import guarded
from diffbmp.plugins.registry import registry

__all__ = ["TotalLoss", "parse_weighted"]


def parse_weighted(text: str) -> tuple[str, float]:
    """Read ``NAME`` or ``NAME=WEIGHT``, as ``--loss`` takes it; without a weight it is 1.

    Raises:
        DiffbmpError: where there is no name, or the weight is not a finite number of at least 0.
    """
    name, equals, number = text.partition("=")
    name = name.strip()
    if not name:
        raise DiffbmpError(f"A loss is given as NAME or NAME=WEIGHT, such as mse=1; got '{text}'.")
    if not equals:
        return name, 1.0
    try:
        weight = float(number)
    except ValueError:
        raise DiffbmpError(
            f"The weight of the loss '{name}' must be a number, such as {name}=1; got '{number}'."
        ) from None
    _check_weight(name, weight)
    return name, weight


class TotalLoss:
    """Losses by name, summed with their weights.

    Attributes:
        losses: the losses by name, in the order given.
        weights: their weights. A loss of weight 0 is worked out and reported but not minimised.
    """

    losses: dict[str, Loss]
    weights: dict[str, float]

    def __init__(
        self,
        weights: Mapping[str, float],
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        made: Mapping[str, Loss] | None = None,
    ) -> None:
        """Create the losses that are registered under the names in ``weights``.

        Args:
            weights: weight of each loss by its name, ``{"mse": 1.0, "ssim": 0.2}``.
            settings: settings of losses by name; those of losses without a weight are not looked at.
            made: losses that are there already, by name, which are used as they are.

        Raises:
            DiffbmpError: for an unknown name or setting, a weight that is negative or not finite, or where no
                weight is above 0.
        """
        for name, weight in weights.items():
            _check_weight(name, weight)
        self.weights = {name: float(weight) for name, weight in weights.items()}
        if not any(self.weights.values()):
            raise DiffbmpError("A fit needs at least one loss of a weight above 0, such as mse=1.")
        tables, made = settings or {}, made or {}
        self.losses = {
            name: made[name] if name in made else registry().create("losses", name, tables.get(name))
            for name in self.weights
        }

    def prepare(self, setup: LossSetup) -> None:
        """Prepare every loss, unless it is prepared for just that.

        Raises:
            DiffbmpError: where a loss cannot work in this fit.
        """
        for name, loss in self.losses.items():
            if loss.prepared_for is not None and setup.alike(loss.prepared_for):
                continue
            if loss.needs_target and not setup.has_target:
                raise DiffbmpError(
                    f"The loss '{name}' compares with a target, and this fit has none; "
                    "give a target, or only losses that need none."
                )
            loss.prepared_for = None
            with guarded(loss, "to be prepared"):
                loss.prepare(setup)
            loss.prepared_for = setup

    def __call__(
        self, inputs: LossInputs, generator: Callable[[str], torch.Generator] | None = None
    ) -> tuple[Tensor, dict[str, list[float]]]:
        """Work out every loss.

        Args:
            inputs: the step.
            generator: gives each loss a fresh generator by its name; ``inputs.generator`` for all where left out.

        Returns:
            The weighted sum, a scalar with gradient or ``(B,)`` of a batch, and the values of each loss by name,
            unweighted, one for each canvas.

        Raises:
            DiffbmpError: where a loss fails, is NaN or infinite (it is named, with the step), or is no scalar.
        """
        batch = inputs.batch
        canvases = [] if batch is None else inputs.canvases()
        sums: list[list[Tensor]] = [[] for _ in canvases or [inputs]]
        terms: dict[str, list[float]] = {name: [] for name in self.losses}
        for name in sorted(self.losses):  # one order of sums, also in a resumed fit, whose settings come sorted
            loss, weight = self.losses[name], self.weights[name]

            def value_of(given: LossInputs, loss: Loss = loss, name: str = name) -> Tensor:
                seeded = given if generator is None else given.seeded(partial(generator, name))
                with guarded(loss, f"in step {given.step + 1} of {given.steps}"):
                    return loss(seeded)

            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                if batch is None:
                    values = [_checked(value_of(inputs), name, ())]
                elif loss.batched:
                    values = list(_checked(value_of(inputs), name, (batch,)).unbind())
                else:
                    values = [_checked(value_of(one), name, ()) for one in canvases]
            terms[name] = [_finite(value, f"The loss '{name}'", inputs) for value in values]
            if weight > 0:
                for parts, value in zip(sums, values, strict=True):
                    parts.append(weight * value)
        totals = [torch.stack(parts).sum() for parts in sums]
        for total in totals:
            _finite(total, "The weighted sum of the losses", inputs)
        return totals[0] if batch is None else torch.stack(totals), terms


def _checked(value: object, name: str, shape: Sequence[int]) -> Tensor:
    if not isinstance(value, Tensor) or tuple(value.shape) != tuple(shape):
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        wanted = "a scalar tensor" if not shape else f"a figure for each canvas, shape {tuple(shape)}"
        raise DiffbmpError(f"The loss '{name}' must return {wanted}, got {got}.")
    return value


def _check_weight(name: str, weight: float) -> None:
    if not (math.isfinite(weight) and weight >= 0):
        raise DiffbmpError(f"The weight of the loss '{name}' must be a finite number of at least 0, got {weight:g}.")


def _finite(value: Tensor, what: str, inputs: LossInputs) -> float:
    number = float(value.detach())
    if not math.isfinite(number):
        raise DiffbmpError(
            f"{what} became {number:g} in step {inputs.step + 1} of {inputs.steps}, so the fit cannot go on; "
            "lower the rates of the optimizer or the weight of this loss."
        )
    return number
