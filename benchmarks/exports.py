"""How alike other programs draw what DiffBMP exports: ``python benchmarks/exports.py [svg] [html] [pdf]``.

Prints for each of ``diffbmp.testing.EXPORT_SCENES`` the PSNR in dB against our own render, the lower one over white and
over black, at a scale of 1 and of 4. PDF is drawn at 72 and 300 dots per inch.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.write import write_scene
from diffbmp.metrics import psnr
from diffbmp.scene.scene import Scene
from diffbmp.testing.exports import EXPORT_SCENES, over_flat
from diffbmp.testing.readers import PDF_READERS, SVG_READERS, chromium, page_pixels, svg_by_chromium

Reader = Callable[[Scene, Path, float], Tensor]


@torch.no_grad()
def quality(drawn: Tensor, ours: Tensor, grounds: tuple[float, ...] = (0.0, 1.0)) -> float:
    return min(psnr(over_flat(drawn, value)[:3], over_flat(ours.double(), value)) for value in grounds)


def columns(format: str, folder: Path) -> Iterator[tuple[str, Callable[[Scene, float], float]]]:
    """Yield the name of each reader and what gives its figure."""

    def written(scene: Scene, **options: float) -> Path:
        path = folder / f"scene.{format}"
        write_scene(scene, path, ExportOptions.model_validate(options))
        return path

    if format == "svg":
        for name, reader in SVG_READERS.items():
            yield (
                name,
                lambda scene, scale, reader=reader: quality(
                    reader(written(scene, scale=scale)), scene.render(scale=scale)
                ),
            )
        yield (
            "chromium",
            lambda scene, scale: quality(
                svg_by_chromium(browser, written(scene, scale=scale)), scene.render(scale=scale)
            ),
        )
    elif format == "html":
        yield (
            "chromium",
            lambda scene, scale: quality(page_pixels(browser, written(scene), scale), scene.layer(scale=scale)),
        )
    else:
        for name, reader in PDF_READERS.items():
            grounds = (1.0,) if name == "poppler-splash" else (0.0, 1.0)
            yield (
                name,
                lambda scene, scale, reader=reader, grounds=grounds: quality(
                    reader(written(scene, scale=scale, dpi=72 if scale == 1 else 300), 72 if scale == 1 else 300),
                    scene.render(scale=scale),
                    grounds,
                ),
            )


torch.set_num_threads(1)
with chromium() as browser, tempfile.TemporaryDirectory() as name:
    for format in sys.argv[1:] or ["svg", "html", "pdf"]:
        readers = list(columns(format, Path(name)))
        print(f"\n| {format}, scale 1 / 4 | {' | '.join(reader for reader, _ in readers)} |")
        print("|---" * (len(readers) + 1) + "|")
        for recipe in EXPORT_SCENES:
            with torch.no_grad():
                cells = [
                    " / ".join(f"{figure(recipe.scene(), scale):.1f}" for scale in (1.0, 4.0)) for _, figure in readers
                ]
            print(f"| {recipe.name} | {' | '.join(cells)} |", flush=True)
