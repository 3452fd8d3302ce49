"""Primitives that draw a layer of their own: flattened they are one sprite, and every format shows them as rendered."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import diffbmp
from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.exporters import bands
from diffbmp.exporters.bands import render_bands
from diffbmp.exporters.exporter import Exporter
from diffbmp.exporters.naming import counted, stamp_names
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.stack import LayerStack
from diffbmp.exporters.write import write_scene
from diffbmp.images import eight_bits
from diffbmp.metrics import psnr
from diffbmp.plugins.registry import registry
from diffbmp.scene.scene import Scene
from diffbmp.testing.editors import ORA_EDITORS, blank_preview
from diffbmp.testing.exports import mixed_scene, over_flat
from diffbmp.testing.kinds import SoftRectangles
from diffbmp.testing.readers import PDF_READERS, SVG_READERS, page_pixels, require

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ["stamps", "soft-rectangles", "ribbons"]
SCALES = [1.0, 2.0, 1.3, 0.37]
"""The last two make a picture of other proportions than the canvas, whose pixels are nevertheless the scale's."""


def scene_of(blend="over", alpha_max=0.8, kinds=KINDS, **options):
    scene = mixed_scene(kinds, count=9, **options)
    scene.blend, scene.alpha_max = blend, alpha_max
    return scene


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "kinds", [KINDS, ["soft-rectangles"], ["soft-rectangles", "stamps", "soft-rectangles"]], ids="-".join
)
@torch.no_grad()
def test_flattened_it_renders_alike(kinds, scale):
    scene = scene_of(kinds=kinds, background="transparent")
    flat = scene.flattened(scale)
    torch.testing.assert_close(flat.render(scale=scale), scene.render(scale=scale), atol=1e-5, rtol=0)
    assert flat.flattened(scale) is flat


@torch.no_grad()
def test_a_pixel_of_the_layer_is_a_texel():
    scene = scene_of(kinds=["soft-rectangles"])
    flat = scene.flattened(1.3)
    (frame,) = flat.sprites().frame.tolist()
    height, width = scene.scaled_size(1.3)
    assert np.allclose(frame, [[width / 2.6, 0, width / 2.6], [0, height / 2.6, height / 2.6]])
    assert flat.atlas.textures[-1].pixels.shape == (4, height, width)
    assert flat.alpha_max == 1


def test_it_is_one_instance_under_the_names_of_its_kind():
    scene = scene_of()
    names = stamp_names(scene.flattened())
    assert [name.number for name in names] == list(range(1, 20))
    assert names[9].text == "soft-rectangles 10"
    assert (names[9].primitive, names[9].index, names[9].kind) == (1, 0, "soft-rectangles")
    assert names[10].text == "ribbons 11"
    assert counted(scene.flattened()) == "9 stamps and 1 soft-rectangles and 9 ribbons"


def test_a_scene_of_sprites_is_its_own_flattened_one():
    scene = scene_of(kinds=["stamps", "ribbons"])
    assert scene.flattened(3.0) is scene


