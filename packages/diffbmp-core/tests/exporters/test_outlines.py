"""Outlines: what is kept of a drawing, that nothing harmful is, and that SVG files draw it like our render."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest
import torch

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.write import write_scene
from diffbmp.loaders.sources import load_textures
from diffbmp.outline import checked_outline, instance_outline, outline_element, tintable
from diffbmp.scene.file import load_scene, save_scene
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import Stamps
from diffbmp.testing.exports import mixed_scene
from diffbmp.testing.kinds import Ribbons, SoftRectangles
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


def test_numbers_of_a_stranger_are_read_in_time_that_grows_with_their_length():
    digits = "1" * 100_000
    assert checked_outline(f'<g><rect width="{digits}!"/></g>') is None
    assert checked_outline(f'<g><rect width="{digits}"/></g>') is not None


def test_an_instance_of_a_kind_that_has_an_outline_is_that_outline(written):
    scene = mixed_scene(["stamps", "ribbons"], count=5)
    root = ElementTree.parse(written(scene, "svg", settings=OUTLINES)).getroot()
    groups = {g.find(f"{SVG}title").text: g for g in root.iter(f"{SVG}g") if g.find(f"{SVG}title") is not None}
    for number in range(6, 11):
        group = groups[f"ribbons {number}"]
        (path,) = group.findall(f"{SVG}path")
        assert path.get("d").startswith("M")
        assert (group.get("id"), group.get("opacity"), group.get("transform")) == (f"ribbons-{number}", None, None)
        assert len(list(group.iter())) == 3
    # Without the setting there are sprites, and textures that only outlined instances are made of are not stored.
    plain = ElementTree.parse(written(scene, "svg")).getroot()
    assert not list(plain.iter(f"{SVG}path"))
    alone = ElementTree.parse(written(mixed_scene(["ribbons"]), "svg", settings=OUTLINES)).getroot()
    assert not list(alone.iter(f"{SVG}image"))


def one_ribbon(behind=()):
    """Return a scene of a half opaque red ribbon from (8, 12) to (32, 12), 6 pixels wide, on white."""
    points = torch.tensor([[[8.0, 12.0], [20.0, 12.0], [32.0, 12.0]]])
    ribbon = Ribbons(points, torch.tensor([6.0]), torch.ones(1), torch.tensor([[1.0, 0.0, 0.0]]))
    atlas = Atlas([Texture("block", torch.ones(1, 4, 4))])
    return Scene(40, 24, atlas, [*behind, ribbon], background=torch.ones(3), alpha_max=0.5)


@pytest.mark.parametrize("flattened", [False, True])
@pytest.mark.parametrize("reader", sorted(SVG_READERS))
def test_readers_draw_outlines_in_place_and_as_opaque_as_the_scene_is(reader, flattened, written):
    require(reader)
    behind = SoftRectangles(*(torch.tensor([value]) for value in ([0.0, 0.0], [2.0, 2.0], 1.0, [0.0, 0.0, 1.0])))
    scene = one_ribbon([behind] if flattened else [])
    drawn = SVG_READERS[reader](written(scene, "svg", settings=OUTLINES, scale=2))
    for (x, y), color in {
        (40, 24): (1, 0.5, 0.5),
        (20, 24): (1, 0.5, 0.5),
        (40, 16): (1, 1, 1),
        (8, 24): (1, 1, 1),
    }.items():
        assert drawn[:3, y, x].tolist() == pytest.approx(color, abs=0.01)
    assert drawn[:3, 0, 0].tolist() == pytest.approx((0.5, 0.5, 1) if flattened else (1, 1, 1), abs=0.01)


@pytest.mark.parametrize(
    "markup",
    [
        '<path d="M0 0h9" onload="alert(1)"/>',
        '<g><script>alert(1)</script><path d="M0 0h9"/></g>',
        '<a href="javascript:alert(1)"><path d="M0 0h9"/></a>',
        '<path d="M0 0h9"/></g><script>alert(1)</script><g>',
        '<path d="M0 0h9" fill="url(http://example.org/a.svg#g)"/>',
        '<path d="M0 0h9" style="fill:url(https://example.org/#a)"/>',
        '<!DOCTYPE g [<!ENTITY x "M0 0h9">]><path d="&x;"/>',
        '<!DOCTYPE g SYSTEM "file:///etc/passwd"><path d="M0 0h9"/>',
        '<g><image href="data:image/png;base64,AAAA"/><path d="M0 0h9"/></g>',
        '<g><foreignObject><body xmlns="http://www.w3.org/1999/xhtml"/></foreignObject><path d="M0 0h9"/></g>',
        '<g><use href="#other"/><path d="M0 0h9"/></g>',
        '<path d="M0 0h9"><set attributeName="href" to="javascript:alert(1)"/></path>',
        "<text>ribbon</text>",
        '<path d="M0 0h9" ',
        "<g/>",
        "",
        b"<path/>",
    ],
)
@pytest.mark.parametrize("alpha_max", [1.0, 0.5])
def test_a_plugin_can_bring_in_nothing_but_shapes(markup, alpha_max, tmp_path, monkeypatch):
    monkeypatch.setattr(Ribbons, "outline", lambda self, index, atlas: markup)
    scene = one_ribbon(
        [SoftRectangles(*(t[:0] for t in (torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1), torch.zeros(1, 3))))]
    )
    scene.alpha_max = alpha_max
    with pytest.raises(DiffbmpError, match=r"'ribbons' gives 'ribbons 2' an outline that is not one element of plain"):
        write_scene(scene, tmp_path / "a.svg", settings=OUTLINES)
    assert not list(tmp_path.iterdir())


def test_ids_in_an_outline_are_its_own(written, monkeypatch):
    markup = (
        '<g xmlns="http://www.w3.org/2000/svg"><defs><linearGradient id="g"><stop offset="0" stop-color="red"/>'
        '</linearGradient></defs><rect width="9" height="9" fill="url(#g)" data-x="&lt;script&gt;"/></g>'
    )
    monkeypatch.setattr(Ribbons, "outline", lambda self, index, atlas: markup)
    text = written(mixed_scene(["ribbons"], count=2), "svg", settings=OUTLINES).read_text()
    ids = [element.get("id") for element in ElementTree.fromstring(text).iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {"ribbons-1--g", "ribbons-2--g"} <= set(ids)
    assert text.count("url(#ribbons-1--g)") == text.count("url(#ribbons-2--g)") == 1
    assert "script" not in text
    assert instance_outline(markup, "x") is not None
