"""The refiner interface: what acts on the parameters between steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from diffbmp.plugins.plugin import Plugin

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit
from diffbmp.fitting.step import Step

__all__ = ["Refiner"]


class Refiner(Plugin, ABC):
    """Base of every refiner: relocates, prunes, densifies, freezes or fades instances between steps.

    In a fit of a batch of canvases it acts on one canvas at a time, on a fit that stands alone, unless it is
    ``batched``. Each canvas then has a refiner of its own, with its own state.

    Attributes:
        held: ``(N,)`` bool, instances of the primitive in front that the fit leaves as they are besides those that a
            person has locked, or None. It follows every reordering and is saved with the refiner's state.
    """

    family: ClassVar[str] = "refiners"

    needs_target: ClassVar[bool] = False
    """Whether the refiner compares with a target; such a one is refused in a fit that has none."""

    serves: ClassVar[tuple[str, ...]] = ()
    """The kinds of primitives that it can act on, by name; empty for any."""

    places: ClassVar[bool] = False
    """Whether it adds, moves or reorders instances: it then acts on the primitive in front, which must be of a kind
    that it serves."""

    batched: ClassVar[bool] = False
    """Whether it acts on all canvases of a batch at once."""

    held: Tensor | None = None

    @abstractmethod
    def refine(self, fit: Fit, step: Step) -> None:
        """Change the primitives of ``fit.scene`` (and, through ``fit.reset_moments``, the optimiser) after ``step``."""

    def due(self, fit: Fit) -> bool:
        """Return whether ``refine`` is to be called after this step.

        In a batch each canvas's refiner is asked with the fit of all canvases, of which copies are made only where one
        says yes: it is a question of the step, of settings and numbers; what a canvas looks like is for ``refine``.
        """
        return True

    def start_count(self, n: int, steps: int) -> int:
        """Return how many of ``n`` instances the start is to place; this refiner adds the rest within ``steps`` steps.

        Asked of a refiner that ``places``, for the primitive in front.
        """
        return n

    def rearranged(self, kept: Tensor, added: int) -> None:
        """Told that of the primitive in front ``kept`` ``(K,)`` stay, in that order, with ``added`` in front of them.

        For a refiner that keeps something of each instance; ``held`` is taken care of.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what must be saved for a resumed fit to go on alike, besides ``held``; nothing by default."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
