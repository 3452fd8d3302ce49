"""From a scene to the entries of its file."""

from __future__ import annotations

import torch
from torch import Tensor

from diffbmp.images import LARGEST_PICTURE
from diffbmp.plugins.registry import registry
from diffbmp.primitives.primitive import Primitive
from diffbmp.scene import schema
from diffbmp.scene.archive import MOST_ENTRIES, SceneFileError
from diffbmp.scene.encoding import encode_json, encode_pixels, encode_tensors, exact_bytes
from diffbmp.scene.scene import Scene
from diffbmp.version import __version__

__all__ = ["scene_entries"]

MOST_PNG_ENTRIES = MOST_ENTRIES - 8
"""Most pictures saved as PNG, less room for the other entries; textures beyond it are saved as tensors."""


def scene_entries(scene: Scene) -> dict[str, bytes]:
    """Return the entries of the file that stands for ``scene``, ``scene.json`` first.

    Raises:
        SceneFileError: where the scene holds what a file cannot.
        pydantic.ValidationError: where it breaks the schema: a canvas too large, ``alpha_max`` above 1.
    """
    if scene.atlas.blur:
        raise SceneFileError("cannot hold a blurred atlas; save the scene with its sharp one")
    pixels = _PixelStore()
    background: schema.Background = schema.Transparent()
    if scene.background is not None:
        dtype = _dtype_name(scene.background)
        if scene.background.dim() == 1:
            background = schema.BackgroundColor(dtype=dtype, values=scene.background.tolist())
        else:
            background = schema.BackgroundPicture(
                dtype=dtype, storage=pixels.put(scene.background, schema.BACKGROUND_NAMES)
            )
    channels = {count: name for name, count in schema.CHANNELS.items()}
    textures = [
        schema.TextureEntry(
            name=_unicode(texture.name),
            set=_unicode(texture.set),
            outline=_unicode(texture.outline or ""),
            channels=channels[texture.pixels.shape[0]],
            width=texture.pixels.shape[2],
            height=texture.pixels.shape[1],
            storage=pixels.put(texture.pixels, schema.texture_names(number)),
        )
        for number, texture in enumerate(scene.atlas.textures)
    ]
    tensors = dict(pixels.tensors)
    parts = []
    for number, primitive in enumerate(scene.primitives):
        saved = _saved_tensors(primitive)
        parts.append(schema.PrimitiveEntry(kind=_kind(primitive), tensors=sorted(saved), metadata=primitive.metadata()))
        tensors.update({schema.primitive_tensor(number, name): value for name, value in saved.items()})
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SceneFileError(f"cannot be saved: the tensor {name!r} holds NaN or infinity")
    document = schema.SceneDocument(
        format=schema.FORMAT,
        version=schema.lowest_version(textures, parts, linked=scene.linked),
        written_by=f"diffbmp {__version__}",
        canvas=schema.CanvasEntry(width=scene.width, height=scene.height, background=background),
        alpha_max=scene.alpha_max,
        blend=scene.blend,  # type: ignore[arg-type]  # the schema checks it
        filter=scene.filter,  # type: ignore[arg-type]
        texture_dtype=_dtype_name(scene.atlas.texels),
        textures=textures,
        parts=parts,
        linked=scene.linked,
    )
    text = encode_json(schema.dump_document(document), schema.FILE)
    return {schema.FILE: text, schema.TENSORS: encode_tensors(tensors), **pixels.pictures}


def _kind(primitive: Primitive) -> str:
    """Return the name that a primitive is registered under, with its plugin's where two plugins share it."""
    entry = registry().entry_of(type(primitive))
    return primitive.name if entry is None else entry.name


def _saved_tensors(primitive: Primitive) -> dict[str, Tensor]:
    """Return the tensors of a primitive by the names that they are saved under, locks only where there are any."""
    saved: dict[str, Tensor] = primitive.state_dict()
    if schema.LOCKED in saved:
        raise SceneFileError(f"cannot hold the primitive {primitive.name!r}: the tensor name 'locked' is taken")
    if primitive.locked is not None:
        saved[schema.LOCKED] = primitive.locked
    return saved


def _unicode(name: str) -> str:
    """Return a name as JSON can hold it: what a file is called need not be Unicode."""
    return name.encode("utf-8", "backslashreplace").decode()


class _PixelStore:
    """Decides for each picture whether it becomes a PNG, which must be exact, or a tensor."""

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}
        self.tensors: dict[str, Tensor] = {}
        self._values_left = schema.MOST_PNG_VALUES

    def put(self, pixels: Tensor, names: schema.PixelNames) -> schema.Storage:
        pixels = pixels.detach().cpu()
        values = None
        if (
            pixels.numel() <= self._values_left
            and pixels[0].numel() <= LARGEST_PICTURE
            and len(self.pictures) < MOST_PNG_ENTRIES
        ):
            values = exact_bytes(pixels)
        if values is None:
            self.tensors[names.tensor] = pixels
            return "tensor"
        self.pictures[names.png] = encode_pixels(values)
        self._values_left -= values.numel()
        return "png"


def _dtype_name(tensor: Tensor) -> schema.Dtype:
    if tensor.dtype not in schema.DTYPES:
        raise SceneFileError(f"cannot hold textures or backgrounds of {tensor.dtype}")
    return schema.DTYPES[tensor.dtype]
