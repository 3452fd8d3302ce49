"""Locked instances while a refiner acts: whatever it does, their bits stay, and none is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.primitives.instances import instance_axis, tensors_of
from diffbmp.primitives.primitive import Primitive

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit

__all__ = ["Holding", "check_kept"]


class Holding:
    """The locked instances of a fit's primitives as they were before a refiner acted."""

    @torch.no_grad()
    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        self._kept: list[tuple[int, int | None, Tensor, dict[str, Tensor]]] = []
        for number, primitive in enumerate(fit.scene.primitives):
            if primitive.locked is None:
                continue
            masks = [primitive.locked] if fit.batch is None else list(primitive.locked.unbind())
            for canvas, mask in enumerate(masks):
                rows = mask.nonzero()[:, 0]
                at = None if fit.batch is None else canvas
                values = {
                    name: _rows(tensor, at, axis, rows).clone()
                    for name, tensor in tensors_of(primitive).items()
                    if (axis := instance_axis(primitive, name)) is not None
                }
                self._kept.append((number, at, rows, values))

    def rearranged(self, kept: Tensor) -> None:
        """Follow a new order of the primitive in front, which keeps what is locked (``check_kept``)."""
        front = len(self._fit.scene.primitives) - 1
        followed = []
        for number, canvas, rows, values in self._kept:
            if number == front:
                order = kept if kept.dim() == 1 or canvas is None else kept[canvas]
                place = {instance: position for position, instance in enumerate(order.tolist())}
                rows = torch.tensor([place[row] for row in rows.tolist()], dtype=torch.int64, device=rows.device)
            followed.append((number, canvas, rows, values))
        self._kept = followed

    @torch.no_grad()
    def put_back(self) -> None:
        """Give locked instances the bits that they had."""
        for number, canvas, rows, values in self._kept:
            primitive = self._fit.scene.primitives[number]
            for name, tensor in tensors_of(primitive).items():
                axis = instance_axis(primitive, name)
                if axis is not None and not torch.equal(_rows(tensor, canvas, axis, rows), values[name]):
                    whole = tensor.data if canvas is None or not _batched(tensor, axis) else tensor.data[canvas]
                    whole.index_copy_(whole.dim() + axis, rows, values[name])


def check_kept(primitive: Primitive, kept: Tensor) -> None:
    """Raise ``DiffbmpError`` where instances ``kept``, ``(K,)`` or ``(B, K)``, leave a locked one out."""
    if primitive.locked is None:
        return
    masks = primitive.locked.view(-1, len(primitive))
    for canvas, mask in enumerate(masks):
        order = kept if kept.dim() == 1 else kept[canvas]
        lost = set(mask.nonzero()[:, 0].tolist()) - set(order.tolist())
        if lost:
            raise DiffbmpError(f"Instance {min(lost) + 1} of '{primitive.name}' is locked, so it cannot be taken away.")


def _batched(tensor: Tensor, axis: int) -> bool:
    return tensor.dim() + axis > 0


def _rows(tensor: Tensor, canvas: int | None, axis: int, rows: Tensor) -> Tensor:
    whole = tensor.detach() if canvas is None or not _batched(tensor, axis) else tensor.detach()[canvas]
    return whole.index_select(whole.dim() + axis, rows)
