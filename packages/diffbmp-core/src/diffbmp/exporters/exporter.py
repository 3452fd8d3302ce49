"""The exporter interface: a scene becomes a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.options import ExportOptions
from diffbmp.plugins.plugin import Plugin
from diffbmp.scene.scene import Scene

__all__ = ["Exporter", "FormatLimitExceeded", "Progress"]

Progress = Callable[[float], None]


class FormatLimitExceeded(DiffbmpError):  # noqa: N818 - control flow, handled by ``write_scene``
    """Raised by an exporter where a scene is too large for the format asked for but fits its larger sibling.

    The caller warns and has the sibling written instead.

    Attributes:
        suffix: of the sibling, such as ``.psb``.
        reason: a clause: "a PSD file holds at most 30,000 pixels a side".
    """

    def __init__(self, suffix: str, reason: str) -> None:
        super().__init__(f"{reason}; {suffix} holds more.")
        self.suffix, self.reason = suffix, reason


class Exporter(Plugin, ABC):
    """Base of every exporter, chosen by the suffix of the file to write."""

    family: ClassVar[str] = "exporters"

    suffixes: ClassVar[tuple[str, ...]]
    """File suffixes that this exporter writes, lower case with the dot."""

    options: ClassVar[frozenset[str]] = frozenset({"scale"})
    """The fields of ``ExportOptions`` that this format takes; another one that is asked for is an error."""

    flattens: ClassVar[bool] = True
    """Whether it writes sprites: it is given ``scene.flattened(options.scale)``, where a primitive that draws a layer
    of its own is one sprite and one instance. One that renders pictures sets False and gets the scene as it is."""

    batched: ClassVar[bool] = False
    """Whether one file holds all canvases of a batch, as a clip does; where not, each canvas is a file of its own."""

    @abstractmethod
    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write ``scene`` to ``path``.

        Args:
            scene: what to export, of one canvas unless ``batched``, flattened where ``flattens``.
            path: where to write; the caller has made it a temporary name beside the final one and renames it.
            options: what was asked for. Those that the format does not take are left at their defaults.
            renderer: the renderer to draw with, or "auto".
            progress: to be called with the fraction done, in [0, 1].

        Raises:
            DiffbmpError: where the format cannot hold the scene.
            FormatLimitExceeded: where only a larger sibling of the format can.
        """

    def layer_limit(self, options: ExportOptions) -> int | None:
        """Return how many instances one file can hold a layer for, or None for any number.

        Args:
            options: what was asked for; groups may take a share.
        """
        return None

    @classmethod
    def registration_problem(cls) -> str | None:
        """Return a sentence about ``options`` that are no fields of ``ExportOptions``."""
        unknown = sorted(cls.options - set(ExportOptions.model_fields))
        if not unknown:
            return None
        return f"has `options` with '{unknown[0]}', which is none of {', '.join(ExportOptions.model_fields)}"
