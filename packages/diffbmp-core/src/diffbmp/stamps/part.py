"""The part interface: one kind of learnable primitive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from diffbmp.atlas.atlas import Atlas
from diffbmp.plugins.plugin import Plugin
from diffbmp.rendering.sprites import Sprites

__all__ = ["Part"]


class Part(nn.Module, Plugin, ABC):
    """Base of every primitive kind: a module whose call gives sprites.

    What is saved of a part is its ``state_dict``, under the names of its parameters and buffers, and
    ``metadata``. Registered through the hook ``register_primitives``.
    """

    family: ClassVar[str] = "primitives"

    def __init__(self) -> None:
        nn.Module.__init__(self)

    @abstractmethod
    def forward(self, atlas: Atlas) -> Sprites:
        """Return the sprites that the parameters stand for now."""

    @abstractmethod
    def rates(self) -> Mapping[str, Tensor]:
        """Return the learnable parameters by the name of their rate in the optimizer's settings."""

    def lengths(self) -> Mapping[str, Tensor]:
        """Return, for each rate that is a length, the size of each instance in pixels, to be measured by it.

        Where the optimizer's unit is "stamp", the rates of these parameters are fractions of it.
        """
        return {}

    def project(self) -> None:
        """Bring parameters back into their range, in place, after an optimizer step."""

    def metadata(self) -> dict[str, Any]:
        """Return what ``from_saved`` needs besides the tensors; JSON values only."""
        return {}

    @classmethod
    @abstractmethod
    def from_saved(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], atlas: Atlas) -> Self:
        """Build the part from what was saved.

        Raises:
            DiffbmpError: where a tensor is missing or of the wrong shape or type (the file is a stranger's).
        """
