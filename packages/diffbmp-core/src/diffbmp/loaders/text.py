"""Text as stamps: a glyph, a word or a string each, in outline fonts and in colour fonts."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Literal

import regex
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from diffbmp.atlas.atlas import Texture
from diffbmp.errors import DiffbmpError
from diffbmp.loaders.fonts import Font, open_font
from diffbmp.loaders.loader import Loader
from diffbmp.loaders.svg import rasterize
from diffbmp.loaders.texture import texture_from_picture
from diffbmp.settings import Settings as SettingsModel

__all__ = ["TextLoader"]

LONGEST = 8192
"""Most texels that one piece of text may be across."""
LARGEST_FILE = 1_000_000
"""Most bytes of a text file: every glyph in it becomes a texture."""


class TextLoader(Loader):
    """Text: ``text:HELLO``, or a text file, gives a stamp for each glyph, word or the whole string.

    A glyph is what a reader takes for one character (an extended grapheme cluster), so a letter keeps its
    accents and an emoji its skin tone. Every occurrence counts, in reading order: HELLO has two textures of
    L, and thus twice the chance of being chosen. Spaces are skipped. Ordinary fonts give alpha-only textures,
    to be tinted; colour fonts (COLR, CBDT, sbix, SVG) give RGBA.
    """

    name = "text"
    suffixes = (".txt",)
    named_only = True  # a folder of pictures may hold a licence

    class Settings(SettingsModel):
        """Settings of the text loader."""

        font: str = ""
        """Font file, or the file name of an installed font ("DejaVuSans"); left out: Aileron (Latin)."""
        split: Literal["glyph", "word", "string"] = "glyph"
        """What one stamp is."""
        size: int = Field(128, ge=4, le=1024)
        """Font size (height of the em square) in texels; glyphs are trimmed, so most are smaller."""

    settings: Settings

    def load(self, source: str) -> list[Texture]:
        """Return the textures of the text ``source``, or of the file of that name; see ``Loader.load``."""
        words = _text(source).split()
        if not words:
            raise DiffbmpError("text: needs something to write, such as text:HELLO.")
        if self.settings.split == "glyph":
            pieces = [cluster for word in words for cluster in regex.findall(r"\X", word)]
        else:
            pieces = words if self.settings.split == "word" else [" ".join(words)]
        font = open_font(self.settings.font)

        @cache  # a long text has few different glyphs
        def draw(piece: str) -> Texture:
            covered = _covered(piece, font)
            picture = self._in_color(covered, font) if font.colored else self._in_outline(covered, font)
            texture = texture_from_picture(piece, picture)
            if texture is None:
                raise DiffbmpError(f"Text '{piece}' shows nothing in {font.label}; leave it out or give another font.")
            return texture

        return [draw(piece) for piece in pieces]

    def _in_outline(self, text: str, font: Font) -> Image.Image:
        """Return the coverage of ``text`` in mode L, by FreeType and Pillow's best layout engine."""
        try:
            face = ImageFont.truetype(font.file(), self.settings.size)
            left, top, right, bottom = (round(side) for side in face.getbbox(text, anchor="ls"))
        except OSError as error:
            raise DiffbmpError(
                f"{font.label} cannot be used at {self.settings.size} texels ({error}); give one of outlines."
            ) from error
        margin = 2 + self.settings.size // 4  # hinting and marks may reach out of the box
        size = (right - left + 2 * margin, bottom - top + 2 * margin)
        self._check_length(text, max(size))
        picture = Image.new("L", size)
        ImageDraw.Draw(picture).text((margin - left, margin - top), text, fill=255, font=face, anchor="ls")
        return picture

    def _in_color(self, text: str, font: Font) -> Image.Image:
        """Return ``text`` in RGBA by resvg, which knows every colour format and scales bitmap strikes."""
        em = self.settings.size
        clusters = len(regex.findall(r"\X", text))
        self._check_length(text, em * (3 + clusters))
        width, height = em * (3 + 3 * clusters), 3 * em  # more than any advance; the texture is trimmed
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        # Drawn from the middle, so that text of either direction stays on the page.
        markup = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
            f'<text x="{width / 2}" y="{2 * em}" text-anchor="middle" font-size="{em}">{escaped}</text></svg>'
        )
        options = {"skip_system_fonts": True, "font_files": [str(font.path)], "font_family": font.family}
        return rasterize(markup, width, text, **options)

    def _check_length(self, text: str, length: int) -> None:
        if length > LONGEST:
            raise DiffbmpError(
                f"Text '{text[:20]}...' would be {length} texels long; the limit is {LONGEST}, "
                "so use split=word or a smaller size."
            )


def _text(source: str) -> str:
    """Return ``source``, or what is in it where it names a text file."""
    if not source.lower().endswith(TextLoader.suffixes):
        return source
    path = Path(source).expanduser()
    if not path.is_file():
        return source
    if path.stat().st_size > LARGEST_FILE:
        raise DiffbmpError(f"Text '{source}' is longer than {LARGEST_FILE // 1000} kB; give a shorter one.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DiffbmpError(f"Text '{source}' cannot be read as UTF-8: {error}.") from error
    if not text.strip():
        raise DiffbmpError(f"Text '{source}' is empty; write something into it.")
    return text


def _covered(text: str, font: Font) -> str:
    """Return ``text`` in the normal form that ``font`` has every character of.

    Raises:
        DiffbmpError: naming the first character that the font lacks.
    """
    for candidate in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
        if not _lacking(candidate, font):
            return candidate
    missing = _lacking(text, font)[0]
    called = unicodedata.name(missing, "unnamed")
    raise DiffbmpError(
        f"{font.label} has no glyph for '{missing}' (U+{ord(missing):04X}, {called}); "
        "name a font that has it with the setting loaders.text.font."
    )


def _lacking(text: str, font: Font) -> list[str]:
    # Joiners and variation selectors steer the layout and need no glyph of their own.
    return [c for c in text if ord(c) not in font.characters and not regex.match(r"[\p{DI}\s]", c)]
