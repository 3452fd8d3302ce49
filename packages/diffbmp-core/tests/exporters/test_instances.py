"""Instances of several sprites: one layer, one name and one group each, in every format."""

from __future__ import annotations

import zipfile
from xml.etree import ElementTree

import numpy as np
import pikepdf
import pytest
import torch

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.instances import scene_instances
from diffbmp.exporters.naming import stamp_names
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.ora import OraExporter
from diffbmp.exporters.stack import LayerStack
from diffbmp.exporters.write import write_scene
from diffbmp.metrics import psnr
from diffbmp.primitives.instances import selected
from diffbmp.primitives.primitive import Primitive
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene
from diffbmp.testing.editors import ORA_EDITORS, blank_preview
from diffbmp.testing.exports import mixed_scene, over_flat
from diffbmp.testing.kinds import QUADS
from diffbmp.testing.readers import PDF_READERS, SVG_READERS, drawn_by_page, open_page, page_pixels, require

SVG = "{http://www.w3.org/2000/svg}"


def ribbons(count=12, **options):
    return mixed_scene(["ribbons"], count=count, **options)


def stack_of(scene, **options):
    return LayerStack(scene, ExportOptions.model_validate(options), renderer="auto", progress=lambda fraction: None)


def put_together(layers, height, width):
    """Lay 8-bit layers over each other, or add them up, as an editor does: premultiplied RGBA in floats."""
    canvas = np.zeros((4, height, width))
    for layer in layers:
        if layer is None:
            continue
        rows, columns = layer.pixels.shape[1:]
        part = canvas[:, layer.top : layer.top + rows, layer.left : layer.left + columns]
        alpha = layer.pixels[3:] / 255 * (layer.opacity / 255)
        color = layer.pixels[:3] / 255 * alpha
        kept = 1.0 if layer.added else 1 - alpha
        part[:3] = np.minimum(color + part[:3] * kept, 1)
        part[3:] = alpha + part[3:] * (1 - alpha)
    return torch.from_numpy(canvas)


@torch.no_grad()
def assert_alike(found, scene, scale):
    ours = scene.render(scale=scale).double()
    for value in (0.0, 1.0):
        a, b = over_flat(found, value)[:3], over_flat(ours, value)
        assert float((a - b).abs().max()) <= 2 / 255
        assert psnr(a, b) >= 45


class Tufts(Primitive):
    """Instances of a number of sprites each, none where that is 0."""

    name = "tufts"
    axes = {"place": None}  # noqa: RUF012

    def __init__(self, counts):
        super().__init__()
        self.counts = torch.tensor(counts)
        self.register_buffer("place", torch.arange(int(self.counts.sum())) * 5.0 + 4)

    def __len__(self):
        return len(self.counts)

    def forward(self, atlas):
        count = len(self.place)
        frame = torch.zeros(count, 2, 3)
        frame[:, 0, 0] = frame[:, 1, 1] = 2.0
        frame[:, :, 2] = self.place[:, None]
        return Sprites(
            frame, torch.full((count,), 0.8), torch.zeros(count, 3), torch.zeros(count, dtype=torch.int64),
            torch.zeros(count), torch.arange(len(self.counts)).repeat_interleave(self.counts),
        )  # fmt: skip


