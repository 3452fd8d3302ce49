"""What a command does can be done from Python with public names alone: exporting, and writing a fit's results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import diffbmp
from diffbmp import DiffbmpError
from diffbmp.testing.kinds import SoftRectangles


@pytest.fixture(scope="module")
def result() -> diffbmp.FitResult:
    target = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    return diffbmp.fit(target, stamps="shape:disc", n=4, steps=3)


def test_a_scene_is_exported(result: diffbmp.FitResult, tmp_path: Path) -> None:
    assert diffbmp.export_scene(result.scene, tmp_path / "a.png", scale=2) == [tmp_path / "a.png"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (32, 24)
    assert diffbmp.export_scene(result.scene, tmp_path / "b", exporter="svg") == [tmp_path / "b"]
    assert (tmp_path / "b").read_text().startswith("<?xml")


def test_an_option_that_means_nothing_is_refused(result: diffbmp.FitResult, tmp_path: Path) -> None:
    with pytest.raises(DiffbmpError, match="The option groups means nothing to png"):
        diffbmp.export_scene(result.scene, tmp_path / "a.png", groups="depth")
    with pytest.raises(DiffbmpError, match=r"Unknown setting 'scal'; did you mean 'scale'\?"):
        diffbmp.export_scene(result.scene, tmp_path / "a.png", scal=2)
    assert not list(tmp_path.iterdir())


def test_a_fit_is_written(tmp_path: Path) -> None:
    target = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    fit = diffbmp.start_fit(target, stamps="shape:disc", n=4, steps=3, output=tmp_path / "out").run()
    report = diffbmp.write_results(fit)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["seconds"] == sum(fit.step_seconds)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"picture.png", "scene.diffbmp", "checkpoint.diffbmp", "report.json"}


def test_the_picture_is_drawn_by_the_renderer_of_the_fit() -> None:
    target = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    drawn = diffbmp.fit(target, stamps="shape:disc", n=4, steps=2, renderer="reference")
    assert torch.equal(drawn.image, drawn.scene.render(renderer="reference"))


def test_primitives_of_a_scene_from_a_file_keep_their_textures_apart(tmp_path: Path) -> None:
    target = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    primitives = [
        {"kind": "stamps", "stamps": "shape:disc", "n": 3},
        {"kind": "stamps", "stamps": "text:AB", "n": 4},
    ]
    scene = diffbmp.fit(target, primitives=primitives, steps=2).scene
    diffbmp.save_scene(scene, tmp_path / "a.diffbmp")
    fit = diffbmp.start_fit(target, scene=diffbmp.load_scene(tmp_path / "a.diffbmp"), steps=2)
    assert [scene.atlas.textures[k].set for k in fit.usable_textures.tolist()] == ["text:AB", "text:AB"]


def test_a_primitive_that_draws_its_own_layer_needs_no_textures() -> None:
    given = SoftRectangles(
        torch.tensor([[8.0, 6.0]]), torch.tensor([[4.0, 3.0]]), torch.tensor([0.8]), torch.tensor([[0.9, 0.1, 0.1]])
    )
    target = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    fit = diffbmp.start_fit(target, primitives=[given], steps=2, noisy_canvas=False).run()
    assert fit.scene.count == 1
    assert not torch.equal(fit.front.state_dict()["color"], given.state_dict()["color"])
