"""The initializer interface: where stamps start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from diffbmp.plugins.plugin import Plugin
from diffbmp.primitives.primitive import Primitive
from diffbmp.primitives.start import StartInputs

__all__ = ["Initializer"]


class Initializer(Plugin, ABC):
    """Base of every initializer: places the instances that a fit begins with."""

    family: ClassVar[str] = "initializers"

    primitive: ClassVar[str] = "stamps"
    """The kind of primitive that it places."""

    whole: ClassVar[bool] = False
    """Whether all instances are to be placed at once, whatever a refiner would rather add later."""

    needs_target: ClassVar[bool] = False
    """Whether it follows a target; in a fit without one, ``random`` takes its place where nobody has named it."""

    keeps_blends: ClassVar[bool] = False
    """Whether it gives stamps a colour blend of its own, which only one that a person names replaces."""

    @abstractmethod
    def __call__(self, start: StartInputs) -> Primitive:
        """Return ``start.count`` instances in painting order, on the atlas's device.

        In a fit of a batch of canvases it is called for each.

        Raises:
            DiffbmpError: where it cannot place them (no foreground, no target where one is needed).
        """

    def prescribed_count(self) -> int | None:
        """Return the number of instances that this start is made for, or None where any number will do."""
        return None
