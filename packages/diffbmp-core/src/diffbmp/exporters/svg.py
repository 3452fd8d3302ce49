"""SVG: each stamp an element of its own, drawn alike by browsers, resvg, librsvg, CairoSVG and Inkscape."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.grouping import group_stamps
from diffbmp.exporters.markup import as_text, data_address, hex_color, number, png_bytes
from diffbmp.exporters.naming import BACKGROUND_NAME, StampName, counted
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.placed import PlacedInstance, PlacedSprite, identifiers, placed_instances, require_over
from diffbmp.exporters.texture_images import SHARED, ImageKind, Matrix, TextureImages
from diffbmp.outline import instance_outline, outline_element, tintable
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
    opacity and a tint; stamps of a pixel or two are stored as sampled at that size. An instance of several sprites,
    such as a stroke, is one group of them. ``--scale`` sets the width and height that the drawing has by itself, and
    how fine its textures are.
    """

    name = "svg"
    suffixes = (".svg", ".svgz")
    options = frozenset({"scale", "groups"})

    class Settings(SettingsModel):
        """Settings of the SVG exporter."""

        outlines: bool = False
        """Whether stamps that came as SVG drawings of plain shapes are written as shapes, sharp at any size, where they
        are painted in one tint or in their own colours, and so are instances of a kind that gives outlines. They differ
        a little from the render at their rims."""

    settings: Settings

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write the drawing; see ``Exporter.export``."""
        require_over(scene, "SVG")
        drawing = _Drawing(scene, options, renderer, self.settings.outlines)
        text = "\n".join(drawing.document(progress)) + "\n"
        data = text.encode("utf-8")
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix.lower() == ".svgz" else data)
        progress(1.0)


class _Drawing:
    """The one drawing: what is stored once, and an element for each instance."""

    def __init__(self, scene: Scene, options: ExportOptions, renderer: str, outlines: bool) -> None:
        self._scene, self._scale = scene, options.scale
        self._instances = placed_instances(scene, options.scale)
        names = [instance.name for instance in self._instances]
        boxes = np.array([instance.box for instance in self._instances], dtype=np.int64).reshape(-1, 4)
        self._groups = group_stamps(names, boxes, options.groups)
        self._outlines = _given_outlines(scene, names) if outlines else {}
        sprites = [sprite for one in self._instances if one.name not in self._outlines for sprite in one.sprites]
        self._shapes = {sprite.number: shape for sprite in sprites if outlines and (shape := _shape(scene, sprite))}
        textured = [sprite for sprite in sprites if sprite.number not in self._shapes]
        self._images = TextureImages(scene, textured, options.scale, renderer)

        owners = {sprite.number: one.name for one in self._instances for sprite in one.sprites}
        textures = scene.atlas.textures
        stored = [
            f"{key.kind} {textures[key.texture].name} {key.level}"
            if key.sprite == SHARED
            else f"{key.kind} {owners[key.sprite].text}"
            for key in self._images.needed
        ]
        shapes = sorted(set(self._shapes.values()))
        stored += [f"{'tinted' if tinted else 'drawing'} {textures[number].name}" for number, tinted in shapes]
        whole = " and ".join(dict.fromkeys(name.kind for name in names))
        self._labels = [group.name or whole for group in self._groups]
        ids = identifiers([BACKGROUND_NAME, *self._labels, *(name.text for name in names), *stored])
        self._background_id, *self._group_ids = itertools.islice(ids, 1 + len(self._groups))
        self._ids = dict(zip(names, ids, strict=False))
        self._texture_ids = dict(zip(self._images.needed, itertools.islice(ids, len(self._images.needed)), strict=True))
        self._shape_ids = dict(zip(shapes, ids, strict=True))

    def document(self, progress: Progress) -> Iterator[str]:
        """Yield the file line by line."""
        scene, needed = self._scene, self._images.needed
        height, width = scene.scaled_size(self._scale)
        # What whole pixels come to in canvas units, which is not the canvas where the scale leaves a part of a pixel.
        across, down = number(width / self._scale), number(height / self._scale)
        yield '<?xml version="1.0" encoding="UTF-8"?>'
        yield f'<svg {NAMESPACES} width="{width}" height="{height}" viewBox="0 0 {across} {down}">'
        yield f"<title>Composition of {counted(scene)}</title>"
        yield f"<desc>Composed by DiffBMP {__version__}: every stamp is an element of its own.</desc>"
        yield "<defs>"
        for done, key in enumerate(needed):
            yield _texture(self._images.pixels(key), key.kind, self._texture_ids[key])
            progress(0.9 * (done + 1) / len(needed))
        for (texture, tinted), identifier in self._shape_ids.items():
            yield outline_element(scene.atlas.textures[texture].outline or "", identifier, tinted=tinted)
        yield "</defs>"
        yield from _background(scene, self._scale, f'id="{self._background_id}" width="{across}" height="{down}"')
        for group, identifier, label in zip(self._groups, self._group_ids, self._labels, strict=True):
            yield f'<g id="{identifier}" inkscape:groupmode="layer" inkscape:label="{as_text(label)}">'
            for index in group.stamps:
                yield from self._instance(self._instances[index])
            yield "</g>"
        yield "</svg>"

    def _instance(self, instance: PlacedInstance) -> Iterator[str]:
        """Yield the element of an instance, or nothing where it draws nothing."""
        identity, title = f'id="{self._ids[instance.name]}"', f"<title>{as_text(instance.name.text)}</title>"
        if instance.name in self._outlines:
            opacity = "" if self._scene.alpha_max == 1 else f' opacity="{number(self._scene.alpha_max)}"'
            yield f"<g {identity}{opacity}>{title}{self._outline(instance.name)}</g>"
            return
        drawn = [parts for sprite in instance.sprites if (parts := self._sprite(sprite)) is not None]
        if len(instance.sprites) == 1:
            yield from (f"<g {identity} {attributes}>{title}{content}</g>" for attributes, content in drawn)
        elif drawn:
            inside = "".join(f"<g {attributes}>{content}</g>" for attributes, content in drawn)
            yield f"<g {identity}>{title}{inside}</g>"

    def _outline(self, name: StampName) -> str:
        given = self._outlines[name]
        element = instance_outline(given, self._ids[name]) if isinstance(given, str) else None
        if element is None:
            raise DiffbmpError(
                f"The primitive '{name.kind}' gives '{name.text}' an outline that is not one element of plain shapes "
                "without scripts, links and text; write it without --set exporters.svg.outlines=true."
            )
        return element

    def _sprite(self, sprite: PlacedSprite) -> tuple[str, str] | None:
        """Return the attributes and the content of the group that draws one sprite, or None where it draws nothing."""
        opacity = f'opacity="{number(sprite.opacity)}"'
        if sprite.number in self._shapes:  # whose unit square is (u, v) in [-1, 1]^2
            a, b, x, c, d, y = sprite.frame
            place = _transform((2 * a, 2 * c, 2 * b, 2 * d, x - a - b, y - c - d))
            shape = self._shape_ids[self._shapes[sprite.number]]
            return f'{place} {opacity} color="{hex_color(sprite.color)}"', f'<use xlink:href="#{shape}"/>'
        if sprite.number not in self._images.looks:
            return None
        look = self._images.looks[sprite.number]
        ids = {kind: self._texture_ids[key] for kind, key in look.images.items()}
        return f"{_transform(look.matrix)} {opacity}", _painted(sprite, look.size, ids)


@torch.no_grad()
def _given_outlines(scene: Scene, names: list[StampName]) -> dict[StampName, str]:
    """Return the outline of each instance whose kind gives one, as it gave it."""
    primitives = scene.primitives
    given = ((name, primitives[name.primitive].outline(name.index, scene.atlas)) for name in names)
    return {name: text for name, text in given if text is not None}


def _shape(scene: Scene, sprite: PlacedSprite) -> tuple[int, bool] | None:
    """Return the texture whose outline a sprite can be drawn with and whether in its tint, or None."""
    outline = scene.atlas.textures[sprite.texture].outline
    if outline is None or not sprite.drawn or sprite.color_blend not in (0, 1):
        return None
    tinted = sprite.color_blend == 0
    return None if tinted and not tintable(outline) else (sprite.texture, tinted)


def _transform(matrix: Matrix) -> str:
    return f'transform="matrix({" ".join(number(value) for value in matrix)})"'


def _texture(pixels: NDArray[np.uint8], kind: ImageKind, identifier: str) -> str:
    height, width = pixels.shape[:2]
    if kind == "cover":  # white with the coverage as its alpha, so that renderers agree which read a mask's alpha alone
        pixels = np.concatenate([np.full_like(pixels, 255), pixels], axis=-1)
    address = data_address("image/png", png_bytes(pixels))
    size = f'width="{width}" height="{height}"'
    # "smooth" asks resvg and librsvg for the bilinear filter that the others use by themselves.
    image = f'<image {size} preserveAspectRatio="none" style="image-rendering:smooth" xlink:href="{address}"'
    if kind == "cover":
        return f'<mask id="{identifier}" maskUnits="userSpaceOnUse" x="0" y="0" {size}>{image}/></mask>'
    return f'{image} id="{identifier}"/>'


def _background(scene: Scene, scale: float, attributes: str) -> Iterator[str]:
    if scene.background is None:
        return
    if scene.background.dim() == 1:
        red, green, blue = scene.background.tolist()
        yield f'<rect {attributes} fill="{hex_color((red, green, blue))}"/>'
        return
    picture = scene.background_at(scale)
    assert picture is not None
    values = picture.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    address = data_address("image/png", png_bytes(values))
    yield f'<image {attributes} preserveAspectRatio="none" xlink:href="{address}"/>'


def _painted(sprite: PlacedSprite, size: tuple[int, int], images: dict[ImageKind, str]) -> str:
    """Return what paints one sprite in texels; ``images`` are the ids of its texture images."""
    if "picture" in images:
        return f'<use xlink:href="#{images["picture"]}"/>'
    rectangle = f'<rect width="{size[0]}" height="{size[1]}" fill="{hex_color(sprite.color)}"'
    mask = f'mask="url(#{images["cover"]})"'
    if "colors" not in images:
        return f"{rectangle} {mask}/>"
    colors = f'<use xlink:href="#{images["colors"]}"/>'
    # The inner group, since CairoSVG ignores the opacity of a use.
    return f'<g {mask}>{rectangle}/><g opacity="{number(sprite.color_blend)}">{colors}</g></g>'
