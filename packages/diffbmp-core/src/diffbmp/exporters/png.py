"""PNG at any scale."""

from __future__ import annotations

from pathlib import Path

import torch

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.images import write_png
from diffbmp.scene.scene import Scene

__all__ = ["PngExporter"]

LARGEST_SIDE = 65_535


class PngExporter(Exporter):
    """Flat 8-bit picture, rendered anew at the size asked for; straight alpha where the canvas is transparent."""

    name = "png"
    suffixes = (".png",)

    def export(self, scene: Scene, path: Path, *, scale: float, renderer: str, progress: Progress) -> None:
        """Render and write; see ``Exporter.export``."""
        height, width = scene.scaled_size(scale)
        if max(height, width) > LARGEST_SIDE:
            raise DiffbmpError(
                f"A picture of {width} x {height} pixels is too large; the limit is {LARGEST_SIDE} a side."
            )
        with torch.no_grad():
            image = scene.render(scale=scale, renderer=renderer)
        progress(0.8)
        write_png(path, image, premultiplied=True)
        progress(1.0)
