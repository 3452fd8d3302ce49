"""The rendering equation in plain PyTorch, written to be read: the truth for every other renderer.

Every sprite is evaluated at every pixel. Nothing is culled, so nothing can be culled wrongly. Memory is
bounded by drawing one canvas, and a run of its pixels, at a time; the gradient is written out below, and adds up run by
run. A canvas has the same bits alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.rendering.sampling import detail_adjoint, invert_frames, mip_levels, sample_level, texels_adjoint
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Reference", "composite_points", "composite_points_adjoint"]


def composite_points(inputs: CompositeInputs, points: Tensor) -> Tensor:
    """Evaluate the rendering equation (docs/rendering.md) at some points of the canvas; differentiable by autograd.

    Args:
        inputs: B canvases of N sprites.
        points: ``(P, 2)`` canvas coordinates (x, y); pixel (column j, row i) has its centre at (j + 1/2, i + 1/2).

    Returns:
        Premultiplied RGBA ``(B, 4, P)``.
    """
    inverse, drawn = invert_frames(inputs.frame)
    uv = torch.einsum("bnij,bnpj->bnpi", inverse, offsets(inputs, points))
    levels = [(weight, sample_level(inputs, level, uv)) for level, weight, _ in mip_levels(inputs, inverse)]
    sample = torch.stack([weight[..., None, None] * level.value for weight, level in levels]).sum(dim=0)
    layer = inputs.opacity[..., None, None] * paint(inputs, torch.where(drawn[..., None, None], sample, 0.0))
    clear = 1 - layer[..., 3]
    if inputs.blend == "over":
        return torch.einsum("bnp,bnpc->bcp", product_after(clear), layer)
    color = layer[..., :3].sum(dim=1).movedim(-1, 1)
    return torch.cat([color, 1 - clear.prod(dim=1)[:, None]], dim=1)


def composite_points_adjoint(
    inputs: CompositeInputs, points: Tensor, grad: Tensor, *, texel_gradient: bool
) -> Gradients:
    """Return the gradients of sum(composite_points(inputs, points) * grad).

    The steps of ``composite_points`` from the last to the first. No step divides by 1 - alpha.

    Args:
        inputs: B canvases of N sprites.
        points: ``(P, 2)`` canvas coordinates.
        grad: ``(B, 4, P)``.
        texel_gradient: whether the gradient of ``texels`` is wanted.
    """
    inverse, drawn = invert_frames(inputs.frame)
    offset = offsets(inputs, points)
    uv = torch.einsum("bnij,bnpj->bnpi", inverse, offset)
    levels = [(weight, slope, sample_level(inputs, row, uv)) for row, weight, slope in mip_levels(inputs, inverse)]
    sample = torch.stack([weight[..., None, None] * level.value for weight, _, level in levels]).sum(dim=0)
    painted = paint(inputs, torch.where(drawn[..., None, None], sample, 0.0))
    opacity = inputs.opacity[..., None, None]

    # Of each sprite's layer: as it is seen, and as it hides what is behind.
    grad = grad.movedim(1, -1)[:, None]  # (B, 1, P, 4)
    clear = 1 - opacity[..., 0] * painted[..., 3]
    if inputs.blend == "over":
        seen = product_after(clear)
        grad_layer = seen[..., None] * grad
        hidden = seen * _seen_behind(clear, (opacity * painted * grad).sum(dim=-1))
    else:
        grad_layer = torch.cat([grad[..., :3], torch.zeros_like(grad[..., 3:])], dim=-1).expand(painted.shape)
        hidden = -grad[..., 3] * product_after(clear) * product_after(clear.flip(1)).flip(1)
    grad_layer = grad_layer - torch.nn.functional.pad(hidden[..., None], (3, 0))

    # Of opacity, tint, colour blend and the texture's sample.
    grad_opacity = (grad_layer * painted).sum(dim=(-2, -1))
    grad_paint = torch.where(drawn[..., None, None], opacity * grad_layer, 0.0)
    mu, tint = colour_blend(inputs), inputs.color[:, :, None, :]
    grad_rgb, coverage = grad_paint[..., :3], sample[..., 3:]
    grad_color = ((1 - mu) * grad_rgb * coverage).sum(dim=-2)
    grad_blend = (grad_rgb * (sample[..., :3] - tint * coverage)).sum(dim=(-2, -1)) * colored(inputs)
    grad_coverage = grad_paint[..., 3:] + (1 - mu) * (grad_rgb * tint).sum(dim=-1, keepdim=True)
    grad_sample = torch.cat([mu * grad_rgb, grad_coverage], dim=-1)

    # Of texels, texture coordinates and level of detail.
    grad_texels = torch.zeros_like(inputs.texels) if texel_gradient else None
    grad_uv, grad_detail = torch.zeros_like(uv), torch.zeros_like(inputs.opacity)
    for weight, slope, level in levels:
        grad_value = weight[..., None, None] * grad_sample
        grad_uv = grad_uv + torch.einsum("bnpc,bnpci->bnpi", grad_value, level.by_uv)
        if slope is not None:
            grad_detail = grad_detail + slope * (grad_sample * level.value).sum(dim=(-2, -1))
        if grad_texels is not None:
            grad_texels = grad_texels + texels_adjoint(inputs, level, grad_value)

    # Of the frame [A | t]: uv = A^-1 (p - t), d(A^-1) = -A^-1 dA A^-1.
    grad_inverse = torch.einsum("bnpi,bnpj->bnij", grad_uv, offset)
    if inputs.filter == "trilinear":
        grad_inverse = grad_inverse + detail_adjoint(inputs, inverse, grad_detail)
    transposed = inverse.transpose(-1, -2)
    grad_linear = -transposed @ grad_inverse @ transposed
    grad_center = -transposed @ grad_uv.sum(dim=-2)[..., None]
    grad_frame = torch.where(drawn[..., None, None], torch.cat([grad_linear, grad_center], dim=-1), 0.0)
    return Gradients(grad_frame, grad_opacity, grad_color, grad_blend, grad_texels)


def offsets(inputs: CompositeInputs, points: Tensor) -> Tensor:
    """Return p - t, ``(B, N, P, 2)``."""
    return points - inputs.frame[:, :, None, :, 2]


def colored(inputs: CompositeInputs) -> Tensor:
    """Return 1 where a sprite's texture has a colour of its own and 0 where it is alpha-only, ``(B, N)``."""
    return (inputs.textures[inputs.texture, 2] == 4).to(inputs.color)


