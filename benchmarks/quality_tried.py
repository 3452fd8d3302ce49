"""Steps that were tried, and are left out of the program because they bring nothing; see docs/quality.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from diffbmp import start_fit
from diffbmp.atlas.atlas import Atlas
from diffbmp.fitting.fit import Fit
from diffbmp.metrics import psnr

__all__ = ["TRIED", "fit_with"]


def closed_form_colors(fit: Fit) -> None:
    """Give all stamps the tints that minimise the squared error: conjugate gradients on the normal equations.

    For fixed geometry the picture is A x + T b in the tints x; A and its transpose are the renderer's two passes.
    """
    scene, target = fit.scene, fit.target
    assert target is not None
    sprites = scene.sprites()
    fixed = replace(sprites, frame=sprites.frame.detach(), opacity=sprites.opacity.detach())

    def drawn(color: Tensor) -> Tensor:
        with torch.no_grad():
            return scene.layer(sprites=[replace(fixed, color=color)], renderer=fit.renderer)

    def transposed(image: Tensor) -> Tensor:
        color = solution.clone().requires_grad_(True)
        layer = scene.layer(sprites=[replace(fixed, color=color)], renderer=fit.renderer)
        return torch.autograd.grad((layer[:3] * image).sum(), color)[0]

    solution = sprites.color.detach().clone()
    layer = drawn(solution)
    residual = transposed(target.color - (1 - layer[3:]) - layer[:3])
    direction, norm = residual.clone(), residual.square().sum(0)
    for _ in range(30):
        product = transposed(drawn(direction)[:3]) + 1e-3 * direction
        length = norm / (direction * product).sum(0).clamp(min=1e-20)
        solution = solution + length * direction
        residual = residual - length * product
        before, norm = norm, residual.square().sum(0)
        direction = residual + norm / before.clamp(min=1e-20) * direction
    with torch.no_grad():
        fit.front.color_logit.copy_(torch.logit(solution.clamp(0, 1), eps=1 / 510))


def improved_order(fit: Fit) -> None:
    """Move every stamp once to a random place in the painting order, and back where that does not lower the error."""
    generator = torch.Generator().manual_seed(0)
    count = len(fit.front)
    best = _error(fit)
    for index in torch.randperm(count, generator=generator).tolist():
        others = [other for other in range(count) if other != index]
        others.insert(int(torch.randint(count, (1,), generator=generator)), index)
        order = torch.tensor(others)
        fit.rearrange(order)
        error = _error(fit)
        if error < best:
            best = error
        else:
            fit.rearrange(torch.argsort(order))


def _error(fit: Fit) -> float:
    assert fit.target is not None
    with torch.no_grad():
        return float((fit.scene.render(renderer=fit.renderer) - fit.target.color).square().mean())


TRIED: dict[str, tuple[Callable[[Fit], None], float]] = {
    "colours in closed form after the growth": (closed_form_colors, 0.55),
    "colours in closed form after the last step": (closed_form_colors, 1.0),
    "every stamp tried elsewhere in the order, after the growth": (improved_order, 0.55),
    "every stamp tried elsewhere in the order, after the last step": (improved_order, 1.0),
}
"""What is done once, and after which fraction of the steps."""


def fit_with(act: Callable[[Fit], None] | None, when: float, target: Tensor, atlas: Atlas, n: int) -> float:
    """Fit with the preset ``balanced``, calling ``act`` once; return the PSNR of the picture, dB."""
    fit = start_fit(target, stamps=atlas, n=n)
    for step in fit:
        if act is not None and step.index + 1 == round(when * step.steps):
            act(fit)
    with torch.no_grad():
        return psnr(fit.scene.render().clamp(0, 1), target)
