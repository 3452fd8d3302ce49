"""The schema of ``scene.json``, version 3; ``docs/scene-format.md`` describes it for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffbmp.rendering.renderer import Blend, Filter
from diffbmp.scene.archive import SceneFileError, reason

__all__ = [
    "BACKGROUND_NAMES",
    "CHANNELS",
    "DTYPES",
    "FILE",
    "FIT",
    "FIT_TENSORS",
    "FORMAT",
    "LARGEST_CANVAS",
    "LARGEST_TEXTURE",
    "LOCKED",
    "MOST_PRIMITIVES",
    "MOST_PRIMITIVE_TENSORS",
    "MOST_PNG_VALUES",
    "MOST_TEXTURES",
    "TENSORS",
    "VERSION",
    "Background",
    "BackgroundColor",
    "BackgroundPicture",
    "CanvasEntry",
    "Channels",
    "Dtype",
    "PrimitiveEntry",
    "PixelNames",
    "SceneDocument",
    "Storage",
    "TextureEntry",
    "Transparent",
    "dump_document",
    "lowest_version",
    "parse_document",
    "primitive_tensor",
    "texture_names",
    "what_is_wrong",
]

FILE = "scene.json"
TENSORS = "tensors.safetensors"
FIT = "fit.json"
FIT_TENSORS = "fit.safetensors"

FORMAT: Final = "diffbmp-scene"
VERSION = 3
"""The newest version; a file carries the lowest one that holds it, and all are read."""

LOCKED = "locked"
"""The tensor of a primitive that says which of its instances are locked, where any is."""

LARGEST_CANVAS = 65_535
"""Longest side of a canvas, in pixels."""

LARGEST_TEXTURE = 65_535
"""Longest side of a texture, in texels."""

MOST_TEXTURES = 100_000

MOST_PRIMITIVES = 10_000

MOST_PRIMITIVE_TENSORS = 10_000

MOST_PNG_VALUES = 2**28
"""Most pixels times channels of all PNG entries together, since a few bytes of PNG can stand for many pixels: 1 GiB
of float32. Textures beyond it are saved as tensors."""

Dtype = Literal["float16", "bfloat16", "float32", "float64"]
Channels = Literal["alpha", "rgba"]
Storage = Literal["png", "tensor"]

CHANNELS: dict[Channels, int] = {"alpha": 1, "rgba": 4}
DTYPES: dict[torch.dtype, Dtype] = {getattr(torch, name): name for name in get_args(Dtype)}


class Document(BaseModel):
    """Base of the schema: unknown keys refused, types exact (no ``"3"`` for 3), finite numbers only."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Transparent(Document):
    """No background."""

    type: Literal["transparent"] = "transparent"


class BackgroundColor(Document):
    """One colour behind everything."""

    type: Literal["color"] = "color"
    dtype: Dtype
    """Type of the numbers in memory."""
    values: list[float] = Field(min_length=3, max_length=3)
    """Red, green and blue, in [0, 1]."""


class BackgroundPicture(Document):
    """A picture of the canvas's size behind everything."""

    type: Literal["picture"] = "picture"
    dtype: Dtype
    """Type of the numbers in memory."""
    storage: Storage
    """Where its pixels are: ``background.png`` (RGB), or the tensor ``background``, (3, height, width)."""


Background = Annotated[Transparent | BackgroundColor | BackgroundPicture, Field(discriminator="type")]


class CanvasEntry(Document):
    """The canvas."""

    width: int = Field(ge=1, le=LARGEST_CANVAS)
    """Pixels."""
    height: int = Field(ge=1, le=LARGEST_CANVAS)
    """Pixels."""
    background: Background


