"""The rendering equation in plain PyTorch, written to be read: the truth for every other renderer.

Every sprite is evaluated at every pixel. Nothing is culled, so nothing can be culled wrongly. Memory is
bounded by drawing a run of pixels at a time; the gradient is PyTorch's own, taken run by run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Reference", "composite_points"]


def composite_points(inputs: CompositeInputs, points: Tensor) -> Tensor:
    """Evaluate the rendering equation (DESIGN, section 3) at some points of the canvas.

    Args:
        inputs: B canvases of N sprites.
        points: ``(P, 2)`` canvas coordinates (x, y); pixel (column j, row i) has its centre at (j + 1/2, i + 1/2).

    Returns:
        Premultiplied RGBA ``(B, 4, P)``.
    """
    inverse, drawn = invert_frames(inputs.frame)
    offset = points[:, None, None, :] - inputs.frame[..., 2]  # (P, B, N, 2)
    uv = torch.einsum("bnij,pbnj->bnpi", inverse, offset)  # (B, N, P, 2)
    sample = sample_textures(inputs, inverse, uv)  # (B, N, P, 4), premultiplied
    sample = torch.where(drawn[..., None, None], sample, 0.0)

    colored = (inputs.textures[inputs.texture, 2] == 4).to(inputs.color)
    mu = (inputs.color_blend * colored)[..., None, None]
    coverage = sample[..., 3:]
    rgb = (1 - mu) * inputs.color[:, :, None, :] * coverage + mu * sample[..., :3]  # premultiplied by M
    layer = inputs.opacity[..., None, None] * torch.cat([rgb, coverage], dim=-1)  # (B, N, P, 4)
    alpha = layer[..., 3]

    if inputs.blend == "over":
        in_front = torch.cumprod((1 - alpha).flip(1), dim=1).flip(1)  # product over k.. of the nearer sprites
        transmittance = torch.cat([in_front[:, 1:], torch.ones_like(in_front[:, :1])], dim=1)
        return torch.einsum("bnp,bnpc->bcp", transmittance, layer)
    color = layer[..., :3].sum(dim=1).movedim(-1, 1)
    return torch.cat([color, 1 - (1 - alpha).prod(dim=1)[:, None]], dim=1)


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


MINIMUM_DETERMINANT = 1e-12
"""Below this determinant (a quarter of the sprite's area in square pixels) a frame is degenerate."""


def _double(value: Tensor) -> Tensor:
    """Return ``value`` in the widest precision of its device."""
    return value if value.device.type == "mps" else value.double()


def level_of_detail(inputs: CompositeInputs, inverse: Tensor) -> Tensor:
    """Return lambda ``(B, N)``: log2 of the longest axis, in base texels, of a pixel's footprint.

    The longest axis is the larger singular value of J = diag(w / 2, h / 2) A^-1. Where both are equal (every
    stamp that is not stretched) the difference under the root counts as constant: the symmetric sub-gradient.
    """
    base = inputs.levels[inputs.textures[inputs.texture, 0]]  # (B, N, 3): offset, width, height
    jacobian = inverse * (base[..., 1:].to(inverse) / 2)[..., None]
    largest = jacobian.detach().abs().amax(dim=(-2, -1), keepdim=True)
    jacobian = jacobian / largest  # its fourth powers would overflow for the smallest sprites
    gram = jacobian.transpose(-1, -2) @ jacobian
    p, q, r = gram[..., 0, 0], gram[..., 0, 1], gram[..., 1, 1]
    spread = (p - r) ** 2 + 4 * q**2
    round_footprint = spread <= 1e-10 * (p + r) ** 2
    root = torch.sqrt(torch.where(round_footprint, 1.0, spread))
    longest_squared = (p + r + torch.where(round_footprint, 0.0, root)) / 2
    return torch.log2(longest_squared) / 2 + torch.log2(largest[..., 0, 0])


def mip_levels(inputs: CompositeInputs, inverse: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the mip levels that the filter reads: rows of ``inputs.levels`` and weights, each ``(B, N)``."""
    first, count = inputs.textures[inputs.texture, 0], inputs.textures[inputs.texture, 1]
    if inputs.filter == "trilinear":
        detail = level_of_detail(inputs, inverse).clamp(min=0).minimum((count - 1).to(inverse))
        finer = detail.detach().floor().long().minimum((count - 2).clamp(min=0))
        coarser = (finer + 1).minimum(count - 1)
        weight = detail - finer
        return [(first + finer, 1 - weight), (first + coarser, weight)]
    level = torch.zeros_like(first)
    if inputs.filter == "mipmap":
        # In double precision whatever the input, so that all renderers choose the same level.
        double = dataclasses.replace(inputs, frame=_double(inputs.frame.detach()))
        detail = level_of_detail(double, invert_frames(double.frame)[0])
        level = torch.floor(detail + 0.5).long().clamp(min=0).minimum(count - 1)
    return [(first + level, torch.ones_like(inverse[..., 0, 0]))]


def sample_textures(inputs: CompositeInputs, inverse: Tensor, uv: Tensor) -> Tensor:
    """Sample each sprite's texture with the chosen filter.

    Args:
        inputs: the operator's inputs.
        inverse: inverse frames ``(B, N, 2, 2)``.
        uv: sprite coordinates ``(B, N, P, 2)``.

    Returns:
        Premultiplied RGBA ``(B, N, P, 4)``; zero colour where the texture is alpha-only.
    """
    nearest = inputs.filter == "nearest_texel"
    samples = [
        weight[..., None, None] * sample_level(inputs, level, uv, nearest=nearest)
        for level, weight in mip_levels(inputs, inverse)
    ]
    return torch.stack(samples).sum(dim=0)


def sample_level(inputs: CompositeInputs, level: Tensor, uv: Tensor, *, nearest: bool = False) -> Tensor:
    """Sample one mip level ``(B, N)`` (rows of ``inputs.levels``) of each sprite's texture, bilinearly or not."""
    row = inputs.levels[level][:, :, None, :]  # (B, N, 1, 3)
    offset, size = row[..., 0], row[..., 1:]
    channels = inputs.textures[inputs.texture, 2][:, :, None]
    texel = (uv + 1) / 2 * size - 0.5  # column and row, 0 at the centre of the first texel
    corner = (texel + 0.5 if nearest else texel).detach().floor()
    limit = size.to(corner)
    if nearest:
        inside = ((corner >= 0) & (corner < limit)).all(dim=-1)
    else:
        inside = ((corner >= -1) & (corner < limit)).all(dim=-1)
    # Outside, a texel that is certain to exist stands in, so that neither value nor gradient can be NaN.
    texel, corner = torch.where(inside[..., None], texel, 0.0), torch.where(inside[..., None], corner, 0.0)
    column, line = corner.long().unbind(-1)
    stride = size[..., 0] + 2

    colored = channels == 4
    channel = torch.where(colored[..., None], torch.arange(4, device=texel.device), 0)  # alpha-only: its one channel

    def fetch(dx: int, dy: int) -> Tensor:
        index = offset + ((line + 1 + dy) * stride + column + 1 + dx) * channels
        index = index[..., None] + channel
        # index_select and not indexing: on the CPU its gradient has the same bits for any number of threads.
        rgba = inputs.texels.index_select(0, index.flatten()).view(index.shape)
        return torch.cat([torch.where(colored[..., None], rgba[..., :3], 0.0), rgba[..., 3:]], dim=-1)

    if nearest:
        sample = fetch(0, 0)
    else:
        fraction = texel - corner
        x, y = fraction[..., 0:1], fraction[..., 1:2]
        top = torch.lerp(fetch(0, 0), fetch(1, 0), x)
        bottom = torch.lerp(fetch(0, 1), fetch(1, 1), x)
        sample = torch.lerp(top, bottom, y)
    return torch.where(inside[..., None], sample, 0.0)


class Reference(Renderer):
    """Plain PyTorch, any dtype, any device: slow, simple, and the truth that other renderers are tested against."""

    name = "reference"
    priority = -100
    dtypes = (torch.float32, torch.float64)

    class Settings(SettingsModel):
        """Settings of the reference renderer."""

        pairs: int = Field(1_000_000, ge=1)
        """Sprites times pixels evaluated at once; memory grows with it, about 1 kB a pair in the backward pass."""

    settings: Settings

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        """Draw a run of pixels at a time."""
        image = inputs.frame.new_zeros(inputs.batch, 4, inputs.height * inputs.width)
        for run, points in self._runs(inputs):
            image[..., run] = composite_points(inputs, points)
        state = image.new_zeros((inputs.batch, 0, inputs.height, inputs.width), dtype=torch.float32)
        return image.view(inputs.batch, 4, inputs.height, inputs.width), state

    def backward(
        self,
        inputs: CompositeInputs,
        state: Tensor,
        grad_image: Tensor,
        *,
        texel_gradient: bool,
    ) -> Gradients:
        """Differentiate a run of pixels at a time and add up."""
        values = [inputs.frame, inputs.opacity, inputs.color, inputs.color_blend]
        values += [inputs.texels] * texel_gradient
        totals = [torch.zeros_like(value) for value in values]
        for run, points in self._runs(inputs):

            def draw(
                frame: Tensor,
                opacity: Tensor,
                color: Tensor,
                color_blend: Tensor,
                texels: Tensor = inputs.texels,
                points: Tensor = points,
            ) -> Tensor:
                changed = dataclasses.replace(
                    inputs, frame=frame, opacity=opacity, color=color, color_blend=color_blend, texels=texels
                )
                return composite_points(changed, points)

            pullback: Callable[[Tensor], tuple[Tensor, ...]] = torch.func.vjp(draw, *values)[1]
            for total, gradient in zip(totals, pullback(grad_image.flatten(2)[..., run]), strict=True):
                total += gradient
        frame, opacity, color, color_blend, *texel_part = totals
        return Gradients(frame, opacity, color, color_blend, texels=texel_part[0] if texel_part else None)

    def _runs(self, inputs: CompositeInputs) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the flattened canvas with the pixel centres in them."""
        if inputs.batch * inputs.count == 0:
            return
        step = max(1, self.settings.pairs // (inputs.batch * inputs.count))
        for start in range(0, inputs.height * inputs.width, step):
            stop = min(start + step, inputs.height * inputs.width)
            index = torch.arange(start, stop, device=inputs.frame.device)
            column = index % inputs.width
            line = torch.div(index, inputs.width, rounding_mode="floor")
            yield slice(start, stop), torch.stack([column, line], dim=-1).to(inputs.frame) + 0.5
