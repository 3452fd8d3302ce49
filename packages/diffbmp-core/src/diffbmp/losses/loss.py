"""The loss interface: what a fit minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.setup import LossSetup
from diffbmp.plugins.plugin import Plugin

__all__ = ["Loss"]


class Loss(Plugin, ABC):
    """Base of every loss: called with ``LossInputs``, returns a scalar tensor to be minimised.

    In a fit of a batch of canvases it is called for one canvas at a time, unless it is ``batched``.
    """

    family: ClassVar[str] = "losses"

    needs_target: ClassVar[bool] = True
    """Whether the loss compares with a target; such a loss is refused in a fit that has none."""

    batched: ClassVar[bool] = False
    """Whether a batch of B canvases is given at once; the loss then returns ``(B,)``, a figure for each."""

    prepared_for: LossSetup | None = None
    """What it was last prepared for; kept by the fit, so that one object may serve several fits."""

    @abstractmethod
    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, a scalar; ``(B,)`` where it is ``batched`` and the fit is of a batch."""

    def prepare(self, setup: LossSetup) -> None:
        """Get ready for a fit, or raise ``DiffbmpError`` where this loss cannot work in it.

        Called before the first step, and again whenever the device, the dtype, the size of the pictures, the target's
        transparency or the loss's settings change; the place to load a network and to check sizes.
        """
