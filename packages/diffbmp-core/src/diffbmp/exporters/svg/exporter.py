"""SVG: each stamp an element of its own, drawn alike by browsers, resvg, librsvg, CairoSVG and Inkscape."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.grouping import group_stamps
from diffbmp.exporters.markup import as_text, data_address, hex_color, number, png_bytes
from diffbmp.exporters.naming import BACKGROUND_NAME
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.placed import PlacedStamp, identifiers, placed_stamps, require_over
from diffbmp.exporters.svg.faces import Face, face_of, face_pixels
from diffbmp.scene.scene import Scene
from diffbmp.version import __version__

__all__ = ["SvgExporter"]

NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"'
)

Key = tuple[int, int, Face]


class SvgExporter(Exporter):
    """Drawing whose every stamp can be selected, moved and recoloured; ``.svgz`` is the same, compressed.

    Each texture is stored once for each size that it is drawn from, and each stamp refers to it by a matrix, an
    opacity and a tint. ``--scale`` sets the width and height that the drawing has by itself, and how fine its
    textures are.
    """

    name = "svg"
    suffixes = (".svg", ".svgz")
    heeds = frozenset({"scale", "groups"})

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write the drawing; see ``Exporter.export``."""
        require_over(scene, "SVG")
        text = "\n".join(_document(scene, options, progress)) + "\n"
        data = text.encode("utf-8")
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix.lower() == ".svgz" else data)
        progress(1.0)


def _document(scene: Scene, options: ExportOptions, progress: Progress) -> Iterator[str]:
    stamps = placed_stamps(scene, options.scale)
    boxes = np.array([stamp.box for stamp in stamps], dtype=np.int64).reshape(-1, 4)
    groups = group_stamps([stamp.name for stamp in stamps], boxes, options.groups)
    drawn = [stamp for stamp in stamps if stamp.drawn]
    keys = sorted({(stamp.texture, stamp.level, face) for stamp in drawn for face in face_of(stamp)})
    names = [f"{face} {scene.atlas.textures[texture].name} {level}" for texture, level, face in keys]
    labels = [group.name or "stamps" for group in groups]
    ids = identifiers([BACKGROUND_NAME, *labels, *(stamp.name.text for stamp in stamps), *names])
    background, *group_ids = itertools.islice(ids, 1 + len(groups))
    stamp_ids = list(itertools.islice(ids, len(stamps)))
    textures = dict(zip(keys, ids, strict=True))

    height, width = scene.scaled_size(options.scale)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f'<svg {NAMESPACES} width="{width}" height="{height}" viewBox="0 0 {scene.width} {scene.height}">'
    yield f"<title>Composition of {len(stamps)} stamps</title>"
    yield f"<desc>Composed by DiffBMP {__version__}: every stamp is an element of its own.</desc>"
    yield "<defs>"
    for done, key in enumerate(keys):
        yield _texture(scene, key, textures[key])
        progress(0.9 * (done + 1) / len(keys))
    yield "</defs>"
    yield from _background(scene, options.scale, background)
    for group, identifier, label in zip(groups, group_ids, labels, strict=True):
        yield f'<g id="{identifier}" inkscape:groupmode="layer" inkscape:label="{as_text(label)}">'
        for index in group.stamps:
            if stamps[index].drawn:
                yield _stamp(scene, stamps[index], stamp_ids[index], textures)
        yield "</g>"
    yield "</svg>"


def _texture(scene: Scene, key: Key, identifier: str) -> str:
    pixels = face_pixels(scene, *key)
    height, width = pixels.shape[:2]
    address = data_address("image/png", png_bytes(pixels))
    size = f'width="{width}" height="{height}"'
    # "smooth" asks resvg and librsvg for the bilinear filter that the others use by themselves.
    image = f'<image {size} preserveAspectRatio="none" style="image-rendering:smooth" xlink:href="{address}"'
    if key[2] == "cover":
        # White with the coverage as its alpha, so that renderers agree which read a mask's alpha alone.
        return f'<mask id="{identifier}" maskUnits="userSpaceOnUse" x="0" y="0" {size}>{image}/></mask>'
    return f'{image} id="{identifier}"/>'


def _background(scene: Scene, scale: float, identifier: str) -> Iterator[str]:
    size = f'width="{scene.width}" height="{scene.height}"'
    if scene.background is None:
        return
    if scene.background.dim() == 1:
        red, green, blue = scene.background.tolist()
        yield f'<rect id="{identifier}" {size} fill="{hex_color((red, green, blue))}"/>'
        return
    picture = scene.background_at(scale)
    assert picture is not None
    values = picture.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    address = data_address("image/png", png_bytes(values))
    yield f'<image id="{identifier}" {size} preserveAspectRatio="none" xlink:href="{address}"/>'


def _stamp(scene: Scene, stamp: PlacedStamp, identifier: str, textures: dict[Key, str]) -> str:
    first, _, _ = scene.atlas.table[stamp.texture].tolist()
    _, width, height = scene.atlas.levels[first + stamp.level].tolist()
    matrix = _matrix(stamp, width, height)
    title = f"<title>{as_text(stamp.name.text)}</title>"
    opacity = f'opacity="{number(stamp.opacity)}"'
    ids = {face: textures[stamp.texture, stamp.level, face] for face in face_of(stamp)}
    rectangle = f'<rect width="{width + 2}" height="{height + 2}" fill="{hex_color(stamp.color)}"'
    if "picture" in ids:
        return f'<g id="{identifier}" transform="{matrix}" {opacity}>{title}<use xlink:href="#{ids["picture"]}"/></g>'
    mask = f'mask="url(#{ids["cover"]})"'
    if "colors" not in ids:
        return f'<g id="{identifier}" transform="{matrix}" {opacity}>{title}{rectangle} {mask}/></g>'
    return (  # the inner group, since CairoSVG ignores the opacity of a use
        f'<g id="{identifier}" transform="{matrix}" {opacity}>{title}<g {mask}>{rectangle}/>'
        f'<g opacity="{number(stamp.color_blend)}"><use xlink:href="#{ids["colors"]}"/></g></g></g>'
    )


def _matrix(stamp: PlacedStamp, width: int, height: int) -> str:
    """Return the transform from texels of the level with its border to canvas pixels.

    Texel coordinates (x, y), 0 at the outer corner of the border, are u = 2 (x - 1) / w - 1, v = 2 (y - 1) / h - 1.
    """
    a, b, tx, c, d, ty = stamp.frame
    ax, cx = 2 * a / width, 2 * c / width
    by, dy = 2 * b / height, 2 * d / height
    x, y = tx - a - b - ax - by, ty - c - d - cx - dy
    return f"matrix({' '.join(number(value) for value in (ax, cx, by, dy, x, y))})"
