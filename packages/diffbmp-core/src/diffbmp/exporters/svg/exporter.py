"""SVG: each stamp an element of its own, drawn alike by browsers, resvg, librsvg, CairoSVG and Inkscape."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.grouping import group_stamps
from diffbmp.exporters.markup import as_text, data_address, hex_color, number, png_bytes
from diffbmp.exporters.naming import BACKGROUND_NAME
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.placed import PlacedStamp, identifiers, level_pixels, placed_stamps, require_over
from diffbmp.exporters.svg.faces import Face, face_of, face_pixels, is_shrunk, sampled_texels
from diffbmp.scene.scene import Scene
from diffbmp.version import __version__

__all__ = ["SvgExporter"]

NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"'
)

Matrix = tuple[float, float, float, float, float, float]

SHARED = -1

Key = tuple[int, int, int, Face]
"""Texture, mip level, the one stamp that it is sampled for or ``SHARED``, and face."""


class SvgExporter(Exporter):
    """Drawing whose every stamp can be selected, moved and recoloured; ``.svgz`` is the same, compressed.

    Each texture is stored once for each size that it is drawn from, and each stamp refers to it by a matrix, an
    opacity and a tint; stamps of a pixel or two are stored as sampled at that size. ``--scale`` sets the width and
    height that the drawing has by itself, and how fine its textures are.
    """

    name = "svg"
    suffixes = (".svg", ".svgz")
    heeds = frozenset({"scale", "groups"})

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write the drawing; see ``Exporter.export``."""
        require_over(scene, "SVG")
        text = "\n".join(_document(scene, options, renderer, progress)) + "\n"
        data = text.encode("utf-8")
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix.lower() == ".svgz" else data)
        progress(1.0)


def _document(scene: Scene, options: ExportOptions, renderer: str, progress: Progress) -> Iterator[str]:
    stamps = placed_stamps(scene, options.scale)
    boxes = np.array([stamp.box for stamp in stamps], dtype=np.int64).reshape(-1, 4)
    groups = group_stamps([stamp.name for stamp in stamps], boxes, options.groups)
    drawn = [stamp for stamp in stamps if stamp.drawn]
    shrunk = [stamp for stamp in drawn if is_shrunk(scene, stamp, options.scale)]
    own = sampled_texels(scene, shrunk, options.scale, renderer) if shrunk else {}
    looks = {
        stamp.number: {
            face: (stamp.texture, stamp.level, stamp.number if stamp.number in own else SHARED, face)
            for face in face_of(stamp)
        }
        for stamp in drawn
    }
    keys = sorted({key for look in looks.values() for key in look.values()})
    names = [
        f"{face} {stamps[stamp].name.text if stamp != SHARED else f'{scene.atlas.textures[texture].name} {level}'}"
        for texture, level, stamp, face in keys
    ]
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
        texture, level, stamp, face = key
        texels = level_pixels(scene, texture, level) if stamp == SHARED else own[stamp][2]
        yield _texture(face_pixels(texels, face), face, textures[key])
        progress(0.9 * (done + 1) / len(keys))
    yield "</defs>"
    yield from _background(scene, options.scale, background)
    for group, identifier, label in zip(groups, group_ids, labels, strict=True):
        yield f'<g id="{identifier}" inkscape:groupmode="layer" inkscape:label="{as_text(label)}">'
        for index in group.stamps:
            if index not in looks:
                continue
            if index in own:
                left, top, texels = own[index]
                pixel = 1 / options.scale
                matrix: Matrix = (pixel, 0.0, 0.0, pixel, (left - 1) * pixel, (top - 1) * pixel)
                size = (texels.shape[1], texels.shape[0])
            else:
                matrix, size = _placed_level(scene, stamps[index])
            faces = {face: textures[key] for face, key in looks[index].items()}
            yield _stamp(stamps[index], stamp_ids[index], matrix, size, faces)
        yield "</g>"
    yield "</svg>"


def _texture(pixels: NDArray[np.uint8], face: Face, identifier: str) -> str:
    height, width = pixels.shape[:2]
    address = data_address("image/png", png_bytes(pixels))
    size = f'width="{width}" height="{height}"'
    # "smooth" asks resvg and librsvg for the bilinear filter that the others use by themselves.
    image = f'<image {size} preserveAspectRatio="none" style="image-rendering:smooth" xlink:href="{address}"'
    if face == "cover":
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


def _stamp(stamp: PlacedStamp, identifier: str, matrix: Matrix, size: tuple[int, int], faces: dict[Face, str]) -> str:
    """Return the element of one stamp, whose texture of ``size`` ``matrix`` takes to canvas pixels."""
    title = f"<title>{as_text(stamp.name.text)}</title>"
    place = f'transform="matrix({" ".join(number(value) for value in matrix)})" opacity="{number(stamp.opacity)}"'
    rectangle = f'<rect width="{size[0]}" height="{size[1]}" fill="{hex_color(stamp.color)}"'
    if "picture" in faces:
        return f'<g id="{identifier}" {place}>{title}<use xlink:href="#{faces["picture"]}"/></g>'
    mask = f'mask="url(#{faces["cover"]})"'
    if "colors" not in faces:
        return f'<g id="{identifier}" {place}>{title}{rectangle} {mask}/></g>'
    return (  # the inner group, since CairoSVG ignores the opacity of a use
        f'<g id="{identifier}" {place}>{title}<g {mask}>{rectangle}/>'
        f'<g opacity="{number(stamp.color_blend)}"><use xlink:href="#{faces["colors"]}"/></g></g></g>'
    )


def _placed_level(scene: Scene, stamp: PlacedStamp) -> tuple[Matrix, tuple[int, int]]:
    """Return the transform from texels of a stamp's mip level with its border to canvas pixels, and its size.

    Texel coordinates (x, y), 0 at the outer corner of the border, are u = 2 (x - 1) / w - 1, v = 2 (y - 1) / h - 1.
    """
    first, _, _ = scene.atlas.table[stamp.texture].tolist()
    _, width, height = scene.atlas.levels[first + stamp.level].tolist()
    a, b, tx, c, d, ty = stamp.frame
    ax, cx = 2 * a / width, 2 * c / width
    by, dy = 2 * b / height, 2 * d / height
    return (ax, cx, by, dy, tx - a - b - ax - by, ty - c - d - cx - dy), (width + 2, height + 2)
