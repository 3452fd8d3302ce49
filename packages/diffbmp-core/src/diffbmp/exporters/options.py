"""What a person may ask of an exported file, whatever its format."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from diffbmp.settings import Settings

__all__ = ["GROUPINGS", "ExportOptions", "Grouping"]

Grouping = Literal["none", "set", "depth"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)


class ExportOptions(Settings):
    """What is asked of a file. An exporter names those that it takes (``Exporter.options``)."""

    scale: float = Field(1.0, gt=0, le=1000)
    """Size of the result relative to the canvas; stamps are sampled anew, not enlarged."""
    dpi: float = Field(72.0, gt=0, le=30_000)
    """Pixels per inch that the file names for printing."""
    groups: Grouping = "none"
    """How layers are grouped: not at all, by stamp set (the source they were loaded from), or by depth (100 each)."""
    flatten_below: int = Field(0, ge=0)
    """Number of the first stamp that gets a layer of its own; those below it become one layer. 0 flattens none."""
    stamps: tuple[int, int] | None = None
    """First and last stamp to write, 1 being the back; left out: all. Without stamp 1 there is no background either."""
    split: bool = False
    """Write several files, ``NAME-1``, ``NAME-2`` and so on from the back, where one cannot hold all layers."""