def colour_blend(inputs: CompositeInputs) -> Tensor:
    """Return mu, ``(B, N, 1, 1)``."""
    return (inputs.color_blend * colored(inputs))[..., None, None]


def paint(inputs: CompositeInputs, sample: Tensor) -> Tensor:
    """Return what a sprite of opacity 1 puts down for a premultiplied sample ``(B, N, P, 4)``.

    With M the coverage and P the premultiplied colour of the sample, rgb M = (1 - mu) color M + mu P.
    """
    mu, coverage = colour_blend(inputs), sample[..., 3:]
    rgb = (1 - mu) * inputs.color[:, :, None, :] * coverage + mu * sample[..., :3]
    return torch.cat([rgb, coverage], dim=-1)


def product_after(clear: Tensor) -> Tensor:
    """Return the product over the sprites in front of each, ``(B, N, P)``: the transmittance T_k, where T_N = 1."""
    product = torch.cumprod(clear.flip(1), dim=1).flip(1)
    return torch.cat([product[:, 1:], torch.ones_like(product[:, :1])], dim=1)


def _seen_behind(clear: Tensor, contribution: Tensor) -> Tensor:
    """Return what all sprites behind each one add up to, seen without it and those in front; all ``(B, N, P)``."""
    behind = torch.zeros_like(contribution)
    for index in range(1, contribution.shape[1]):
        behind[:, index] = contribution[:, index - 1] + clear[:, index - 1] * behind[:, index - 1]
    return behind


class Reference(Renderer):
    """Plain PyTorch, float32 or float64, any device: slow, simple, and the truth that other renderers are tested by."""

    name = "reference"
    priority = -100
    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32, torch.float64)
    draws_layers = True

    class Settings(SettingsModel):
        """Settings of the reference renderer."""

        pairs: int = Field(250_000, ge=1)
        """Sprites times pixels evaluated at once; memory grows with it, about 1 kB a pair in the backward pass."""

    settings: Settings

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        """Draw a run of pixels at a time."""
        image = inputs.frame.new_zeros(inputs.batch, 4, inputs.height * inputs.width)
        for canvas, one in _canvases(inputs):
            for run, points in self._runs(one):
                image[canvas, :, run] = composite_points(one, points)
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
        """Take the gradient of a run of pixels at a time and add up."""
        inputs_of_sprites = (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend)
        frame, opacity, color, color_blend = (torch.zeros_like(value) for value in inputs_of_sprites)
        texels = torch.zeros_like(inputs.texels) if texel_gradient else None
        for canvas, one in _canvases(inputs):
            for run, points in self._runs(one):
                grad = grad_image[canvas].flatten(2)[..., run]
                part = composite_points_adjoint(one, points, grad, texel_gradient=texel_gradient)
                frame[canvas] += part.frame
                opacity[canvas] += part.opacity
                color[canvas] += part.color
                color_blend[canvas] += part.color_blend
                if texels is not None and part.texels is not None:
                    texels += part.texels
        return Gradients(frame, opacity, color, color_blend, texels)

    def layers(self, inputs: CompositeInputs, boxes: Tensor) -> Tensor:
        """Draw one sprite after the other, a run of its pixels at a time."""
        parts = [inputs.frame.new_zeros(0)]
        for index, (left, top, width, height) in enumerate(boxes.tolist()):
            sprite = slice(index, index + 1)
            moved = inputs.frame[:, sprite] - inputs.frame.new_tensor([[0, 0, left], [0, 0, top]])
            one = replace(
                inputs, frame=moved, opacity=inputs.opacity[:, sprite], color=inputs.color[:, sprite],
                color_blend=inputs.color_blend[:, sprite], texture=inputs.texture[:, sprite],
                height=height, width=width, blend="over",
            )  # fmt: skip
            parts += [self.forward(one)[0].flatten()] if width * height else []
        return torch.cat(parts)

    def _runs(self, inputs: CompositeInputs) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the flattened canvas, one that has sprites, with the pixel centres in them."""
        step = max(1, self.settings.pairs // inputs.count)
        for start in range(0, inputs.height * inputs.width, step):
            stop = min(start + step, inputs.height * inputs.width)
            index = torch.arange(start, stop, device=inputs.frame.device)
            column = index % inputs.width
            line = torch.div(index, inputs.width, rounding_mode="floor")
            yield slice(start, stop), torch.stack([column, line], dim=-1).to(inputs.frame) + 0.5


def _canvases(inputs: CompositeInputs) -> Iterator[tuple[slice, CompositeInputs]]:
    """Yield every canvas of a batch by itself, where there are sprites to draw."""
    for index in range(inputs.batch if inputs.count else 0):
        canvas = slice(index, index + 1)
        yield canvas, replace(
            inputs, frame=inputs.frame[canvas], opacity=inputs.opacity[canvas], color=inputs.color[canvas],
            color_blend=inputs.color_blend[canvas], texture=inputs.texture[canvas],
        )  # fmt: skip
