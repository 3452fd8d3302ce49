"""PNG at any scale."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.options import ExportOptions
from diffbmp.images import write_png
from diffbmp.scene.scene import Scene

__all__ = ["PngExporter"]

LARGEST_SIDE = 65_535


class PngExporter(Exporter):
    """Flat 8-bit picture, rendered anew at the size asked for; straight alpha where the canvas is transparent."""

    name = "png"
    suffixes = (".png",)
    options: ClassVar[frozenset[str]] = frozenset({"scale", "dpi"})

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Render and write; see ``Exporter.export``."""
        height, width = scene.scaled_size(options.scale)
        if max(height, width) > LARGEST_SIDE:
            raise DiffbmpError(
                f"A picture of {width} x {height} pixels is too large; the limit is {LARGEST_SIDE} a side."
            )
        with torch.no_grad():
            image = scene.render(scale=options.scale, renderer=renderer)
        progress(0.8)
        write_png(path, image, premultiplied=True, dpi=options.dpi if "dpi" in options.model_fields_set else None)
        progress(1.0)
