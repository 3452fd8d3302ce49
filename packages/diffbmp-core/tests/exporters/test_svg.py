"""SVG files: what is in them, and that others draw them like our own renderer."""

from __future__ import annotations

import dataclasses
import gzip
import re
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.placed import identifiers
from diffbmp.exporters.write import write_scene
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import Stamps
from diffbmp.testing.exports import EXPORT_SCENES, ExportScene
from diffbmp.testing.readers import SVG_READERS, require, svg_by_chromium

LOWEST = 42.0
"""PSNR in dB that every reader must reach against our own render, over white and over black."""

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


def one_stamp(name, blend="over", **options):
    stamps = Stamps(*(torch.zeros(1, *shape) for shape in [(2,), (), (), (), (3,)]), torch.zeros(1, dtype=torch.int64))
    stamps.scale.data += 3
    return Scene(8, 6, Atlas([Texture(name, torch.ones(1, 2, 2))]), [stamps], blend=blend, **options)


def test_each_stamp_is_one_named_element_in_painting_order(written):
    scene = ExportScene("both", "both", 0.5, count=20).scene()
    root = ElementTree.parse(written(scene, "svg")).getroot()
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("160", "120", "0 0 160 120")
    (group,) = root.findall(f"{SVG}g")
    stamps = group.findall(f"{SVG}g")
    textures = [scene.atlas.textures[k].name for k in scene.sprites().texture.tolist()]
    assert [stamp.find(f"{SVG}title").text.rpartition(" ")[0] for stamp in stamps] == textures
    every_id = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(every_id) == len(set(every_id))


def test_each_image_of_a_texture_is_stored_once(written):
    text = written(ExportScene("rgba", "rgba", 1.0).scene(), "svg").read_text()
    images = re.findall(r"base64,([^\"]+)", text)
    assert len(images) == len(set(images))
    root = ElementTree.fromstring(text)
    ids = {element.get("id") for element in root.iter()}
    used = {element.get(HREF).removeprefix("#") for element in root.iter(f"{SVG}use")}
    assert used <= ids


def test_stamps_of_a_pixel_are_stored_as_sampled(written, quality):
    scene = ExportScene("tiny", "both", 0.5, radius=(0.5, 0.5), count=40, opacity=1.0).scene()
    path = written(scene, "svg")
    assert quality(SVG_READERS["resvg"](path), scene) >= 60
    titles = [e.text for e in ElementTree.parse(path).getroot().iter(f"{SVG}title")]
    assert len(set(titles)) == len(titles)


def test_scale_sets_size_and_finer_textures_but_not_places(written):
    scene = ExportScene("small", radius=(2, 6)).scene()
    one, four = (ElementTree.parse(written(scene, "svg", scale=scale)).getroot() for scale in (1.0, 4.0))
    assert (four.get("width"), four.get("viewBox")) == ("640", one.get("viewBox"))

    def widest(root):
        return max(int(image.get("width")) for image in root.iter(f"{SVG}image"))

    assert widest(four) > widest(one)


def test_svgz_is_the_same_compressed(written):
    scene = one_stamp("dot")
    assert gzip.decompress(written(scene, "svgz").read_bytes()) == written(scene, "svg").read_bytes()


def test_what_svg_cannot_hold_is_one_sentence(tmp_path):
    for scene, said in [
        (one_stamp("a", blend="add"), "blend mode 'add'"),
        (one_stamp("a", filter="nearest_texel"), "filter 'nearest_texel'"),
    ]:
        with pytest.raises(DiffbmpError, match=said):
            write_scene(scene, tmp_path / "a.svg")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("groups", ["set", "depth"])
def test_groups_keep_the_picture(groups, written, quality):
    scene = ExportScene("both", "both", 0.5, count=150).scene()
    scene.atlas = Atlas([dataclasses.replace(t, set=t.name[:5]) for t in scene.atlas.textures])
    path = written(scene, "svg", groups=groups)
    found = ElementTree.parse(path).getroot().findall(f"{SVG}g")
    assert len(found) > 1
    assert sum(len(group.findall(f"{SVG}g")) for group in found) == 150
    assert quality(SVG_READERS["resvg"](path), scene) >= LOWEST


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=30))
@example(name="<script>alert(1)</script>")
@example(name="\"' onload=alert(1) x='")
@example(name="]]>&amp;&#60;\x00\ud800\ufffe")
@example(name="url(#x)\u202e\U0001f33a")
def test_no_name_reaches_the_markup(name, tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "a.svg"
    write_scene(one_stamp(name), path)
    root = ElementTree.parse(path).getroot()
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds == {"svg", "title", "desc", "defs", "mask", "image", "g", "rect"}
    known = {"id", "title", "width", "height", "viewBox", "x", "y", "maskUnits", "preserveAspectRatio", "style", "fill"}
    known |= {"mask", "transform", "opacity", HREF}
    known |= {f"{{http://www.inkscape.org/namespaces/inkscape}}{key}" for key in ("groupmode", "label")}
    assert {key for element in root.iter() for key in element.attrib} <= known


@given(names=st.lists(st.text(max_size=8), max_size=20))
def test_identifiers_are_distinct_xml_names(names):
    ids = list(identifiers(names))
    assert len(set(ids)) == len(ids) == len(names)
    for identifier in ids:
        ElementTree.fromstring(f'<a id="{identifier}"/>')
        assert re.fullmatch(r"[^\W\d][\w.-]*", identifier), identifier


@pytest.mark.parametrize("recipe", EXPORT_SCENES[5:7], ids=lambda recipe: recipe.name)
def test_resvg_draws_what_we_draw(recipe, written, quality):
    scene = recipe.scene()
    assert quality(SVG_READERS["resvg"](written(scene, "svg")), scene) >= LOWEST


@pytest.mark.slow
@pytest.mark.parametrize("recipe", EXPORT_SCENES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("reader", SVG_READERS)
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_libraries_draw_what_we_draw(reader, recipe, scale, written, quality):
    require(reader)
    scene = recipe.scene()
    assert quality(SVG_READERS[reader](written(scene, "svg", scale=scale)), scene, scale) >= LOWEST


@pytest.mark.slow
@pytest.mark.parametrize("recipe", EXPORT_SCENES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_chromium_draws_what_we_draw(recipe, scale, browser, written, quality):
    scene = recipe.scene()
    assert quality(svg_by_chromium(browser, written(scene, "svg", scale=scale)), scene, scale) >= LOWEST
