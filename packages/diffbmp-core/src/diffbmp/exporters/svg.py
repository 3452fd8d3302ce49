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
from diffbmp.exporters.faces import SHARED, Face, Faces, Look
from diffbmp.exporters.grouping import group_stamps
from diffbmp.exporters.markup import as_text, data_address, hex_color, number, png_bytes
from diffbmp.exporters.naming import BACKGROUND_NAME
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.placed import PlacedStamp, identifiers, placed_stamps, require_over
from diffbmp.outline import outline_element, tintable
from diffbmp.scene.scene import Scene
from diffbmp.settings import Settings as SettingsModel
from diffbmp.version import __version__

__all__ = ["SvgExporter"]

NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"'
)


class SvgExporter(Exporter):
    """Drawing whose every stamp can be selected, moved and recoloured; ``.svgz`` is the same, compressed.

    Each texture is stored once for each size that it is drawn from, and each stamp refers to it by a matrix, an
    opacity and a tint; stamps of a pixel or two are stored as sampled at that size. ``--scale`` sets the width and
    height that the drawing has by itself, and how fine its textures are.
    """

    name = "svg"
    suffixes = (".svg", ".svgz")
    options = frozenset({"scale", "groups"})

    class Settings(SettingsModel):
        """Settings of the SVG exporter."""

        outlines: bool = False
        """Whether stamps that came as SVG drawings of plain shapes are written as shapes, sharp at any size, where they
        are painted in one tint or in their own colours. They differ a little from the render at their rims."""

    settings: Settings

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write the drawing; see ``Exporter.export``."""
        require_over(scene, "SVG")
        text = "\n".join(_document(scene, options, renderer, progress, self.settings.outlines)) + "\n"
        data = text.encode("utf-8")
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix.lower() == ".svgz" else data)
        progress(1.0)


def _document(scene: Scene, options: ExportOptions, renderer: str, progress: Progress, outlines: bool) -> Iterator[str]:
    stamps = placed_stamps(scene, options.scale)
    drawings = {stamp.number: kind for stamp in stamps if outlines and (kind := _drawing(scene, stamp)) is not None}
    boxes = np.array([stamp.box for stamp in stamps], dtype=np.int64).reshape(-1, 4)
    groups = group_stamps([stamp.name for stamp in stamps], boxes, options.groups)
    faces = Faces(scene, [s for s in stamps if s.number not in drawings], options.scale, renderer)
    names = [
        f"{key.face} {scene.atlas.textures[key.texture].name} {key.level}"
        if key.stamp == SHARED
        else f"{key.face} {stamps[key.stamp].name.text}"
        for key in faces.needed
    ]
    labels = [group.name or "stamps" for group in groups]
    kinds = sorted(set(drawings.values()))
    names += [f"{'tinted' if tinted else 'drawing'} {scene.atlas.textures[number].name}" for number, tinted in kinds]
    ids = identifiers([BACKGROUND_NAME, *labels, *(stamp.name.text for stamp in stamps), *names])
    background, *group_ids = itertools.islice(ids, 1 + len(groups))
    stamp_ids = list(itertools.islice(ids, len(stamps)))
    textures = dict(zip(faces.needed, itertools.islice(ids, len(faces.needed)), strict=True))
    shapes = dict(zip(kinds, ids, strict=True))

    height, width = scene.scaled_size(options.scale)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f'<svg {NAMESPACES} width="{width}" height="{height}" viewBox="0 0 {scene.width} {scene.height}">'
    yield f"<title>Composition of {len(stamps)} stamps</title>"
    yield f"<desc>Composed by DiffBMP {__version__}: every stamp is an element of its own.</desc>"
    yield "<defs>"
    for done, key in enumerate(faces.needed):
        yield _texture(faces.pixels(key), key.face, textures[key])
        progress(0.9 * (done + 1) / len(faces.needed))
    for (number_, tinted), identifier in shapes.items():
        yield outline_element(scene.atlas.textures[number_].outline or "", identifier, tinted=tinted)
    yield "</defs>"
    yield from _background(scene, options.scale, background)
    for group, identifier, label in zip(groups, group_ids, labels, strict=True):
        yield f'<g id="{identifier}" inkscape:groupmode="layer" inkscape:label="{as_text(label)}">'
        for index in group.stamps:
            if index in drawings:
                yield _shape(stamps[index], stamp_ids[index], shapes[drawings[index]])
            elif index in faces.looks:
                look = faces.looks[index]
                used = {face: textures[key] for face, key in look.faces.items()}
                yield _stamp(stamps[index], stamp_ids[index], look, used)
        yield "</g>"
    yield "</svg>"


def _drawing(scene: Scene, stamp: PlacedStamp) -> tuple[int, bool] | None:
    """Return the texture whose outline a stamp can be drawn with and whether in its tint, or None."""
    outline = scene.atlas.textures[stamp.texture].outline
    if outline is None or not stamp.drawn or stamp.color_blend not in (0, 1):
        return None
    tinted = stamp.color_blend == 0
    return None if tinted and not tintable(outline) else (stamp.texture, tinted)


def _shape(stamp: PlacedStamp, identifier: str, shape: str) -> str:
    """Return the element of one stamp that is drawn as shapes; their unit square is (u, v) in [-1, 1]^2."""
    a, b, x, c, d, y = stamp.frame
    matrix = (2 * a, 2 * c, 2 * b, 2 * d, x - a - b, y - c - d)
    place = f'transform="matrix({" ".join(number(value) for value in matrix)})" opacity="{number(stamp.opacity)}"'
    title = f"<title>{as_text(stamp.name.text)}</title>"
    return f'<g id="{identifier}" {place} color="{hex_color(stamp.color)}">{title}<use xlink:href="#{shape}"/></g>'


def _texture(pixels: NDArray[np.uint8], face: Face, identifier: str) -> str:
    height, width = pixels.shape[:2]
    if face == "cover":  # white with the coverage as its alpha, so that renderers agree which read a mask's alpha alone
        pixels = np.concatenate([np.full_like(pixels, 255), pixels], axis=-1)
    address = data_address("image/png", png_bytes(pixels))
    size = f'width="{width}" height="{height}"'
    # "smooth" asks resvg and librsvg for the bilinear filter that the others use by themselves.
    image = f'<image {size} preserveAspectRatio="none" style="image-rendering:smooth" xlink:href="{address}"'
    if face == "cover":
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


def _stamp(stamp: PlacedStamp, identifier: str, look: Look, faces: dict[Face, str]) -> str:
    """Return the element of one stamp; ``faces`` are the ids of its textures."""
    title = f"<title>{as_text(stamp.name.text)}</title>"
    place = f'transform="matrix({" ".join(number(value) for value in look.matrix)})" opacity="{number(stamp.opacity)}"'
    rectangle = f'<rect width="{look.size[0]}" height="{look.size[1]}" fill="{hex_color(stamp.color)}"'
    if "picture" in faces:
        return f'<g id="{identifier}" {place}>{title}<use xlink:href="#{faces["picture"]}"/></g>'
    mask = f'mask="url(#{faces["cover"]})"'
    if "colors" not in faces:
        return f'<g id="{identifier}" {place}>{title}{rectangle} {mask}/></g>'
    return (  # the inner group, since CairoSVG ignores the opacity of a use
        f'<g id="{identifier}" {place}>{title}<g {mask}>{rectangle}/>'
        f'<g opacity="{number(stamp.color_blend)}"><use xlink:href="#{faces["colors"]}"/></g></g></g>'
    )
