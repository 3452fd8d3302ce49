"""Forward and backward of whatever is measured, as two functions without arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffbmp.bench.pydiffbmp import PeerRenderer
from diffbmp.bench.scenes import BenchScene
from diffbmp.errors import DiffbmpError
from diffbmp.rendering.selection import renderer_choices, resolve_renderer

__all__ = ["PEER", "Passes", "available_renderers", "device_of", "left_out", "passes_of"]

PEER = "pydiffbmp"
"""Name by which the peer is measured like a renderer."""

REFERENCE_WORK = 3e7
"""N H W up to which ``reference`` is measured: it looks at every pixel of every sprite, about a microsecond each."""

PEER_PAIRS = 1e7
"""Pairs up to which the peer is measured: it keeps some hundred bytes of each for its backward pass."""


@dataclass(frozen=True)
class Passes:
    """One renderer on one scene: ``forward`` draws, ``backward`` takes the gradient of what was drawn last."""

    forward: Callable[[], object]
    backward: Callable[[], object]


def available_renderers() -> list[str]:
    """Return the renderers that can draw on this machine, the most preferred first."""
    names: dict[str, None] = {}
    for device in _devices():
        names.update({choice.name: None for choice in renderer_choices(device) if choice.unavailable is None})
    return list(names)


def device_of(renderer: str) -> torch.device:
    """Return where a renderer draws: on the CPU if it can, else on the GPU.

    Raises:
        DiffbmpError: where it can draw on neither, with why.
    """
    reasons = []
    for device in _devices():
        reason = next(choice.unavailable for choice in renderer_choices(device) if choice.name == renderer)
        if reason is None:
            return device
        reasons.append(f"on {device}: {reason}")
    raise DiffbmpError(f"Renderer '{renderer}' cannot draw here ({'; '.join(reasons)}).")


def _devices() -> list[torch.device]:
    return [torch.device("cpu"), *[torch.device("cuda")] * torch.cuda.is_available()]


def left_out(scene: BenchScene, renderer: str, pairs: int) -> str | None:
    """Return why ``renderer`` is not measured on a scene of so many pairs, or None."""
    work = scene.count * scene.side**2
    if renderer == "reference" and work > REFERENCE_WORK:
        return f"N H W is {work:.1g}, above {REFERENCE_WORK:.0e}: it would take minutes"
    if renderer == PEER and scene.textures > 1:
        return "its textures must all be of one size"
    if renderer == PEER and pairs > PEER_PAIRS:
        return f"{pairs / 1e6:.0f} million pairs, above {PEER_PAIRS / 1e6:.0f}: it would take gigabytes"
    return None


def passes_of(scene: BenchScene, renderer: str, device: torch.device) -> Passes:
    """Return the passes of a registered renderer, or of ``PEER``, on a scene; ``forward`` must be called first."""
    inputs = scene.inputs(device=str(device))
    generator = torch.Generator().manual_seed(0)
    grad_image = torch.rand((1, 4, scene.side, scene.side), generator=generator).to(device)
    if renderer == PEER:
        peer = PeerRenderer(inputs)
        return Passes(peer.forward, lambda: peer.backward(grad_image[0, :3]))
    drawing = resolve_renderer(renderer)
    state = torch.empty(0)

    def forward() -> object:
        nonlocal state
        image, state = drawing.forward(inputs)
        return image

    return Passes(forward, lambda: drawing.backward(inputs, state, grad_image, texel_gradient=False))