class TestLayers:
    @pytest.mark.parametrize("scale", [1.0, 1.7])
    @pytest.mark.parametrize("options", [{}, {"groups": "depth"}, {"flatten_below": 50}], ids=str)
    def test_layers_over_each_other_are_the_picture(self, scale, options):
        scene = ribbons(120)
        scene.alpha_max = 0.9
        stack = stack_of(scene, scale=scale, **options)
        layers = [stack.background(), stack.flattened(), *stack.layers()]
        assert len(layers) == 2 + 120 - max(0, options.get("flatten_below", 0) - 1)
        assert_alike(put_together(layers, stack.height, stack.width), scene, scale)

    def test_a_layer_is_its_instance_drawn_alone(self):
        scene = ribbons()
        names = stamp_names(scene)
        for index, layer in enumerate(stack_of(scene).layers()):
            alone = Scene(
                scene.width, scene.height, scene.atlas, [selected(scene.primitives[0], torch.tensor([index]))]
            )
            assert layer.name == names[index].text == f"ribbons {index + 1}"
            found = put_together([layer], scene.height, scene.width)
            ours = alone.render().detach().double()
            assert float((found - ours).abs().max()) <= 1 / 255
            assert layer.pixels[3].max() >= 245  # what is faint is so by the layer's opacity, not by rounded pixels

    def test_stamps_among_them_stay_as_they_are_alone(self):
        mixed = mixed_scene(["ribbons", "stamps", "ribbons"], count=7)
        alone = Scene(mixed.width, mixed.height, mixed.atlas, [mixed.primitives[1]], background=mixed.background)
        layers = list(stack_of(mixed).layers())[7:14]
        for ours, theirs in zip(layers, stack_of(alone).layers(), strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert np.array_equal(ours.pixels, theirs.pixels)
                assert (ours.left, ours.top, ours.opacity) == (theirs.left, theirs.top, theirs.opacity)

    def test_instances_of_no_sprites_are_counted_but_have_no_layer(self):
        scene = mixed_scene(["stamps"], count=2)
        scene = Scene(60, 60, scene.atlas, [Tufts([0, 2, 0, 1, 3, 0]), Tufts([1, 0])])
        names = stamp_names(scene)
        layers = list(stack_of(scene).layers())
        assert [layer.name if layer else None for layer in layers] == [
            None, "tufts 2", None, "tufts 4", "tufts 5", None, "tufts 7", None,
        ]  # fmt: skip
        assert len(names) == len(layers) == scene.count
        assert [row.tolist() for row in scene_instances(scene).boxes(scene, 1.0)[[0, 1, 3]]] == [
            [0, 0, 0, 0], [1, 1, 11, 11], [11, 11, 6, 6],
        ]  # fmt: skip

    def test_a_range_of_instances_is_written(self):
        scene = ribbons()
        layers = list(stack_of(scene, stamps=(4, 9), flatten_below=6).layers())
        assert [layer.name for layer in layers] == [f"ribbons {number}" for number in range(6, 10)]

    @pytest.mark.parametrize("opacity", [0.2, 1.0])
    def test_sprites_that_are_added_up_are_a_sum_within_a_layer_too(self, opacity):
        scene = ribbons(10)
        scene.primitives[0].opacity.data.fill_(opacity)
        scene.primitives[0].color.data.mul_(0.5)
        scene.blend, scene.background = "add", torch.zeros(3)
        stack = stack_of(scene)
        found = put_together([stack.background(), *stack.layers()], stack.height, stack.width)
        ours = scene.render().detach().double().clamp(0, 1)
        assert float((found[:3] - ours).abs().max()) <= 2 / 255

    def test_limits_and_splits_go_by_instances(self, tmp_path, monkeypatch):
        monkeypatch.setattr(OraExporter, "layer_limit", lambda self, options: 5)
        monkeypatch.setattr(OraExporter, "options", OraExporter.options | {"split"})
        scene = ribbons(12)
        with pytest.raises(DiffbmpError, match=r"each of 12 stamps.*--flatten-below 8 .*--split .* 3 files"):
            write_scene(scene, tmp_path / "a.ora")
        files = write_scene(scene, tmp_path / "a.ora", ExportOptions(split=True))
        assert [file.name for file in files] == ["a-1.ora", "a-2.ora", "a-3.ora"]
        names = [name for file in files for name in reversed(layer_names(file))]
        assert names == ["background", *(f"ribbons {number}" for number in range(1, 13))]


def layer_names(path):
    """Return the names of an OpenRaster file's layers, the front first."""
    with zipfile.ZipFile(path) as archive:
        return [layer.get("name") for layer in ElementTree.fromstring(archive.read("stack.xml")).iter("layer")]


def test_ora_has_a_layer_for_each_and_pyora_composites_them(written):
    require("pyora")
    scene = ribbons()
    path = written(scene, "ora")
    assert layer_names(path) == [*(f"ribbons {number}" for number in range(12, 0, -1)), "background"]
    assert_alike(ORA_EDITORS["pyora"](blank_preview(path, path.with_name("blank.ora"))), scene, 1.0)


def test_svg_has_a_named_group_for_each_of_as_many_as_it_has_sprites(written, quality):
    scene = mixed_scene(["stamps", "ribbons"], count=8)
    path = written(scene, "svg")
    root = ElementTree.parse(path).getroot()
    assert root.find(f"{SVG}title").text == "Composition of 8 stamps and 8 ribbons"
    (layer,) = root.findall(f"{SVG}g")
    assert layer.get("{http://www.inkscape.org/namespaces/inkscape}label") == "stamps and ribbons"
    groups = layer.findall(f"{SVG}g")[-8:]
    assert [group.find(f"{SVG}title").text for group in groups] == [f"ribbons {number}" for number in range(9, 17)]
    assert [group.get("id") for group in groups] == [f"ribbons-{number}" for number in range(9, 17)]
    assert {len(group.findall(f"{SVG}g")) for group in groups} == {QUADS}
    assert not any(
        inner.get("id") or inner.find(f"{SVG}title") is not None
        for g in groups
        for inner in g.iter(f"{SVG}g")
        if inner is not g
    )
    assert quality(SVG_READERS["resvg"](path), scene) >= 42


@pytest.mark.parametrize("groups", ["set", "depth"])
def test_groups_of_instances_keep_the_picture(groups, written, quality):
    scene = mixed_scene(["stamps", "ribbons"], count=60)
    path = written(scene, "svg", groups=groups)
    found = ElementTree.parse(path).getroot().findall(f"{SVG}g")
    assert len(found) > 1
    assert sum(len(group.findall(f"{SVG}g")) for group in found) == 120
    assert quality(SVG_READERS["resvg"](path), scene) >= 42


def test_pdf_marks_the_sprites_of_each_with_its_name(written):
    scene = mixed_scene(["stamps", "ribbons"], count=5)
    with pikepdf.open(written(scene, "pdf")) as pdf:
        assert pdf.check_pdf_syntax() == []
        titles, depth, painted = [], 0, 0
        for operands, operator in pikepdf.parse_content_stream(pdf.pages[0]):
            if str(operator) == "BDC":
                assert str(operands[0]) == "/Instance"
                titles.append(str(operands[1]["/Title"]))
                depth, painted = depth + 1, 0
            elif str(operator) == "EMC":
                depth -= 1
                assert painted == QUADS
            painted += str(operator) == "Q"
    assert titles == [f"ribbons {number}" for number in range(6, 11)]
    assert depth == 0


@pytest.mark.slow
@pytest.mark.parametrize("reader", PDF_READERS)
def test_pdf_is_drawn_like_the_render(reader, written, quality):
    require(reader)
    scene = ribbons()
    drawn = PDF_READERS[reader](written(scene, "pdf", scale=4.0, dpi=300.0), 300.0)
    assert quality(drawn, scene, 4.0) >= {"poppler-cairo": 42.0, "poppler-splash": 36.0}[reader]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [["ribbons"], ["stamps", "ribbons"]], ids="-".join)
