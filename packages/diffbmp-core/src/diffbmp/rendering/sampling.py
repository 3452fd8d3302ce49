"""Reading textures, value and gradient, in plain PyTorch: the readable twin of the kernels' headers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs

__all__ = [
    "MINIMUM_DETERMINANT",
    "LevelSample",
    "detail_adjoint",
    "invert_frames",
    "level_of_detail",
    "mip_levels",
    "sample_level",
    "texel_position",
    "texels_adjoint",
    "texels_per_unit",
]

T = TypeVar("T", float, Tensor)

MINIMUM_DETERMINANT = 1e-12
"""Below this determinant (a quarter of the sprite's area in square pixels) a frame is degenerate."""

ROUND = 1e-10
"""A footprint is round where the squared difference of its squared axes is less than this of their squared sum."""


def texels_per_unit(size: T) -> T:
    """Return how many texels of a level one unit of u or v spans: half its width or height, as [-1, 1] is all of it."""
    return size / 2


def texel_position(uv: Tensor, size: Tensor) -> Tensor:
    """Return where (u, v) is in a level of ``size`` (width, height): column and row, 0 at the centre of a texel."""
    return (uv + 1) * texels_per_unit(size.to(uv)) - 0.5


def invert_frames(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Invert the linear part of each frame.

    Returns:
        The inverses ``(B, N, 2, 2)`` and a mask ``(B, N)``, false where the frame spans no area: such a sprite
        is drawn as nothing, its inverse is set to the identity, and its gradient is zero.
    """

    def determinant_of(matrix: Tensor) -> Tensor:
        return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]

    # In double precision whatever the input, so that rounding gives no area to columns that are parallel.
    drawn = determinant_of(_double(frame.detach())).abs() > MINIMUM_DETERMINANT
    determinant = determinant_of(frame)
    drawn = drawn & (determinant != 0)
    safe = torch.where(drawn, determinant, 1.0)
    a, b = frame[..., 0, 0], frame[..., 0, 1]
    c, d = frame[..., 1, 0], frame[..., 1, 1]
    adjugate = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    identity = torch.eye(2, dtype=frame.dtype, device=frame.device)
    inverse = torch.where(drawn[..., None, None], adjugate / safe[..., None, None], identity)
    return inverse, drawn


def level_of_detail(inputs: CompositeInputs, inverse: Tensor) -> Tensor:
    """Return lambda ``(B, N)``: log2 of the longest axis, in base texels, of a pixel's footprint.

    The longest axis is the larger singular value of J = diag(w / 2, h / 2) A^-1. Where both are equal (every
    stamp that is not stretched) the difference under the root counts as constant: the symmetric sub-gradient.
    """
    jacobian, largest = _footprint(inputs, inverse)
    p, q, r = _gram(jacobian)
    return torch.log2((p + r + _root(p, q, r)) / 2) / 2 + torch.log2(largest)


def detail_adjoint(inputs: CompositeInputs, inverse: Tensor, grad_detail: Tensor) -> Tensor:
    """Return the gradient ``(B, N, 2, 2)`` of the inverse frames for a gradient ``(B, N)`` of lambda."""
    jacobian, largest = _footprint(inputs, inverse)
    p, q, r = _gram(jacobian)
    root = _root(p, q, r)
    # d(2 longest^2) = (1 + (p - r) / root) dp + (1 - (p - r) / root) dr + 4 q / root dq, without root where round.
    safe = torch.where(root > 0, root, torch.inf)
    lean, cross = (p - r) / safe, 2 * q / safe
    by_gram = torch.stack([torch.stack([1 + lean, cross], dim=-1), torch.stack([cross, 1 - lean], dim=-1)], dim=-2)
    # lambda = ln(2 longest^2) / (2 ln 2) + const, and d(J^T J) = 2 J.
    by_jacobian = jacobian @ by_gram / (math.log(2) * (p + r + root))[..., None, None]
    return grad_detail[..., None, None] * by_jacobian / largest[..., None, None] * _base_scale(inputs, inverse)


def _base_scale(inputs: CompositeInputs, like: Tensor) -> Tensor:
    """Return the texels that a unit of u and of v spans in level 0 of each sprite's texture, ``(B, N, 2, 1)``."""
    base = inputs.levels[inputs.textures[inputs.texture, 0]]  # (B, N, 3): offset, width, height
    return texels_per_unit(base[..., 1:].to(like))[..., None]


def _footprint(inputs: CompositeInputs, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Return J over its largest entry, whose fourth powers cannot overflow, and that entry."""
    jacobian = inverse * _base_scale(inputs, inverse)
    largest = jacobian.detach().abs().amax(dim=(-2, -1))
    return jacobian / largest[..., None, None], largest


def _gram(jacobian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gram = jacobian.transpose(-1, -2) @ jacobian
    return gram[..., 0, 0], gram[..., 0, 1], gram[..., 1, 1]


def _root(p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    spread = (p - r) ** 2 + 4 * q**2
    round_footprint = spread <= ROUND * (p + r) ** 2
    return torch.where(round_footprint, 0.0, torch.sqrt(torch.where(round_footprint, 1.0, spread)))


def mip_levels(inputs: CompositeInputs, inverse: Tensor) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Return the mip levels that the filter reads.

    Returns:
        For each level that is read its row of ``inputs.levels``, its weight, and the derivative of the weight by
        lambda (None where it has none), each ``(B, N)``.
    """
    first, count = inputs.textures[inputs.texture, 0], inputs.textures[inputs.texture, 1]
    if inputs.filter == "trilinear":
        detail = level_of_detail(inputs, inverse)
        varies = ((detail > 0) & (detail < count - 1)).to(inverse)
        detail = detail.clamp(min=0).minimum((count - 1).to(inverse))
        finer = detail.detach().floor().long().minimum((count - 2).clamp(min=0))
        coarser = (finer + 1).minimum(count - 1)
        weight = detail - finer
        return [(first + finer, 1 - weight, -varies), (first + coarser, weight, varies)]
    level = torch.zeros_like(first)
    if inputs.filter == "mipmap":
        # In double precision whatever the input, so that all renderers choose the same level.
        double = dataclasses.replace(inputs, frame=_double(inputs.frame.detach()))
        detail = level_of_detail(double, invert_frames(double.frame)[0])
        level = torch.floor(detail + 0.5).long().clamp(min=0).minimum(count - 1)
    return [(first + level, torch.ones_like(inverse[..., 0, 0]), None)]


@dataclass(frozen=True)
class LevelSample:
    """Samples of one mip level of each sprite's texture.

    Attributes:
        value: premultiplied RGBA ``(B, N, P, 4)``; zero colour where the texture is alpha-only.
        by_uv: derivatives of ``value`` by u and v, ``(B, N, P, 4, 2)``.
        index: where in ``inputs.texels`` the four texels around are, ``(4, B, N, P, 4)``.
        weight: the weight of each of the four, ``(4, B, N, P, 4)``; zero where nothing is read.
    """

    value: Tensor
    by_uv: Tensor
    index: Tensor
    weight: Tensor


def sample_level(inputs: CompositeInputs, level: Tensor, uv: Tensor) -> LevelSample:
    """Sample one mip level ``(B, N)`` (rows of ``inputs.levels``) of each sprite's texture at uv ``(B, N, P, 2)``."""
    row = inputs.levels[level][:, :, None, :]  # (B, N, 1, 3)
    offset, size = row[..., 0], row[..., 1:]
    channels = inputs.textures[inputs.texture, 2][:, :, None]
    texel = texel_position(uv, size)
    nearest = inputs.filter == "nearest_texel"
    corner = (texel + 0.5 if nearest else texel).detach().floor()
    inside = ((corner >= (0 if nearest else -1)) & (corner < size.to(corner))).all(dim=-1)
    # Outside, a texel that is certain to exist stands in, so that neither value nor gradient can be NaN.
    texel, corner = torch.where(inside[..., None], texel, 0.0), torch.where(inside[..., None], corner, 0.0)
    column, line = corner.long().unbind(-1)
    stride = size[..., 0] + 2
    channel = torch.arange(4, device=uv.device)
    colored = (channels == 4)[..., None]
    read = inside[..., None] & (colored | (channel == 3))  # an alpha-only texture has but the last channel
    channel = torch.where(colored, channel, 0)

    def fetch(dx: int, dy: int) -> tuple[Tensor, Tensor]:
        index = offset + ((line + 1 + dy) * stride + column + 1 + dx) * channels
        index = index[..., None] + channel
        texels = inputs.texels.index_select(0, index.flatten()).view(index.shape)
        return torch.where(read, texels, 0.0), index

    corners = [fetch(0, 0), fetch(1, 0), fetch(0, 1), fetch(1, 1)]
    index = torch.stack([index for _, index in corners])
    a, b, c, d = (value for value, _ in corners)
    if nearest:
        weight = torch.stack([read.to(uv), *[torch.zeros_like(a)] * 3])
        return LevelSample(a, torch.zeros_like(a)[..., None].expand(*a.shape, 2), index, weight)
    x, y = (texel - corner)[..., None].unbind(-2)
    top, bottom = torch.lerp(a, b, x), torch.lerp(c, d, x)
    by_texel = torch.stack([torch.lerp(b - a, d - c, y), bottom - top], dim=-1)
    weight = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]) * read
    return LevelSample(torch.lerp(top, bottom, y), by_texel * texels_per_unit(size[..., None, :].to(uv)), index, weight)


def texels_adjoint(inputs: CompositeInputs, sample: LevelSample, grad_value: Tensor) -> Tensor:
    """Return the gradient of ``inputs.texels`` for a gradient ``(B, N, P, 4)`` of the sample."""
    total = torch.zeros_like(inputs.texels)
    # index_add and not indexing: on the CPU it has the same bits for any number of threads.
    return total.index_add_(0, sample.index.flatten(), (sample.weight * grad_value).flatten())


def _double(value: Tensor) -> Tensor:
    """Return ``value`` in the widest precision of its device."""
    return value if value.device.type == "mps" else value.double()
