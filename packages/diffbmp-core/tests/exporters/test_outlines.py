"""Outlines: what is kept of a drawing, that nothing harmful is, and that SVG files draw it like our render."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest
import torch

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.loaders.sources import load_textures
from diffbmp.outline import checked_outline, outline_element, tintable
from diffbmp.scene.file import load_scene, save_scene
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import Stamps
from diffbmp.testing.readers import SVG_READERS, require, svg_by_chromium

SVG = "{http://www.w3.org/2000/svg}"
LOWEST = 38.0
"""PSNR in dB: shapes have sharper rims than the bitmap that was made of them."""

FLOWER = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="urn:x" viewBox="-10 -20 120 160">
<title>A flower</title><inkscape:page/><defs><linearGradient id="g" x1="0" y1="0" x2="0" y2="1">
<stop offset="0" stop-color="#c03"/><stop offset="1" style="stop-color:gold"/></linearGradient></defs>
<g transform="translate(50,40)" style="fill:url(#g);font-family:serif"><ellipse rx="40" ry="18"/>
<ellipse rx="18" ry="40" fill-opacity="0.7"/></g><circle cx="50" cy="40" r="9" stroke="currentColor" fill="#fc0"/>
<path d="M50 60 q -12 30 4 70" fill="none" stroke="green" stroke-width="7" stroke-linecap="round"/></svg>"""


@pytest.fixture
def flower(tmp_path):
    path = tmp_path / "flower.svg"
    path.write_text(FLOWER)
    (texture,) = load_textures([str(path)], {})
    return texture


def scene_of(texture, color_blend):
    random = torch.Generator().manual_seed(0)
    count = 14
    stamps = Stamps(
        torch.rand(count, 2, generator=random) * torch.tensor([320.0, 240.0]),
        20 + 40 * torch.rand(count, generator=random),
        6.3 * torch.rand(count, generator=random),
        torch.randn(count, generator=random),
        torch.randn(count, 3, generator=random),
        torch.zeros(count, dtype=torch.int64),
        color_blend,
    )
    return Scene(320, 240, Atlas([texture]), [stamps], background=torch.ones(3))


OUTLINES = {"svg": {"outlines": True}}


def test_is_kept_by_scene_files(flower, tmp_path):
    assert flower.outline is not None
    assert "inkscape" not in flower.outline
    assert "font" not in flower.outline
    save_scene(scene_of(flower, 0.0), tmp_path / "a.diffbmp")
    (loaded,) = load_scene(tmp_path / "a.diffbmp").atlas.textures
    assert loaded.outline == flower.outline == checked_outline(flower.outline)


def test_is_written_once_for_each_way_of_painting(written, flower):
    for blend, kind in ((0.0, "tinted"), (1.0, "drawing")):
        root = ElementTree.parse(written(scene_of(flower, blend), "svg", settings=OUTLINES)).getroot()
        assert not list(root.iter(f"{SVG}image"))
        (shape,) = [g for g in root.find(f"{SVG}defs") if g.get("id").startswith(kind)]
        assert len(list(shape.iter(f"{SVG}ellipse"))) == 2
        paints = {e.get(key) for e in shape.iter() for key in ("fill", "stroke", "stop-color") if e.get(key)}
        plain = {paint for paint in paints if not paint.startswith("url")}
        assert (plain <= {"currentColor", "none"}) == (kind == "tinted")
    # Without the setting, and where tint and own colours are mixed, bitmaps are written.
    assert list(ElementTree.parse(written(scene_of(flower, 0.0), "svg")).getroot().iter(f"{SVG}image"))
    mixed = written(scene_of(flower, 0.5), "svg", settings=OUTLINES)
    assert list(ElementTree.parse(mixed).getroot().iter(f"{SVG}image"))


@pytest.mark.parametrize("blend", [0.0, 1.0])
@pytest.mark.parametrize("reader", sorted(SVG_READERS))
def test_readers_draw_it_like_the_render(written, quality, flower, reader, blend):
    require(reader)
    scene = scene_of(flower, blend)
    path = written(scene, "svg", settings=OUTLINES, scale=2)
    assert quality(SVG_READERS[reader](path), scene, 2.0) >= LOWEST


@pytest.mark.slow
@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_chromium_draws_it_like_the_render(written, quality, browser, flower, blend):
    scene = scene_of(flower, blend)
    path = written(scene, "svg", settings=OUTLINES, scale=2)
    assert quality(svg_by_chromium(browser, path), scene, 2.0) >= LOWEST


@pytest.mark.parametrize(
    "content",
    [
        "<script>alert(1)</script>",
        '<rect width="5" height="5" onclick="alert(1)"/>',
        '<rect width="5" height="5" fill="url(http://example.org/a.svg#g)"/>',
        '<rect width="5" height="5" style="filter:url(#f)"/>',
        '<rect width="5" height="5" style="mix-blend-mode:multiply"/>',
        '<rect width="5" height="5" clip-path="url(#c)"/>',
        '<text x="0" y="9">Hello</text>',
        '<image href="data:image/png;base64,AAAA" width="5" height="5"/>',
        "<style>rect{fill:red}</style>",
        '<linearGradient id="g" href="http://example.org/#x"/>',
    ],
)
def test_what_is_not_a_plain_shape_stays_a_bitmap(tmp_path, content):
    path = tmp_path / "a.svg"
    drawing = f'<circle cx="5" cy="5" r="4"/>{content}'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10">{drawing}</svg>')
    try:
        (texture,) = load_textures([str(path)], {})
    except DiffbmpError:  # what refers to elsewhere is refused altogether
        return
    assert texture.outline is None
    assert checked_outline(f"<g>{drawing}</g>") is None


def test_an_outline_of_a_stranger_is_checked_on_loading(flower, tmp_path):
    harmful = dataclasses.replace(flower, outline='<g onload="alert(1)"><path d="M0 0h1v1z"/></g>')
    save_scene(scene_of(harmful, 0.0), tmp_path / "a.diffbmp")
    assert load_scene(tmp_path / "a.diffbmp").atlas.textures[0].outline is None


def test_a_gradient_of_opacity_cannot_be_tinted(flower, written):
    faded = dataclasses.replace(flower, outline=flower.outline.replace('"gold"', '"gold" stop-opacity="0.5"'))
    assert tintable(flower.outline)
    assert not tintable(faded.outline)
    root = ElementTree.parse(written(scene_of(faded, 0.0), "svg", settings=OUTLINES)).getroot()
    assert list(root.iter(f"{SVG}image"))


def test_ids_of_two_drawings_do_not_meet(flower):
    first, second = (outline_element(flower.outline, name, tinted=False) for name in ("one", "two"))
    assert 'id="one-g"' in first
    assert "url(#one-g)" in first
    assert "one-" not in second
