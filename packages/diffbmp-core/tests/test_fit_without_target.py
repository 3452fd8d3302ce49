"""Fits that follow a loss alone, without a target: from Python, from a notebook's cell and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_fits import Veils, assert_same_bits, atlas, picture, started, tensors
from test_cli import fails, run
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, LossInputs, load_scene
from diffbmp.fitting.presets import PRESETS
from diffbmp.images import read_image
from diffbmp.rendering.reference import Reference


def darkness(inputs: LossInputs) -> Tensor:
    """Return the mean brightness."""
    return inputs.image.mean()


class Darkness(diffbmp.Loss):
    """Mean brightness of the picture."""

    name = "darkness"
    needs_target = False

    def __call__(self, inputs: LossInputs) -> Tensor:
        return darkness(inputs)


def quick(size: Any = (64, 96), **options: Any) -> diffbmp.FitResult:
    """Fit without a target, with few stamps and steps."""
    return diffbmp.fit(size=size, stamps=atlas(), **{"n": 9, "steps": 4, "device": "cpu", **options})


class TestFromANotebook:
    @pytest.mark.parametrize("preset", sorted(PRESETS))
    def test_every_preset_with_a_loss_made_on_the_spot(self, preset: str) -> None:
        result = quick(preset=preset, loss=Darkness, background="black", steps=6)
        assert (result.scene.height, result.scene.width) == (64, 96)
        assert result.report["losses"][-1] < result.report["losses"][0]
        assert result.report["psnr"] is result.report["ssim"] is None
        assert result.report["psnrs"] == [None] * 6
        assert result.image.shape == (3, 64, 96)
        assert result.report["settings"]["size"] == "96x64"

    @pytest.mark.parametrize("given", [darkness, Darkness, Darkness(), {darkness: 0.5}, [(Darkness, 0.5)], [darkness]])
    def test_a_function_a_class_and_an_instance(self, given: Any) -> None:
        weight = 0.5 if given in ({darkness: 0.5}, [(Darkness, 0.5)]) else 1.0
        result = quick(loss=given)
        assert result.report["settings"]["loss"] == {"darkness": weight}
        plain = quick(loss={darkness: weight})
        assert result.report["losses"] == plain.report["losses"]

    def test_a_lambda_and_a_callable_object(self) -> None:
        class Bright:
            def __call__(self, inputs: LossInputs) -> Tensor:
                return -inputs.image.mean()

        assert quick(loss=lambda inputs: inputs.image.mean()).report["settings"]["loss"] == {"lambda": 1.0}
        assert quick(loss=Bright(), steps=1).report["settings"]["loss"] == {"bright": 1.0}
        first, *_, last = quick(loss=Bright(), background="black").report["losses"]
        assert last < first < 0

    @pytest.mark.parametrize("size", [(64, 96), "96x64", " 96 X 64 ", "96\u00d764"])
    def test_sizes(self, size: Any) -> None:
        scene = quick(size, loss=darkness, steps=1).scene
        assert (scene.height, scene.width) == (64, 96)

    def test_without_noise_and_growth_and_over_the_background(self) -> None:
        def seen(inputs: LossInputs) -> Tensor:
            assert inputs.target is inputs.target_color is inputs.target_alpha is None
            backgrounds.append(inputs.background)
            return inputs.image.mean()

        backgrounds: list[Tensor] = []
        fit = started(size=(19, 29), loss=seen, background="#336699").run()
        assert fit.refiners == []
        assert all(one.flatten().tolist() == pytest.approx([0.2, 0.4, 0.6]) for one in backgrounds)
        assert len(fit.front) == 37
        started(size=(19, 29), loss=seen, noisy_canvas=True, steps=1).run()
        assert backgrounds[-1].shape == (3, 19, 29)
        started(size=(19, 29), loss=seen, background="transparent", steps=1).run()
        assert backgrounds[-1].flatten().tolist() == [1, 1, 1]

    def test_a_number_of_stamps_that_suits_the_canvas(self) -> None:
        small, large = (len(started(size=size, loss=darkness, n=None).front) for size in ((64, 96), (128, 192)))
        assert large == pytest.approx(2 * small, rel=0.05)

    def test_depends_on_the_seed_alone(self) -> None:
        first, again, other = (tensors(quick(loss=darkness, seed=seed).scene) for seed in (0, 0, 1))
        assert_same_bits(again, first)
        assert not torch.equal(first["_primitives.0.position"], other["_primitives.0.position"])

    @pytest.mark.parametrize("initializer", ["random", "grid"])
    def test_starts_that_need_no_target(self, initializer: str) -> None:
        assert len(quick(loss=darkness, initializer=initializer, steps=1).scene.primitives[0]) == 9

    def test_primitives_by_name_start_without_one_too(self) -> None:
        scene = diffbmp.fit(
            size=(19, 29),
            stamps=atlas(),
            primitives=[{"kind": "stamps", "n": 4}, {"kind": Veils, "n": 2}],
            loss=darkness,
            steps=2,
            device="cpu",
        ).scene
        assert [len(primitive) for primitive in scene.primitives] == [4, 2]


class Counted(Reference):
    """The reference, which counts how often it draws."""

    name = "counted"
    drawn = 0

    def forward(self, inputs: Any) -> Any:
        Counted.drawn += 1
        return super().forward(inputs)


class TestDrawsOnlyWhatIsAskedFor:
    @pytest.mark.parametrize(
        ("loss", "calls"),
        [
            ("boundary", 0),
            ({"boundary": 1.0, "size": 1.0, "opacity-sparsity": 1.0}, 0),
            ("overlap", 1),
            (darkness, 1),
            ([darkness, ("overlap", 0.1), "boundary"], 2),
        ],
    )
    def test_calls_of_the_renderer_in_a_step(self, loss: Any, calls: int, register: Callable[..., Any]) -> None:
        register("counting", Counted)
        fit = started(size=(19, 29), loss=loss, renderer="counted", steps=3)
        Counted.drawn = 0
        for number, step in enumerate(fit, start=1):
            assert Counted.drawn == number * calls
            assert step.psnr is None

    def test_with_a_target_too(self, register: Callable[..., Any]) -> None:
        register("counting", Counted)
        fit = started(picture(), loss="boundary", refine=[], renderer="counted", initializer="random", steps=3)
        Counted.drawn = 0
        assert fit.run().psnrs == [None] * 3
        assert Counted.drawn == 0


class TestCommandLine:
    def test_writes_everything(self, tmp_path: Path) -> None:
        result = run(
            "fit", "--size", "96x64", "-s", "shape:disc", "--loss", "overlap", "--steps", "5", "-n", "12", "-o", "out",
            "--export", "svg", "--report", cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "PSNR" not in result.stdout
        assert "12 stamps, 5 steps" in result.stdout
        out = tmp_path / "out"
        assert read_image(out / "picture.png").shape == (3, 64, 96)
        scene = load_scene(out / "scene.diffbmp")
        assert (scene.width, scene.height, scene.count) == (96, 64, 12)
        report = json.loads((out / "report.json").read_text())
        assert report["psnr"] is None
        assert report["finished"]
        assert len(report["losses"]) == 5
        assert (out / "scene.svg").exists()
        assert (out / "report.html").exists()

    def test_the_shortest_form_chooses_a_number(self, tmp_path: Path) -> None:
        result = run(
            "fit", "--size", "96x64", "-s", "shape:disc", "--loss", "overlap", "--steps", "1", "-o", "out", cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / "out" / "report.json").read_text())["stamps"] > 100

    def test_resumes(self, tmp_path: Path) -> None:
        start = ["fit", "--size", "48x32", "-s", "shape:disc", "-n", "6", "--loss", "overlap", "-o"]
        assert run(*start, "whole", "--steps", "6", cwd=tmp_path).returncode == 0
        assert run(*start, "parts", "--steps", "3", cwd=tmp_path).returncode == 0
        resumed = run("fit", "-o", "parts", "--resume", "--steps", "6", cwd=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        report = json.loads((tmp_path / "parts" / "report.json").read_text())
        assert len(report["losses"]) == 6
        assert report["settings"]["size"] == "48x32"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["photo.png", "--size", "24x16", "--loss", "overlap"], "size is for a fit without a target"),
            ([], "A fit needs a target"),
            (["--size", "24x16"], "needs a loss that needs none; name it with --loss"),
            (["--size", "24x16", "--loss", "mse"], "The loss 'mse' compares with a target, and this fit has none"),
            (["--size", "24x16", "--loss", "overlap", "--loss", "ssim=0"], "The loss 'ssim' compares with a target"),
            (["--size", "24x16", "--loss", "overlap", "--refine", "grow"], "'grow' needs a target, and there is none"),
            (["--size", "24x16", "--loss", "overlap", "--initializer", "greedy"], "'greedy' follows a target"),
            (["--size", "24x16", "--loss", "overlap", "--initializer", "structure"], "'structure' follows a target"),
            (["--size", "24x16", "--loss", "overlap", "--width", "12"], "width is for a fit with a target"),
            (["--size", "24x16", "--loss", "overlap", "--target-mask", "photo.png"], "target_mask is for a fit with"),
            (["--size", "24", "--loss", "overlap"], "A size is given as WIDTHxHEIGHT"),
            (["--size", "0x16", "--loss", "overlap"], "A size is given as WIDTHxHEIGHT"),
            (["--size", "70000x16", "--loss", "overlap"], "A size is given as WIDTHxHEIGHT"),
        ],
    )
    def test_one_sentence_for_what_cannot_be(
        self, arguments: list[str], said: str, tmp_path: Path, photo: Path
    ) -> None:
        assert said in fails("fit", *arguments, "-s", "shape:disc", "-o", "out", "--steps", "2", cwd=tmp_path)
        assert not (tmp_path / "out" / "scene.diffbmp").exists()


class TestRefusedFromPython:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"size": (16, 24, 3)}, r"size must be \(height, width\)"),
            ({"size": (16.0, 24.0)}, r"size must be \(height, width\)"),
            ({"size": 24}, r"size must be \(height, width\)"),
            ({"size": (16, 24), "target": picture()}, "size is for a fit without a target"),
            ({"size": (16, 24), "loss": lambda inputs: torch.zeros(())}, "No loss depends on anything that is learned"),
            (
                {"size": (16, 24), "loss": lambda inputs: inputs.target.mean()},
                "The loss 'lambda' failed in step 1 of 2: AttributeError: 'NoneType' object",
            ),
        ],
    )
    def test_in_a_sentence(self, options: dict[str, Any], said: str) -> None:
        target = options.pop("target", None)
        with pytest.raises(DiffbmpError, match=said):
            diffbmp.fit(target, stamps=atlas(), **{"loss": darkness, "n": 3, "steps": 2, "device": "cpu", **options})
