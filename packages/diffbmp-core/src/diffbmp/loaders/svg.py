"""SVG drawings as stamps, rasterised by resvg; what a stranger's file could reach is cut off first."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import resvg_py
from PIL import Image
from pydantic import Field

from diffbmp.atlas.atlas import Texture
from diffbmp.errors import DiffbmpError
from diffbmp.loaders.loader import Loader
from diffbmp.loaders.texture import texture_from_picture, trimmed
from diffbmp.outline import outline_of
from diffbmp.paths import require_file
from diffbmp.settings import Settings as SettingsModel

__all__ = ["SvgLoader", "rasterize"]

LARGEST_FILE = 32 * 2**20
"""Most bytes of markup that are read, unpacked."""

LARGEST_RASTER = 8192
"""Longest side in pixels that a page is drawn at to show a small drawing in it large."""

LARGEST_WITH_ENTITIES = 2**20
"""Most characters of markup that declares entities, which the parser lets grow a hundredfold at most."""

REFERRING = {"image", "feImage", "use"}
"""Elements through which resvg draws something from elsewhere. Links (``a``) lead away and draw nothing."""


class SvgLoader(Loader):
    """SVG drawing (.svg, .svgz), an RGBA texture of its visible part.

    Nothing outside the file is read: a drawing that refers to another file or to the network is refused with
    the reference's name (embed it as a ``data:`` address). Text in it is set in the fonts of this machine, so
    convert text to paths where the result must be the same elsewhere. Scripts and animations do nothing.
    """

    name = "svg"
    suffixes = (".svg", ".svgz")

    class Settings(SettingsModel):
        """Settings of the SVG loader."""

        size: int = Field(512, ge=1, le=4096)
        """Longest side of the texture, in texels."""

    settings: Settings

    def load(self, source: str) -> list[Texture]:
        """Return one texture; see ``Loader.load``."""
        path = require_file(source, "stamp")
        markup = _self_contained(_markup(path), path)
        size = self.settings.size
        fonts = {"skip_system_fonts": re.search(r"<(\w+:)?text\b", markup) is None}
        page = rasterize(markup, size, str(path), **fonts)
        content = trimmed(page)
        if content is not None and max(content.size) < size:
            # The drawing fills a part of its page: draw the page again so large that the part has the size.
            larger = min(LARGEST_RASTER, size * max(page.size) // max(content.size))
            page = rasterize(markup, larger, str(path), **fonts)
        texture = texture_from_picture(path.stem, page, max_side=size)
        if texture is None:
            raise DiffbmpError(f"Stamp '{source}' draws nothing visible; leave it out.")
        box = page.getchannel("A").getbbox()
        assert box is not None
        return [replace(texture, outline=outline_of(markup, page.size, box))]


def rasterize(markup: str, size: int, source: str, **options: Any) -> Image.Image:
    """Draw an SVG page with its longer side ``size`` pixels long, as 8-bit straight RGBA.

    Args:
        markup: the SVG document, already known not to refer to anything outside it.
        size: pixels.
        source: what is drawn, for the sentence.
        options: further options of ``resvg_py.svg_to_bytes``.

    Raises:
        DiffbmpError: where resvg cannot read or draw it.
    """
    try:
        png = resvg_py.svg_to_bytes(svg_string=markup, width=size, height=size, **options)
    except ValueError as error:
        raise DiffbmpError(f"Stamp '{source}' is not an SVG that can be drawn: {error}.") from error
    return Image.open(io.BytesIO(png)).convert("RGBA")


def _markup(path: Path) -> str:
    """Return the markup of a plain or gzip-compressed file as text, whatever its encoding."""
    raw = path.open("rb")
    with raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            data = (gzip.GzipFile(fileobj=raw) if packed else raw).read(LARGEST_FILE + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DiffbmpError(f"Stamp '{path}' is damaged or cut short ({error}); get a whole copy of it.") from error
    if len(data) > LARGEST_FILE:
        raise DiffbmpError(f"Stamp '{path}' holds more than {LARGEST_FILE // 2**20} MiB of markup; simplify it.")
    declared = re.match(rb"""\s*<\?xml[^>]*?encoding=["']([\w.-]+)["']""", data[:200])
    encoding = declared[1].decode("ascii") if declared else "utf-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif data[:3] == b"\xef\xbb\xbf":
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise DiffbmpError(f"Stamp '{path}' is not an SVG: it cannot be read as text ({error}).") from error


def _self_contained(markup: str, path: Path) -> str:
    """Return the document as resvg may see it: entities expanded, nothing in it that lies outside the file.

    resvg opens local files that an image names. What it is given is written anew from the parsed document, so
    that both parsers agree about what that is; it opens nothing that a nested ``data:`` drawing names.

    Raises:
        DiffbmpError: where the drawing refers to a file or the network, or is no XML.
    """
    if "<!ENTITY" in markup and len(markup) > LARGEST_WITH_ENTITIES:
        raise DiffbmpError(f"Stamp '{path}' is long and declares entities; save it without a DOCTYPE.")
    try:
        root = ElementTree.fromstring(markup)
    except ElementTree.ParseError as error:
        raise DiffbmpError(f"Stamp '{path}' is not an SVG: {error}.") from error
    for element in root.iter():
        if _local(element.tag) not in REFERRING:
            continue
        for key, value in element.attrib.items():
            if _local(key) == "href" and value and not value.startswith(("data:", "#")):
                shown = value if len(value) <= 200 else value[:197] + "..."
                raise DiffbmpError(
                    f"Stamp '{path}' refers to '{shown}' outside the file, which is not read; "
                    "embed it as a data: address."
                )
    try:
        return ElementTree.tostring(root, encoding="unicode")
    except RecursionError:
        raise DiffbmpError(f"Stamp '{path}' is nested too deeply to be drawn; simplify it.") from None


def _local(name: str) -> str:
    """Return a name without its ``{namespace}``."""
    return name.rpartition("}")[2]
