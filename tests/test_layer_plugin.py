"""A primitive that draws a layer of its own, from a package of its own: soft rectangles in plain PyTorch."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from torch import Tensor

import diffbmp
from diffbmp.testing import PrimitiveConformance, registered

PACKAGE = Path(__file__).parent / "layer_plugin"
VEILS = ["--primitive", "veils", "-n", 30, "--steps", 20]


@pytest.fixture(scope="module", autouse=True)
def site(install: Any) -> Iterator[Path]:
    with install(PACKAGE) as folder:
        yield folder


@pytest.fixture
def targets() -> Tensor:
    """Return three pictures ``(3, 3, H, W)`` that are alike and yet not the same."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 30), indexing="ij")
    return torch.stack([torch.stack([(k * x).sin().abs(), y, (k * x * y).cos().abs()]) for k in (2, 3, 5)])


def bits(primitive: diffbmp.Primitive) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in primitive.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


class TestConformance(PrimitiveConformance):
    primitive = "veils"
    values = {"rotation": 1.5, "softness": 3.0, "opacity": 0.25}  # noqa: RUF012


class TestCommandLine:
    def test_it_is_fitted_and_the_picture_comes_closer(self, run: Any, photo: Path) -> None:
        result = run("fit", photo, *VEILS, "--lock", "1-3", "--freeze", "softness=2")
        assert result.returncode == 0, result.stderr
        assert "30 veils, 20 steps" in result.stdout
        report = json.loads((photo.parent / "out" / "report.json").read_text())
        assert [(one["kind"], one["count"]) for one in report["primitives"]] == [("veils", 30)]
        assert report["stamps"] == 30
        assert report["psnrs"][-1] > report["psnrs"][0] + 6
        with Image.open(photo.parent / "out" / "picture.png") as picture:
            assert picture.size == (48, 32)

        scene = diffbmp.load_scene(photo.parent / "out" / "scene.diffbmp")
        (veils,) = scene.primitives
        assert bool((veils.softness == 2).all())
        table = {"kind": "veils", "n": 30, "lock": "1-3", "freeze": ["softness=2"]}
        (start,) = diffbmp.start_fit(str(photo), primitives=[table], steps=20).scene.primitives
        assert same(*({name: t[:3] for name, t in bits(one).items()} for one in (veils, start)))
        assert not torch.equal(veils.center[3:], start.center[3:])

    def test_an_interrupted_fit_goes_on_to_the_same_bytes(self, run: Any, photo: Path) -> None:
        class Interrupting(diffbmp.Observer):
            """Presses Ctrl-C after the eighth step."""

            name = "interrupting"

            def stepped(self, fit: diffbmp.Fit, step: diffbmp.Step) -> None:
                if step.index == 7:
                    os.kill(os.getpid(), signal.SIGINT)

        assert run("fit", photo, *VEILS, "-o", "whole").returncode == 0
        with registered(Interrupting):
            assert run("fit", photo, *VEILS, "-o", "cut", "--observe", "interrupting").returncode == 0
            assert json.loads((photo.parent / "cut" / "report.json").read_text())["steps"] == 8
            assert run("fit", "-o", "cut", "--resume").returncode == 0
        whole, cut = (photo.parent / name / "scene.diffbmp" for name in ("whole", "cut"))
        assert cut.read_bytes() == whole.read_bytes()

    def test_a_palette_is_refused_by_name(self, fails: Any, photo: Path) -> None:
        assert "The primitive 'veils' has no colors that a palette" in fails(
            "fit", photo, *VEILS, "--palette", "red"
        ).replace("colours", "colors")

    def test_under_add_it_is_drawn_but_not_exported_in_layers(self, run: Any, fails: Any, photo: Path) -> None:
        assert run("fit", photo, *VEILS, "--blend", "add", "--background", "black").returncode == 0
        report = json.loads((photo.parent / "out" / "report.json").read_text())
        assert report["psnrs"][-1] > report["psnrs"][0]
        assert run("render", "out/scene.diffbmp", "--scale", 2, "-o", "a.png").returncode == 0
        for suffix in ("ora", "svg", "psd"):
            sentence = fails("export", "out/scene.diffbmp", "-o", f"a.{suffix}")
            assert "'veils'" in sentence
            assert not (photo.parent / f"a.{suffix}").exists()

    def test_a_kind_that_lacks_the_blend_is_refused_before_the_first_step(self, targets: Tensor) -> None:
        from diffbmp_veils import Veils

        class Covering(Veils):
            """Veils that know over only."""

            name = "covering"
            blends = ("over",)

        table = {"kind": Covering, "n": 4}
        assert diffbmp.start_fit(targets[0], primitives=[table], steps=2).run().next_step == 2
        with pytest.raises(diffbmp.DiffbmpError, match="'covering' cannot be drawn with the blend mode 'add'"):
            diffbmp.start_fit(targets[0], primitives=[table], steps=2, blend="add")


