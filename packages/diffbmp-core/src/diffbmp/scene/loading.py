"""From the entries of a file to its scene; every value is a stranger's until it has been checked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.images import LARGEST_PICTURE
from diffbmp.outline import checked_outline
from diffbmp.plugins.registry import registry
from diffbmp.primitives.instances import check_axes
from diffbmp.primitives.primitive import Primitive
from diffbmp.scene import schema
from diffbmp.scene.archive import Archive, SceneFileError, reason
from diffbmp.scene.encoding import decode_pixels, decode_tensors, from_bytes
from diffbmp.scene.scene import Scene

__all__ = ["check_entries", "scene_from_entries"]

Shape = tuple[int, int, int]


def check_entries(archive: Archive, document: schema.SceneDocument) -> None:
    """Refuse a file with entries that are missing or unexpected, or with pictures too large to decode.

    Raises:
        SceneFileError: naming the entry.
    """
    pictures: dict[str, Shape] = {
        schema.texture_names(number).png: _texture_shape(entry)
        for number, entry in enumerate(document.textures)
        if entry.storage == "png"
    }
    canvas = document.canvas
    if isinstance(canvas.background, schema.BackgroundPicture) and canvas.background.storage == "png":
        pictures[schema.BACKGROUND_NAMES.png] = (3, canvas.height, canvas.width)
    wanted = {schema.FILE, schema.TENSORS, *pictures}
    fit = {schema.FIT, schema.FIT_TENSORS}
    if not fit.isdisjoint(archive.names):
        wanted |= fit
    for name in archive.names:
        if name not in wanted:
            raise SceneFileError(f"is refused: {name!r} has no place in a scene file")
    missing = sorted(wanted.difference(archive.names))
    if missing:
        raise SceneFileError(f"is damaged: '{missing[0]}' is missing")
    for name, (_, height, width) in pictures.items():
        if width * height > LARGEST_PICTURE:
            raise SceneFileError(f"is refused: '{name}' has {width} x {height} pixels; the limit is {LARGEST_PICTURE}")
    total = sum(channels * height * width for channels, height, width in pictures.values())
    if total > schema.MOST_PNG_VALUES:
        limit = schema.MOST_PNG_VALUES
        raise SceneFileError(f"is refused: its PNG pictures hold {total} values in all; the limit is {limit}")


def scene_from_entries(
    archive: Archive,
    document: schema.SceneDocument,
    device: torch.device,
    kinds: Mapping[str, type[Primitive]] | None = None,
) -> Scene:
    """Build the scene that a file stands for.

    Args:
        archive: the file.
        document: what it says.
        device: where to put the scene.
        kinds: classes of primitives by name, besides those that are registered.

    Raises:
        SceneFileError: where an entry is damaged, does not fit the document, or a kind of primitive is not installed.
        DiffbmpError: from the atlas or the scene, where they refuse what they are given.
    """
    tensors = _Tensors(decode_tensors(archive.read(schema.TENSORS), schema.TENSORS))
    source = _PixelSource(archive, tensors)
    dtype: torch.dtype = getattr(torch, document.texture_dtype)
    textures = []
    for number, entry in enumerate(document.textures):
        pixels = source.get(entry.storage, schema.texture_names(number), _texture_shape(entry), dtype)
        textures.append(Texture(entry.name, pixels.to(device), entry.set, checked_outline(entry.outline)))
    canvas = document.canvas
    background = _background(canvas, source)
    try:
        atlas = Atlas(textures)
    except NotImplementedError as error:  # PyTorch filters half precision on some devices only
        raise SceneFileError(
            f"holds textures of {document.texture_dtype}, which PyTorch cannot filter on {device}; try another device"
        ) from error
    primitives = [_primitive(number, entry, tensors, atlas, kinds or {}) for number, entry in enumerate(document.parts)]
    tensors.check_all_taken()
    return Scene(
        canvas.width, canvas.height, atlas, primitives, background=background,
        alpha_max=document.alpha_max, blend=document.blend, filter=document.filter, linked=document.linked,
    ).to(device)  # fmt: skip


class _Tensors:
    """The tensors of a file, each to be taken once."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._left = tensors

    def take(self, name: str) -> Tensor:
        if name not in self._left:
            raise SceneFileError(f"is damaged: '{schema.TENSORS}' lacks the tensor {name[:80]!r}")
        tensor = self._left.pop(name)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SceneFileError(f"is refused: the tensor {name[:80]!r} holds NaN or infinity")
        return tensor

    def check_all_taken(self) -> None:
        if self._left:
            raise SceneFileError(f"is refused: the tensor {min(self._left)[:80]!r} has no place in a scene file")


