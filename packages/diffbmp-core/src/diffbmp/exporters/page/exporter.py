"""HTML: one file that draws the composition in the browser exactly as DiffBMP does, without any network."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.markup import as_text, self_contained_page
from diffbmp.exporters.naming import counted
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.page.packing import packed
from diffbmp.exporters.placed import placed_instances
from diffbmp.scene.scene import Scene
from diffbmp.settings import Settings as SettingsModel

__all__ = ["HtmlExporter"]

SCRIPTS = ("data.js", "renderer.js", "viewer.js")


class HtmlExporter(Exporter):
    """One self-contained page: the composition drawn by WebGL2, its stamps playing in, to be picked, hidden, enlarged.

    The page asks the network for nothing and forbids itself to. It draws in floats from the textures themselves, so
    the picture is ours at any zoom. Stamps are played in painting order.
    """

    name = "html"
    suffixes = (".html",)
    options = frozenset()

    class Settings(SettingsModel):
        """Settings of the page."""

        detail: float = Field(8.0, ge=1, le=1024)
        """How many times the canvas may be enlarged with stamps still sharp; more makes a larger file."""
        title: str = Field("", max_length=200)
        """Title of the page; left out: the number of stamps."""

    settings: Settings

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write the page; see ``Exporter.export``."""
        instances = placed_instances(scene)
        progress(0.2)
        about, data = packed(scene, instances, self.settings.detail)
        progress(0.8)
        page = self_contained_page(
            __package__, "viewer.html", "viewer.css", SCRIPTS,
            title=as_text(self.settings.title or f"Composition of {counted(scene)}"), about=about, packed=data,
        )  # fmt: skip
        path.write_text(page, encoding="utf-8", newline="\n")
        progress(1.0)
