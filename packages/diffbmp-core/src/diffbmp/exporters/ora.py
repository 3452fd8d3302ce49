"""OpenRaster (https://www.openraster.org), the layered format of Krita and MyPaint: a zip of PNG files and a list."""

from __future__ import annotations

import io
import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.stack import LayerStack, StackLayer
from diffbmp.scene.scene import Scene

__all__ = ["OraExporter"]

MIMETYPE = "image/openraster"
SPECIFICATION = "0.0.5"
LARGEST_SIDE = 65_535
"""Pixels a side that editors and PNG readers take."""
THUMBNAIL = 256
"""Longest side of the thumbnail, in pixels."""
QUICK = 1
"""Level of PNG compression: layers are many, and more would take most of the time to win a tenth of the size."""

Bytes = npt.NDArray[np.uint8]


class OraExporter(Exporter):
    """OpenRaster file (ORA): a layer for each stamp, named and in groups, our own render as the preview."""

    name = "ora"
    suffixes = (".ora",)
    options: ClassVar[frozenset[str]] = frozenset({"scale", "dpi", "groups", "flatten_below", "stamps"})

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write the file; see ``Exporter.export``."""
        stack = LayerStack(scene, options, renderer=renderer, progress=progress)
        if max(stack.width, stack.height) > LARGEST_SIDE:
            raise DiffbmpError(
                f"{stack.width} x {stack.height} pixels are too many for an OpenRaster file, which editors open up to "
                f"{LARGEST_SIDE:,} a side; choose a smaller --scale."
            )
        with ZipFile(path, "w", ZIP_STORED) as archive:
            _store(archive, "mimetype", MIMETYPE.encode())  # first and stored, for programs tell the format by it
            merged = _merged(stack)
            _store(archive, "mergedimage.png", _png(merged))
            _store(archive, "Thumbnails/thumbnail.png", _thumbnail(merged))
            del merged
            _store(archive, "stack.xml", _Layers(archive, stack).document())


class _Layers:
    """Puts layers into the archive as they are drawn, and writes down where they lie."""

    def __init__(self, archive: ZipFile, stack: LayerStack) -> None:
        self._archive, self._stack, self._count = archive, stack, 0

    def document(self) -> bytes:
        """Write all layers; return ``stack.xml``, which lists what is in front first."""
        stack = self._stack
        resolution = str(round(stack.dpi))
        image = ElementTree.Element(
            "image", version=SPECIFICATION, w=str(stack.width), h=str(stack.height), xres=resolution, yres=resolution
        )
        root = ElementTree.SubElement(image, "stack")
        behind = [layer for layer in (stack.background(), stack.flattened()) if layer is not None]
        for element in self._written(iter(behind)):
            if element is not None:
                root.insert(0, element)
        del behind
        elements = self._written(stack.layers())
        for group in stack.groups:
            shown = [element for _, element in zip(group.stamps, elements, strict=False) if element is not None]
            if group.name is None or not shown:
                parent = root
            else:
                # Stamps laid over each other look alike by themselves and over what is below; only those that are added
                # up must meet what is below ("auto"). Krita shows an "auto" group over nothing empty.
                isolation = "auto" if stack.added else "isolate"
                parent = ElementTree.Element("stack", name=group.name, isolation=isolation)
                root.insert(0, parent)
            for element in shown:
                parent.insert(0, element)
        text: bytes = ElementTree.tostring(image, encoding="utf-8", xml_declaration=True)
        return text

    def _written(self, layers: Iterator[StackLayer | None]) -> Iterator[ElementTree.Element | None]:
        """Yield the element of each layer; pixels are compressed on all threads and written in order."""
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as workers:
            waiting: deque[tuple[StackLayer, Future[bytes]] | None] = deque()

            def first() -> ElementTree.Element | None:
                taken = waiting.popleft()
                return None if taken is None else self._put(taken[0], taken[1].result())

            for layer in layers:
                waiting.append(None if layer is None else (layer, workers.submit(_png, layer.pixels)))
                if len(waiting) > 2 * threads:
                    yield first()
            while waiting:
                yield first()

    def _put(self, layer: StackLayer, png: bytes) -> ElementTree.Element:
        source = f"data/{self._count:06d}.png"
        self._count += 1
        _store(self._archive, source, png)
        attributes = {
            "name": layer.name,
            "src": source,
            "x": str(layer.left),
            "y": str(layer.top),
            # A little more than the 255th, since Krita cuts what it reads down to one.
            "opacity": f"{min(1, (layer.opacity + 0.01) / 255):.6f}",
            "visibility": "visible",
            "composite-op": "svg:plus" if layer.added else "svg:src-over",
        }
        return ElementTree.Element("layer", attributes)


def _store(archive: ZipFile, name: str, data: bytes) -> None:
    """Store an entry as it is, PNG being compressed already, and so that the same scene gives the same bytes."""
    info = ZipInfo(name)  # of 1980
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, data)


def _merged(stack: LayerStack) -> Bytes:
    """Return our own render, RGB or straight RGBA ``(C, H, W)``."""
    picture = np.empty((3 if stack.opaque else 4, stack.height, stack.width), np.uint8)
    for top, band in stack.picture():
        picture[:, top : top + band.shape[1]] = band
    return picture


def _png(pixels: Bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1))).save(file, format="PNG", compress_level=QUICK)
    return file.getvalue()


def _thumbnail(pixels: Bytes) -> bytes:
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.convert("RGBA").save(file, format="PNG")
    return file.getvalue()