class _PixelSource:
    """Gives pixels from wherever they are stored; the inverse of saving's ``_PixelStore``."""

    def __init__(self, archive: Archive, tensors: _Tensors) -> None:
        self._archive, self._tensors = archive, tensors

    def get(self, storage: schema.Storage, names: schema.PixelNames, shape: Shape, dtype: torch.dtype) -> Tensor:
        if storage == "png":
            return from_bytes(decode_pixels(self._archive.read(names.png), names.png, shape), dtype)
        pixels = self._tensors.take(names.tensor)
        if tuple(pixels.shape) != shape or pixels.dtype != dtype:
            raise SceneFileError(
                f"is damaged: the tensor '{names.tensor}' is {pixels.dtype} of {tuple(pixels.shape)}, "
                f"expected {dtype} of {shape}"
            )
        return pixels


def _texture_shape(entry: schema.TextureEntry) -> Shape:
    return schema.CHANNELS[entry.channels], entry.height, entry.width


def _background(canvas: schema.CanvasEntry, source: _PixelSource) -> Tensor | None:
    background = canvas.background
    if isinstance(background, schema.Transparent):
        return None
    dtype: torch.dtype = getattr(torch, background.dtype)
    if isinstance(background, schema.BackgroundColor):
        return torch.tensor(background.values, dtype=dtype)
    return source.get(background.storage, schema.BACKGROUND_NAMES, (3, canvas.height, canvas.width), dtype)


def _primitive(
    number: int,
    entry: schema.PrimitiveEntry,
    tensors: _Tensors,
    atlas: Atlas,
    kinds: Mapping[str, type[Primitive]],
) -> Primitive:
    found = registry().find("primitives", entry.kind)
    cls: type[Primitive] | None = kinds.get(entry.kind) or (None if found is None else found.cls)
    if cls is None:
        known = ", ".join(known.name for known in registry().entries("primitives"))
        raise SceneFileError(
            f"needs the primitive {entry.kind[:80]!r}, which no installed plugin brings; install the plugin that "
            f"does (known: {known}; `diffbmp plugins` tells more)"
        )
    saved = {name: tensors.take(schema.primitive_tensor(number, name)) for name in entry.tensors}
    locked = saved.pop(schema.LOCKED, None)
    try:
        primitive = cls.from_saved(saved, entry.metadata, atlas)
        check_axes(primitive)
        primitive.locked = locked
        _check_kept(primitive, saved)
    except MemoryError:
        raise
    except Exception as error:  # a plugin's code, given a stranger's values
        raise SceneFileError(
            f"is damaged: primitive {number} ({entry.kind}) cannot be built: {reason(error)}"
        ) from error
    return primitive


def _check_kept(primitive: Primitive, saved: dict[str, Tensor]) -> None:
    """Refuse a ``from_saved`` that does not keep what it was given: the scene would be another one without a word."""
    held = primitive.state_dict()
    for name in sorted(saved.keys() | held.keys()):
        if name not in held or name not in saved or not _same_bits(held[name], saved[name]):
            raise DiffbmpError(f"from_saved of the primitive '{primitive.name}' does not keep the tensor '{name}'")


def _same_bits(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype and torch.equal(first.cpu(), second.cpu())
