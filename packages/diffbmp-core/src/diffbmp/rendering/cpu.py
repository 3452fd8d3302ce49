"""The CPU renderer: native kernels, tiled, vectorised, threaded; exact and deterministic."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Cpu"]


def _import_native() -> ModuleType | str:
    """Return the extension module, or why there is none."""
    try:
        return importlib.import_module("diffbmp._native")
    except ImportError as error:
        return f"its compiled extension is missing ({error}); reinstall diffbmp-core with a C++ compiler at hand"


_native = _import_native()


class Cpu(Renderer):
    """Native kernels for float32 on any x86-64 or Arm machine, the default without a GPU.

    Threads follow ``torch.get_num_threads()``; the result has the same bits for any number of them. Drawing stops
    where less than 4e-6 of the view is open, in value and gradient alike, which keeps values within 1e-5 of
    ``reference``.
    """

    name = "cpu"
    priority = 0

    class Settings(SettingsModel):
        """Settings of the CPU renderer."""

        simd: Literal["auto", "avx2", "baseline"] = "auto"
        """Vector instructions: the widest of this machine, or named (baseline is SSE2, on Arm NEON)."""

    settings: Settings

    @classmethod
    def unavailable(cls, device: torch.device) -> str | None:
        """Return why not: another device, or no compiled extension."""
        if device.type != "cpu":
            return "it draws on the CPU only"
        return _native if isinstance(_native, str) else None

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        """Draw; nothing is kept for the backward pass."""
        image = torch.empty(inputs.batch, 4, inputs.height, inputs.width)
        self._call("forward", inputs, image)
        return image, image.new_empty(inputs.batch, 0, inputs.height, inputs.width)

    def backward(
        self,
        inputs: CompositeInputs,
        state: Tensor,
        grad_image: Tensor,
        *,
        texel_gradient: bool,
    ) -> Gradients:
        """Walk each tile again, front to back and then back to front."""
        shapes = (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend)
        totals = [torch.zeros(value.shape) for value in shapes]
        texels = torch.zeros(inputs.texels.shape[0] if texel_gradient else 0)
        self._call("backward", inputs, grad_image.detach(), *totals, texels)
        frame, opacity, color, color_blend = totals
        return Gradients(frame, opacity, color, color_blend, texels if texel_gradient else None)

    def fetch(self, inputs: CompositeInputs) -> int:
        """Only fetch the texels of all pairs, on one thread: the floor for benchmarks. Return the number of pairs."""
        pairs: int = self._call("fetch", inputs)[0]
        return pairs

    def _call(self, function: str, inputs: CompositeInputs, *arrays: Tensor) -> Any:
        try:
            return getattr(_native, function)(
                inputs.frame.detach(),
                inputs.opacity.detach(),
                inputs.color.detach(),
                inputs.color_blend.detach(),
                inputs.texture,
                inputs.texels.detach(),
                inputs.levels.contiguous(),
                inputs.textures.contiguous(),
                inputs.height,
                inputs.width,
                inputs.blend,
                inputs.filter,
                torch.get_num_threads(),
                self.settings.simd,
                *arrays,
            )
        except (ValueError, IndexError) as error:
            raise DiffbmpError(f"Renderer 'cpu': {error}.") from error