class TestScenes:
    @pytest.fixture
    def fit(self, targets: Tensor) -> diffbmp.Fit:
        """Return a fit of stamps, veils and stamps, from back to front."""
        disc = {"kind": "stamps", "n": 6, "stamps": ["shape:disc"], "initializer": "random"}
        tables = [disc, {"kind": "veils", "n": 5}, {**disc, "n": 4}]
        return diffbmp.start_fit(targets[0], primitives=tables, steps=4, refine=[]).run()

    def test_layers_of_its_own_lie_between_sprites(self, fit: diffbmp.Fit) -> None:
        back, veils, front = fit.scene.primitives
        assert fit.scene.count == 15
        assert len(bits(back)["texture"]) == 6
        scenes = [
            diffbmp.Scene(fit.scene.width, fit.scene.height, fit.scene.atlas, [one]) for one in (back, veils, front)
        ]
        color, alpha = torch.zeros(3, 24, 30), torch.zeros(1, 24, 30)
        for scene in scenes:
            layer = scene.layer()
            color = layer[:3] + (1 - layer[3:]) * color
            alpha = layer[3:] + (1 - layer[3:]) * alpha
        torch.testing.assert_close(fit.scene.layer(), torch.cat([color, alpha]), rtol=0, atol=1e-6)

    def test_saved_and_loaded_it_renders_alike(self, fit: diffbmp.Fit, tmp_path: Path) -> None:
        diffbmp.save_scene(fit.scene, tmp_path / "a.diffbmp")
        loaded = diffbmp.load_scene(tmp_path / "a.diffbmp")
        for scale in (1.0, 2.5):
            assert torch.equal(loaded.render(scale=scale), fit.scene.render(scale=scale))

    def test_flattened_it_is_one_sprite_that_looks_the_same(self, fit: diffbmp.Fit) -> None:
        flat = fit.scene.flattened()
        assert [len(primitive) for primitive in flat.primitives] == [6, 1, 4]
        assert [name.label for name in flat.primitives[1].names(flat.atlas)] == ["veils"]
        torch.testing.assert_close(flat.render(), fit.scene.render(), rtol=0, atol=2e-3)

    def test_every_exporter_writes_it_as_one_layer(self, fit: diffbmp.Fit, run: Any, tmp_path: Path) -> None:
        diffbmp.save_scene(fit.scene, tmp_path / "a.diffbmp")
        suffixes = ["png", "ora", "svg", "svgz", "html", "pdf", "psd"]
        result = run("export", "a.diffbmp", *(word for suffix in suffixes for word in ("-o", f"a.{suffix}")))
        assert result.returncode == 0, result.stderr
        assert all((tmp_path / f"a.{suffix}").stat().st_size > 300 for suffix in suffixes)
        with zipfile.ZipFile(tmp_path / "a.ora") as archive:
            stack = ElementTree.fromstring(archive.read("stack.xml"))
        layers = [layer.get("name") for layer in stack.iter("layer")]
        assert "veils 7" in layers  # after the six discs behind it
        assert len([name for name in layers if "veil" in str(name)]) == 1

    def test_three_targets_in_one_fit_are_three_fits(self, targets: Tensor) -> None:
        def start(target: Tensor) -> diffbmp.Fit:
            return diffbmp.start_fit(target, primitives=[{"kind": "veils", "n": 9}], steps=6, seed=2)

        together = start(targets).run()
        assert together.scene.batch == 3
        for index in range(3):
            alone = start(targets[index]).run()
            assert same(bits(together.scene.canvas(index).primitives[0]), bits(alone.scene.primitives[0]))
