"""The renderer ``cuda``: what core calls."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

import diffbmp
from diffbmp import CompositeInputs, Gradients
from diffbmp_cuda import availability, pipeline
from diffbmp_cuda.pipeline import Choices, Launcher

__all__ = ["Cuda"]


class Cuda(diffbmp.Renderer):
    """Tiled CUDA kernels for NVIDIA cards, compiled for the card at hand at first use; exact and deterministic.

    Draws on the stream and the device of its inputs and never waits for the card, so a CUDA graph can capture it. A
    pixel is finished where less than 1e-6 of the view is open, in value and gradient alike. The first call with a
    filter and a blend compiles their kernels, which takes a second or two and is kept on disk.
    """

    name = "cuda"
    priority = 100

    class Settings(diffbmp.Settings):
        """Settings of the CUDA renderer."""

        deterministic: bool = True
        """Add gradients up in integers, which gives the same bits every time; else in floats, in any order."""

        texels: Literal["float32", "float16"] = "float32"
        """How textures are read: "float16" takes half the memory traffic, and rounds texels to about 1 in 2000."""

    settings: Settings

    @classmethod
    def unavailable(cls, device: torch.device) -> str | None:
        """Return why not: no NVIDIA card, an old driver, no NVRTC, a card that is too old."""
        return availability.unavailable(device)

    def launcher(self, device: torch.device) -> Launcher:
        """Return what runs kernels on ``device``."""
        from diffbmp_cuda.device import device_launcher  # cuda.core is imported only when used

        return device_launcher(device)

    @property
    def choices(self) -> Choices:
        """What the settings come to."""
        return Choices(half_texels=self.settings.texels == "float16", exact=self.settings.deterministic)

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        """Draw tile by tile, front to back; nothing is kept for the backward pass."""
        image = pipeline.forward(inputs, self.launcher(inputs.frame.device), self.choices)
        return image, image.new_empty((inputs.batch, 0, inputs.height, inputs.width))

    def backward(
        self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
    ) -> Gradients:
        """Walk each tile again, front to back and then back to front."""
        launcher = self.launcher(inputs.frame.device)
        return pipeline.backward(inputs, grad_image, launcher, self.choices, texel_gradient=texel_gradient)
