"""What a loss is prepared for, and the named tensors that losses see."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError

__all__ = ["NO_TENSORS", "LossSetup", "check_tensors"]

NO_TENSORS: Mapping[str, Tensor] = MappingProxyType({})


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Raise ``DiffbmpError`` where named tensors are not that: what losses see, and checkpoints keep."""
    for name, value in tensors.items():
        if not (isinstance(name, str) and name and isinstance(value, Tensor)):
            raise DiffbmpError(f"tensors are given by name, {{'depth': tensor}}, got {name!r}: {type(value).__name__}.")


class LossSetup:
    """What a loss is prepared for; see ``Loss.prepare``.

    Attributes:
        size: height and width in pixels at which pictures are drawn, smaller than the canvas while a fit is coarse.
        canvas_size: height and width of the canvas.
        device: where tensors are.
        dtype: of the pictures.
        has_target: whether the fit has a target.
        target_alpha: whether the target has transparency.
        tensors: named tensors that the caller brought along.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        canvas_size: tuple[int, int] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        has_target: bool = True,
        target_alpha: bool = False,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.size, self.canvas_size = size, canvas_size or size
        self.device, self.dtype = torch.device(device), dtype
        self.has_target, self.target_alpha = has_target, target_alpha
        self.tensors: Mapping[str, Tensor] = NO_TENSORS if tensors is None else tensors

    def alike(self, other: LossSetup) -> bool:
        """Return whether what is prepared for one need not be prepared anew for the other."""
        return self.tensors is other.tensors and self._key() == other._key()

    def _key(self) -> tuple[object, ...]:
        return self.size, self.canvas_size, self.device, self.dtype, self.has_target, self.target_alpha
