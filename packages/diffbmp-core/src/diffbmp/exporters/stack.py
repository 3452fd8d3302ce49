"""A scene as layered formats write it: background, one flattened layer, and a layer for each instance, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.bands import render_bands
from diffbmp.exporters.exporter import Progress
from diffbmp.exporters.grouping import LayerGroup, group_stamps
from diffbmp.exporters.instances import scene_instances
from diffbmp.exporters.naming import BACKGROUND_NAME, flattened_name, stamp_names
from diffbmp.exporters.options import ExportOptions
from diffbmp.images import eight_bits
from diffbmp.rendering.layers import Layer, straight_layers
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene

__all__ = ["LayerStack", "StackLayer"]

Bytes = npt.NDArray[np.uint8]

AHEAD_BYTES = 2**24
"""Bytes of layers that are drawn while those before them are being compressed and written."""

PREVIEW_SHARE = 0.1
"""Fraction of the work that rendering the merged picture is counted as."""


@dataclass(frozen=True)
class StackLayer:
    """One layer of a file.

    Attributes:
        name: what it is called.
        left: canvas column of the first pixel.
        top: canvas row of the first pixel.
        pixels: straight RGBA, ``(4, height, width)``, neither side 0; outside of it nothing shows.
        opacity: of the layer, in 255ths, which editors multiply every pixel's alpha by.
        added: whether the layer is added to what is below it, and not laid over it.
    """

    name: str
    left: int
    top: int
    pixels: Bytes
    opacity: int = 255
    added: bool = False


class LayerStack:
    """What there is to write of a scene, drawn piece by piece while it is asked for.

    Over each other in order, from a transparent canvas, the layers give the scene's picture: ``background`` if there
    is one, ``flattened`` if there is one, then the layers of ``groups``.

    Attributes:
        width: pixels, at the scale asked for.
        height: pixels.
        dpi: pixels per inch.
        color: ``(3,)`` the background's one colour, or None where it is a picture or transparent.
        opaque: whether there is a background.
        added: whether stamps are added up, and not laid over each other.
        groups: groups of stamps, the back first; ``layers`` goes through their stamps in order.
    """

    def __init__(self, scene: Scene, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Name and group the stamps.

        Args:
            scene: what to export.
            options: scale, groups, dpi, ``flatten_below`` and ``stamps`` matter here.
            renderer: the renderer to draw with, or "auto".
            progress: told the fraction done of all that is drawn, in [0, 1].

        Raises:
            DiffbmpError: where layers cannot composite to the picture, or there are no such stamps.
        """
        names = stamp_names(scene)
        first, last = options.stamps or (1, len(names))
        if not (first >= 1 and last <= len(names)):
            raise DiffbmpError(f"stamps must lie within 1 to {len(names)}, got {first} to {last}.")
        if options.flatten_below > last + 1:
            raise DiffbmpError(
                f"flatten_below is {options.flatten_below}, but the scene has {len(names)} stamps; give the number of "
                "the first stamp that is to keep a layer of its own."
            )
        self._scene, self._renderer, self._progress = scene, renderer, progress
        self._scale = options.scale
        self.height, self.width = scene.scaled_size(options.scale)
        self.dpi = options.dpi
        with torch.no_grad():
            self._instances = scene_instances(scene)[first - 1 : last]
            behind = scene.background_at(options.scale) if first == 1 else None
        self._behind = None if behind is None else behind.detach()
        self.opaque = behind is not None
        self.color = None if behind is None or behind.shape[1:] != (1, 1) else eight_bits(behind)[:, 0, 0].numpy()
        self.added = scene.blend == "add"
        if self.added and (self._behind is None or bool((self._behind != 0).any())):
            raise DiffbmpError(
                "The stamps of this scene are added up (blend=add), which layers can do over black only: give "
                "--background black, or a flat format such as PNG."
            )
        self._flat_count = max(0, options.flatten_below - first)
        self._flat_name = flattened_name(first + self._flat_count - 1)
        self._names = names[first - 1 + self._flat_count : last]
        self._single = self._instances[self._flat_count :]
        boxes = self._single.boxes(scene, options.scale)
        self._areas = boxes[:, 2:].prod(axis=1)
        self.groups: list[LayerGroup] = group_stamps(self._names, boxes, options.groups)

    def picture(self) -> Iterator[tuple[int, Bytes]]:
        """Yield our own render of it all, from the top down: the first row of a band, and its pixels.

        Bands are RGB ``(3, rows, width)`` where ``opaque``, else straight RGBA ``(4, rows, width)``.
        """
        for top, band in self._bands(self._instances.sprites, self._behind):
            self._progress(PREVIEW_SHARE * (top + band.shape[1]) / self.height)
            yield top, band.numpy()

    def background(self) -> StackLayer | None:
        """Return the background, or None for a transparent canvas; for one colour see ``color`` first."""
        if self._behind is None:
            return None
        color = eight_bits(self._behind).expand(3, self.height, self.width)
        return StackLayer(BACKGROUND_NAME, 0, 0, torch.cat([color, color.new_full(color[:1].shape, 255)]).numpy())

    def flattened(self) -> StackLayer | None:
        """Return the one layer of the stamps that get none of their own, or None where there is nothing to see."""
        if not self._flat_count:
            return None
        sprites = self._instances[: self._flat_count].sprites
        # What is added up may be brighter than its own alpha allows, so it brings the black behind it along.
        behind = self._behind if self.added else None
        pixels = np.full((4, self.height, self.width), 255, np.uint8)
        for top, band in self._bands(sprites, behind):
            pixels[: band.shape[0], top : top + band.shape[1]] = band.numpy()
        rows, columns = np.flatnonzero(pixels[3].any(axis=1)), np.flatnonzero(pixels[3].any(axis=0))
        if not len(rows):
            return None
        left, top = int(columns[0]), int(rows[0])
        return StackLayer(self._flat_name, left, top, pixels[:, top : rows[-1] + 1, left : columns[-1] + 1])

    def layers(self) -> Iterator[StackLayer | None]:
        """Yield the layer of each stamp in the order of ``groups``; None for one that shows nothing on the canvas."""
        order = [stamp for group in self.groups for stamp in group.stamps]
        total, done = max(1, int(self._areas.sum())), 0
        shown = [stamp for stamp in order if self._single.counts[stamp]]
        drawn = _ahead(
            straight_layers(
                self._single.ordered(shown).sprites, self._scene.drawing(scale=self._scale, renderer=self._renderer)
            )
        )
        for stamp in order:
            layer = next(drawn) if self._single.counts[stamp] else None
            done += int(self._areas[stamp])
            self._progress(PREVIEW_SHARE + (1 - PREVIEW_SHARE) * done / total)
            if layer is None or layer.pixels.numel() == 0:
                yield None
                continue
            name = self._names[stamp].text
            yield StackLayer(name, layer.left, layer.top, layer.pixels.numpy(), layer.opacity, self.added)

    def _bands(self, sprites: Sprites, background: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        return render_bands(
            self._scene, scale=self._scale, renderer=self._renderer, background=background, sprites=sprites
        )


def _ahead(layers: Iterator[Layer]) -> Iterator[Layer]:
    """Yield the same, a few drawn at a time on a thread of their own while those before are being used."""

    def some() -> list[Layer]:
        taken, size = [], 0
        for layer in layers:
            taken.append(layer)
            size += layer.pixels.numel()
            if size >= AHEAD_BYTES:
                break
        return taken

    threads = torch.get_num_threads()  # PyTorch keeps the number for each thread
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as worker:
        coming = worker.submit(some)
        while ready := coming.result():
            coming = worker.submit(some)
            yield from ready
