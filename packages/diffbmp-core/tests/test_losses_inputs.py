"""What a loss is given: crops and other sizes drawn anew, preparation, named tensors and random streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_fits import Veils, atlas, picture, pictures, shaped, started
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, Fit, Loss, LossInputs, LossSetup, Refiner, Scene, Sprites, Stamps, Step, resume_fit
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.fitting.schedules import Stream, generator, noisy_canvas
from diffbmp.losses.total import TotalLoss
from diffbmp.rendering.reference import Reference

BOXES = [[0, 0, 10, 8], [6, 4, 16, 12], [18, 10, 28, 18]]


def inputs_of(fit: Fit, step: int = 0) -> LossInputs:
    """Return what the losses of a step are given."""
    return fit.step_inputs.make(step, fit.scene)


def random_fit(target: Any = None, **options: Any) -> Fit:
    if "primitives" not in options:
        options["initializer"] = "random"
    return started(picture() if target is None else target, refine=[], **options)


def crops(whole: Tensor, boxes: list[list[int]], scale: float = 1.0) -> Tensor:
    """Return the boxes cut out of a picture of the whole canvas at ``scale``."""
    scaled = [[round(side * scale) for side in box] for box in boxes]
    return torch.stack([whole[..., top:bottom, left:right] for left, top, right, bottom in scaled], dim=-4)


class Counted(Reference):
    """The reference, which counts how often it draws."""

    name = "counted"
    drawn = 0

    def forward(self, inputs: Any) -> Any:
        Counted.drawn += 1
        return super().forward(inputs)


OPTIONS: dict[str, dict[str, Any]] = {
    "sprites": {},
    "blurred": {"blur": {"sigma": 2.0}},
    "added up, faint, trilinear": {"blend": "add", "alpha_max": 0.6, "filter": "trilinear"},
    "several primitives": {"primitives": [{"kind": "stamps", "n": 9}, {"kind": "stamps", "n": 5}]},
    "layers of their own": {
        "primitives": [{"kind": "stamps", "n": 9}, {"kind": Veils, "n": 3}, {"kind": "stamps", "n": 4}]
    },
}


class TestDraw:
    @pytest.mark.parametrize("case", OPTIONS)
    @pytest.mark.parametrize("batch", [False, True])
    def test_boxes_equal_the_whole_picture_cropped(self, case: str, batch: bool) -> None:
        inputs = inputs_of(random_fit(pictures(2) if batch else None, **OPTIONS[case]))
        found = inputs.draw(BOXES, size=(8, 10))
        assert found.shape == (*([2] if batch else []), 3, 4, 8, 10)
        assert torch.allclose(found, crops(inputs.layer, BOXES), atol=1e-5)
        double = inputs.draw(size=(38, 58))
        assert torch.allclose(inputs.draw(BOXES, size=(16, 20)), crops(double, BOXES, 2), atol=1e-5)
        wide = inputs.draw(size=(19, 58))
        squeezed = [[2 * left, top, 2 * right, bottom] for left, top, right, bottom in BOXES]
        assert torch.allclose(inputs.draw(BOXES, size=(8, 20)), crops(wide, squeezed), atol=1e-5)
        assert float(found.detach().std()) > 0.05

    @pytest.mark.parametrize("case", OPTIONS)
    def test_canvases_of_a_batch_draw_what_the_batch_draws(self, case: str) -> None:
        inputs = inputs_of(random_fit(pictures(2), **OPTIONS[case]))
        boxes = torch.tensor(BOXES, dtype=torch.float64) + 0.3
        for index, canvas in enumerate(inputs.canvases()):
            assert torch.equal(canvas.draw(boxes, size=(5, 9)), inputs.draw(boxes, size=(5, 9))[index])
            assert torch.allclose(canvas.draw(size=(9, 30)), inputs.draw(size=(9, 30))[index], atol=1e-6)
            assert torch.equal(canvas.draw(), canvas.layer)

    def test_under_coarse_resolution_and_blur_nothing_is_scaled_twice(self) -> None:
        options = {"resolution": {"shortest": 16, "until": 1.0}, "blur": {"sigma": 1.5}}
        fit = random_fit(picture(0, 32, 48), **options)
        inputs = inputs_of(fit)
        assert inputs.size == (16, 24)
        assert inputs.layer.shape == (4, 16, 24)
        assert torch.equal(inputs.draw(), inputs.layer)
        boxes = [[0, 0, 20, 16], [12, 8, 32, 24]]
        assert torch.allclose(inputs.draw(boxes, size=(8, 10)), crops(inputs.layer, boxes, 0.5), atol=1e-5)
        assert torch.allclose(inputs.draw([[0, 0, 48, 32]]), inputs.layer, atol=1e-5)
        sharp = fit.scene.layer(atlas=inputs.atlas, renderer=fit.renderer)
        assert torch.allclose(inputs.draw(size=(32, 48)), sharp, atol=1e-5)
        assert torch.allclose(inputs.draw(boxes, size=(16, 20)), crops(sharp, boxes), atol=1e-5)

    def test_boxes_off_the_canvas_hold_what_reaches_out_of_it(self) -> None:
        inputs = inputs_of(random_fit())
        inner = inputs.draw([[-10.0, -6.0, 40.0, 26.0]], size=(32, 50))
        assert torch.allclose(inner[0, :, 6:25, 10:39], inputs.layer, atol=1e-5)
        beyond = inner[0, 3].detach().sum() - inputs.layer[3].detach().sum()
        assert float(beyond) > 1  # some stamp reaches beyond the edge
        far = inputs.draw([[1000.0, 1000.0, 1010.0, 1010.0]], size=(4, 4))
        assert not bool(far.any())
        tiny = inputs.draw([[10.0, 10.0, 10.25, 10.25]], size=(4, 4), background=1.0)
        assert tiny.shape == (1, 3, 4, 4)

    @pytest.mark.parametrize("batch", [False, True])
    def test_all_boxes_are_one_call_of_the_operator(self, batch: bool, register: Callable[..., Any]) -> None:
        register("counting", Counted)
        inputs = inputs_of(random_fit(pictures(2) if batch else None, renderer="counted"))
        Counted.drawn = 0
        inputs.draw(torch.rand(7, 4) + torch.tensor([0.0, 0, 2, 2]), size=(5, 5))
        assert Counted.drawn == 1
        inputs.draw(BOXES, size=(5, 5), sprites=inputs.sprites, blend="add")
        assert Counted.drawn == 2
        for _ in range(2):
            assert inputs.image.shape[-3:] == (3, 19, 29)
        assert Counted.drawn == 3

    @pytest.mark.parametrize(
        ("background", "expected"),
        [
            (0.25, [0.25] * 3),
            ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
            (torch.tensor([0.1, 0.2, 0.3]), [0.1, 0.2, 0.3]),
            (torch.tensor([0.1, 0.2, 0.3])[:, None, None], [0.1, 0.2, 0.3]),
            (torch.full((3, 3, 3), 0.5), [0.5] * 3),
        ],
    )
    def test_backgrounds(self, background: Any, expected: list[float]) -> None:
        inputs = inputs_of(random_fit())
        found = inputs.draw([[500.0, 500.0, 503.0, 503.0]], size=(3, 3), background=background)
        assert found.shape == (1, 3, 3, 3)
        assert torch.allclose(found[0], torch.tensor(expected)[:, None, None].expand(3, 3, 3))
        assert torch.allclose(inputs.draw(background=inputs.background), inputs.image)

    @pytest.mark.parametrize("shape", [(2,), (3, 4), (3, 5, 5), (4, 1, 1), (1, 1, 2, 3, 3, 3)])
    def test_refuses_backgrounds_that_do_not_fit(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(DiffbmpError, match="background must broadcast to"):
            inputs_of(random_fit()).draw(BOXES, size=(3, 3), background=torch.rand(shape))

    @pytest.mark.parametrize(
        ("boxes", "said"),
        [
            ([], "boxes must have shape"),
            ([[0, 0, 1]], "boxes must have shape"),
            ([0, 0, 1, 1], "boxes must have shape"),
            ([[0, 0, 0, 1]], "right and bottom beyond"),
            ([[0, 2, 1, 1]], "right and bottom beyond"),
            ([[0, 0, float("nan"), 1]], "Each box must be finite"),
            ([[0, 0, float("inf"), 1]], "Each box must be finite"),
        ],
    )
    def test_refuses_boxes_that_are_none(self, boxes: Any, said: str) -> None:
        with pytest.raises(DiffbmpError, match=said):
            inputs_of(random_fit()).draw(boxes, size=(4, 4))
        with pytest.raises(DiffbmpError, match="size must be"):
            inputs_of(random_fit()).draw(BOXES, size=(0, 4))

    @pytest.mark.parametrize("batch", [(), (2,)])
    def test_gradients(self, batch: tuple[int, ...]) -> None:
        random = torch.Generator().manual_seed(1)

        def values(*shape: int) -> Tensor:
            return torch.rand((*batch, 3, *shape), generator=random, dtype=torch.float64)

        position = 2 + 6 * values(2)
        stamps = Stamps(
            position, 2 + 2 * values(), 6 * values(), values(), values(3), torch.tensor([0, 1, 2]), values()
        )
        textures = atlas().to(torch.device("cpu"), torch.float64)
        scene = Scene(12, 10, textures, [stamps])
        inputs = LossInputs(
            scene,
            scene.sprites_by_primitive(),
            scene.drawing(renderer="reference"),
            background=torch.ones(3, 1, 1, dtype=torch.float64),
        )
        own = inputs.sprites
        boxes = torch.tensor([[0.3, 0.2, 7.1, 9.4], [4.2, -1.1, 13.7, 5.9]], dtype=torch.float64)

        def drawn(frame: Tensor, opacity: Tensor, color: Tensor, boxes: Tensor) -> Tensor:
            sprites = Sprites(frame, opacity, color, own.texture, own.color_blend)
            return inputs.draw(boxes, size=(3, 4), sprites=sprites, background=0.5)

        given = [one.detach().requires_grad_(True) for one in (own.frame, own.opacity, own.color, boxes)]
        assert torch.autograd.gradcheck(drawn, given, atol=1e-5)

    def test_gradients_of_a_layer_of_its_own_reach_the_batch(self) -> None:
        fit = random_fit(pictures(2), primitives=[{"kind": Veils, "n": 3}])
        veils: Any = fit.front
        for index, canvas in enumerate(inputs_of(fit).canvases()):
            (gradient,) = torch.autograd.grad(canvas.draw(BOXES, size=(8, 10)).square().sum(), veils.centre)
            assert bool(gradient[index].any())
            assert not bool(gradient[1 - index].any())
            alone = fit.scene.canvas(index)
            lonely: Any = alone.primitives[0]
            inputs = LossInputs(alone, [None], alone.drawing(renderer=fit.renderer), background=torch.ones(3, 1, 1))
            (expected,) = torch.autograd.grad(inputs.draw(BOXES, size=(8, 10)).square().sum(), lonely.centre)
            assert torch.equal(gradient[index], expected)

    def test_no_sprites_to_look_at(self) -> None:
        with pytest.raises(DiffbmpError, match="No primitive of this scene is made of sprites"):
            _ = inputs_of(random_fit(primitives=[{"kind": Veils, "n": 3}])).sprites


class Prepared(Loss):
    """Notes what it is prepared for."""

    name = "prepared"
    needs_target = False

    class Settings(diffbmp.Settings):
        strength: float = 1.0

    settings: Settings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.setups: list[LossSetup] = []

    def prepare(self, setup: LossSetup) -> None:
        self.setups.append(setup)

    def __call__(self, inputs: LossInputs) -> Tensor:
        assert self.setups[-1].size == inputs.size
        return self.settings.strength * inputs.image.mean()


class TestPrepare:
    def test_once_for_each_size_of_a_fit(self) -> None:
        loss = Prepared()
        fit = started(picture(0, 64, 80), loss=loss, refine=[], initializer="random", steps=12,
                      resolution={"shortest": 16, "until": 0.5})  # fmt: skip
        assert len(loss.setups) == 1  # before the first step
        fit.run()
        assert [setup.size for setup in loss.setups] == [(16, 20), (32, 40), (64, 80)]
        assert all(setup.canvas_size == (64, 80) for setup in loss.setups)
        assert all(setup.has_target and not setup.target_alpha for setup in loss.setups)

    def test_not_again_by_trials_refiners_and_figures(self) -> None:
        loss = Prepared()
        fit = started(pictures(2), loss=[loss, "mse"])
        for _ in fit:
            fit.losses_of(fit.scene.primitives)
        assert len(loss.setups) == 1

    def test_again_where_transparency_or_the_target_itself_goes(self) -> None:
        loss = Prepared()
        fit = random_fit(loss=loss, steps=2).run()
        fit.retarget(picture(1))
        fit.run()
        assert len(loss.setups) == 1
        fit.retarget(shaped(picture(1)))
        fit.retarget(None)
        assert [(setup.has_target, setup.target_alpha) for setup in loss.setups] == [
            (True, False), (True, True), (False, False),
        ]  # fmt: skip

    def test_by_size_device_dtype_and_settings(self, register: Callable[..., Any]) -> None:
        register("noting", Prepared)
        total = TotalLoss({"prepared": 1.0})
        loss: Any = total.losses["prepared"]
        setups = [
            LossSetup((8, 9)),
            LossSetup((8, 9), canvas_size=(16, 18)),
            LossSetup((9, 9)),
            LossSetup((9, 9), dtype=torch.float64),
            LossSetup((9, 9), device="meta"),
        ]
        for number, setup in enumerate(setups, start=1):
            total.prepare(setup)
            total.prepare(setup)
            assert len(loss.setups) == number
        assert [setup.device.type for setup in loss.setups] == ["cpu"] * 4 + ["meta"]

    def test_a_change_of_one_loss_prepares_that_one(self, register: Callable[..., Any]) -> None:
        class Other(Prepared):
            """Notes what it is prepared for, too."""

            name = "other"

        register("noting", Prepared, Other)
        fit = random_fit(loss={"prepared": 1.0, "other": 1.0})
        first, other = (fit.loss.losses[name] for name in ("prepared", "other"))
        fit.change(loss={"prepared": 2.0, "other": 1.0})
        assert fit.loss.losses["prepared"] is first
        fit.change(losses={"prepared": {"strength": 0.5}})
        again: Any = fit.loss.losses["prepared"]
        kept: Any = fit.loss.losses["other"]
        assert again is not first
        assert kept is other
        assert len(again.setups) == len(kept.setups) == 1
        fit.run()
        assert len(again.setups) == len(kept.setups) == 1

    def test_one_object_in_two_fits_is_prepared_for_each_in_turn(self) -> None:
        loss = Prepared()
        small, large = (random_fit(picture(0, *size), loss=loss, steps=3) for size in ((16, 20), (24, 30)))
        for _ in zip(small, large, strict=True):
            pass
        assert {setup.size for setup in loss.setups} == {(16, 20), (24, 30)}


class TestNamedTensors:
    def test_are_seen_by_losses_and_kept_by_checkpoints(self, tmp_path: Path) -> None:
        def pulled(inputs: LossInputs) -> Tensor:
            return (inputs.sprites.frame[..., 2] - inputs.tensors["places"]).square().mean()

        places = torch.rand(37, 2) * torch.tensor([29.0, 19.0])
        flags = torch.tensor([True, False])
        options: dict[str, Any] = {"loss": pulled, "tensors": {"places": places, "some/flags": flags}}
        whole = started(size=(19, 29), **options).run()
        assert whole.losses[-1] < whole.losses[0]
        fit = started(size=(19, 29), **options)
        for step in fit:
            fit.stopping = step.index == 3
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp", loss=pulled)
        assert torch.equal(resumed.tensors["places"], places)
        assert torch.equal(resumed.tensors["some/flags"], flags)
        assert resumed.run().losses == whole.losses

    def test_are_added_by_observers_and_refiners(self, tmp_path: Path) -> None:
        class Watching(diffbmp.Observer):
            name = "watching"

            def stepped(self, fit: Fit, step: Step) -> None:
                fit.tensors["watched"] = torch.tensor(step.index)

        class Acting(Refiner):
            name = "acting"

            def refine(self, fit: Fit, step: Step) -> None:
                fit.tensors["acted"] = torch.tensor([step.index, step.index], dtype=torch.float16)

        def seeing(inputs: LossInputs) -> Tensor:
            seen.append({name: value.tolist() for name, value in inputs.tensors.items()})
            return inputs.image.mean()

        seen: list[Any] = []
        for target in (picture(), pictures(2)):
            seen.clear()
            fit = started(target, initializer="random", refine=[Acting()], loss=seeing, steps=2, observe=[Watching()])
            fit.run()
            assert seen[0] == {}
            assert seen[-1] == {"acted": [0, 0], "watched": 0}
            save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
            resumed = resume_fit(tmp_path / "checkpoint.diffbmp", loss=seeing, refine=[Acting()])
            assert resumed.tensors["acted"].tolist() == [1, 1]
            assert resumed.tensors["acted"].dtype == torch.float16

    @pytest.mark.parametrize("given", [{"depth": 5}, {3: torch.ones(1)}, {"": torch.ones(1)}])
    def test_what_is_no_tensor_is_refused(self, given: Any) -> None:
        with pytest.raises(DiffbmpError, match="tensors are given by name"):
            random_fit(tensors=given)

    def test_what_an_observer_adds_that_is_no_tensor_is_refused_when_saved(self, tmp_path: Path) -> None:
        fit = random_fit()
        fit.tensors["depth"] = 5  # type: ignore[assignment]
        with pytest.raises(DiffbmpError, match="tensors are given by name"):
            save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        assert not (tmp_path / "checkpoint.diffbmp").exists()


class Drawing(Loss):
    """Notes the first random number that it is given."""

    name = "drawing"
    needs_target = False

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.drawn: list[int] = []

    def __call__(self, inputs: LossInputs) -> Tensor:
        self.drawn.append(number(inputs.generator))
        return inputs.image.mean()


def number(source: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=source))


class TestRandomStreams:
    def test_numbers_are_the_same_on_every_machine(self) -> None:
        found = {name: number(generator(5, name, 7)) for name in ("losses/drawing", "glitter")}
        assert found == {"losses/drawing": 2381894211388379419, "glitter": 464737190878473219}
        core = {stream.name: number(generator(5, stream, 7)) for stream in Stream}
        assert core == {
            "START": 4271086682972591028,
            "CANVAS": 2855218892473862230,
            "LOSS": 3144998010314855792,
            "REFINER": 1468345588923983632,
            "GROW": 1504337594779420273,
            "RELOCATE": 1253909940396134037,
            "REINITIALIZE": 186015139434089061,
        }

    def test_each_plugin_has_its_own_and_each_step_another(self) -> None:
        class Other(Drawing):
            name = "other"

        first, other, again = Drawing(), Other(), Drawing()
        random_fit(loss=[first, other], steps=3, seed=4).run()
        random_fit(loss=again, steps=3, seed=4).run()
        assert first.drawn == again.drawn == [number(generator(4, "losses/drawing", step)) for step in range(3)]
        assert len({*first.drawn, *other.drawn}) == 6

    def test_another_loss_does_not_change_the_numbers_of_core(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diffbmp.losses.pixelwise import MeanSquaredError

        drawn: list[int] = []
        compared = MeanSquaredError.__call__

        def noting(self: MeanSquaredError, inputs: LossInputs) -> Tensor:
            drawn.append(number(inputs.generator))
            return compared(self, inputs)

        monkeypatch.setattr(MeanSquaredError, "__call__", noting)
        random_fit(loss="mse", steps=3).run()
        alone, drawn[:] = list(drawn), []
        random_fit(loss=["mse", Drawing()], steps=3).run()
        assert drawn == alone == [number(generator(0, Stream.LOSS, step)) for step in range(3)]

    def test_a_batch_draws_for_each_canvas_what_it_would_draw_alone(self) -> None:
        loss, alone = Drawing(), Drawing()
        random_fit(pictures(2), loss=loss, steps=2).run()
        random_fit(loss=alone, steps=2).run()
        assert loss.drawn == [alone.drawn[0]] * 2 + [alone.drawn[1]] * 2

    def test_a_refiner_asks_by_its_name(self) -> None:
        fit = random_fit(seed=3)
        assert number(fit.generator("sparkle")) == number(generator(3, "sparkle", 0))
        assert number(fit.generator("sparkle", step=4)) == number(generator(3, "sparkle", 4))
        assert number(fit.generator("sparkle")) != number(fit.generator("glitter"))

    def test_noise_stays_what_it_was(self) -> None:
        assert noisy_canvas(3, 2, (2, 2)).flatten()[:3].tolist() == [
            0.1026763916015625,
            0.542572021484375,
            0.087799072265625,
        ]
