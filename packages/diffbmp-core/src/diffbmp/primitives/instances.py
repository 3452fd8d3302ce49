"""Selecting, adding, reordering and stacking instances of any kind, by the axes that it declares.

Nothing here knows a kind: each tensor of a primitive's ``state_dict`` has its instance axis in ``Primitive.axes``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diffbmp.errors import DiffbmpError
from diffbmp.primitives.primitive import Primitive

__all__ = [
    "canvas_of",
    "canvas_view",
    "check_axes",
    "instance_axis",
    "joined",
    "keeping",
    "leading_dimensions",
    "locked_for",
    "replaced",
    "selected",
    "stacked",
    "tensor_called",
    "tensors_of",
]

P = TypeVar("P", bound=Primitive)


def tensors_of(primitive: Primitive) -> dict[str, Tensor]:
    """Return the tensors that a primitive is saved by, parameters themselves and not copies, by name."""
    return dict(primitive.state_dict(keep_vars=True))


def instance_axis(primitive: Primitive, name: str) -> int | None:
    """Return the instance axis of a tensor, from the end, or None where all instances share it.

    Raises:
        DiffbmpError: where the kind does not declare it.
    """
    if name not in primitive.axes:
        raise DiffbmpError(
            f"The primitive '{primitive.name}' has the tensor '{name}', which its `axes` do not declare; give the axis "
            "of its instances, counted from the end, or None."
        )
    return primitive.axes[name]


def check_axes(primitive: Primitive) -> None:
    """Raise ``DiffbmpError`` where ``axes`` do not fit the tensors: one is missing, or numbers of instances differ."""
    count = len(primitive)
    for name, tensor in tensors_of(primitive).items():
        axis = instance_axis(primitive, name)
        if axis is None:
            continue
        if not -tensor.dim() <= axis < 0 or tensor.shape[axis] != count:
            raise DiffbmpError(
                f"The tensor '{name}' of the primitive '{primitive.name}' has shape {tuple(tensor.shape)}, but its "
                f"instance axis is declared as {axis} and there are {count} instances."
            )


def leading_dimensions(primitive: Primitive) -> tuple[int, ...]:
    """Return the leading dimensions that all parameters have before those of one canvas; empty for one canvas."""
    dimensions: tuple[int, ...] = ()
    for name, axis in primitive.axes.items():
        if axis is None:
            continue
        tensor = tensor_called(primitive, name)
        if tensor.dim() + axis > len(dimensions):
            dimensions = tuple(tensor.shape[: tensor.dim() + axis])
    return dimensions


def tensor_called(primitive: Primitive, name: str) -> Tensor:
    """Return one tensor of a primitive by its name in the ``state_dict``, without making one.

    Raises:
        DiffbmpError: where ``axes`` declare a tensor that there is not.
    """
    *path, leaf = name.split(".")
    module: nn.Module = primitive.get_submodule(".".join(path)) if path else primitive
    found = module._parameters.get(leaf)
    tensor = module._buffers.get(leaf) if found is None else found
    if tensor is None:
        raise DiffbmpError(f"The primitive '{primitive.name}' has no tensor '{name}', which its `axes` declare.")
    return tensor


def replaced(primitive: P, tensors: Mapping[str, Tensor], locked: Tensor | None) -> P:
    """Return a primitive of the same kind with other tensors (copied), which may be of another number or batch.

    Everything else that the object holds is copied along, by ``copy.deepcopy``.
    """
    own = tensors_of(primitive)
    memo: dict[int, object] = {id(tensor): tensor for tensor in own.values()}  # so that these are not copied
    new = copy.deepcopy(primitive, memo)
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        module = new.get_submodule(path)
        value = tensor.detach().clone(memory_format=torch.contiguous_format)
        if isinstance(own[name], nn.Parameter):
            module._parameters[leaf] = nn.Parameter(value, requires_grad=own[name].requires_grad)
        else:
            module._buffers[leaf] = value
    new._locked = None if locked is None or not bool(locked.any()) else locked.detach().clone()
    return new


def selected(primitive: P, index: Tensor) -> P:
    """Return the instances ``index`` ``(K,)`` int64 of each canvas, in that order."""

    def pick(tensor: Tensor, axis: int | None) -> Tensor:
        return tensor if axis is None else tensor.index_select(tensor.dim() + axis, index.to(tensor.device))

    tensors = {name: pick(tensor, instance_axis(primitive, name)) for name, tensor in tensors_of(primitive).items()}
    locked = primitive.locked
    return replaced(primitive, tensors, None if locked is None else locked.index_select(-1, index.to(locked.device)))


def joined(first: P, second: P) -> P:
    """Return the instances of two primitives of one kind, those of ``second`` in front; shared tensors are ``first``'s.

    Raises:
        DiffbmpError: where the kinds or the batches differ.
    """
    if type(first) is not type(second) or first.batch != second.batch:
        raise DiffbmpError(
            f"Instances of '{second.name}' (batch {second.batch}) cannot join those of '{first.name}' (batch "
            f"{first.batch})."
        )
    mine, theirs = tensors_of(first), tensors_of(second)
    tensors = {}
    for name, tensor in mine.items():
        axis = instance_axis(first, name)
        tensors[name] = tensor if axis is None else torch.cat([tensor, theirs[name].to(tensor)], dim=axis)
    return replaced(first, tensors, _joined_locks(first, second))


def _joined_locks(first: Primitive, second: Primitive) -> Tensor | None:
    if first.locked is None and second.locked is None:
        return None
    masks = [
        torch.zeros((*one.batch, len(one)), dtype=torch.bool) if one.locked is None else one.locked.cpu()
        for one in (first, second)
    ]
    return torch.cat(masks, dim=-1)


def stacked(primitives: Sequence[P]) -> P:
    """Return one primitive that is a batch of canvases, ``primitives`` being the single ones.

    Raises:
        DiffbmpError: where their kinds, shapes or metadata differ.
    """
    first = primitives[0]
    whole = tensors_of(first)
    for other in primitives[1:]:
        same = type(other) is type(first) and other.metadata() == first.metadata()
        if not same or any(t.shape != whole[name].shape for name, t in tensors_of(other).items()):
            raise DiffbmpError(
                f"Canvases of a batch have primitives of one kind and number, but '{first.name}' ({len(first)}) and "
                f"'{other.name}' ({len(other)}) differ."
            )
    tensors = {name: torch.stack([tensors_of(one)[name].detach() for one in primitives]) for name in whole}
    locked = None
    if any(one.locked is not None for one in primitives):
        none = torch.zeros(len(first), dtype=torch.bool)
        locked = torch.stack([none if one.locked is None else one.locked.cpu() for one in primitives])
    return replaced(first, tensors, locked)


def canvas_of(primitive: P, index: int) -> P:
    """Return one canvas of a batch, standing alone (tensors are copies)."""
    tensors = _tensors_of_canvas(primitive, index)
    return replaced(primitive, tensors, None if primitive.locked is None else primitive.locked[index])


def canvas_view(primitive: P, index: int) -> P:
    """Return one canvas of a batch to look at: its tensors are views of the batch's, which gradients go through."""
    memo: dict[int, object] = {id(tensor): tensor for tensor in tensors_of(primitive).values()}
    view = copy.deepcopy(primitive, memo)
    for name, tensor in _tensors_of_canvas(primitive, index).items():
        path, _, leaf = name.rpartition(".")
        module = view.get_submodule(path)
        held: dict[str, Any] = module._parameters if leaf in module._parameters else module._buffers
        held[leaf] = tensor
    view._locked = None if primitive.locked is None else primitive.locked[index]
    return view


