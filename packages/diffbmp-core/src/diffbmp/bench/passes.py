"""What is measured: renderers, and the forward and backward pass of each as two functions without arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffbmp.bench.scenes import BenchScene
from diffbmp.errors import DiffbmpError
from diffbmp.rendering.selection import renderer_choices, resolve_renderer

__all__ = ["BenchRenderer", "Passes", "RegisteredRenderer", "available_renderers"]

REFERENCE_WORK = 3e7
"""N H W up to which ``reference`` is measured: it looks at every pixel of every sprite, about a microsecond each."""


@dataclass(frozen=True)
class Passes:
    """One renderer on one scene: ``forward`` draws, ``backward`` takes the gradient of what was drawn last."""

    forward: Callable[[], object]
    backward: Callable[[], object]


class BenchRenderer(ABC):
    """What is measured on scenes: a registered renderer, or another program that draws the same.

    It is pickled and its class imported by name where memory is measured: in a process of its own.

    Attributes:
        name: as the report has it; no two that are measured together share one.
        device: where it draws.
    """

    name: str
    device: torch.device

    def left_out(self, scene: BenchScene, pairs: int) -> str | None:
        """Return why it is not measured on a scene of so many pairs, or None."""
        return None

    @abstractmethod
    def passes(self, scene: BenchScene) -> Passes:
        """Return its two passes on a scene; ``forward`` will be called first."""


@dataclass(frozen=True)
class RegisteredRenderer(BenchRenderer):
    """A renderer of core or of a plugin."""

    name: str
    device: torch.device

    @classmethod
    def find(cls, name: str) -> RegisteredRenderer:
        """Return a renderer by its name, on the CPU if it can draw there, else on the GPU.

        Raises:
            DiffbmpError: where it can draw on neither, with why.
        """
        reasons = []
        for device in _devices():
            reason = next(choice.unavailable for choice in renderer_choices(device) if choice.name == name)
            if reason is None:
                return cls(name, device)
            reasons.append(f"on {device}: {reason}")
        raise DiffbmpError(f"Renderer '{name}' cannot draw here ({'; '.join(reasons)}).")

    def left_out(self, scene: BenchScene, pairs: int) -> str | None:
        """Leave ``reference`` out of scenes that would take it minutes."""
        work = scene.count * scene.side**2
        if self.name == "reference" and work > REFERENCE_WORK:
            return f"N H W is {work:.1g}, above {REFERENCE_WORK:.0e}: it would take minutes"
        return None

    def passes(self, scene: BenchScene) -> Passes:
        """Return the passes on the scene's inputs and its gradient of the picture, without texel gradients."""
        inputs = scene.inputs(device=str(self.device))
        grad_image = scene.grad_image().to(self.device)
        drawing = resolve_renderer(self.name)
        state = torch.empty(0)

        def forward() -> object:
            nonlocal state
            image, state = drawing.forward(inputs)
            return image

        return Passes(forward, lambda: drawing.backward(inputs, state, grad_image, texel_gradient=False))


def available_renderers() -> list[str]:
    """Return the renderers that can draw on this machine, the most preferred first."""
    names: dict[str, None] = {}
    for device in _devices():
        names.update({choice.name: None for choice in renderer_choices(device) if choice.unavailable is None})
    return list(names)


def _devices() -> list[torch.device]:
    return [torch.device("cpu"), *[torch.device("cuda")] * torch.cuda.is_available()]
