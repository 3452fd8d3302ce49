"""The exporter interface: a scene becomes a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from diffbmp.plugins.plugin import Plugin
from diffbmp.scene.scene import Scene

__all__ = ["Exporter", "Progress"]

Progress = Callable[[float], None]


class Exporter(Plugin, ABC):
    """Base of every exporter, chosen by the suffix of the file to write."""

    family: ClassVar[str] = "exporters"

    suffixes: ClassVar[tuple[str, ...]]
    """File suffixes that this exporter writes, lower case with the dot."""

    @abstractmethod
    def export(self, scene: Scene, path: Path, *, scale: float, renderer: str, progress: Progress) -> None:
        """Write ``scene`` to ``path``.

        Args:
            scene: what to export.
            path: where to write; the caller has made it a temporary name beside the final one and renames it.
            scale: size of the result relative to the canvas.
            renderer: the renderer to draw with, or "auto".
            progress: to be called with the fraction done, in [0, 1].

        Raises:
            DiffbmpError: where the format cannot hold the scene.
        """
