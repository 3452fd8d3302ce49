"""PDF files: the page's size, layers and objects, and that others draw them like our own renderer."""

from __future__ import annotations

import dataclasses
import importlib.util

import pikepdf
import pytest

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.write import write_scene
from diffbmp.testing.exports import EXPORT_SCENES, ExportScene
from diffbmp.testing.readers import PDF_READERS, require

LOWEST = {"poppler-cairo": 42.0, "poppler-splash": 36.0}
"""PSNR in dB that each reader must reach against our own render, at a scale of 4 and 300 dots per inch."""


def test_the_page_has_its_size_in_print(written):
    path = written(ExportScene("alpha", count=5).scene(), "pdf", scale=4.0, dpi=300.0)
    with pikepdf.open(path) as pdf:
        (page,) = pdf.pages
        assert [float(side) for side in page.MediaBox] == pytest.approx(
            [0, 0, 640 / 300 * 72, 480 / 300 * 72], abs=1e-3
        )
        assert pdf.check_pdf_syntax() == []


def test_each_stamp_is_painted_and_each_texture_is_stored_once(written):
    scene = ExportScene("rgba", "rgba", 1.0, count=40, radius=(10, 12)).scene()
    path = written(scene, "pdf")
    with pikepdf.open(path) as pdf:
        content = pdf.pages[0].Contents.read_bytes().decode()
        images = [image for image in pdf.objects if image.get("/Subtype") == "/Image"]
        assert content.count(" Do Q") == 40
        # Two textures at one or two mip levels each, an image and its mask for each.
        assert len(images) in (4, 6, 8)
    first = path.read_bytes()
    write_scene(scene, path)
    assert path.read_bytes() == first


def test_groups_become_layers_of_their_names(written):
    scene = ExportScene("both", "both", 0.5, count=150).scene()
    first, *others = scene.atlas.textures
    odd = "(odd) \\ /Name \U0001f33a"
    scene.atlas = Atlas([dataclasses.replace(first, set=odd), *(dataclasses.replace(t, set="other") for t in others)])
    with pikepdf.open(written(scene, "pdf", groups="set")) as pdf:
        names = [str(layer.Name) for layer in pdf.Root.OCProperties.OCGs]
    assert {name.rpartition(" ")[0] if name[-1].isdigit() else name for name in names} == {odd, "other"}
    with pikepdf.open(written(scene, "pdf", groups="depth")) as pdf:
        assert [str(layer.Name) for layer in pdf.Root.OCProperties.OCGs] == ["depth 1-100", "depth 101-150"]


def test_what_pdf_cannot_hold_is_one_sentence(tmp_path, monkeypatch):
    scene = ExportScene("alpha", count=3).scene()
    with pytest.raises(DiffbmpError, match="of 267 inches is too long for PDF, which allows 200; give a higher --dpi"):
        write_scene(scene, tmp_path / "a.pdf", ExportOptions(scale=5, dpi=3))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DiffbmpError, match=r"pip install 'diffbmp-core\[pdf\]'"):
        write_scene(scene, tmp_path / "a.pdf")
    monkeypatch.undo()
    scene.blend = "add"
    with pytest.raises(DiffbmpError, match="blend mode 'add'"):
        write_scene(scene, tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reader", "recipe"),
    [  # poppler's own renderer knows no transparent page
        pytest.param(reader, recipe, id=f"{reader}-{recipe.name}")
        for reader in PDF_READERS
        for recipe in EXPORT_SCENES
        if reader != "poppler-splash" or recipe.background != "transparent"
    ],
)
def test_others_draw_what_we_draw(reader, recipe, written, quality):
    require(reader)
    scene = recipe.scene()
    drawn = PDF_READERS[reader](written(scene, "pdf", scale=4.0, dpi=300.0), 300.0)
    assert quality(drawn, scene, 4.0) >= LOWEST[reader]
