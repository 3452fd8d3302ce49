"""PDF at print size: each stamp an object of its own, with transparency that viewers and printers composite."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.exporters.grouping import group_stamps
from diffbmp.exporters.markup import number
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.placed import PlacedInstance, PlacedSprite, placed_instances, require_over
from diffbmp.exporters.texture_images import Look, Matrix, TextureImage, TextureImages
from diffbmp.images import eight_bits
from diffbmp.scene.scene import Scene
from diffbmp.version import __version__

if TYPE_CHECKING:
    import pikepdf

__all__ = ["PdfExporter"]

POINTS = 72.0
"""Points per inch."""

LARGEST_PAGE = 14_400
"""Longest side of a page in points (PDF 1.7, annex C); larger ones many viewers refuse."""

LARGEST_FINER = 2048
"""Pixels of the longer side up to which a texture is interpolated that the page enlarges."""


class PdfExporter(Exporter):
    """One page at print size, its stamps as separate objects with opacity and soft masks; needs ``diffbmp-core[pdf]``.

    The page is the canvas times ``--scale`` in pixels, of which ``--dpi`` make an inch. Textures are as fine as that
    many pixels need. With ``--groups`` each group is a layer that a viewer can switch off. The sprites of an instance
    that has several are marked content of its name.
    """

    name = "pdf"
    suffixes = (".pdf",)
    options: ClassVar[frozenset[str]] = frozenset({"scale", "dpi", "groups"})

    def export(self, scene: Scene, path: Path, options: ExportOptions, *, renderer: str, progress: Progress) -> None:
        """Write the page; see ``Exporter.export``."""
        require_over(scene, "PDF")
        if importlib.util.find_spec("pikepdf") is None:
            raise DiffbmpError("Writing PDF needs the package pikepdf: pip install 'diffbmp-core[pdf]'.")
        import pikepdf  # only needed here

        height, width = scene.scaled_size(options.scale)
        longest = max(height, width) * POINTS / options.dpi
        if longest > LARGEST_PAGE:
            raise DiffbmpError(
                f"A page of {longest / POINTS:.0f} inches is too long for PDF, which allows "
                f"{LARGEST_PAGE / POINTS:.0f}; give a higher --dpi."
            )
        with pikepdf.new() as pdf:
            _Page(pdf, scene, options, renderer, progress).write()
            with pdf.open_metadata(set_pikepdf_as_editor=False) as metadata:
                metadata["xmp:CreatorTool"] = f"DiffBMP {__version__}"
                metadata["dc:title"] = "Composition of stamps"
            pdf.save(
                path, compress_streams=True, object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True
            )
        progress(1.0)


class _Page:
    """The one page: its resources, each once, and its content."""

    def __init__(
        self, pdf: pikepdf.Pdf, scene: Scene, options: ExportOptions, renderer: str, progress: Progress
    ) -> None:
        self._pdf, self._scene, self._options, self._progress = pdf, scene, options, progress
        self._instances = placed_instances(scene, options.scale)
        sprites = [sprite for instance in self._instances for sprite in instance.sprites]
        self._textures = TextureImages(scene, sprites, options.scale, renderer)
        self._images: dict[str, pikepdf.Object] = {}
        self._states: dict[str, pikepdf.Object] = {}
        self._layers: dict[str, pikepdf.Object] = {}
        self._names: dict[TextureImage, str] = {}

    def write(self) -> None:
        """Add the page to the file."""
        from pikepdf import Array, Dictionary, Name

        unit = POINTS / self._options.dpi
        pixels_high, pixels_wide = self._scene.scaled_size(self._options.scale)
        wide, high = pixels_wide * unit, pixels_high * unit
        enlargement = self._textures.enlargement(self._options.scale)
        for done, key in enumerate(self._textures.needed):
            rows, columns = self._textures.pixels(key).shape[:2]
            # Many printers do not smooth what they enlarge, so it is done for them.
            finer = min(math.ceil(enlargement[key]), max(1, LARGEST_FINER // max(rows, columns)))
            self._names[key] = self._add_texture(key, self._textures.pixels(key, finer), (columns, rows))
            self._progress(0.8 * (done + 1) / len(self._textures.needed))
        # From canvas pixels, y down, to points, y up.
        pixel = unit * self._options.scale
        start = _placed((pixel, 0.0, 0.0, -pixel, 0.0, high))
        content = "\n".join([start, *self._background(), *self._groups()])
        resources = Dictionary(
            XObject=Dictionary({f"/{name}": image for name, image in self._images.items()}),
            ExtGState=Dictionary({f"/{name}": state for name, state in self._states.items()}),
            Properties=Dictionary({f"/{name}": layer for name, layer in self._layers.items()}),
        )
        self._pdf.add_blank_page(page_size=(wide, high))
        page = self._pdf.pages[0]
        page.obj.MediaBox = Array([0, 0, round(wide, 4), round(high, 4)])
        page.obj.Resources = resources
        page.obj.Group = Dictionary(Type=Name.Group, S=Name.Transparency, CS=Name.DeviceRGB, I=True)
        page.obj.Contents = self._pdf.make_stream(content.encode("ascii"))
        if self._layers:
            layers = Array(list(self._layers.values()))
            # Viewers list layers from the top.
            order = Array(list(self._layers.values())[::-1])
            self._pdf.Root.OCProperties = Dictionary(OCGs=layers, D=Dictionary(Order=order, ON=layers))

    def _background(self) -> Iterator[str]:
        scene = self._scene
        if scene.background is None:
            return
        # What whole pixels come to in canvas units, which is not the canvas where the scale leaves a part of a pixel.
        down, across = (pixels / self._options.scale for pixels in scene.scaled_size(self._options.scale))
        if scene.background.dim() == 1:
            color = " ".join(number(value) for value in scene.background.tolist())
            yield f"{color} rg 0 0 {number(across)} {number(down)} re f"
            return
        picture = scene.background_at(self._options.scale)
        assert picture is not None
        self._images["background"] = self._image(eight_bits(picture).cpu().movedim(0, -1).contiguous().numpy())
        yield f"q {_placed((across, 0.0, 0.0, -down, 0.0, down))} /background Do Q"

    def _groups(self) -> Iterator[str]:
        import pikepdf

        boxes = np.array([instance.box for instance in self._instances], dtype=np.int64).reshape(-1, 4)
        for group in group_stamps([one.name for one in self._instances], boxes, self._options.groups):
            if group.name is not None:
                name = f"layer{len(self._layers)}"
                layer = pikepdf.Dictionary(Type=pikepdf.Name.OCG, Name=pikepdf.String(group.name))
                self._layers[name] = self._pdf.make_indirect(layer)
                yield f"/OC /{name} BDC"
            for index in group.stamps:
                yield from self._instance(self._instances[index])
            if group.name is not None:
                yield "EMC"

    def _instance(self, instance: PlacedInstance) -> Iterator[str]:
        """Yield the operators that paint one instance."""
        looks = self._textures.looks
        painted = [self._sprite(one, looks[one.number]) for one in instance.sprites if one.number in looks]
        if len(instance.sprites) < 2 or not painted:
            yield from painted
            return
        title = instance.name.text.encode("utf-16-be").hex()
        yield f"/Instance <</Title <feff{title}>>> BDC"
        yield from painted
        yield "EMC"

    def _sprite(self, sprite: PlacedSprite, look: Look) -> str:
        """Return the operators that paint one sprite."""
        width, height = look.size
        names = {kind: self._names[key] for kind, key in look.images.items()}
        start = f"q {_placed(look.matrix)} /{self._opacity_name(sprite.opacity)} gs"
        whole = _placed((width, 0.0, 0.0, -height, 0.0, height))  # from the unit square that images fill, y up
        if "picture" in names:
            return f"{start} {whole} /{names['picture']} Do Q"
        color = " ".join(number(value) for value in sprite.color)
        fill = f"{color} rg 0 0 {width} {height} re f"
        masked = f"{start} /{names['cover']} gs"
        if "colors" not in names:
            return f"{masked} {fill} Q"
        mix, colors = self._opacity_name(sprite.color_blend), names["colors"]
        mixed = f"{fill} /{mix} gs {whole} /{colors} Do"
        form = f"mix{sprite.number}"
        used, states = {f"/{colors}": self._images[colors]}, {f"/{mix}": self._states[mix]}
        self._images[form] = self._form(mixed, look.size, used, states)
        return f"{masked} /{form} Do Q"

    def _opacity_name(self, value: float) -> str:
        """Return the name of the graphics state of an opacity."""
        import pikepdf

        text = f"{value:.5f}"
        name = f"opacity{text[2:] if value < 1 else '1'}"
        if name not in self._states:
            alpha = pikepdf.Object.parse(text.encode("ascii"))
            self._states[name] = self._pdf.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.ExtGState, ca=alpha))
        return name

    def _add_texture(self, key: TextureImage, pixels: NDArray[np.uint8], size: tuple[int, int]) -> str:
        """Store an image of ``size`` in texels and return the name by which it is drawn, or for a cover set as mask."""
        from pikepdf import Dictionary, Name

        name = f"{key.kind}{len(self._names)}"
        if key.kind == "cover":
            width, height = size
            image = self._image(pixels)
            content = f"{_placed((width, 0.0, 0.0, -height, 0.0, height))} /cover Do"
            form = self._form(content, size, {"/cover": image}, {}, gray=True)
            mask = Dictionary(Type=Name.Mask, S=Name.Luminosity, G=form)
            self._states[name] = self._pdf.make_indirect(Dictionary(Type=Name.ExtGState, SMask=mask))
            return name
        image = self._image(pixels[..., :3])
        if key.kind == "picture":
            image.SMask = self._image(pixels[..., 3:])
        self._images[name] = image
        return name

    def _image(self, pixels: NDArray[np.uint8]) -> pikepdf.Stream:
        """Return an image of 8-bit ``(h, w, 1)`` grey or ``(h, w, 3)`` RGB, to be smoothed where it is enlarged."""
        from pikepdf import Name

        height, width, channels = pixels.shape
        return self._pdf.make_stream(
            np.ascontiguousarray(pixels).tobytes(),
            Type=Name.XObject, Subtype=Name.Image, Width=width, Height=height, BitsPerComponent=8,
            ColorSpace=Name.DeviceGray if channels == 1 else Name.DeviceRGB, Interpolate=True,
        )  # fmt: skip

    def _form(
        self, content: str, size: tuple[int, int], images: dict[str, Any], states: dict[str, Any], *, gray: bool = False
    ) -> pikepdf.Stream:
        """Return a transparency group that is painted as a whole, with the images and graphics states that it uses."""
        from pikepdf import Array, Dictionary, Name

        space = Name.DeviceGray if gray else Name.DeviceRGB
        return self._pdf.make_stream(
            content.encode("ascii"),
            Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, *size]),
            Group=Dictionary(Type=Name.Group, S=Name.Transparency, CS=space, I=True),
            Resources=Dictionary(XObject=Dictionary(images), ExtGState=Dictionary(states)),
        )  # fmt: skip


def _placed(matrix: Matrix) -> str:
    return f"{' '.join(number(value) for value in matrix)} cm"