def test_the_page_draws_what_we_draw(kinds, browser, written):
    scene = mixed_scene(kinds)
    drawn = page_pixels(browser, written(scene, "html"), 2.0)
    with torch.no_grad():
        assert psnr(drawn, scene.layer(scale=2.0).double()) >= 60


@pytest.mark.slow
def test_the_page_picks_names_plays_and_hides_instances(browser, written):
    scene = mixed_scene(["stamps", "ribbons"], count=4)
    wrong = []
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    open_page(page, written(scene, "html"))
    assert page.title() == "Composition of 4 stamps and 4 ribbons"
    assert page.inner_text("#shown") == "8 of 8"
    assert page.locator(".row .name").first.inner_text() == "ribbons 8"
    # The front one is picked at the middle of each of its sprites that is on the canvas.
    sprites = scene.sprites_by_primitive()[1]
    for x, y in sprites.frame[-QUADS:, :, 2].tolist():
        if 0 <= x < scene.width and 0 <= y < scene.height:
            assert page.evaluate("([x, y]) => pick(diffbmp.scene, x, y, 8)", [x, y]) == 7
    page.click(".row:has-text('ribbons 8')")
    assert page.inner_text("#details h2") == "ribbons 8"
    assert page.locator("#details dd").all_inner_texts()[2] == str(QUADS)
    assert page.get_attribute("#chosen", "d").count("M") == QUADS
    page.keyboard.press("h")
    assert page.evaluate("[...diffbmp.scene.hidden]") == [7]
    fewer = Scene(
        scene.width, scene.height, scene.atlas,
        [scene.primitives[0], selected(scene.primitives[1], torch.arange(3))],
    )  # fmt: skip
    with torch.no_grad():
        ours = fewer.layer(scale=2.0).double()
    assert psnr(drawn_by_page(page, 2.0), ours) >= 60
    page.locator("#scrub").fill("5")
    assert page.evaluate("diffbmp.time") == 5
    assert wrong == []
    page.close()