@pytest.mark.parametrize("suffix", ["ora", "svg", "html", "pdf"])
def test_added_up_it_is_refused_by_name(suffix, tmp_path):
    with pytest.raises(DiffbmpError, match=r"primitive 'soft-rectangles' draws a layer of its own.*'add'; write PNG"):
        write_scene(scene_of("add", background="transparent"), tmp_path / f"a.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_kind_that_lacks_the_blend_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(SoftRectangles, "blends", ("add",))
    for suffix in ("ora", "png"):
        with pytest.raises(
            DiffbmpError, match="'soft-rectangles' cannot be drawn with the blend mode 'over', only with add"
        ):
            write_scene(scene_of(), tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("blend", ["over", "add"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("background", ["picture", "transparent"])
def test_png_is_the_render(blend, scale, background, tmp_path):
    scene = scene_of(blend, background=background)
    write_scene(scene, tmp_path / "a.png", ExportOptions(scale=scale))
    ours = eight_bits(scene.render(scale=scale), premultiplied=True)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), ours.movedim(0, -1).numpy())


@pytest.mark.parametrize("blend", ["over", "add"])
@pytest.mark.parametrize("scale", SCALES)
@torch.no_grad()
def test_bands_are_rows_of_the_picture(blend, scale, monkeypatch):
    scene = scene_of(blend)
    whole = eight_bits(scene.render(scale=scale))
    monkeypatch.setattr(bands, "BAND_PIXELS", 7 * whole.shape[-1])
    found = list(render_bands(scene, scale=scale, renderer="auto", background=scene.background_at(scale)))
    assert [top for top, _ in found] == list(range(0, whole.shape[1], 7))
    picture = torch.cat([band for _, band in found], dim=1)
    # A layer of its own is placed by coordinates that round in another way.
    assert int((picture.int() - whole.int()).abs().max()) <= 1
    assert float((picture != whole).float().mean()) < 1e-3


@torch.no_grad()
def test_bands_of_sprites_have_the_bits_of_the_picture(monkeypatch):
    scene = scene_of(kinds=["stamps", "ribbons"])
    whole = eight_bits(scene.render(scale=1.7))
    monkeypatch.setattr(bands, "BAND_PIXELS", 5 * whole.shape[-1])
    found = render_bands(scene, scale=1.7, renderer="auto", background=scene.background_at(1.7))
    assert torch.equal(torch.cat([band for _, band in found], dim=1), whole)


@pytest.mark.parametrize("scale", SCALES)
def test_ora_is_composited_to_the_render(scale, written, tmp_path):
    require("pyora")
    scene = scene_of()
    path = written(scene, "ora", scale=scale)
    drawn = ORA_EDITORS["pyora"](blank_preview(path, tmp_path / "blank.ora"))
    with torch.no_grad():
        ours = scene.render(scale=scale).double()
    assert psnr(drawn[:3], ours) >= 45
    assert float((drawn[:3] - ours).abs().max()) <= 2.5 / 255


def test_the_layer_of_a_file_is_the_layer_that_it_draws():
    scene = scene_of(kinds=["soft-rectangles", "stamps"])
    stack = LayerStack(scene.flattened(1.3), ExportOptions(scale=1.3), renderer="auto", progress=lambda fraction: None)
    layer = next(stack.layers())
    assert layer.name == "soft-rectangles 1"
    with torch.no_grad():
        ours = eight_bits(scene.primitives[0].draw(scene.drawing(scale=1.3)), premultiplied=True)
    rows, columns = layer.pixels.shape[1:]
    shown = ours[:, layer.top : layer.top + rows, layer.left : layer.left + columns]
    alpha = layer.pixels[3] * (layer.opacity / 255)
    assert np.abs(alpha - shown[3].numpy()).max() <= 1
    solid = (alpha > 16) & (shown[3].numpy() > 16)
    assert np.abs(layer.pixels[:3].astype(int) - shown[:3].numpy())[:, solid].max() <= 2
    assert int(ours[3].sum()) == int(shown[3].sum())


def test_a_scene_that_is_not_flattened_has_no_layers():
    with pytest.raises(DiffbmpError, match=r"'soft-rectangles' draws a layer of its own.*take scene.flattened\(\)"):
        LayerStack(scene_of(kinds=["soft-rectangles"]), ExportOptions(), renderer="auto", progress=print)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("reader", sorted(SVG_READERS))
def test_svg_is_drawn_like_the_render(reader, scale, written, quality):
    require(reader)
    scene = scene_of()
    path = written(scene, "svg", scale=scale)
    assert quality(SVG_READERS[reader](path), scene, scale) >= 42
    titles = [title.text for title in ElementTree.parse(path).getroot().iter(f"{SVG}title")]
    assert titles.count("soft-rectangles 10") == 1


@pytest.mark.parametrize("reader", sorted(SVG_READERS))
def test_at_a_scale_that_leaves_a_part_of_a_pixel_svg_lines_up(reader, written):
    """Stripes of one pixel over the whole canvas are grey where a viewer is a part of a pixel off."""
    require(reader)
    stripes = torch.zeros(4, 9, 13)
    stripes[:, :, ::2] = 1
    stripes[3] = 1
    scene = Scene(10, 7, Atlas([Texture("dot", torch.ones(1, 1, 1))]), [Stripes(stripes)])
    drawn = SVG_READERS[reader](written(scene, "svg", scale=1.3))
    assert drawn.shape == (4, 9, 13)
    assert float((drawn - stripes).abs().max()) <= 0.02


class Stripes(diffbmp.Primitive):
    """One layer of given pixels, whatever the canvas."""

    name = "stripes"
    axes = {}  # noqa: RUF012

    def __init__(self, pixels):
        super().__init__()
        self.pixels = [pixels]

    def __len__(self):
        return 1

    def draw(self, canvas):
        return self.pixels[0]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.3, 4.0])
@pytest.mark.parametrize("reader", PDF_READERS)
def test_pdf_is_drawn_like_the_render(reader, scale, written, quality):
    require(reader)
    scene = scene_of()
    drawn = PDF_READERS[reader](written(scene, "pdf", scale=scale, dpi=300.0), 300.0)
    lowest = {"poppler-cairo": 42.0, "poppler-splash": 36.0}[reader]
    assert quality(drawn, scene, scale) >= lowest - (6 if scale < 4 else 0)


@pytest.mark.slow
def test_the_page_draws_what_we_draw(browser, written):
    scene = scene_of(background="transparent")
    drawn = page_pixels(browser, written(scene, "html"), 1.0)
    with torch.no_grad():
        ours = scene.render().double()
    for value in (0.0, 1.0):
        assert psnr(over_flat(drawn, value), over_flat(ours, value)) >= 60


def test_an_exporter_of_pictures_is_given_the_scene_as_it_is(tmp_path, monkeypatch):
    given = {}

    class Sprites(Exporter):
        """Exporter of sprites."""

        name, suffixes = "probe-sprites", (".probes",)

        def export(self, scene, path, options, *, renderer, progress):
            given[self.name] = scene
            path.write_bytes(b"written")

    class Pictures(Sprites):
        """Exporter of pictures."""

        name, suffixes, flattens = "probe-pictures", (".probep",), False

    class Probes:
        @diffbmp.hookimpl
        def register_exporters(self, register):
            register(Sprites)
            register(Pictures)

    fresh = type(registry())()
    fresh.load()
    assert fresh.add(Probes(), "probes").problems == []
    monkeypatch.setattr("diffbmp.plugins.registry._registry", fresh)
    scene = scene_of()
    for suffix in ("probes", "probep"):
        write_scene(scene, tmp_path / f"a.{suffix}", ExportOptions(scale=2))
    assert given["probe-pictures"] is scene
    assert given["probe-sprites"].atlas.textures[-1].pixels.shape == (4, 240, 320)
