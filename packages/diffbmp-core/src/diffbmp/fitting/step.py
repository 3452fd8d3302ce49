"""What one step of a fit came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.losses.pixelwise import MeanSquaredError
from diffbmp.metrics import psnr

__all__ = ["Step", "mean", "picture_psnrs"]


@dataclass(frozen=True)
class Step:
    """What one step came to.

    Attributes:
        index: number of the step, from 0.
        steps: steps in all.
        loss: weighted sum of the losses, before the step's update; the mean over the canvases of a batch.
        terms: each loss by name, unweighted; means over canvases.
        psnr: PSNR in dB of the picture as drawn in this step (blurred, over this step's canvas), the mean over
            canvases; None without a target, or where no loss has looked at the picture.
        seconds: time that the step took.
        canvas_losses: the loss of each canvas.
        canvas_psnrs: the PSNR of each canvas, empty where ``psnr`` is None.
        canvas_terms: each loss by name, unweighted, of each canvas.
    """

    index: int
    steps: int
    loss: float
    terms: dict[str, float]
    psnr: float | None
    seconds: float
    canvas_losses: tuple[float, ...] = ()
    canvas_psnrs: tuple[float, ...] = ()
    canvas_terms: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def canvas(self, index: int) -> Step:
        """Return what the step came to on one canvas of a batch."""
        loss, psnr = self.canvas_losses[index], self.canvas_psnrs[index] if self.canvas_psnrs else None
        terms = {name: values[index] for name, values in self.canvas_terms.items()}
        return Step(
            self.index, self.steps, loss, terms, psnr, self.seconds, (loss,), () if psnr is None else (psnr,),
            {name: (value,) for name, value in terms.items()},
        )  # fmt: skip


def picture_psnrs(
    inputs: LossInputs, values: Mapping[str, Sequence[float]], losses: Mapping[str, Loss]
) -> tuple[float, ...]:
    """Return the PSNR of each canvas in dB, from core's loss ``mse`` where that is worked out anyway.

    Args:
        inputs: of the step.
        values: of each loss by name, one for each canvas.
        losses: by name.
    """
    name = MeanSquaredError.name
    errors = values.get(name) if type(losses.get(name)) is MeanSquaredError else None
    if errors and all(errors):
        return tuple(-10 * math.log10(error) for error in errors)
    if not inputs.drawn:
        return ()
    canvases = [inputs] if inputs.batch is None else inputs.canvases()
    return tuple(psnr(one.image.detach(), one.target) for one in canvases if one.target is not None)


def mean(values: Sequence[float]) -> float:
    """Return the mean over canvases; that of one canvas is its own figure, to the bit."""
    return values[0] if len(values) == 1 else math.fsum(values) / len(values)
