"""The exporter: which of the two formats a scene fits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import diffbmp

__all__ = ["MOST_LAYERS", "PsdExporter"]

MOST_LAYERS = 8_000
"""Layers that Photoshop opens; the format itself counts to 32,767."""

LARGEST_PSD_SIDE = 30_000
LARGEST_PSB_SIDE = 300_000
"""Pixels a side."""

LARGEST_PSD = 2**31
"""Bytes."""


class PsdExporter(diffbmp.Exporter):
    """Photoshop file (PSD, PSB): a layer for each stamp, named and in groups, our own render as the preview.

    A stamp's opacity is that of its layer, with what a 255th cannot say in the pixels. A PSD that would be larger
    than 30,000 pixels a side or 2 GB is written as PSB.
    """

    name = "psd"
    suffixes = (".psd", ".psb")
    options: ClassVar[frozenset[str]] = frozenset({"scale", "dpi", "groups", "flatten_below", "stamps", "split"})

    def export(
        self,
        scene: diffbmp.Scene,
        path: Path,
        options: diffbmp.ExportOptions,
        *,
        renderer: str,
        progress: diffbmp.Progress,
    ) -> None:
        """Write the file; see ``diffbmp.Exporter.export``."""
        from diffbmp_psd.writing import PsdLimit, write_psd  # psd-tools is only needed here

        stack = diffbmp.LayerStack(scene, options, renderer=renderer, progress=progress)
        large = path.suffix.lower() == ".psb"
        side = max(stack.width, stack.height)
        if side > LARGEST_PSB_SIDE:
            raise diffbmp.DiffbmpError(
                f"{stack.width} x {stack.height} pixels are too many for a Photoshop file, which holds "
                f"{LARGEST_PSB_SIDE:,} a side; choose a smaller --scale."
            )
        if not large and side > LARGEST_PSD_SIDE:
            raise diffbmp.FormatLimitExceeded(
                ".psb",
                f"A PSD file holds {LARGEST_PSD_SIDE:,} pixels a side and this has {stack.width} x {stack.height}",
            )
        try:
            write_psd(stack, path, large=large, most_bytes=None if large else LARGEST_PSD)
        except PsdLimit:
            raise diffbmp.FormatLimitExceeded(".psb", "A PSD file holds 2 GB and this is larger") from None

    def layer_limit(self, options: diffbmp.ExportOptions) -> int:
        """Return what Photoshop opens, less the background and the flattened layer."""
        return MOST_LAYERS - 2
