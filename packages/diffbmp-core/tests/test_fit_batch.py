"""A fit of several canvases: each gets what it would get alone, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_fits import (
    N,
    Veils,
    all_of,
    assert_same_bits,
    atlas,
    moments,
    picture,
    pictures,
    shaped,
    started,
    tensors,
    threads,
)
from test_cli import run
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, Fit, LossInputs, Refiner, Step, resume_fit
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.fitting.refining import Refining
from diffbmp.fitting.report import fit_report
from diffbmp.fitting.run import REPORT
from diffbmp.images import write_png

CASES: dict[str, tuple[list[Tensor], dict[str, Any]]] = {
    "grow and relocate over noise": (pictures(), {}),
    "coarse to fine, blurred": (
        pictures(3, 41, 35),
        {"resolution": {"shortest": 16, "until": 0.8}, "blur": {"sigma": 1.5, "stages": 3}},
    ),
    "palette, locks, numbers and blends of sets": (
        pictures(),
        {"palette": ["red", "white", "#203040"], "lock": ["2-3"], "counts": {"coloured": 9},
         "color_blends": {"coloured": 0.5}},
    ),
    "transparent targets": (
        [shaped(target) for target in pictures()], {"background": "transparent", "loss": {"spatial": 1.0, "mse": 0.5}}
    ),
    "one of three transparent": ([picture(0), shaped(picture(1)), picture(2)], {}),
    "reinitialize and relocate": (pictures(), {"initializer": "structure", "refine": ["reinitialize", "relocate"]}),
    "many losses, added up": (
        pictures(),
        {"initializer": "random", "refine": [], "blend": "add", "alpha_max": 0.7,
         "loss": {"huber": 1.0, "overlap": 0.01, "opacity-sparsity": 0.01, "ssim": 0.2, "boundary": 0.1}},
    ),
    "the paper's": (pictures(), {"preset": "paper"}),
    "over a colour, trilinear, frozen": (
        pictures(),
        {"noisy_canvas": False, "background": "#304050", "filter": "trilinear", "freeze": ["rotation=0.3"]},
    ),
}  # fmt: skip


class TestEqualsFitsAlone:
    @pytest.mark.parametrize(
        ("case", "count"), [*((case, 1) for case in CASES), (next(iter(CASES)), 2), ("many losses, added up", 2)]
    )
    def test_bit_for_bit(self, case: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        targets, options = CASES[case]
        acted: list[str] = []
        act = Refining._act

        def noted(self: Refining, fit: Fit, refiner: Refiner, step: Step) -> None:
            before = tensors(fit.scene)
            act(self, fit, refiner, step)
            after = tensors(fit.scene)
            if any(before[name].shape != after[name].shape or bool((before[name] != after[name]).any())
                   for name in before):  # fmt: skip
                acted.append(refiner.name)

        monkeypatch.setattr(Refining, "_act", noted)
        with threads(count):
            batch = started(targets, **options)
            steps = list(batch)
            refined = {name: acted.count(name) for name in set(acted)}
            assert set(refined) == set(batch.settings.refine)
            for index, target in enumerate(targets):
                alone = started(target, **options)
                own = list(alone)
                assert_same_bits(tensors(batch.scene.canvas(index)), tensors(alone.scene))
                assert_same_bits(moments(batch, index), moments(alone))
                assert [step.canvas_losses[index] for step in steps] == alone.losses
                assert [step.canvas_psnrs[index] for step in steps] == alone.psnrs
                assert [step.canvas(index).terms for step in steps] == [step.terms for step in own]
        assert {name: acted.count(name) for name in set(acted)} == {name: 2 * k for name, k in refined.items()}
        assert len(batch.front) == N

    def test_a_primitive_that_draws_its_own_layer_and_is_drawn_anew_by_losses(self) -> None:
        def crops(inputs: LossInputs) -> Tensor:
            boxes = [[0.0, 0.0, 14.0, 10.0], [9.0, 4.0, 29.0, 19.0]]
            return inputs.draw(boxes, size=(7, 9), background=0.5).square().mean()

        options = {
            "primitives": [{"kind": "stamps", "n": 9}, {"kind": Veils, "n": 3}],
            "refine": [],
            "loss": [crops, "mse", ("overlap", 0.1)],
        }
        batch = started(pictures(2), **options).run()
        for index, target in enumerate(pictures(2)):
            alone = started(target, **options).run()
            assert_same_bits(tensors(batch.scene.canvas(index)), tensors(alone.scene))
            start = tensors(started(target, **options).scene)
            assert not torch.equal(start["_primitives.1.centre"], tensors(alone.scene)["_primitives.1.centre"])

    def test_losses_that_look_at_sprites_before_the_picture(self) -> None:
        def before(inputs: LossInputs) -> Tensor:
            return inputs.sprites.opacity.square().mean() + inputs.image.mean() + inputs.sprites.frame.std()

        def later(inputs: LossInputs) -> Tensor:
            return inputs.sprites.opacity.mean() * inputs.sprites.frame.square().mean()

        class Together(diffbmp.Loss):
            name = "middle"
            batched = True
            needs_target = False

            def __call__(self, inputs: LossInputs) -> Tensor:
                return 0.1 * inputs.sprites.opacity.amax(dim=-1) + inputs.layer[..., 3, :, :].mean(dim=(-2, -1))

        options = {"initializer": "random", "refine": [], "loss": [before, later, Together]}
        batch = started(pictures(), **options).run()
        for index, target in enumerate(pictures()):
            assert_same_bits(tensors(batch.scene.canvas(index)), tensors(started(target, **options).run().scene))

    def test_a_canvas_taken_out_halfway_ends_like_the_batch(self) -> None:
        batch = started(pictures())
        for step in batch:
            batch.stopping = step.index == 4
        batch.stopping = False
        taken = batch.canvas(1)
        taken.run()
        assert taken.next_step == 8
        batch.run()
        assert_same_bits(tensors(taken.scene), tensors(batch.scene.canvas(1)))
        assert taken.losses == [losses[1] for losses in batch.canvas_losses]

    @pytest.mark.parametrize("stop_after", [1, 5])
    def test_a_resumed_batch_ends_in_the_same_bytes(self, tmp_path: Path, stop_after: int) -> None:
        options = {"refiners": {"relocate": {"per_stamp": 4, "every": 2, "after": 0.2, "margin": 0, "probes": 2}}}
        targets = [picture(0), shaped(picture(1)), picture(2)]
        ends = []
        for stopped in (False, True):
            fit = started(targets, lock=["1"], tensors={"depth": torch.arange(3.0)}, **options)
            if stopped:
                for step in fit:
                    fit.stopping = step.index + 1 == stop_after
                save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
                fit = resume_fit(tmp_path / "checkpoint.diffbmp")
                assert fit.first_step == stop_after
                assert len(fit.canvas_losses) == len(fit.canvas_psnrs) == stop_after
            fit.run()
            fit.step_seconds = [0.0] * len(fit.step_seconds)
            save_checkpoint(fit, tmp_path / "end.diffbmp")
            ends.append((tmp_path / "end.diffbmp").read_bytes())
        assert ends[0] == ends[1]


class TestFigures:
    def test_a_report_has_those_of_each_canvas_and_their_mean(self) -> None:
        targets = pictures()
        whole = diffbmp.fit(targets, stamps=atlas(), n=5, steps=3, refine=[], device="cpu")
        report = json.loads(json.dumps(whole.report))
        alone = [
            diffbmp.fit(target, stamps=atlas(), n=5, steps=3, refine=[], device="cpu").report for target in targets
        ]
        for canvas, own in zip(report["canvases"], alone, strict=True):
            assert canvas == {name: own[name] for name in ("psnr", "ssim", "loss", "losses", "psnrs")}
        for name in ("psnr", "ssim", "loss"):
            assert report[name] == pytest.approx(sum(own[name] for own in alone) / 3, rel=1e-12)
        for step in range(3):
            mean = sum(own["losses"][step] for own in alone) / 3
            assert report["losses"][step] == pytest.approx(mean, rel=1e-12)
        assert whole.image.shape == (3, 3, 19, 29)

    def test_a_report_after_resuming_has_all_steps_of_each_canvas(self, tmp_path: Path) -> None:
        fit = started(pictures(2), refine=[])
        for step in fit:
            fit.stopping = step.index == 3
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp").run()
        report = fit_report(resumed, 1.0)
        whole = started(pictures(2), refine=[]).run()
        assert [canvas["losses"] for canvas in report["canvases"]] == [
            *map(list, zip(*whole.canvas_losses, strict=True))
        ]
        assert [canvas["psnrs"] for canvas in report["canvases"]] == [*map(list, zip(*whole.canvas_psnrs, strict=True))]

    def test_a_damaged_checkpoint_is_refused(self, tmp_path: Path) -> None:
        fit = started(pictures(2), refine=[], steps=2).run()
        fit.canvas_losses = [(0.5,), (0.5,)]
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        with pytest.raises(DiffbmpError, match="is damaged"):
            resume_fit(tmp_path / "checkpoint.diffbmp")


class Spread(diffbmp.Loss):
    """Whether all canvases are alike: none of them can say alone."""

    name = "spread"
    batched = True
    needs_target = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ...]] = []

    def __call__(self, inputs: LossInputs) -> Tensor:
        self.seen.append((inputs.batch, tuple(inputs.image.shape), tuple(inputs.sprites.frame.shape), inputs.index))
        return (inputs.image - inputs.image.mean(dim=0)).square().mean(dim=(1, 2, 3))


class Averaging(Refiner):
    """Brings all canvases to their mean position."""

    name = "averaging"
    batched = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, Any]] = []

    @torch.no_grad()
    def refine(self, fit: Fit, step: Step) -> None:
        self.calls.append((step.index, fit.batch))
        position: Any = fit.front.position
        position.copy_(position.mean(dim=0, keepdim=True).expand_as(position))


class TestAllAtOnce:
    def test_a_batched_loss_and_refiner_get_every_canvas(self) -> None:
        spread, averaging = Spread(), Averaging()
        fit = started(pictures(), initializer="random", loss=[spread], refine=[averaging], steps=3).run()
        assert spread.seen == [(3, (3, 3, 19, 29), (3, N, 2, 3), None)] * 3
        assert averaging.calls == [(0, 3), (1, 3), (2, 3)]
        position: Any = fit.front.position
        assert torch.equal(position[0], position[1])

    def test_losses_take_one_canvas_at_a_time_unless_they_say_so(self) -> None:
        seen: list[tuple[Any, ...]] = []

        def each(inputs: LossInputs) -> Tensor:
            shape = None if inputs.target is None else tuple(inputs.target.shape)
            seen.append((inputs.index, inputs.batch, tuple(inputs.image.shape), shape, inputs.scene.batch))
            return inputs.image.mean()

        started(pictures(2), initializer="random", refine=[], loss=each, steps=1).run()
        assert seen == [(index, None, (3, 19, 29), (3, 19, 29), None) for index in (0, 1)]

    @pytest.mark.parametrize(
        ("value", "said"), [("scalar", r"shape \(\)"), ("float", "float"), ("wrong", r"shape \(2,\)")]
    )
    def test_what_a_batched_loss_returns_is_checked(self, value: str, said: str) -> None:
        class Wrong(diffbmp.Loss):
            name = "wrong"
            batched = True
            needs_target = False

            def __call__(self, inputs: LossInputs) -> Any:
                figure = inputs.image.mean()
                return {"scalar": figure, "float": 0.5, "wrong": figure.expand(2)}[value]

        fit = started(pictures(), initializer="random", refine=[], loss=Wrong)
        with pytest.raises(DiffbmpError, match=rf"'wrong'.*a figure for each canvas, shape \(3,\), got {said}"):
            fit.run()

    def test_a_loss_of_one_canvas_returns_a_scalar(self) -> None:
        def rows(inputs: LossInputs) -> Tensor:
            return inputs.image.mean(dim=(0, 1))

        with pytest.raises(DiffbmpError, match=r"'rows'.*a scalar tensor, got shape \(29,\)"):
            started(pictures(2), initializer="random", refine=[], loss=rows).run()


class Chosen(Refiner):
    """Holds the instance at the back of each canvas, and follows it."""

    name = "chosen"

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def refine(self, fit: Fit, step: Step) -> None:
        if self.held is None:
            self.held = torch.zeros((*fit.front.batch, len(fit.front)), dtype=torch.bool)
            self.held[..., 0] = True

    def rearranged(self, kept: Tensor, added: int) -> None:
        self.told.append((tuple(kept.shape), added))


class Backwards(Refiner):
    """Turns the painting order around, on canvases of a dark target only."""

    name = "backwards"
    places = True

    def refine(self, fit: Fit, step: Step) -> None:
        assert fit.target is not None
        if float(fit.target.color[1].mean()) < 0.45:
            fit.rearrange(torch.arange(len(fit.front)).flip(0))


class TestRefiners:
    def test_holds_follow_the_order_that_another_refiner_gives(self) -> None:
        targets = pictures()
        batch = started(targets, initializer="random", refine=[Chosen(), Backwards()], steps=5).run()
        held = batch.held()
        assert held is not None
        assert held.sum(dim=-1).tolist() == [1, 1, 1]
        assert len(set(held.int().argmax(dim=-1).tolist())) == 2  # turned on some canvases, not on all
        for index, target in enumerate(targets):
            alone = started(target, initializer="random", refine=[Chosen(), Backwards()], steps=5).run()
            mask = alone.held()
            assert mask is not None
            assert torch.equal(held[index], mask)
            assert_same_bits(tensors(batch.scene.canvas(index)), tensors(alone.scene))

    def test_holds_of_a_batched_refiner_follow_canvas_by_canvas(self) -> None:
        class Holder(Chosen):
            batched = True
            rearranged = Refiner.rearranged

        batch = started(pictures(), initializer="random", refine=[Holder(), Backwards()], steps=1)
        before = tensors(batch.scene)["_primitives.0.texture"]
        for _ in batch:
            held = batch.held()
            assert held is not None
            assert held.shape == (3, N)
            after = tensors(batch.scene)["_primitives.0.texture"]
            turned = [bool((before[k] != after[k]).any()) for k in range(3)]
            assert turned == [False, True, True]
            assert held.int().argmax(dim=-1).tolist() == [0, N - 1, N - 1]

    def test_a_batched_refiner_that_follows_instances_refuses_one_that_reorders_single_canvases(self) -> None:
        class Follower(Chosen):
            batched = True

        with pytest.raises(DiffbmpError, match=r"'chosen' keeps something of each instance.*'backwards'"):
            started(pictures(), initializer="random", refine=[Follower(), Backwards()])

    def test_each_canvas_has_a_refiner_of_its_own_that_sees_its_own_step(self, tmp_path: Path) -> None:
        class Counting(Refiner):
            name = "counting"

            def __init__(self) -> None:
                super().__init__()
                self.total = torch.zeros(())

            def refine(self, fit: Fit, step: Step) -> None:
                assert fit.batch is None
                assert step.loss == fit.losses[-1] == step.terms["mse"]
                assert step.psnr == fit.psnrs[-1]
                self.total += step.loss

            def state(self) -> dict[str, Tensor]:
                return {"total": self.total}

            def restore(self, state: dict[str, Tensor]) -> None:
                self.total = state["total"]

        counting = Counting()
        fit = started(pictures(), initializer="random", refine=[counting]).run()
        totals = [refiner.state()["total"].item() for _, refiner in fit.refining.places()]
        expected = [sum(losses) for losses in zip(*fit.canvas_losses, strict=True)]
        assert totals == pytest.approx(expected, rel=1e-5)
        assert float(counting.total) == 0  # what was given is copied
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        again = resume_fit(tmp_path / "checkpoint.diffbmp", refine=[Counting()])
        assert [refiner.state()["total"].item() for _, refiner in again.refining.places()] == totals

    def test_due_is_asked_of_each_canvas_and_one_that_is_not_due_stays(self) -> None:
        class Once(Refiner):
            """Darkens its canvas once, at a step that depends on what it has counted."""

            name = "once"
            made = 0

            def __init__(self) -> None:
                super().__init__()
                self.number = 0

            def __deepcopy__(self, memo: dict[int, Any]) -> Once:
                new = Once()
                new.number = Once.made = Once.made + 1
                return new

            def due(self, fit: Fit) -> bool:
                return fit.next_step == self.number

            @torch.no_grad()
            def refine(self, fit: Fit, step: Step) -> None:
                fit.front.get_parameter("color_logit").fill_(-3.0)

        fit = started(pictures(), initializer="random", refine=[Once()], steps=2, freeze=["color"]).run()
        dark = [bool((fit.scene.canvas(k).primitives[0].get_parameter("color_logit") == -3).all()) for k in range(3)]
        assert dark == [True, True, False]

    def test_canvases_left_with_different_numbers_are_refused(self) -> None:
        class Uneven(Refiner):
            name = "uneven"
            places = True

            def refine(self, fit: Fit, step: Step) -> None:
                assert fit.target is not None
                fit.rearrange(torch.arange(N - int(float(fit.target.color[1].mean()) < 0.45)))

        with pytest.raises(DiffbmpError, match=r"'uneven' left the canvases of a batch with \[36, 37\] instances"):
            started(pictures(), initializer="random", refine=[Uneven()]).run()


class TestCopyCanvas:
    def test_takes_parameters_moments_locks_and_refiners_along(self) -> None:
        fit = started(pictures(), initializer="random", refine=[Chosen()], steps=4).run()
        locked = torch.zeros((3, N), dtype=torch.bool)
        locked[2, 5] = True
        fit.front.locked = locked
        other = tensors(fit.scene.canvas(1))
        fit.copy_canvas(2, 0)
        assert_same_bits(tensors(fit.scene.canvas(0)), tensors(fit.scene.canvas(2)))
        assert_same_bits(moments(fit, 0), moments(fit, 2))
        assert_same_bits(tensors(fit.scene.canvas(1)), other)
        assert fit.front.locked is not None
        assert fit.front.locked.nonzero().tolist() == [[0, 5], [2, 5]]
        own = [refiner for _, refiner in fit.refining.places()]
        assert own[0] is not own[2]
        assert own[0].held is not own[2].held

    def test_a_copied_canvas_goes_on_like_its_source(self) -> None:
        fit = started([picture(), picture(), picture(1)], steps=8)
        for step in fit:
            if step.index == 3:
                fit.copy_canvas(2, 0)
        again = started([picture(1), picture()], steps=8).run()
        assert not torch.equal(fit.scene.state_dict()["_primitives.0.position"][0],
                               again.scene.state_dict()["_primitives.0.position"][0])  # fmt: skip
        fit.retarget([picture(1), picture(), picture(1)], steps=4)
        fit.copy_canvas(2, 0)
        fit.run()
        assert_same_bits(tensors(fit.scene.canvas(0)), tensors(fit.scene.canvas(2)))

    @pytest.mark.parametrize("wrong", [(0, 3), (-1, 0)])
    def test_refuses_canvases_that_there_are_not(self, wrong: tuple[int, int]) -> None:
        fit = started(pictures(), refine=[], initializer="random")
        with pytest.raises(DiffbmpError, match="There are no canvases"):
            fit.copy_canvas(*wrong)
        with pytest.raises(DiffbmpError, match="There are no canvases 0 and 0 in this fit of one canvas"):
            started(picture(), refine=[], initializer="random").copy_canvas(0, 0)


TRIALS: dict[str, Any] = {
    "loss": {"mse": 1.0, "overlap": 0.05, "ssim": 0.1}, "steps": 8, "resolution": {"shortest": 16, "until": 0.5},
    "blur": {"sigma": 1.0},
}  # fmt: skip


class TestLossesOf:
    @pytest.mark.parametrize("batch", [False, True])
    def test_own_primitives_have_the_loss_of_the_next_step(self, batch: bool) -> None:
        fit = started(pictures(3, 35, 41) if batch else picture(0, 35, 41), **TRIALS)
        trial = fit.losses_of(fit.scene.primitives)
        for step in fit:
            assert trial.reshape(-1).tolist() == list(step.canvas_losses)
            assert not trial.requires_grad
            assert trial.shape == ((3,) if batch else ())
            trial = fit.losses_of(fit.scene.primitives)

    def test_a_population_is_compared_with_the_one_target(self) -> None:
        from diffbmp.primitives.instances import selected, stacked

        fit = started(picture(), refine=[], initializer="random", loss={"mse": 1, "overlap": 0.1})
        next(iter(fit))
        before = all_of(fit)
        order = torch.arange(N)
        variants = [selected(fit.front, order), selected(fit.front, order.flip(0)), selected(fit.front, order.roll(9))]
        figures = fit.losses_of([stacked(variants)])
        assert figures.shape == (3,)
        assert figures.tolist() == [float(fit.losses_of([variant])) for variant in variants]
        assert float(figures[0]) == float(fit.losses_of(fit.scene.primitives))
        assert len(set(figures.tolist())) == 3
        assert_same_bits(all_of(fit), before)
        assert all(parameter.grad is not None for parameter in fit.front.parameters())  # those of the step before

    def test_a_batched_loss_of_a_population_gets_it_as_a_batch(self) -> None:
        from diffbmp.primitives.instances import stacked

        spread = Spread()
        fit = started(picture(), refine=[], initializer="random", loss=[("mse", 1), (spread, 0.0)])
        fit.losses_of([stacked([fit.front, fit.front])])
        assert spread.seen == [(2, (2, 3, 19, 29), (2, N, 2, 3), None)]

    def test_trials_change_nothing_of_the_fit(self) -> None:
        plain, tried = started(pictures(2)), started(pictures(2))
        for _ in plain:
            pass
        for _ in tried:
            tried.losses_of(tried.scene.primitives)
        assert_same_bits(all_of(tried), all_of(plain))

    def test_a_linked_trial_is_linked(self) -> None:
        class Frames(Spread):
            def __call__(self, inputs: LossInputs) -> Tensor:
                links.append(inputs.scene.linked)
                return super().__call__(inputs)

        links: list[bool] = []
        fit = started(pictures(2), linked=True, refine=[], initializer="random", loss=Frames)
        fit.losses_of(fit.scene.primitives)
        assert links == [True]


class Reversing(Refiner):
    """Turns the painting order around once, for all canvases or for each."""

    name = "reversing"
    batched = True
    places = True

    def __init__(self, *, each: bool = False) -> None:
        super().__init__()
        self.each = each

    def refine(self, fit: Fit, step: Step) -> None:
        if step.index == 1:
            order = torch.arange(len(fit.front)).flip(0)
            fit.rearrange(torch.stack([order, order]) if self.each else order)


LINKED: dict[str, Any] = {"linked": True, "refine": [], "lock": ["4"]}


class TestLinked:
    def test_instances_start_as_one_thing_on_all_canvases(self) -> None:
        fit = started(pictures(), **LINKED)
        assert fit.scene.linked
        start = tensors(fit.scene.canvas(0))
        for index in (1, 2):
            assert_same_bits(tensors(fit.scene.canvas(index)), start)
        fit.run()
        assert not torch.equal(*(fit.scene.canvas(k).primitives[0].get_parameter("position") for k in (0, 1)))
        front: Any = fit.front
        assert torch.equal(front.texture[0], front.texture[2])

    def test_is_saved_and_resumed(self, tmp_path: Path) -> None:
        fit = started(pictures(2), **LINKED).run()
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        assert resume_fit(tmp_path / "checkpoint.diffbmp").scene.linked

    @pytest.mark.parametrize("name", ["grow", "relocate", "reinitialize"])
    def test_refuses_refiners_that_act_canvas_by_canvas(self, name: str) -> None:
        with pytest.raises(DiffbmpError, match=f"'{name}' acts on one canvas at a time.*leave it out of 'refine'"):
            started(pictures(), linked=True, refine=[name])

    def test_is_rearranged_for_all_canvases_at_once(self) -> None:
        fit = started(pictures(2), **{**LINKED, "refine": [Reversing()]})
        textures = tensors(fit.scene)["_primitives.0.texture"]
        fit.run()
        assert torch.equal(tensors(fit.scene)["_primitives.0.texture"], textures.flip(-1))
        assert fit.front.locked is not None
        assert fit.front.locked.nonzero().tolist() == [[0, N - 4], [1, N - 4]]
        with pytest.raises(DiffbmpError, match="share one painting order"):
            started(pictures(2), **{**LINKED, "refine": [Reversing(each=True)]}).run()

    def test_unlinked_canvases_are_rearranged_each_or_all(self) -> None:
        fits = [started(pictures(2), refine=[Reversing(each=each)], initializer="random").run() for each in (0, 1)]
        assert_same_bits(all_of(fits[0]), all_of(fits[1]))

    def test_one_canvas_cannot_be_linked(self) -> None:
        with pytest.raises(DiffbmpError, match="several targets"):
            started(picture(), linked=True, refine=[])


class TestFromTheCommandLine:
    def test_pictures_and_figures_of_each_canvas_and_going_on(self, tmp_path: Path) -> None:
        for number, image in enumerate(pictures(2)):
            write_png(tmp_path / f"{number}.png", image)
        start = ("-s", "shape:disc", "-n", "6", "--initializer", "random", "--refine", "relocate")
        targets = ("--target", "0.png", "--target", "1.png")
        begun = run("fit", *targets, *start, "--steps", "3", "-o", "both", cwd=tmp_path)
        assert begun.returncode == 0, begun.stderr
        resumed = run("fit", "-o", "both", "--resume", "--steps", "5", cwd=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        report = json.loads((tmp_path / "both" / REPORT).read_text())
        whole = json.loads(json.dumps(report["canvases"]))
        for number in range(2):
            alone = run("fit", f"{number}.png", *start, "--steps", "3", "-o", f"alone-{number}", cwd=tmp_path)
            assert alone.returncode == 0, alone.stderr
            assert run("fit", "-o", f"alone-{number}", "--resume", "--steps", "5", cwd=tmp_path).returncode == 0
            out = tmp_path / f"alone-{number}"
            own = json.loads((out / REPORT).read_text())
            assert whole[number] == {name: own[name] for name in whole[number]}
            picture_of_batch = (tmp_path / "both" / f"picture-{number + 1}.png").read_bytes()
            assert picture_of_batch == (out / "picture.png").read_bytes()
        assert report["psnr"] == pytest.approx(sum(canvas["psnr"] for canvas in whole) / 2)
