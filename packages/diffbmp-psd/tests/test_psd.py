"""PSD and PSB files: what is in them, what does not fit, and that others composite the layers to our own picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffbmp_psd.exporter
import numpy as np
import pytest
import torch
from diffbmp_psd.profile import srgb_profile
from psd_tools import PSDImage
from psd_tools.constants import Resource

import diffbmp
from diffbmp.exporters.naming import stamp_names
from diffbmp.exporters.write import write_scene
from diffbmp.images import eight_bits
from diffbmp.metrics import psnr
from diffbmp.testing.editors import PSD_EDITORS, blank_preview
from diffbmp.testing.exports import EXPORT_SCENES, ExportScene, mixed_scene, over_flat
from diffbmp.testing.readers import require


def write(scene: diffbmp.Scene, path: Path, **options: Any) -> Path:
    (written,) = write_scene(scene, path, diffbmp.ExportOptions.model_validate(options))
    return written


def named_scene() -> diffbmp.Scene:
    """Three upright stamps of two sets, one partly off the canvas, and a fourth that is off it altogether."""
    textures = [
        diffbmp.Texture("\u82b1-1", torch.ones(1, 4, 4), "petals"),
        diffbmp.Texture("\U0001f338", torch.ones(4, 4, 4), "text:\U0001f338"),
    ]
    stamps = diffbmp.Stamps(
        torch.tensor([[8.0, 8.0], [0.0, 20.0], [24.0, 24.0], [500.0, 0.0]]),
        torch.full((4,), 4.0),
        torch.zeros(4),
        torch.tensor([0.5, 0.02, 1.0, 1.0]).logit(eps=1e-7),
        torch.zeros(4, 3),
        torch.tensor([0, 1, 0, 0]),
    )
    return diffbmp.Scene(32, 32, diffbmp.Atlas(textures), [stamps], background=torch.ones(3))


class TestContents:
    def test_each_stamp_has_a_layer_of_its_name_at_its_place(self, tmp_path: Path) -> None:
        scene = named_scene()
        psd = PSDImage.open(write(scene, tmp_path / "a.psd"))
        assert [layer.name for layer in psd] == ["background", *(name.text for name in stamp_names(scene)[:3])]
        assert [layer.bbox for layer in psd] == [(0, 0, 32, 32), (3, 3, 13, 13), (0, 15, 5, 25), (19, 19, 29, 29)]
        assert [layer.opacity for layer in psd] == [255, 128, 6, 255]

    def test_our_own_render_is_the_preview(self, tmp_path: Path) -> None:
        scene = ExportScene("preview", "both", 0.5, background="picture").scene()
        preview = PSDImage.open(write(scene, tmp_path / "a.psd")).topil()
        assert preview is not None
        ours = eight_bits(scene.render().detach())
        assert np.array_equal(np.moveaxis(np.asarray(preview.convert("RGB")), -1, 0), ours.numpy())

    def test_resolution_and_profile(self, tmp_path: Path) -> None:
        psd = PSDImage.open(write(named_scene(), tmp_path / "a.psd", dpi=300.5))
        assert psd.image_resources.get_data(Resource.RESOLUTION_INFO).horizontal == 300.5 * 65536
        assert psd.image_resources.get_data(Resource.ICC_PROFILE) == srgb_profile()

    def test_groups_by_set_are_pass_through_and_keep_the_picture(self, tmp_path: Path) -> None:
        psd = PSDImage.open(write(named_scene(), tmp_path / "a.psd", groups="set"))
        groups = [layer for layer in psd if layer.is_group()]
        assert {group.name for group in groups} == {"petals", "text:\U0001f338"}
        assert {group.blend_mode.name for group in groups} == {"PASS_THROUGH"}
        assert {layer.name for group in groups for layer in group} == {
            name.text for name in stamp_names(named_scene())[:3]
        }

    def test_groups_over_nothing_are_not_pass_through_which_krita_would_not_show(self, tmp_path: Path) -> None:
        scene = named_scene()
        scene.background = None
        psd = PSDImage.open(write(scene, tmp_path / "a.psd", groups="set"))
        assert {layer.blend_mode.name for layer in psd} == {"NORMAL"}
        assert all(layer.is_group() for layer in psd)

    def test_groups_by_depth(self, tmp_path: Path) -> None:
        scene = ExportScene("deep", count=250, background="transparent", opacity=1.0).scene()
        psd = PSDImage.open(write(scene, tmp_path / "a.psd", groups="depth"))
        assert [layer.name for layer in psd] == ["depth 1-100", "depth 101-200", "depth 201-250"]

    def test_the_same_scene_gives_the_same_bytes(self, tmp_path: Path) -> None:
        scene = ExportScene("same").scene()
        assert write(scene, tmp_path / "a.psd").read_bytes() == write(scene, tmp_path / "b.psd").read_bytes()

    def test_a_scene_of_no_visible_stamp(self, tmp_path: Path) -> None:
        scene = named_scene()
        scene.primitives[0].position.data += 1000
        psd = PSDImage.open(write(scene, tmp_path / "a.psd", groups="set"))
        assert [layer.name for layer in psd] == ["background"]


class TestInstances:
    """Ribbons, of six sprites each, and rectangles that draw a layer of their own."""

    @pytest.mark.parametrize("scale", [1.0, 1.3])
    @pytest.mark.parametrize("groups", ["none", "set"])
    def test_each_has_one_layer_and_they_composite_to_the_picture(
        self, tmp_path: Path, scale: float, groups: str
    ) -> None:
        scene = mixed_scene(["stamps", "soft-rectangles", "ribbons"], count=6)
        scene.alpha_max = 0.8
        path = write(scene, tmp_path / "a.psd", scale=scale, groups=groups)
        names = [layer.name for layer in PSDImage.open(path).descendants() if not layer.is_group()]
        assert len(names) == len(set(names)) > 8
        assert {"background", "soft-rectangles 7"} < set(names)
        assert set(names) <= {"background", *(name.text for name in stamp_names(scene.flattened()))}
        assert sum(name.startswith("ribbons") for name in names) == 5  # the sixth is off the canvas
        assert_drawn_alike("psd-tools", scene, path, scale)

    def test_the_limit_of_layers_counts_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(diffbmp_psd.exporter, "MOST_LAYERS", 22)
        scene = mixed_scene(["ribbons"], count=20)
        assert len(PSDImage.open(write(scene, tmp_path / "a.psd"))) > 10
        with pytest.raises(diffbmp.DiffbmpError, match=r"each of 21 stamps.*--flatten-below 2 .* 2 files"):
            write(mixed_scene(["ribbons"], count=21), tmp_path / "b.psd")

    def test_each_canvas_of_a_batch_is_a_file(self, tmp_path: Path) -> None:
        scene = diffbmp.Scene.stacked([mixed_scene(["ribbons"], seed=seed) for seed in (0, 0)])
        files = write_scene(scene, tmp_path / "a.psd")
        assert [file.name for file in files] == ["a-1.psd", "a-2.psd"]
        assert files[0].read_bytes() == files[1].read_bytes()


class TestLimits:
    def test_psb_beyond_30_000_pixels(self, tmp_path: Path) -> None:
        scene = named_scene()
        scene.height = 1
        with pytest.warns(UserWarning, match=r"30,000 pixels a side and this has 30016 x 938, so .*a.psb' is written"):
            written = write(scene, tmp_path / "a.psd", scale=938)
        assert written == tmp_path / "a.psb"
        assert [file.name for file in tmp_path.iterdir()] == ["a.psb"]
        with written.open("rb") as file:
            assert file.read(6) == b"8BPS\0\2"
        psd = PSDImage.open(written)
        assert psd.size == (30016, 938)
        assert next(iter(psd)).name == "background"

    @pytest.mark.parametrize("most", [20_000, 3_000])
    def test_psb_beyond_2_gigabytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        scene = ExportScene("large", "both", 0.5, background="picture").scene()
        monkeypatch.setattr(diffbmp_psd.exporter, "LARGEST_PSD", most)
        with pytest.warns(UserWarning, match="A PSD file holds 2 GB and this is larger, so"):
            written = write(scene, tmp_path / "a.psd")
        assert [file.name for file in tmp_path.iterdir()] == ["a.psb"]
        ours = eight_bits(scene.render().detach()).numpy()
        preview = PSDImage.open(written).topil()
        assert preview is not None
        assert np.array_equal(np.moveaxis(np.asarray(preview.convert("RGB")), -1, 0), ours)

    def test_more_pixels_than_a_psb_holds(self, tmp_path: Path) -> None:
        scene = named_scene()
        scene.width = 400
        scene.height = 1
        with pytest.raises(diffbmp.DiffbmpError, match="300,000 a side; choose a smaller --scale"):
            write(scene, tmp_path / "a.psb", scale=1000)
        assert list(tmp_path.iterdir()) == []

    @pytest.fixture
    def small_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(diffbmp_psd.exporter, "MOST_LAYERS", 22)  # 20 stamps

    @pytest.mark.usefixtures("small_limit")
    def test_too_many_layers(self, tmp_path: Path) -> None:
        scene = ExportScene("many", count=50).scene()
        with pytest.raises(diffbmp.DiffbmpError, match=r"each of 50 stamps.*--flatten-below 31 .*--split .* 3 files"):
            write(scene, tmp_path / "a.psd")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.usefixtures("small_limit")
    def test_flatten_below_as_the_error_says(self, tmp_path: Path) -> None:
        scene = ExportScene("many", "both", 0.5, count=50, opacity=1.0).scene()
        path = write(scene, tmp_path / "a.psd", flatten_below=31)
        names = [layer.name for layer in PSDImage.open(path)]
        assert names[:2] == ["background", "stamps 1-30"]
        assert set(names[2:]) <= {name.text for name in stamp_names(scene)[30:]}
        assert_drawn_alike("psd-tools", scene, path, 1.0)

    @pytest.mark.usefixtures("small_limit")
    @pytest.mark.parametrize("flatten_below", [0, 8])
    def test_split_files_over_each_other_are_the_picture(self, tmp_path: Path, flatten_below: int) -> None:
        scene = ExportScene("many", "both", 0.5, count=50).scene()
        options = diffbmp.ExportOptions(split=True, groups="depth", flatten_below=flatten_below)
        files = write_scene(scene, tmp_path / "a.psd", options)
        assert [file.name for file in files] == ["a-1.psd", "a-2.psd", "a-3.psd"]
        canvas = torch.zeros(4, 120, 160, dtype=torch.float64)
        names: list[str] = []
        for file in files:
            layers = PSD_EDITORS["psd-tools"](blank_preview(file, tmp_path / "blank.psd"))
            canvas = layers + canvas * (1 - layers[3:])
            names += [layer.name for layer in PSDImage.open(file).descendants() if not layer.is_group()]
        expected = ["background", *(["stamps 1-7"] if flatten_below else [])]
        assert names[: len(expected)] == expected
        numbers = [int(name.rpartition(" ")[2]) for name in names[len(expected) :]]
        assert numbers == sorted(set(numbers))
        assert_alike(canvas, scene, 1.0)

    def test_more_than_any_program_opens_is_refused_without_a_patch(self) -> None:
        assert diffbmp_psd.PsdExporter().layer_limit(diffbmp.ExportOptions()) == 7_998


@torch.no_grad()
def assert_alike(drawn: torch.Tensor, scene: diffbmp.Scene, scale: float, largest: float = 2.0) -> None:
    """Within 2/255 and at least 45 dB, on white, on black and on transparent."""
    ours = scene.render(scale=scale).double()
    for value in (0.0, 1.0):
        a, b = over_flat(drawn, value)[:3], over_flat(ours, value)
        assert float((a - b).abs().max()) <= largest / 255
        assert psnr(a, b) >= 45
    if len(ours) == 4:
        assert float((drawn - ours).abs().max()) <= largest / 255
        assert psnr(drawn, ours) >= 45


def assert_drawn_alike(reader: str, scene: diffbmp.Scene, path: Path, scale: float, largest: float = 2.0) -> None:
    require(reader)
    assert_alike(PSD_EDITORS[reader](blank_preview(path, path.with_stem("blank"))), scene, scale, largest)


@pytest.mark.parametrize("reader", ["psd-tools", "imagemagick"])
@pytest.mark.parametrize("scale", [1.0, pytest.param(4.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("spec", EXPORT_SCENES, ids=lambda spec: spec.name)
def test_others_composite_the_layers_to_our_picture(
    tmp_path: Path, spec: ExportScene, scale: float, reader: str
) -> None:
    scene = spec.scene()
    suffix = "psd" if spec.color_blend else "psb"
    assert_drawn_alike(reader, scene, write(scene, tmp_path / f"a.{suffix}", scale=scale), scale)


DESKTOP = ("both, 2 % opacity", "both, opaque", "rgba, half tint, transparent", "one-pixel stamps")


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["krita", "gimp"])
@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("spec", [s for s in EXPORT_SCENES if s.name in DESKTOP], ids=lambda spec: spec.name)
def test_desktop_programs_composite_the_layers_to_our_picture(
    tmp_path: Path, spec: ExportScene, scale: float, reader: str
) -> None:
    scene = spec.scene()
    path = write(scene, tmp_path / "a.psd", scale=scale, groups="depth")
    # Krita rounds to 8 bits after each of 200 faint layers, over a transparent canvas.
    is_faint = reader == "krita" and spec.opacity == 0.02
    assert_drawn_alike(reader, scene, path, scale, largest=3.0 if is_faint else 2.0)