class TextureEntry(Document):
    """One texture; the k-th of the list is the one that primitives call k."""

    name: str
    """The name that people see, such as that of the file that it came from."""
    set: str = ""
    """The source that it was loaded from together with others; version 1 has none."""
    outline: str = ""
    """The drawing that it was made of, an SVG ``g`` element of plain shapes in the unit square; empty where none."""
    channels: Channels
    """``alpha``: coverage only. ``rgba``: straight (not premultiplied) colour and alpha."""
    width: int = Field(ge=1, le=LARGEST_TEXTURE)
    """Texels."""
    height: int = Field(ge=1, le=LARGEST_TEXTURE)
    """Texels."""
    storage: Storage
    """Where its pixels are: ``textures/00000.png`` (five digits, its number), or the tensor ``textures/0``."""


class PrimitiveEntry(Document):
    """One primitive; they are painted in the order of the list, the first at the back."""

    kind: str
    """Name of the kind of primitive, as registered: ``stamps``."""
    tensors: list[str] = Field(max_length=MOST_PRIMITIVE_TENSORS)
    """Names of its tensors, each stored as ``parts/K/NAME`` for the K-th primitive."""
    metadata: dict[str, Any]
    """What the kind needs besides tensors."""


class SceneDocument(Document):
    """All of ``scene.json``."""

    format: Literal["diffbmp-scene"]
    version: int = Field(ge=1, le=VERSION)
    """Version of this schema."""
    written_by: str
    """Program and version that wrote the file; for people, nothing depends on it."""
    canvas: CanvasEntry
    alpha_max: float = Field(ge=0, le=1)
    """Factor on every opacity."""
    blend: Blend
    """How sprites are laid upon each other."""
    filter: Filter
    """How textures are sampled."""
    texture_dtype: Dtype
    """Type of the textures' numbers in memory."""
    textures: list[TextureEntry] = Field(min_length=1, max_length=MOST_TEXTURES)
    parts: list[PrimitiveEntry] = Field(min_length=1, max_length=MOST_PRIMITIVES)
    linked: bool = False
    """Whether instance k is one thing on all canvases of a batch; only from version 3 on."""


def lowest_version(textures: Sequence[TextureEntry], parts: Sequence[PrimitiveEntry], *, linked: bool) -> int:
    """Return the lowest version that holds a scene: 3 for locks and links, 2 for sets and outlines, else 1."""
    if linked or any(LOCKED in part.tensors for part in parts):
        return 3
    return 2 if any(texture.set or texture.outline for texture in textures) else 1


def dump_document(document: SceneDocument) -> dict[str, Any]:
    """Return a document's values without the keys that its version does not know."""
    values = document.model_dump()
    if document.version < 3:
        del values["linked"]
    if document.version < 2:
        for texture in values["textures"]:
            del texture["set"], texture["outline"]
    return values


def parse_document(values: Any) -> SceneDocument:
    """Check the parsed ``scene.json`` of a file.

    Raises:
        SceneFileError: where it is of a newer version, or breaks the schema.
    """
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SceneFileError(f"is not a scene file of DiffBMP: its '{FILE}' has another format")
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        writer = values.get("written_by")
        by = f" by {writer[:80]!r}" if isinstance(writer, str) else ""
        raise SceneFileError(
            f"was written{by} in version {version!r:.20} of the format, and this program reads versions up to "
            f"{VERSION}; install a newer diffbmp-core"
        )
    try:
        return SceneDocument.model_validate(values)
    except ValidationError as error:
        raise SceneFileError(f"is damaged: {what_is_wrong(error)}") from error


def what_is_wrong(error: ValidationError) -> str:
    """Return the first thing that breaks the schema, as a clause."""
    detail = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in detail["loc"])
    message = reason(ValueError(detail["msg"]))
    return f"'{FILE}' at {where[:200]!r}: {message[:1].lower()}{message[1:]}"


class PixelNames(NamedTuple):
    """The names under which a picture is stored: as an entry of its own, or as a tensor."""

    png: str
    tensor: str


BACKGROUND_NAMES = PixelNames("background.png", "background")


def texture_names(number: int) -> PixelNames:
    """Return where the pixels of a texture are."""
    return PixelNames(f"textures/{number:05}.png", f"textures/{number}")


def primitive_tensor(number: int, name: str) -> str:
    """Return the name under which a tensor of a primitive is stored."""
    return f"parts/{number}/{name}"
