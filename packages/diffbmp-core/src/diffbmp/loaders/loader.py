"""The loader interface: a source named by a person becomes textures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from diffbmp.atlas.atlas import Texture
from diffbmp.errors import DiffbmpError
from diffbmp.paths import shortened
from diffbmp.plugins.guard import guarded, member_title
from diffbmp.plugins.plugin import Plugin

__all__ = ["Loader", "load_checked"]


class Loader(Plugin, ABC):
    """Base of every loader.

    A source that begins with ``NAME:`` goes to the loader of that name (``text:HELLO``, ``shape:disc``); any
    other source is a file, a folder or a glob, and each file goes to the loader that lists its suffix.
    """

    family: ClassVar[str] = "loaders"

    suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes that this loader reads, lower case with the dot; none for a pure ``scheme:`` loader."""

    named_only: ClassVar[bool] = False
    """Whether files are read only where a person names them, and not those that lie in a folder with others."""

    accepts_count: ClassVar[bool] = True
    """Whether a number after a last colon, ``NAME:REST:800``, asks for 800 stamps of ``NAME:REST``. A loader that says
    False is given everything after ``NAME:`` as it stands."""

    @abstractmethod
    def load(self, source: str) -> list[Texture]:
        """Return the textures of ``source``: a file's path, or what follows ``NAME:``.

        Pixels are float32 in [0, 1], straight alpha, trimmed to their content.

        Raises:
            DiffbmpError: where the source cannot be read or holds nothing visible.
        """


def load_checked(loader: Loader, source: str) -> list[Texture]:
    """Return what ``loader`` loads from ``source``, once it is what ``Loader.load`` promises.

    Raises:
        DiffbmpError: where the source cannot be read, or the loader fails or returns anything else; it is named then.
    """
    with guarded(loader, f"on '{shortened(source)}'"):
        found = loader.load(source)
        wrong = _wrong_textures(found)
    if wrong is not None:
        raise DiffbmpError(
            f"{member_title(loader)} returned {wrong} for '{shortened(source)}'; a loader must return a list of one or "
            "more diffbmp.Texture, float32 on the CPU."
        )
    return found


def _wrong_textures(found: object) -> str | None:
    """Return what came instead of textures, or None."""
    if not isinstance(found, list):
        return f"an object of type {type(found).__qualname__}"
    if not found:
        return "an empty list"
    for item in found:
        if not isinstance(item, Texture):
            return f"a list with an object of type {type(item).__qualname__}"
        if item.pixels.dtype != torch.float32 or item.pixels.device.type != "cpu":
            return f"the texture '{item.name}' of {item.pixels.dtype} on {item.pixels.device}"
    return None
