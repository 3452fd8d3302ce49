"""Gradients of two renderers side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs, Gradients
from diffbmp.testing.tolerances import DOUBLE, SPRITE_GRADIENT, SPRITE_GRADIENT_FLOOR, TOTAL_GRADIENT, VALUE

__all__ = ["assert_gradients_close", "assert_same_bits", "assert_values_close", "texel_border"]

SPRITE_INPUTS = ("frame", "opacity", "color", "color_blend")


def assert_values_close(
    image: Tensor, expected: Tensor, ignored: Tensor | None = None, *, double: bool = False
) -> None:
    """Compare pictures ``(B, 4, H, W)``, leaving out pixels where ``ignored``, ``(B, H, W)``, is true.

    ``double`` asks for what a renderer has to keep in double precision.
    """
    assert image.shape == expected.shape, f"image has shape {tuple(image.shape)}, not {tuple(expected.shape)}"
    assert bool(torch.isfinite(image).all()), "image holds NaN or infinity"
    difference = (image.to(expected) - expected).abs()
    if ignored is not None:
        difference = difference.masked_fill(ignored[:, None], 0.0)
    largest = float(difference.max())
    allowed = VALUE * (DOUBLE if double else 1.0) * max(1.0, float(expected.abs().max()))
    place = [int(v) for v in torch.unravel_index(difference.argmax(), difference.shape)]
    assert largest <= allowed, f"pixel (batch, channel, row, column) {place} differs by {largest:.3g} > {allowed:.3g}"


def assert_gradients_close(
    gradients: Gradients, expected: Gradients, inputs: CompositeInputs, *, double: bool = False
) -> None:
    """Compare each input's gradient as a whole, and each sprite's share of it; texels only where they are expected.

    ``double`` asks for what a renderer has to keep in double precision.
    """
    finer = DOUBLE if double else 1.0
    for name in (*SPRITE_INPUTS, "texels"):
        actual, truth = getattr(gradients, name), getattr(expected, name)
        if name == "texels" and truth is None:
            assert actual is None, "there is a gradient of texels that nobody asked for"
            continue
        assert actual is not None, f"no gradient of {name}"
        assert actual.shape == truth.shape, f"gradient of {name}: shape {tuple(actual.shape)}, not {tuple(truth.shape)}"
        assert bool(torch.isfinite(actual).all()), f"gradient of {name} holds NaN or infinity"
        difference = actual.to(truth) - truth
        if name == "texels":  # the border is zero and stays so; its gradient means nothing
            border = texel_border(inputs)
            difference, truth = difference.masked_fill(border, 0.0), truth.masked_fill(border, 0.0)
        error, whole = float(difference.norm()), float(truth.norm())
        assert error <= TOTAL_GRADIENT * finer * whole, (
            f"gradient of {name}: relative difference {error / max(whole, 1e-300):.3g}"
        )
        if name in SPRITE_INPUTS and truth.numel():
            rows = truth.shape[:2].numel()
            share, own = (v.reshape(rows, -1).norm(dim=-1).view(truth.shape[:2]) for v in (difference, truth))
            allowed = finer * (SPRITE_GRADIENT * own + SPRITE_GRADIENT_FLOOR * own.square().mean().sqrt())
            excess = share - allowed
            place = [int(v) for v in torch.unravel_index(excess.argmax(), excess.shape)]
            assert float(excess.max()) <= 0, (
                f"gradient of {name}, sprite (batch, index) {place}: "
                f"differs by {float(share[tuple(place)]):.3g} of {float(own[tuple(place)]):.3g}"
            )


def texel_border(inputs: CompositeInputs) -> Tensor:
    """Return ``(L,)`` bool: which of ``inputs.texels`` belong to the border of a level."""
    border = torch.ones(inputs.texels.shape[0], dtype=torch.bool)
    for first, count, channels in inputs.textures.tolist():
        for offset, width, height in inputs.levels[first : first + count].tolist():
            level = border[offset : offset + (height + 2) * (width + 2) * channels]
            level.view(height + 2, width + 2, channels)[1:-1, 1:-1] = False
    return border.to(inputs.texels.device)


def assert_same_bits(first: Gradients, second: Gradients, when: str) -> None:
    """Compare every bit of every gradient; texels where both have them."""
    for name in (*SPRITE_INPUTS, "texels"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None), f"only one has a gradient of {name} {when}"
        assert one is None or torch.equal(one, other), f"gradient of {name} differs {when}"
