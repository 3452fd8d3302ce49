"""The refiners that place stamps: growth and relocation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.build import begin_fit, build_fit
from diffbmp.fitting.fit import Fit, Target
from diffbmp.fitting.schedules import Stream
from diffbmp.fitting.settings import FitSettings
from diffbmp.refiners.relocate import removal_costs
from diffbmp.rendering.composite import over_background
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import Stamps


def picture(height: int = 48, width: int = 64) -> torch.Tensor:
    """Return a picture with large and small things in it."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    image = torch.stack([0.5 + 0.4 * torch.sin(9 * x), 0.2 + 0.6 * y, 0.5 + 0.4 * torch.cos(20 * x * y)])
    image[:, height // 4 : height // 2, width // 2 : width // 2 + 5] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    return image


def squares() -> Atlas:
    return Atlas.from_pixels([torch.ones(9, 9), torch.ones(4, 12)])


def fit_of(target: torch.Tensor | None = None, **changes: Any) -> Fit:
    values = {"n": 40, "steps": 20, "renderer": "reference", "resolution": {"shortest": 16}}
    settings = FitSettings.model_validate({**values, **changes})
    return begin_fit(settings, target=picture() if target is None else target, atlas=squares())


def mean_square(fit: Fit) -> float:
    with torch.no_grad():
        assert fit.target is not None
        return float((fit.scene.render() - fit.target.color).square().mean())


class TestGrow:
    def test_comes_in_stages_and_ends_with_n(self) -> None:
        fit = fit_of(refine=["grow"], refiners={"grow": {"stages": 4, "until": 0.5}})
        counts = [len(fit.front), *(len(fit.front) for _ in fit)]
        assert counts[:11] == [10, 10, 10, 20, 20, 30, 30, 30, 40, 40, 40]
        assert set(counts[11:]) == {40}

    def test_the_newest_are_in_front_and_smaller(self) -> None:
        fit = fit_of(refine=["grow"], optimizer={"position": 0, "scale": 0, "rotation": 0}, seed=3)
        first = fit.front.position.detach().clone()
        fit.run()
        assert torch.equal(fit.front.position[: len(first)], first)
        scale = fit.front.scale.detach()
        assert scale[: len(first)].mean() > 1.5 * scale[-len(first) :].mean()

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_few_steps_still_place_all(self, steps: int) -> None:
        assert len(fit_of(steps=steps, n=17).run().front) == 17

    def test_one_stamp(self) -> None:
        assert len(fit_of(n=1, steps=4).run().front) == 1

    def test_is_better_than_all_at_once(self) -> None:
        grown = fit_of(refine=["grow"], steps=40).run()
        at_once = fit_of(refine=[], initializer="random", steps=40).run()
        assert mean_square(grown) < 0.5 * mean_square(at_once)

    def test_a_target_like_the_canvas_still_gets_its_stamps(self) -> None:
        fit = fit_of(torch.ones(3, 32, 32), n=20).run()
        assert len(fit.front) == 20
        assert mean_square(fit) < 1e-3

    def test_keeps_inside_a_shape(self) -> None:
        target = torch.cat([picture(), torch.zeros(1, 48, 64)])
        target[3, 12:36, 16:48] = 1
        fit = fit_of(target, background="transparent", loss={"spatial": 1.0}, n=60, steps=60).run()
        with torch.no_grad():
            alpha = fit.scene.render()[3]
        inside = target[3] > 0
        assert float(alpha[inside].mean()) > 0.95
        assert float(alpha[~inside].mean()) < 0.05


class TestRearrange:
    def test_moments_go_with_their_stamps(self) -> None:
        fit = fit_of(n=12, refine=[])
        list(zip(fit, range(3), strict=False))
        stamps, count = fit.front, len(fit.front)
        position = stamps.position.detach().clone()
        moment = fit.optimizer.state[stamps.position]["exp_avg"].clone()
        kept = torch.tensor([5, 0, 3])
        added = Stamps(
            torch.full((2, 2), 7.0),
            torch.ones(2),
            torch.zeros(2),
            torch.zeros(2),
            torch.zeros(2, 3),
            torch.ones(2).int(),
        )
        fit.rearrange(kept, added)
        assert count == 12
        assert len(fit.front) == 5
        assert torch.equal(stamps.position[:3], position[kept])
        assert torch.equal(stamps.position[3:], torch.full((2, 2), 7.0))
        assert stamps.texture.tolist()[3:] == [1, 1]
        after = fit.optimizer.state[stamps.position]["exp_avg"]
        assert torch.equal(after[:3], moment[kept])
        assert not after[3:].any()
        fit.run()

    def test_needs_stamps_in_front(self) -> None:
        class Wheels(Stamps):
            """Stamps by another name."""

            name = "wheels"

        fit = fit_of(n=4, refine=[])
        wheels = Wheels(**fit.front.state_dict())
        with pytest.raises(DiffbmpError, match=r"of 'wheels'.*cannot be added to those of 'stamps'"):
            fit.rearrange(torch.arange(4), wheels)
        scene = Scene(64, 48, fit.scene.atlas, [fit.front, wheels], background=torch.ones(3))
        for name in ("grow", "relocate", "reinitialize"):
            settings = fit.settings.model_copy(update={"refine": [name]})
            with pytest.raises(DiffbmpError, match=f"'{name}' serves stamps, but the primitive in front is wheels"):
                build_fit(settings, scene, fit.target)


class TestRelocate:
    def scene(self) -> tuple[Scene, torch.Tensor]:
        """Return a canvas of stamps of which the third is hidden behind the fourth, and a target with a hole in it."""
        position = torch.tensor([[10.0, 12.0], [40.0, 20.0], [20.0, 30.0], [20.0, 30.0], [50.0, 40.0]])
        stamps = Stamps(
            position, torch.tensor([6.0, 8.0, 5.0, 9.0, 4.0]), torch.zeros(5), torch.tensor([1.0, 2.0, 0.5, 7.0, 1.0]),
            torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(5).long(),
        )  # fmt: skip
        scene = Scene(64, 48, squares(), [stamps], background=torch.ones(3))
        with torch.no_grad():
            target = scene.render(renderer="reference")
        target[:, 3:13, 25:35] = 0.2
        return scene, target

    def fit(self, scene: Scene, target: torch.Tensor, **relocate: Any) -> Fit:
        settings = {"n": 5, "steps": 10, "renderer": "reference", "refine": ["relocate"]}
        table = {"every": 1, "after": 0.0, "until": 1.0, "share": 0.2, **relocate}
        rates = dict.fromkeys(("position", "scale", "rotation", "opacity", "color"), 0)
        values = {**settings, "optimizer": rates, "refiners": {"relocate": table}}
        return build_fit(FitSettings.model_validate(values), scene, Target.from_image(target))

    def test_costs_are_those_of_removing(self) -> None:
        scene, target = self.scene()
        fit = self.fit(scene, 0.9 * target)
        costs = removal_costs(fit, 400, torch.Generator().manual_seed(0))
        with torch.no_grad():
            before = (scene.render() - 0.9 * target).square().sum()
            for index in range(5):
                saved = scene.primitives[0].opacity_logit[index].clone()
                scene.primitives[0].opacity_logit[index] = -60
                exact = (scene.render() - 0.9 * target).square().sum() - before
                scene.primitives[0].opacity_logit[index] = saved
                assert float(costs[index]) == pytest.approx(float(exact), rel=0.2, abs=0.5)

    def test_moves_the_hidden_stamp_to_the_hole(self) -> None:
        scene, target = self.scene()
        before = scene.primitives[0].position.detach().clone()
        fit = self.fit(scene, target, per_stamp=100)
        next(iter(fit))
        after = scene.primitives[0].position.detach()
        assert len(after) == 5
        assert torch.dist(after[-1], torch.tensor([30.0, 8.0])) < 3
        assert torch.allclose(after[:4], before[[0, 1, 3, 4]], atol=0)
        with torch.no_grad():
            error = (over_background(scene.layer(), torch.ones(3, 1, 1)) - target).square().mean()
        assert float(error) < 0.2 * 0.64 * 100 / (48 * 64)

    def test_leaves_a_good_picture_alone(self) -> None:
        scene, _ = self.scene()
        with torch.no_grad():
            target = scene.render(renderer="reference")
        before = scene.primitives[0].position.detach().clone()
        fit = self.fit(scene, target, share=1.0, margin=3.0)
        kept = scene.primitives[0].texture.clone()
        next(iter(fit))
        # The hidden one may go anywhere, for nothing is lost with it; the others stay.
        assert torch.equal(scene.primitives[0].texture[:4], kept[:4])
        assert torch.allclose(scene.primitives[0].position.detach()[[0, 1, -1]][:2], before[[0, 1]], atol=0)

    def test_waits_until_all_stamps_are_there_and_stops_in_time(self) -> None:
        table = {"grow": {"until": 0.5, "stages": 4}, "relocate": {"every": 1, "after": 0, "until": 0.8, "margin": 0}}
        fit = fit_of(refiners=table, optimizer={"position": 0, "scale": 0, "rotation": 0})
        places = [fit.front.position.detach().clone() for _ in fit]
        moved = [not torch.equal(now, before) for before, now in pairwise(places) if len(now) == len(before)]
        # After step 7 all 40 stamps are there, and after step 15 nothing moves.
        assert [len(place) for place in places][6:] == [30, *[40] * 13]
        assert any(moved[-10:-4])
        assert not any(moved[-4:])


def test_without_a_target_they_are_refused() -> None:
    fit = fit_of(n=4, refine=[])
    for name in ("grow", "relocate"):
        settings = fit.settings.model_copy(update={"refine": [name]})
        with pytest.raises(DiffbmpError, match=f"refiner '{name}' needs a target"):
            build_fit(settings, fit.scene, None)


def test_streams_of_refiners_differ() -> None:
    fit = fit_of(n=4, refine=[])
    draws = {float(torch.rand(1, generator=fit.generator(s))) for s in (Stream.REFINER, Stream.GROW, Stream.RELOCATE)}
    assert len(draws) == 3