def _tensors_of_canvas(primitive: Primitive, index: int) -> dict[str, Tensor]:
    def pick(name: str, tensor: Tensor) -> Tensor:
        axis = instance_axis(primitive, name)
        batched = axis is None or tensor.dim() + axis > 0  # a texture (N,) may be shared by all canvases
        return tensor[index] if batched else tensor

    if len(primitive.batch) != 1:
        raise DiffbmpError(f"The primitive '{primitive.name}' is no batch of canvases.")
    return {name: pick(name, tensor) for name, tensor in tensors_of(primitive).items()}


@contextmanager
def keeping(primitive: Primitive, mask: Tensor | None) -> Iterator[None]:
    """Give some instances the bits back, at the end of the block, that they had at its beginning.

    Args:
        primitive: whose number of instances stays.
        mask: ``(..., N)`` bool, which instances, or None for none. Where it is all of them, shared tensors are kept
            too.
    """
    if mask is None:
        yield
        return
    every = bool(mask.all())
    axes = {name: instance_axis(primitive, name) for name in tensors_of(primitive)}
    before = {
        name: tensor.detach().clone()
        for name, tensor in tensors_of(primitive).items()
        if every or axes[name] is not None
    }
    yield
    for name, value in before.items():
        tensor, axis = tensors_of(primitive)[name], axes[name]
        if axis is not None:
            value = torch.where(locked_for(mask.to(tensor.device), tensor, axis), value, tensor.data)
        tensor.data.copy_(value)


def locked_for(mask: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """Return a mask ``(..., N)`` of instances so that it broadcasts to a tensor with this instance axis.

    Of a tensor that all canvases share, an instance is locked that is locked on any of them.
    """
    for _ in range(mask.dim() - 1 - (tensor.dim() + axis)):
        mask = mask.any(dim=0)
    return mask.view(*mask.shape, *[1] * (-1 - axis))
