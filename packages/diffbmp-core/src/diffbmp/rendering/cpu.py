"""The CPU renderer: native kernels, tiled, vectorised, threaded; exact and deterministic."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.rendering.renderer import BLENDS, FILTERS, CompositeInputs, Gradients, Renderer
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Cpu", "instruction_sets"]


def _import_native() -> ModuleType | str:
    """Return the extension module, or why there is none that can be used."""
    try:
        native = importlib.import_module("diffbmp._native")
    except ImportError as error:
        return f"its compiled extension is missing ({error}); reinstall diffbmp-core with a C++17 compiler at hand"
    # Blend modes and filters go to the kernels as numbers (diffbmp/codes.h).
    if [getattr(native, name, None) for name in ("blends", "filters")] != [list(BLENDS), list(FILTERS)]:
        return "its compiled extension is of another version; reinstall diffbmp-core"
    return native


_native = _import_native()


def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that the kernels were compiled for and this machine has, the best first."""
    return () if isinstance(_native, str) else tuple(_native.targets())


class Cpu(Renderer):
    """Native kernels for any x86-64 or Arm machine, the default without a GPU.

    Threads follow ``torch.get_num_threads()``; the result has the same bits for any number of them. In float32 a
    pixel is finished where less than 1e-6 of the view is open, in value and gradient alike, which keeps values
    within 1e-5 of ``reference``. In float64 nothing is left out.
    """

    name = "cpu"
    priority = 0
    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32, torch.float64)
    draws_layers = True

    class Settings(SettingsModel):
        """Settings of the CPU renderer."""

        simd: str = "auto"
        """Vector instructions: the widest of this machine, or one of "avx2" and "sse2" ("neon" on Arm)."""

        threads: int = Field(0, ge=0, le=1024)
        """Threads to draw with; 0 for as many as PyTorch uses."""

    settings: Settings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        chosen, known = self.settings.simd, instruction_sets()
        if chosen != "auto" and known and chosen not in known:
            raise unknown_name("set of vector instructions on this machine", chosen, ["auto", *known])

    @classmethod
    def unavailable(cls, device: torch.device) -> str | None:
        """Return why not: another device, or no compiled extension."""
        if device.type != "cpu":
            return "it draws on the CPU only"
        return _native if isinstance(_native, str) else None

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        """Draw tile by tile, front to back; nothing is kept for the backward pass."""
        image = inputs.frame.new_empty((inputs.batch, 4, inputs.height, inputs.width))
        self._call("forward", inputs, image)
        return image, inputs.frame.new_empty((inputs.batch, 0, inputs.height, inputs.width), dtype=torch.float32)

    def backward(
        self,
        inputs: CompositeInputs,
        state: Tensor,
        grad_image: Tensor,
        *,
        texel_gradient: bool,
    ) -> Gradients:
        """Walk each tile again, front to back and then back to front."""
        values = (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend)
        totals = [torch.empty_like(value) for value in values]
        texels = torch.empty_like(inputs.texels) if texel_gradient else inputs.texels.new_empty(0)
        self._call("backward", inputs, grad_image.detach(), *totals, texels)
        frame, opacity, color, color_blend = totals
        return Gradients(frame, opacity, color, color_blend, texels if texel_gradient else None)

    def layers(self, inputs: CompositeInputs, boxes: Tensor) -> Tensor:
        """Draw sprites side by side on all threads, by the kernels of ``forward``."""
        drawn = torch.empty(4 * int(boxes[:, 2:].prod(dim=1).sum()), dtype=torch.float32)
        self._call("layers", inputs, boxes.contiguous(), drawn)
        return drawn

    def layer_bytes(self, inputs: CompositeInputs, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Draw and quantise band by band, so that no whole layer is ever held in floats."""
        drawn = torch.empty(4 * int(boxes[:, 2:].prod(dim=1).sum()), dtype=torch.uint8)
        shown = torch.empty_like(boxes)
        self._call("layer_bytes", inputs, boxes.contiguous(), drawn, shown)
        return drawn, shown

    def time_fetches(self, inputs: CompositeInputs, repeats: int = 5) -> dict[str, float]:
        """Only read the texture, bilinearly, for every pair of float32 ``inputs``, on one thread: a floor.

        Returns:
            ``pairs``, the number of pairs of sprites with an alpha-only texture; the least seconds of ``repeats``
            that it took to read them: ``plain`` by a loop as anyone would write it, ``tuned`` with the vector code
            of the kernels. The spans of pixels are known beforehand and are not part of the time.
        """
        times: dict[str, float] = self._call("time_fetches", inputs, repeats)
        return times

    def _call(self, function: str, inputs: CompositeInputs, *arguments: Any) -> Any:
        tensors = (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend, inputs.texture, inputs.texels)
        try:
            return getattr(_native, function)(
                *(value.detach() for value in (*tensors, inputs.levels, inputs.textures)),
                inputs.height,
                inputs.width,
                inputs.blend_code,
                inputs.filter_code,
                self.settings.threads or torch.get_num_threads(),
                "" if self.settings.simd == "auto" else self.settings.simd,
                *arguments,
            )
        except ValueError as error:
            raise DiffbmpError(f"Renderer 'cpu': {error}.") from error
