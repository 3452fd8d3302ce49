"""The observer interface: what watches a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from diffbmp.plugins.plugin import Plugin

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit
from diffbmp.fitting.step import Step

__all__ = ["Observer"]


class Observer(Plugin):
    """Base of every observer; each method does nothing unless it is overridden.

    An observer that raises is reported by name and dropped: what only watches never costs a result.
    """

    family: ClassVar[str] = "observers"

    def started(self, fit: Fit) -> None:
        """Called before the first step."""

    def stepped(self, fit: Fit, step: Step) -> None:
        """Called after each step."""

    def finished(self, fit: Fit) -> None:
        """Called once after the last step, also where the fit was interrupted."""
