"""Primitives side by side: their tensors, what they paint, and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.primitives.instances import tensors_of
from diffbmp.primitives.primitive import Primitive
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.sprites import Sprites
from diffbmp.testing.tolerances import VALUE

__all__ = [
    "PALETTE",
    "TRAILING",
    "assert_near",
    "assert_same",
    "assert_tensors",
    "blends_of",
    "copies",
    "drawn",
    "gradients_of",
    "own_name",
    "refusal",
    "soft_picture",
    "sprite_values",
]


PALETTE = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.8, 0.2, 0.1], [0.2, 0.5, 0.6]])
"""A few colours, ``(P, 3)``."""

TRAILING = {"frame": 2, "opacity": 0, "color": 1, "texture": 0, "color_blend": 0}
"""Dimensions of the tensors of sprites after that of the sprites."""


def soft_picture(size: tuple[int, int]) -> Tensor:
    """Return a picture of soft colours, ``(3, H, W)``."""
    y, x = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    return torch.stack([0.5 + 0.5 * torch.sin(7 * x), y, 0.5 + 0.5 * torch.cos(5 * x * y)])


def blends_of(primitive: Primitive) -> Sequence[str]:
    """Return the blend modes that a primitive is tried with: its own, or one where core draws it."""
    return primitive.blends if primitive.draws else ("over",)


def sprite_values(sprites: Sprites) -> dict[str, Tensor]:
    """Return the tensors of sprites by name."""
    return {name: getattr(sprites, name) for name in TRAILING}


def drawn(primitive: Primitive, atlas: Atlas, canvas: Canvas) -> dict[str, Tensor]:
    """Return what a primitive paints with: the tensors of its sprites, or its layer."""
    return {"layer": primitive.draw(canvas)} if primitive.draws else sprite_values(primitive(atlas))


def gradients_of(primitive: Primitive, atlas: Atlas, canvas: Canvas, index: int | None = None) -> dict[str, Tensor]:
    """Return the gradients of the learnables for a random gradient of what is drawn, that of canvas ``index``."""
    learnables = primitive.learnables()
    outputs, weights = [], []
    for name, value in drawn(primitive, atlas, canvas).items():
        if value.requires_grad:
            shape = value.shape if index is None else (3, *value.shape)
            weight = torch.randn(shape, generator=torch.Generator().manual_seed(len(name)))
            outputs.append(value)
            weights.append(weight if index is None else weight[index])
    parameters = [learnable.parameter for learnable in learnables.values()]
    gradients = torch.autograd.grad(outputs, parameters, weights, allow_unused=True)
    for name, gradient in zip(learnables, gradients, strict=True):
        assert gradient is not None, f"nothing that is drawn depends on '{name}'"
    return dict(zip(learnables, gradients, strict=True))


def refusal(call: Callable[..., object], *arguments: object) -> str | None:
    """Return the sentence that a call is refused with, or None where it is not."""
    try:
        call(*arguments)
    except DiffbmpError as error:
        return str(error)
    return None


def own_name(primitive: Primitive, parameter: Tensor) -> str:
    """Return the name that a tensor has in the ``state_dict``."""
    return next(name for name, tensor in tensors_of(primitive).items() if tensor is parameter)


def copies(primitive: Primitive) -> dict[str, Tensor]:
    """Return copies of all tensors by name."""
    return {name: tensor.detach().clone() for name, tensor in tensors_of(primitive).items()}


def assert_near(picture: Tensor, expected: Tensor) -> None:
    """Compare pictures that are drawn in other pieces, whose sums are rounded differently."""
    torch.testing.assert_close(picture, expected, rtol=VALUE, atol=VALUE)


def assert_tensors(primitive: Primitive, expected: Mapping[str, Tensor], what: str) -> None:
    """Compare every bit of some tensors; ``what`` begins the sentence where one differs."""
    held = tensors_of(primitive)
    for name, tensor in expected.items():
        assert name in held, f"{what} '{name}': it is gone"
        same = held[name].dtype == tensor.dtype and torch.equal(held[name], tensor)
        assert same, f"{what} '{name}'"


def assert_same(one: Primitive, other: Primitive) -> None:
    """Compare kind, metadata, locks and every bit of every tensor."""
    assert type(one) is type(other)
    assert one.metadata() == other.metadata()
    assert set(tensors_of(one)) == set(tensors_of(other))
    assert_tensors(one, copies(other), "not the same:")
    locks = [None if p.locked is None else p.locked.tolist() for p in (one, other)]
    assert locks[0] == locks[1], f"locks differ: {locks[0]} and {locks[1]}"
