"""The fit: what it reaches, that it can be repeated, stopped, resumed and watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import diffbmp
from diffbmp.fitting.build import begin_fit
from diffbmp.fitting.checkpoint import load_checkpoint, save_checkpoint
from diffbmp.fitting.fit import Fit, Step
from diffbmp.fitting.objects import FitObjects
from diffbmp.fitting.run import CHECKPOINT, PICTURE, REPORT, SCENE
from diffbmp.fitting.schedules import Stream, blur_sigma, generator, noisy_canvas, rate_factor, resolution_scale
from diffbmp.fitting.settings import BlurSettings, FitSettings, OptimizerSettings, ResolutionSettings
from diffbmp.fitting.target import Target
from diffbmp.plugins.registry import registry


def settings_of(photo: Path, stamps: Path, output: Path, **changes: Any) -> FitSettings:
    values: dict[str, Any] = {
        "target": str(photo),
        "stamps": [str(stamps)],
        "output": str(output),
        "n": 12,
        "steps": 6,
        "renderer": "reference",
    }
    return FitSettings.model_validate({**values, **changes})


def parameters(fit: Fit) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in fit.front.state_dict().items()}


class TestFit:
    def test_lowers_the_loss_and_reports_each_step(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        fit = begin_fit(settings_of(photo, stamps, tmp_path, steps=25, noisy_canvas=False))
        steps = list(fit)
        assert [step.index for step in steps] == list(range(25))
        assert steps[-1].loss < 0.6 * steps[0].loss
        assert steps[-1].psnr is not None
        assert steps[-1].terms.keys() == {"mse"}
        assert steps[-1].terms["mse"] == pytest.approx(10 ** (-steps[-1].psnr / 10), rel=1e-4)
        other = begin_fit(settings_of(photo, stamps, tmp_path, steps=1, noisy_canvas=False, loss={"l1": 1.0}))
        (step,) = other
        assert step.psnr == pytest.approx(steps[0].psnr, rel=1e-4)  # worked out without the loss mse
        assert fit.losses == [step.loss for step in steps]

    def test_a_loss_that_is_only_reported_changes_nothing(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        class Looker(diffbmp.Loss):
            """Looks at everything without gradient."""

            name = "a-looker"

            def __call__(self, inputs: diffbmp.LossInputs) -> torch.Tensor:
                with torch.no_grad():
                    return inputs.image.mean() + inputs.sprites.opacity.mean() + inputs.layer.mean()

        settings = settings_of(photo, stamps, tmp_path, loss={"l1": 0, "mse": 1, "opacity-sparsity": 0.1})
        alone = {"mse": 1, "opacity-sparsity": 0.1}
        expected = parameters(begin_fit(settings.model_copy(update={"loss": alone})).run())
        fit = begin_fit(settings)
        fit.loss.losses["a-looker"], fit.loss.weights["a-looker"] = Looker(), 1.0
        assert [step.terms["l1"] > 0 for step in fit] == [True] * 6
        assert all(torch.equal(value, expected[name]) for name, value in parameters(fit).items())

    def test_is_repeatable_and_depends_on_the_seed(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        first, again, other = (
            parameters(begin_fit(settings_of(photo, stamps, tmp_path, seed=seed)).run()) for seed in (0, 0, 1)
        )
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["position"], other["position"])

    @pytest.mark.parametrize("stop_after", [1, 3, 5])
    def test_resumes_to_the_same_result(self, photo: Path, stamps: Path, tmp_path: Path, stop_after: int) -> None:
        refiners = {"relocate": {"every": 2, "after": 0, "margin": 0}, "grow": {"stages": 3}}
        changes = {"refiners": refiners, "resolution": {"shortest": 16}, "blur": {"sigma": 1.0}}
        settings = settings_of(photo, stamps, tmp_path, loss={"mse": 1.0, "l1": 0.1}, **changes)
        whole = begin_fit(settings).run()
        stopped = begin_fit(settings)
        for step in stopped:
            stopped.stopping = step.index + 1 == stop_after
        save_checkpoint(stopped, tmp_path / CHECKPOINT)
        resumed = load_checkpoint(tmp_path / CHECKPOINT)
        assert resumed.first_step == resumed.next_step == stop_after
        resumed.run()
        assert resumed.losses == whole.losses
        expected = parameters(whole)
        assert all(torch.equal(value, expected[name]) for name, value in parameters(resumed).items())

    def test_resuming_with_more_steps_goes_past_the_old_end(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        fit = begin_fit(settings_of(photo, stamps, tmp_path)).run()
        save_checkpoint(fit, tmp_path / CHECKPOINT)
        resumed = load_checkpoint(tmp_path / CHECKPOINT, changes={"steps": 9}).run()
        assert resumed.next_step == 9
        assert len(resumed.losses) == 9

    def test_a_transparent_target_is_compared_over_the_canvas_of_the_step(
        self, stamps: Path, tmp_path: Path, photo: Path
    ) -> None:
        image = torch.zeros(4, 10, 10)
        image[:, 2:8, 2:8] = 1
        fit = begin_fit(settings_of(photo, stamps, tmp_path, target="", loss={"spatial": 1}), target=image)
        losses = [step.loss for step in fit]
        assert losses[-1] < losses[0]

    def test_reset_moments_forgets_only_the_chosen(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        fit = begin_fit(settings_of(photo, stamps, tmp_path)).run()
        position = fit.scene.primitives[0].position
        before = fit.optimizer.state[position]["exp_avg"].clone()
        fit.reset_moments(torch.tensor([2, 5]))
        after = fit.optimizer.state[position]["exp_avg"]
        assert not after[[2, 5]].any()
        kept = [i for i in range(12) if i not in (2, 5)]
        assert torch.equal(after[kept], before[kept])

    def test_each_rate_moves_its_parameter_by_its_own_unit(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        rates = {"position": 0.25, "scale": 0.0, "rotation": 0.125, "color": 0.0, "opacity": 0.0}
        fit = begin_fit(settings_of(photo, stamps, tmp_path, optimizer={**rates, "unit": "pixel"}, refine=[]))
        before = parameters(fit)
        next(iter(fit))
        after = parameters(fit)
        # Adam's first step is the rate itself, wherever there is a gradient at all.
        assert (after["position"] - before["position"]).abs().max() == pytest.approx(0.25, rel=1e-3)
        assert (after["rotation"] - before["rotation"]).abs().max() == pytest.approx(0.125, rel=1e-3)
        assert torch.equal(after["scale"], before["scale"])

    def test_lengths_change_in_units_of_the_stamp(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        rates = {"position": 0.25, "scale": 0.125}
        fit = begin_fit(settings_of(photo, stamps, tmp_path, optimizer=rates, refine=[]))
        before = parameters(fit)
        next(iter(fit))
        after = parameters(fit)
        size = before["scale"]
        moved = (after["position"] - before["position"]).abs() / size[:, None]
        grown = (after["scale"] - before["scale"]).abs() / size
        assert moved.max() == pytest.approx(0.25, rel=1e-3)
        assert grown.max() == pytest.approx(0.125, rel=1e-3)
        assert size.max() > 1.5 * size.min()


class Watcher(diffbmp.Observer):
    """Writes down what it is told."""

    name = "watcher"

    def __init__(self, fail_at: int = -1) -> None:
        super().__init__()
        self.events: list[str] = []
        self.fail_at = fail_at

    def started(self, fit: Fit) -> None:
        self.events.append("started")

    def stepped(self, fit: Fit, step: Step) -> None:
        if step.index == self.fail_at:
            raise ValueError("broken lens")
        self.events.append(str(step.index))

    def finished(self, fit: Fit) -> None:
        self.events.append("finished")


class TestObservers:
    def test_see_every_event(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        watcher = Watcher()
        begin_fit(settings_of(photo, stamps, tmp_path, steps=3), objects=FitObjects(observers=[watcher])).run()
        assert watcher.events == ["started", "0", "1", "2", "finished"]

    def test_one_that_fails_is_named_and_costs_nothing(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        broken, healthy = Watcher(fail_at=1), Watcher()
        objects = FitObjects(observers=[broken, healthy])
        fit = begin_fit(settings_of(photo, stamps, tmp_path, steps=3), objects=objects)
        with pytest.warns(RuntimeWarning, match=r"Observer 'watcher' failed.*broken lens"):
            fit.run()
        assert broken.events == ["started", "0"]
        assert healthy.events == ["started", "0", "1", "2", "finished"]

    def test_preview_writes_pictures(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        changes = {"observe": ["preview"], "observers": {"preview": {"every": 2, "keep": True}}}
        begin_fit(settings_of(photo, stamps, tmp_path / "out", **changes))
        (tmp_path / "out").mkdir()
        begin_fit(settings_of(photo, stamps, tmp_path / "out", **changes)).run()
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"preview-00000{k}.png" for k in (2, 4, 6)]


class TestSchedules:
    def test_exponential_is_the_papers(self) -> None:
        assert rate_factor(OptimizerSettings(schedule="exponential"), 10, 100) == pytest.approx(0.99**10)

    def test_cosine_goes_from_one_to_final(self) -> None:
        settings = OptimizerSettings(schedule="cosine", final=0.1)
        assert rate_factor(settings, 0, 50) == pytest.approx(1)
        assert rate_factor(settings, 49, 50) == pytest.approx(0.1)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_noisy_canvas_is_uniform_and_new_at_each_step(self, dtype: torch.dtype) -> None:
        noise = noisy_canvas(3, 5, (127, 129), dtype=dtype)
        assert noise.shape == (3, 127, 129)
        assert noise.dtype == dtype
        assert noise.min() >= 0
        assert noise.max() < 1
        counts = torch.histc(noise.float(), 16, 0, 1)
        assert counts.std() < 0.05 * counts.mean()
        flat = noise.flatten()
        assert torch.corrcoef(torch.stack([flat[1:], flat[:-1]]))[0, 1].abs() < 0.02
        assert torch.equal(noise, noisy_canvas(3, 5, (127, 129), dtype=dtype))
        assert not torch.equal(noise, noisy_canvas(3, 6, (127, 129), dtype=dtype))
        assert not torch.equal(noise, noisy_canvas(4, 5, (127, 129), dtype=dtype))

    def test_blur_falls_in_stages_and_ends_sharp(self) -> None:
        settings = BlurSettings(sigma=2.0, until=0.5, stages=4)
        sigmas = [blur_sigma(settings, step, 40) for step in range(40)]
        assert sigmas[0] == 2.0
        assert sorted(sigmas, reverse=True) == sigmas
        assert sorted(set(sigmas)) == [0.0, 0.5, 1.0, 1.5, 2.0]
        assert not any(sigmas[20:])

    def test_the_canvas_doubles_until_it_is_whole(self) -> None:
        settings = ResolutionSettings(shortest=64, until=0.5)
        scales = [resolution_scale(settings, step, 20, (600, 300)) for step in range(20)]
        assert scales == [0.25] * 5 + [0.5] * 5 + [1.0] * 10
        assert resolution_scale(settings, 0, 20, (100, 127)) == 1.0
        assert resolution_scale(ResolutionSettings(until=0), 0, 20, (4096, 4096)) == 1.0

    def test_streams_are_independent_and_stateless(self) -> None:
        def draw(*key: Any) -> float:
            return float(torch.rand(1, generator=generator(*key)))

        keys = [(seed, stream, step) for seed in (0, 1) for stream in Stream for step in (0, 1)]
        values = [draw(*key) for key in keys]
        assert len(set(values)) == len(keys)
        assert [draw(*key) for key in keys] == values


class TestPythonApi:
    def test_writes_everything(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        result = diffbmp.fit(photo, stamps=stamps, n=8, steps=3, output=output, renderer="reference")
        assert {p.name for p in output.iterdir()} == {PICTURE, SCENE, REPORT, CHECKPOINT}
        report = json.loads((output / REPORT).read_text())
        assert report == json.loads(json.dumps(result.report))
        wanted = (
            "psnr ssim seconds seconds_per_step steps stamps renderer device threads peak_memory seed versions settings"
        )
        assert set(wanted.split()) <= report.keys()
        assert report["stamps"] == 8
        assert report["steps"] == 3
        assert report["settings"]["optimizer"]["final"] == 0.05
        assert report["peak_memory"] > 10e6
        loaded = diffbmp.load_scene(output / SCENE)
        assert torch.equal(loaded.render(renderer="reference"), result.scene.render(renderer="reference"))

    def test_same_seed_same_bytes(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            diffbmp.fit(photo, stamps=stamps, n=8, steps=3, output=tmp_path / name, renderer="reference")
        for file in (PICTURE, SCENE):
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

    def test_takes_tensors_and_writes_nothing_unasked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        atlas = diffbmp.Atlas.from_pixels([torch.ones(5, 5)])
        result = diffbmp.fit(torch.full((3, 8, 9), 0.5), stamps=atlas, n=4, steps=2)
        assert result.image.shape == (3, 8, 9)
        assert not list(tmp_path.iterdir())

    def test_unknown_option_names_the_nearest(self, photo: Path, stamps: Path) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match=r"'step'.*did you mean 'steps'"):
            diffbmp.fit(photo, stamps=stamps, step=3)

    def test_nan_from_a_loss_stops_with_its_name(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        class Broken(diffbmp.Loss):
            """Not a number."""

            name = "broken"

            def __call__(self, inputs: diffbmp.LossInputs) -> torch.Tensor:
                return inputs.image.sum() * float("nan")

        fit = begin_fit(settings_of(photo, stamps, tmp_path))
        fit.loss.losses["broken"], fit.loss.weights["broken"] = Broken(), 1.0
        with pytest.raises(diffbmp.DiffbmpError, match="broken"):
            fit.run()


class TestTarget:
    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (torch.zeros(2, 4, 4), "shape"),
            (torch.zeros(3, 0, 4), "shape"),
            (torch.zeros(3, 4, 4, dtype=torch.uint8), "divide 8-bit values"),
            (torch.full((3, 4, 4), float("nan")), "NaN"),
            (torch.full((3, 4, 4), 2.0), r"must be in \[0, 1\]"),
        ],
    )
    def test_refuses_what_is_no_picture(self, image: torch.Tensor, message: str) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match=message):
            Target.from_image(image)


def test_every_family_has_a_core_member_or_needs_none() -> None:
    for family in ("renderers", "loaders", "primitives", "losses", "initializers", "exporters", "observers"):
        assert registry().entries(family), family
