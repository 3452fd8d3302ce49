"""The refiner interface: what acts on the parameters between steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from diffbmp.plugins.plugin import Plugin

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit, Step

__all__ = ["Refiner"]


class Refiner(Plugin, ABC):
    """Base of every refiner: relocates, prunes, densifies, freezes or fades stamps between steps."""

    family: ClassVar[str] = "refiners"

    needs_target: ClassVar[bool] = False
    """Whether the refiner compares with a target; such a one is refused in a fit that has none."""

    @abstractmethod
    def refine(self, fit: Fit, step: Step) -> None:
        """Change ``fit.scene`` (and, through ``fit.reset_moments``, the optimiser) after ``step``."""

    def start_count(self, n: int, steps: int) -> int:
        """Return how many of ``n`` stamps the start is to place; this refiner adds the rest within ``steps`` steps."""
        return n

    def state(self) -> dict[str, Tensor]:
        """Return what must be saved for a resumed fit to go on alike; nothing by default."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
