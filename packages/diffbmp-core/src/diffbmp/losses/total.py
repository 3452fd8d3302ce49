"""The weighted sum of losses that a fit minimises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.losses.loss import Loss, View
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

    def __init__(self, weights: Mapping[str, float], settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Create the losses that are registered under the names in ``weights``.

        Args:
            weights: weight of each loss by its name, ``{"mse": 1.0, "ssim": 0.2}``.
            settings: settings of losses by name; those of losses without a weight are not looked at.

        Raises:
            DiffbmpError: for an unknown name or setting, a weight that is negative or not finite, or where no
                weight is above 0.
        """
        for name, weight in weights.items():
            _check_weight(name, weight)
        self.weights = {name: float(weight) for name, weight in weights.items()}
        if not any(self.weights.values()):
            raise DiffbmpError("A fit needs at least one loss of a weight above 0, such as mse=1.")
        tables = settings or {}
        self.losses = {name: registry().create("losses", name, tables.get(name)) for name in self.weights}

    def check(self, size: tuple[int, int], has_target: bool, target_alpha: bool) -> None:
        """Raise ``DiffbmpError`` where a loss cannot work in this fit.

        Args:
            size: canvas height and width in pixels.
            has_target: whether the fit has a target.
            target_alpha: whether the target has transparency.
        """
        for name, loss in self.losses.items():
            if loss.needs_target and not has_target:
                raise DiffbmpError(
                    f"The loss '{name}' compares with a target, and this fit has none; "
                    "give a target, or only losses that need none."
                )
            loss.check(size, target_alpha)

    def __call__(self, view: View) -> tuple[Tensor, dict[str, float]]:
        """Work out every loss.

        Returns:
            The weighted sum, a scalar with gradient, and the value of each loss by name, unweighted.

        Raises:
            DiffbmpError: where a loss is NaN or infinite (it is named, with the step) or not a scalar tensor.
        """
        parts: list[Tensor] = []
        terms = dict.fromkeys(self.losses, 0.0)
        for name in sorted(self.losses):  # one order of sums, also in a resumed fit, whose settings come sorted
            loss, weight = self.losses[name], self.weights[name]
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                value = loss(view)
            if not isinstance(value, Tensor) or value.dim() != 0:
                got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise DiffbmpError(f"The loss '{name}' must return a scalar tensor, got {got}.")
            terms[name] = _finite(value, f"The loss '{name}'", view)
            if weight > 0:
                parts.append(weight * value)
        total = torch.stack(parts).sum()
        _finite(total, "The weighted sum of the losses", view)
        return total, terms


def _check_weight(name: str, weight: float) -> None:
    if not (math.isfinite(weight) and weight >= 0):
        raise DiffbmpError(f"The weight of the loss '{name}' must be a finite number of at least 0, got {weight:g}.")


def _finite(value: Tensor, what: str, view: View) -> float:
    number = float(value.detach())
    if not math.isfinite(number):
        raise DiffbmpError(
            f"{what} became {number:g} in step {view.step + 1} of {view.steps}, so the fit cannot go on; "
            "lower the rates of the optimizer or the weight of this loss."
        )
    return number
