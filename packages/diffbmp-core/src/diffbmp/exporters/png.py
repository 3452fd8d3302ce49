"""PNG at any scale."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.bands import render_bands
from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.options import ExportOptions
from diffbmp.images import write_png_values
from diffbmp.scene.scene import Scene

__all__ = ["PngExporter"]

LARGEST_SIDE = 65_535


class PngExporter(Exporter):
    """Flat 8-bit picture, rendered anew at the size asked for; straight alpha where the canvas is transparent."""

    name = "png"
    suffixes = (".png",)
    options: ClassVar[frozenset[str]] = frozenset({"scale", "dpi"})
    flattens = False

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Render and write; see ``Exporter.export``."""
        height, width = scene.scaled_size(options.scale)
        if max(height, width) > LARGEST_SIDE:
            raise DiffbmpError(
                f"A picture of {width} x {height} pixels is too large; the limit is {LARGEST_SIDE} a side."
            )
        background = scene.background_at(options.scale)
        picture = torch.empty((4 if background is None else 3, height, width), dtype=torch.uint8)
        for top, band in render_bands(scene, scale=options.scale, renderer=renderer, background=background):
            picture[:, top : top + band.shape[1]] = band
            progress(0.8 * (top + band.shape[1]) / height)
        write_png_values(path, picture, dpi=options.dpi if "dpi" in options.model_fields_set else None)
        progress(1.0)
