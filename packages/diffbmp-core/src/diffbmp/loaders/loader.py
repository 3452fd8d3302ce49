"""The loader interface: a source named by a person becomes textures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from diffbmp.atlas.atlas import Texture
from diffbmp.plugins.plugin import Plugin

__all__ = ["Loader"]


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

    @abstractmethod
    def load(self, source: str) -> list[Texture]:
        """Return the textures of ``source``: a file's path, or what follows ``NAME:``.

        Pixels are float32 in [0, 1], straight alpha, trimmed to their content.

        Raises:
            DiffbmpError: where the source cannot be read or holds nothing visible.
        """
