"""Writing a stack of layers through psd-tools' records, with the pixels of no more than a few layers in memory.

A file has all layers' records first and their pixels after, but a record tells how long its pixels are once compressed.
So pixels are compressed into a spool as they are drawn, and copied behind the records in the end.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from psd_tools.compression import encode_rle
from psd_tools.constants import BlendMode, ChannelID, ColorMode, Compression, Resource, SectionDivider, Tag
from psd_tools.psd import PSD
from psd_tools.psd.header import FileHeader
from psd_tools.psd.image_resources import ImageResource, ImageResources, ResoulutionInfo, VersionInfo
from psd_tools.psd.layer_and_mask import (
    ChannelInfo,
    GlobalLayerMaskInfo,
    LayerAndMaskInformation,
    LayerInfo,
    LayerRecord,
    LayerRecords,
)
from psd_tools.psd.tagged_blocks import TaggedBlocks

from diffbmp import LayerStack, StackLayer
from diffbmp_psd.profile import srgb_profile
from diffbmp_psd.version import __version__

__all__ = ["PsdLimit", "write_psd"]

SPOOL_BYTES = 2**26
"""Compressed pixels that are kept in memory; more of them wait in a file beside the one that is written."""

CHANNELS = (ChannelID.TRANSPARENCY_MASK, ChannelID.CHANNEL_0, ChannelID.CHANNEL_1, ChannelID.CHANNEL_2)
PLANES = (3, 0, 1, 2)
"""Where the channels are in straight RGBA."""

Bytes = npt.NDArray[np.uint8]

RLE = Compression.RLE.value.to_bytes(2, "big")
NO_PIXELS = Compression.RAW.value.to_bytes(2, "big")


class PsdLimit(Exception):  # noqa: N818 - a turn of the way
    """Raised where the file grows beyond what its format can hold."""


def write_psd(stack: LayerStack, path: Path, *, large: bool, most_bytes: int | None) -> None:
    """Write a PSD file, or a PSB file where ``large``.

    Args:
        stack: what to write.
        path: where to.
        large: whether lengths are written as PSB has them.
        most_bytes: size that the file may not exceed, or None for any.

    Raises:
        PsdLimit: where it would exceed that size.
    """
    version = 2 if large else 1
    with ExitStack() as spools:

        def spool() -> IO[bytes]:
            return spools.enter_context(SpooledTemporaryFile(SPOOL_BYTES, dir=str(path.parent)))

        preview = _Preview(stack, version, spool)
        # Krita shows nothing at all of pass-through groups over nothing; by itself such a group looks alike.
        blend_mode = BlendMode.PASS_THROUGH if stack.opaque else BlendMode.NORMAL
        layers = _Layers(version, spool(), blend_mode, None if most_bytes is None else most_bytes - preview.size)
        background = stack.background()
        if background is not None:
            layers.add(background)
        del background
        flattened = stack.flattened()
        if flattened is not None:
            layers.add(flattened)
        del flattened
        drawn = stack.layers()
        for group in stack.groups:
            shown = (layer for _, layer in zip(group.stamps, drawn, strict=False) if layer is not None)
            layers.add_group(group.name, shown)
        count = len(layers.records)
        information = LayerAndMaskInformation(
            # A negative number says that the preview's fourth channel is its transparency.
            LayerInfo(count if stack.opaque else -count, LayerRecords(layers.records), layers),  # type: ignore[arg-type]
            GlobalLayerMaskInfo(),
            TaggedBlocks(),
        )
        header = FileHeader(
            version=version,
            channels=preview.channels,
            width=stack.width,
            height=stack.height,
            depth=8,
            color_mode=ColorMode.RGB,
        )
        document = PSD(header, image_resources=_resources(stack.dpi), layer_and_mask_information=information)
        document.image_data = preview  # type: ignore[assignment]
        with path.open("wb") as file:
            size = document.write(file)
        if most_bytes is not None and size > most_bytes:
            raise PsdLimit


def _resources(dpi: float) -> ImageResources:
    """Return resolution and colour profile, and the note that the preview is real."""
    fixed = round(dpi * 65536)
    per_inch, inches = 1, 1
    values = {
        Resource.RESOLUTION_INFO: ResoulutionInfo(fixed, per_inch, inches, fixed, per_inch, inches),
        Resource.ICC_PROFILE: srgb_profile(),
        Resource.VERSION_INFO: VersionInfo(1, True, f"DiffBMP {__version__}", "Adobe Photoshop", 1),
    }
    return ImageResources(
        [(key, ImageResource(key=key, data=data)) for key, data in values.items()]  # type: ignore[arg-type]
    )


class _Layers:
    """Records of layers, and their channels one after the other in a spool; what psd-tools writes behind them."""

    def __init__(self, version: int, spool: IO[bytes], group_blend: BlendMode, most_bytes: int | None) -> None:
        self.records: list[LayerRecord] = []
        self._spool, self._version, self._group_blend, self._most_bytes = spool, version, group_blend, most_bytes
        self._lengths: list[list[int]] = []  # psd-tools takes the lengths of channels from here

    def write(self, file: IO[bytes], **_: Any) -> int:
        size = self._spool.tell()
        self._spool.seek(0)
        shutil.copyfileobj(self._spool, file, 2**20)
        return size

    def add(self, layer: StackLayer) -> None:
        height, width = layer.pixels.shape[1:]
        record = _record(layer.name, (layer.top, layer.left, layer.top + height, layer.left + width))
        record.opacity = layer.opacity
        if layer.added:
            record.blend_mode = BlendMode.LINEAR_DODGE
        self._put(record, [RLE + _packed(layer.pixels[plane], self._version) for plane in PLANES])

    def add_group(self, name: str | None, layers: Iterable[StackLayer]) -> None:
        """Add layers between the two records that make a group of them; a group without layers is left out."""
        first = True
        for layer in layers:
            if first and name is not None:
                self._put_divider("</Layer group>", SectionDivider.BOUNDING_SECTION_DIVIDER, BlendMode.NORMAL)
            first = False
            self.add(layer)
        if not first and name is not None:
            self._put_divider(name, SectionDivider.CLOSED_FOLDER, self._group_blend)

    def _put_divider(self, name: str, kind: SectionDivider, blend_mode: BlendMode) -> None:
        record = _record(name, (0, 0, 0, 0))
        record.blend_mode = blend_mode
        record.flags.pixel_data_irrelevant = True
        record.tagged_blocks.set_data(
            Tag.SECTION_DIVIDER_SETTING,
            kind=kind,
            blend_mode=None if kind == SectionDivider.BOUNDING_SECTION_DIVIDER else blend_mode,
        )
        self._put(record, [NO_PIXELS] * len(CHANNELS))

    def _put(self, record: LayerRecord, channels: list[bytes]) -> None:
        for channel in channels:
            self._spool.write(channel)
        self.records.append(record)
        self._lengths.append([len(channel) for channel in channels])
        if self._most_bytes is not None and self._spool.tell() > self._most_bytes:
            raise PsdLimit


class _Preview:
    """The merged picture: compressed rows of each channel, behind a table of how long they are."""

    def __init__(self, stack: LayerStack, version: int, spool: Callable[[], IO[bytes]]) -> None:
        self.channels = 3 if stack.opaque else 4
        self._rows: list[IO[bytes]] = [spool() for _ in range(self.channels)]
        code = "HI"[version - 1]
        self._counts = [array(code) for _ in range(self.channels)]
        for _, band in stack.picture():
            for plane, rows, counts in zip(_matted(band), self._rows, self._counts, strict=True):
                packed = _packed(plane, version)
                head = len(plane) * counts.itemsize
                counts.frombytes(packed[:head])
                rows.write(packed[head:])

    @property
    def size(self) -> int:
        return sum(rows.tell() for rows in self._rows)

    def write(self, file: IO[bytes], **_: Any) -> int:
        start = file.tell()
        file.write(RLE)
        for counts in self._counts:
            file.write(counts.tobytes())  # big-endian, as they came
        for rows in self._rows:
            rows.seek(0)
            shutil.copyfileobj(rows, file, 2**20)
        return file.tell() - start


def _record(name: str, box: tuple[int, int, int, int]) -> LayerRecord:
    """Return the record of a layer at (top, left, bottom, right) with four channels."""
    top, left, bottom, right = box
    # The old name is in one byte a letter, at most 255; the Unicode name is what programs of this century show.
    plain = name.encode("macroman", "replace").decode("macroman")[:255]
    record = LayerRecord(top, left, bottom, right, [ChannelInfo(channel) for channel in CHANNELS], name=plain)
    record.tagged_blocks.set_data(Tag.UNICODE_LAYER_NAME, name)
    return record


def _packed(plane: Bytes, version: int) -> bytes:
    """Return a plane of bytes ``(height, width)`` packed row by row: the table of lengths, and the rows."""
    height, width = int(plane.shape[0]), int(plane.shape[1])
    is_flat = height > 1 and bool((plane[1:] == plane[0]).all())  # such as a background of one colour
    rows = plane[:1] if is_flat else plane
    packed: bytes = encode_rle(rows.tobytes(), width, len(rows), 8, version)
    if not is_flat:
        return packed
    counted = 2 * version
    return packed[:counted] * height + packed[counted:] * height


def _matted(band: Bytes) -> Bytes:
    """Return a band of the preview as Photoshop stores it: transparent colours over white."""
    if len(band) == 3:
        return band
    alpha = band[3:].astype(np.uint16)
    color = (band[:3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.concatenate([color.astype(np.uint8), band[3:]])
