"""Fonts: found by file or name, and asked what they contain."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fontTools.ttLib import TTFont
from PIL import ImageFont

from diffbmp.errors import DiffbmpError
from diffbmp.paths import missing_path, require_file

__all__ = ["Font", "open_font"]

COLOR_TABLES = {"COLR", "CBDT", "sbix", "SVG "}

OUTSIDE = re.compile(r"""<!ENTITY|href\s*+=\s*+(?!["'](?:#|data:))""")
"""What a glyph drawn as SVG must not hold: references to outside the font, or means to hide one."""

LARGEST_FONT = 256 * 2**20
"""Most bytes of a font file."""


@dataclass(frozen=True)
class Font:
    """A font and what it contains.

    Attributes:
        label: how a sentence names it.
        path: its file, or None for the built-in font.
        file: gives what Pillow opens it from.
        family: family name, empty where it has none.
        characters: code points that it has glyphs for.
        colored: whether glyphs bring colours of their own.
    """

    label: str
    path: Path | None
    file: Callable[[], str | BinaryIO]
    family: str
    characters: frozenset[int]
    colored: bool


def open_font(name: str) -> Font:
    """Return the font of a file or of an installed font's file name; the built-in one for an empty name.

    Raises:
        DiffbmpError: where there is none of that name, or it is no font.
    """
    if not name:
        data = _builtin()
        return _examined("The built-in font", None, lambda: io.BytesIO(data), TTFont(io.BytesIO(data)))
    path = require_file(_located(name), "font")
    label = f"Font '{name}'"
    if path.stat().st_size > LARGEST_FONT:
        raise DiffbmpError(f"{label} is larger than {LARGEST_FONT // 2**20} MiB.")
    try:
        with path.open("rb") as opened, TTFont(opened, fontNumber=0, lazy=True) as font:
            return _examined(label, path, lambda: str(path), font)
    except Exception as error:  # fontTools raises nearly anything on damaged data
        raise DiffbmpError(f"{label} is no font that can be read ({error or type(error).__name__}).") from error


def _examined(label: str, path: Path | None, file: Callable[[], str | BinaryIO], font: TTFont) -> Font:
    family = ""
    if "name" in font:
        # The typographic family goes first, as in the look-up of the renderer that is given this name.
        family = font["name"].getDebugName(16) or font["name"].getDebugName(1) or ""
    characters = frozenset(font.getBestCmap() or ())
    if not characters:
        raise DiffbmpError("it maps no characters")
    for document in font["SVG "].docList if "SVG " in font else ():
        if OUTSIDE.search(document.data):  # resvg would read the file that it names
            raise DiffbmpError("its SVG glyphs refer to files outside it")
    colored = any(table in font for table in COLOR_TABLES)
    return Font(label, path, file, family, characters, colored)


def _builtin() -> bytes:
    face = ImageFont.load_default(16)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise DiffbmpError("Pillow was built without FreeType, so no text can be drawn; install its official wheel.")
    return face.font_bytes


def _located(name: str) -> Path:
    """Return the path of a font file; a bare name is looked for where this machine keeps its fonts."""
    path = Path(name)
    try:
        if path.expanduser().exists() or path.name != name:
            return path
        found = ImageFont.truetype(name, 16).path
    except (OSError, ValueError, RuntimeError):
        if path.suffix or path.name != name:
            raise missing_path(path, "font") from None
        raise DiffbmpError(f"Font '{name}' is neither a file nor installed under that file name.") from None
    return Path(str(found))
