"""OpenRaster files: what is in them, and that others composite their layers to our own render."""

from __future__ import annotations

import io
import zipfile
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.write import write_scene
from diffbmp.images import eight_bits
from diffbmp.metrics import psnr
from diffbmp.testing.editors import ORA_EDITORS, blank_preview
from diffbmp.testing.exports import EXPORT_SCENES, ExportScene
from diffbmp.testing.readers import premultiplied, require

LOWEST = 45.0
"""PSNR in dB that every editor must reach."""
LARGEST = 2
"""Difference in 255ths that no sample may exceed."""


def ours(scene, scale):
    """Return our own render as a file holds it, premultiplied RGBA."""
    with torch.no_grad():
        values = eight_bits(scene.render(scale=scale), premultiplied=True).double() / 255
    if len(values) == 3:
        return torch.cat([values, torch.ones_like(values[:1])])
    return torch.cat([values[:3] * values[3:], values[3:]])


def check(path, scene, scale, editor, largest=LARGEST):
    drawn = ORA_EDITORS[editor](blank_preview(path, path.with_name("blank.ora")))
    expected = ours(scene, scale)
    assert psnr(drawn, expected) >= LOWEST
    for value in (0.0, 1.0):
        flat, wanted = (image[:3] + (1 - image[3:]) * value for image in (drawn, expected))
        assert float((flat - wanted).mul(255).abs().max().round()) <= largest


def test_is_an_openraster_file(written):
    scene = ExportScene("both", "both", 0.5, count=40, background="blue").scene()
    path = written(scene, "ora", dpi=150, scale=2)
    assert path.read_bytes()[30:54] == b"mimetypeimage/openraster"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert archive.getinfo("mimetype").compress_type == zipfile.ZIP_STORED
        image = ElementTree.fromstring(archive.read("stack.xml"))
        assert premultiplied(archive.read("mergedimage.png")).equal(ours(scene, 2.0))
        thumbnail = Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png")))
    assert (image.get("w"), image.get("h"), image.get("xres")) == ("320", "240", "150")
    assert max(thumbnail.size) == 256
    layers = image.findall("stack/layer")
    assert {layer.get("src") for layer in layers} == {name for name in names if name.startswith("data/")}
    assert layers[-1].get("name") == "background"
    # What is in front comes first; each is called by its texture and number.
    numbers = [int(layer.get("name").rpartition(" ")[2]) for layer in layers[:-1]]
    assert numbers == sorted(numbers, reverse=True)
    textures = [scene.atlas.textures[k].name for k in scene.sprites().texture.tolist()]
    assert [layer.get("name").rpartition(" ")[0] for layer in layers[:-1]] == [textures[n - 1] for n in numbers]


@pytest.mark.parametrize("recipe", EXPORT_SCENES, ids=lambda recipe: recipe.name)
def test_pyora_composites_the_picture(written, recipe):
    require("pyora")
    scene = recipe.scene()
    check(written(scene, "ora"), scene, 1.0, "pyora")


def test_groups_give_the_same_picture(written):
    require("pyora")
    scene = ExportScene("deep", "both", 0.5, count=230, background="transparent").scene()
    path = written(scene, "ora", groups="depth")
    with zipfile.ZipFile(path) as archive:
        stacks = ElementTree.fromstring(archive.read("stack.xml")).findall("stack/stack")
    assert [stack.get("name") for stack in stacks] == ["depth 201-230", "depth 101-200", "depth 1-100"]
    assert psnr(ORA_EDITORS["pyora"](path), ours(scene, 1.0)) >= LOWEST


def test_flattened_stamps_are_one_layer(written):
    require("pyora")
    scene = ExportScene("both", "both", 0.5).scene()
    path = written(scene, "ora", flatten_below=31)
    with zipfile.ZipFile(path) as archive:
        layers = ElementTree.fromstring(archive.read("stack.xml")).findall("stack/layer")
    assert [layer.get("name") for layer in layers[-2:]] == ["stamps 1-30", "background"]
    check(path, scene, 1.0, "pyora")


def test_a_single_group_is_left_out(tmp_path):
    scene = ExportScene("both", "both", 0.5, background="transparent").scene()
    path = tmp_path / "scene.ora"
    write_scene(scene, path, ExportOptions(groups="set"))
    with zipfile.ZipFile(path) as archive:
        assert not ElementTree.fromstring(archive.read("stack.xml")).findall("stack/stack")


def test_the_same_scene_gives_the_same_bytes(written):
    scene = ExportScene("same").scene()
    first = written(scene, "ora").read_bytes()
    assert written(scene, "ora").read_bytes() == first


def test_opacity_survives_a_reader_that_cuts_it_down_to_a_255th(written):
    """Krita does, and so a stamp of 6/255, written as 0.023529, would lose a sixth."""
    scene = ExportScene("faint", opacity=0.02, radius=(20.0, 30.0)).scene()
    with zipfile.ZipFile(written(scene, "ora")) as archive:
        layers = ElementTree.fromstring(archive.read("stack.xml")).findall("stack/layer")
    assert {int(float(layer.get("opacity")) * 255) for layer in layers[:-1]} == {6}
    assert layers[-1].get("opacity") == "1.000000"


def test_stamps_that_are_added_up(written):
    scene = ExportScene("added", count=250, opacity=0.1).scene()
    scene.blend, scene.background = "add", torch.zeros(3)
    with zipfile.ZipFile(written(scene, "ora", groups="depth")) as archive:
        image = ElementTree.fromstring(archive.read("stack.xml"))
    assert {group.get("isolation") for group in image.iter("stack")} == {None, "auto"}
    assert [layer.get("composite-op") for layer in image.findall("stack/layer")] == ["svg:src-over"]
    assert {layer.get("composite-op") for layer in image.findall("stack/stack/layer")} == {"svg:plus"}


def test_more_pixels_than_editors_open(tmp_path):
    scene = one_row(scene_width=66)
    with pytest.raises(DiffbmpError, match=r"66000 x 1000 .* 65,535 a side; choose a smaller --scale"):
        write_scene(scene, tmp_path / "a.ora", ExportOptions(scale=1000))
    assert not list(tmp_path.iterdir())


def one_row(scene_width):
    return ExportScene("row", count=1, size=(1, scene_width)).scene()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", EXPORT_SCENES, ids=lambda recipe: recipe.name)
def test_pyora_composites_the_picture_enlarged(written, recipe):
    require("pyora")
    scene = recipe.scene()
    check(written(scene, "ora", scale=4), scene, 4.0, "pyora")


KRITA = {"both, 2 % opacity": 3, "both, opaque": 2, "rgba, half tint, transparent": 2, "one-pixel stamps": 2}
"""What Krita is given, and what it may differ by: it rounds to 8 bits after each of 200 faint layers."""


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("recipe", [r for r in EXPORT_SCENES if r.name in KRITA], ids=lambda recipe: recipe.name)
def test_krita_composites_the_picture(written, recipe, scale):
    require("krita")
    scene = recipe.scene()
    check(written(scene, "ora", scale=scale, groups="depth"), scene, scale, "krita", KRITA[recipe.name])
