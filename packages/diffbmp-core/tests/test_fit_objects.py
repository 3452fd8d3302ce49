"""Objects in place of names: losses, refiners, starts, observers, renderers, scenes and primitives made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_fits import OPTIONS, Veils, all_of, assert_same_bits, atlas, picture, pictures, started, tensors
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, Fit, Initializer, Loss, LossInputs, Observer, Refiner, Stamps, Step, resume_fit
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.fitting.report import fit_report
from diffbmp.initializers.random import Random
from diffbmp.losses.pixelwise import Huber
from diffbmp.plugins.plugin import Plugin
from diffbmp.refiners.relocate import Relocate
from diffbmp.rendering.reference import Reference


def squared(inputs: LossInputs) -> Tensor:
    """Return the mean squared error, with a little of chance."""
    assert inputs.target is not None
    weight = 1 + torch.rand((), generator=inputs.generator)
    return (inputs.image - inputs.target).square().mean() * weight


class Shake(Refiner):
    """Moves the instance in front by chance, and counts how often."""

    name = "shake"

    class Settings(diffbmp.Settings):
        """Settings of the shaking."""

        far: float = 1.0
        """Pixels."""

    settings: Settings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.count = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def refine(self, fit: Fit, step: Step) -> None:
        self.count += 1
        position: Any = fit.front.position
        shift = torch.rand(2, generator=fit.generator(self.name))
        position[-1] += self.settings.far * self.count * shift

    def state(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.count = state["count"]


class Row(Initializer):
    """Stamps in a row."""

    name = "row"

    def __call__(self, start: diffbmp.StartInputs) -> Stamps:
        along = torch.linspace(0, start.width, start.count)
        return Stamps(
            torch.stack([along, torch.full_like(along, start.height / 2)], dim=-1),
            torch.full_like(along, 3.0), torch.zeros_like(along), torch.zeros_like(along),
            torch.zeros(start.count, 3), torch.arange(start.count) % 2,
        )  # fmt: skip


class Watch(Observer):
    """Counts what it is told."""

    name = "watch"

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.told: list[str] = []

    def started(self, fit: Fit) -> None:
        self.told.append("started")

    def stepped(self, fit: Fit, step: Step) -> None:
        self.told.append(str(step.index))

    def finished(self, fit: Fit) -> None:
        self.told.append("finished")


def halves(tmp_path: Path, make: Callable[[], Fit], **objects: Any) -> tuple[Fit, Fit]:
    """Return a fit at its end, and one that was resumed halfway at its."""
    whole, fit = make().run(), make()
    for step in fit:
        fit.stopping = step.index == 3
    save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
    return whole, resume_fit(tmp_path / "checkpoint.diffbmp", **objects).run()


class TestEveryKindOfObject:
    def test_a_fit_of_nothing_but_objects_resumes_to_the_same_bits(self, tmp_path: Path) -> None:
        watch, again = Watch(), Watch()

        def make() -> Fit:
            return started(
                picture(), loss={squared: 1.0, Huber(): 0.5, "ssim": 0.1}, refine=[Shake(), "relocate"],
                initializer=Row(), observe=[watch], n=12,
            )  # fmt: skip

        whole, resumed = halves(tmp_path, make, loss=[squared, Huber], refine=[Shake, "relocate"], observe=again)
        assert_same_bits(all_of(resumed), all_of(whole))
        assert resumed.losses == whole.losses
        assert watch.told == [
            "started", *map(str, range(8)), "finished", "started", *map(str, range(4)), "finished",
        ]  # fmt: skip
        assert again.told == ["started", "4", "5", "6", "7", "finished"]
        told = fit_report(whole, 0.0)["settings"]
        assert told["loss"] == {"squared": 1.0, "huber": 0.5, "ssim": 0.1}
        assert told["refine"] == ["shake", "relocate"]
        assert told["initializer"] == "row"

    @pytest.mark.parametrize("form", ["object", "class"])
    def test_objects_and_classes_do_the_same(self, form: str) -> None:
        def of(cls: type[Plugin]) -> Any:
            return cls() if form == "object" else cls

        fit = started(picture(), loss=of(Huber), refine=of(Shake), initializer=of(Random), observe=of(Watch)).run()
        other = started(picture(), loss="huber", refine=[Shake()], initializer="random").run()
        assert_same_bits(all_of(fit), all_of(other))
        told: Any = fit.observers[0]
        assert told.told[-1] == "finished"

    def test_settings_of_objects_are_theirs(self) -> None:
        loss = Huber(Huber.Settings(delta=0.01))
        fit = started(picture(), loss=loss, refine=[Shake(Shake.Settings(far=0.0))], initializer=Row()).run()
        assert fit.loss.losses["huber"] is loss
        named = started(picture(), loss="huber", losses={"huber": {"delta": 0.01}}, refine=[], initializer=Row()).run()
        assert_same_bits(all_of(fit), all_of(named))

    def test_an_object_is_made_and_asked_once(self) -> None:
        """The refiner that says how many the start places is the one that refines; a table makes no second one."""
        made: list[str] = []

        class Once(Shake):
            name = "once"
            places = True

            def __init__(self, settings: Any = None) -> None:
                super().__init__(settings)
                made.append("refiner")

            def start_count(self, n: int, steps: int) -> int:
                self.asked = True
                return n - 2

            def refine(self, fit: Fit, step: Step) -> None:
                assert self.asked

        fit = started(picture(), refine=[Once], initializer=Row, n=9)
        assert made == ["refiner"]
        assert len(fit.front) == 7
        fit.run()
        assert made == ["refiner"]

    def test_registered_plugins_are_made_once_too(self, register: Callable[..., Any]) -> None:
        made: list[str] = []

        class CountedShake(Shake):
            """Counts how often it is made."""

            def __init__(self, settings: Any = None) -> None:
                super().__init__(settings)
                made.append("refiner")

        class CountedRow(Row):
            """Counts how often it is made."""

            def __init__(self, settings: Any = None) -> None:
                super().__init__(settings)
                made.append("initializer")

        class CountedHuber(Huber):
            """Counts how often it is made."""

            name = "counted-huber"

            def __init__(self, settings: Any = None) -> None:
                super().__init__(settings)
                made.append("loss")

        class CountedWatch(Watch):
            """Counts how often it is made."""

            def __init__(self, settings: Any = None) -> None:
                super().__init__(settings)
                made.append("observer")

        register("counted", CountedShake, CountedRow, CountedHuber, CountedWatch)
        started(
            picture(), loss="counted-huber", losses={"counted-huber": {"delta": 0.2}}, refine=["shake"],
            refiners={"shake": {"far": 0.5}}, initializer="row", observe=["watch"],
        ).run()  # fmt: skip
        assert sorted(made) == ["initializer", "loss", "observer", "refiner"]

    def test_a_loss_called_like_one_of_core_is_no_mean_squared_error(self) -> None:
        def mse(inputs: LossInputs) -> Tensor:
            return inputs.image.square().mean()

        fit = started(picture(), loss=mse, refine=[], initializer="random", noisy_canvas=False, steps=2)
        step = next(iter(fit))
        other = next(iter(started(picture(), loss="l1", refine=[], initializer="random", noisy_canvas=False, steps=2)))
        assert step.psnr == pytest.approx(other.psnr, rel=1e-6)


class Drawn(Reference):
    """The reference, which counts how often it draws."""

    name = "drawn"

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.calls = 0

    def forward(self, inputs: Any) -> Any:
        self.calls += 1
        return super().forward(inputs)


class TestRenderers:
    def test_an_object_draws_the_fit_its_trials_and_its_picture(self, tmp_path: Path) -> None:
        renderer = Drawn()
        fit = started(picture(), renderer=renderer, initializer="random", refine=[], steps=3)
        fit.run()
        assert renderer.calls == 3
        fit.losses_of(fit.scene.primitives)
        fit.layer()
        assert renderer.calls == 5
        assert fit_report(fit, 0.0)["renderer"] == "drawn"
        assert renderer.calls == 6
        named = started(picture(), renderer="reference", initializer="random", refine=[], steps=3).run()
        assert_same_bits(all_of(fit), all_of(named))

    def test_is_given_again_to_a_resumed_fit(self, tmp_path: Path) -> None:
        def make() -> Fit:
            return started(picture(), renderer=Drawn, n=9)

        again = Drawn()
        whole, resumed = halves(tmp_path, make, renderer=again)
        assert_same_bits(all_of(resumed), all_of(whole))
        assert again.calls > 4
        with pytest.raises(DiffbmpError, match="made with the renderer 'drawn', given as an object"):
            resume_fit(tmp_path / "checkpoint.diffbmp")
        with pytest.raises(DiffbmpError, match="made with the renderer 'drawn', given as an object"):
            resume_fit(tmp_path / "checkpoint.diffbmp", renderer="reference")


class TestPrimitives:
    def test_a_class_with_and_without_settings(self) -> None:
        for given in (Veils, [Veils], {"kind": Veils}, [{"kind": Veils, "n": 37}]):
            fit = started(picture(), primitives=given, refine=[], steps=1)
            assert isinstance(fit.front, Veils)
        assert len(fit.front) == 37

    def test_an_instance_is_where_the_fit_begins(self) -> None:
        own = Row()(diffbmp.StartInputs(6, 19, 29, None, None, atlas(), torch.Generator().manual_seed(0)))
        start = tensors(own)
        fit = started(picture(), primitives=[own, {"kind": "stamps", "n": 4, "initializer": "random"}], refine=[])
        assert [len(one) for one in fit.scene.primitives] == [6, 4]
        assert_same_bits(tensors(fit.scene.primitives[0]), start)
        fit.run()
        assert not torch.equal(tensors(fit.scene.primitives[0])["position"], start["position"])
        batch = started(pictures(2), primitives=own, refine=[], steps=2)
        assert batch.batch == 2
        assert len(batch.front) == 6

    def test_a_start_of_its_own_for_each(self) -> None:
        fit = started(
            picture(),
            primitives=[
                {"kind": "stamps", "n": 4, "initializer": Row()},
                {"kind": "stamps", "n": 5, "initializer": Random},
            ],
            refine=[],
        )
        back: Any = fit.scene.primitives[0]
        assert back.position[:, 1].unique().tolist() == [9.5]
        assert fit.settings.primitives is not None
        assert [table["initializer"] for table in fit.settings.primitives] == ["row", "random"]

    def test_a_kind_that_nobody_registers_is_saved_and_resumed_when_given_again(self, tmp_path: Path) -> None:
        def make() -> Fit:
            tables = [{"kind": "stamps", "n": 5, "initializer": Row()}, {"kind": Veils, "n": 3, "freeze": "tint"}]
            return started(picture(), primitives=tables, refine=[])

        for given in (Veils, [Veils], {"kind": Veils}, [Veils, Veils]):
            whole, resumed = halves(tmp_path, make, primitives=given)
            assert_same_bits(all_of(resumed), all_of(whole))
        with pytest.raises(DiffbmpError, match=r"made with the primitive 'veils', given as an object; .* Python"):
            resume_fit(tmp_path / "checkpoint.diffbmp")
        with pytest.raises(DiffbmpError, match="needs the primitive 'veils', which no installed plugin brings"):
            diffbmp.load_scene(tmp_path / "checkpoint.diffbmp")
        scene = diffbmp.load_scene(tmp_path / "checkpoint.diffbmp", primitives=[Veils])
        assert isinstance(scene.primitives[1], Veils)

    def test_one_that_goes_on_from_a_scene_is_named_too(self, tmp_path: Path) -> None:
        scene = started(picture(), primitives=[{"kind": Veils, "n": 3}], refine=[], steps=2).run().scene
        fit = diffbmp.start_fit(picture(1), scene=scene, steps=4)
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        assert fit.objects == ("the primitive 'veils'",)
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp", primitives=Veils).run()
        assert_same_bits(all_of(resumed), all_of(fit.run()))

    def test_a_registered_one_needs_not_be_given_again(self, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("veils", Veils)

        def make() -> Fit:
            return started(picture(), primitives=[{"kind": Veils, "n": 3}], refine=[])

        whole, resumed = halves(tmp_path, make)
        assert_same_bits(all_of(resumed), all_of(whole))


class TestCheckpoints:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        fit = started(
            picture(), loss=[squared, "ssim"], refine=[Shake(), "relocate"], initializer=Row(), observe=[Watch()]
        )
        next(iter(fit))
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        return tmp_path / "checkpoint.diffbmp"

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "made with the loss 'squared' and the refiner 'shake', given as an object"),
            ({"loss": squared}, "made with the refiner 'shake', given as an object"),
            ({"refine": Shake}, "made with the loss 'squared', given as an object"),
            ({"loss": "ssim", "refine": Shake()}, "made with the loss 'squared', given as an object"),
            ({"loss": [squared, "mse"], "refine": Shake}, r"made without 'mse' \(loss\); leave it out"),
            ({"loss": squared, "refine": [Shake, "grow"]}, r"made without 'grow' \(refine\); leave it out"),
            ({"loss": squared, "refine": Shake, "primitives": Veils}, r"made without 'veils' \(primitives\)"),
            ({"loss": squared, "refine": Shake, "renderer": "cpu"}, r"made without 'cpu' \(renderer\)"),
            ({"loss": squared, "refine": Shake, "steps": 9}, "to change it, give changes={'steps': ...}"),
            ({"loss": squared, "refine": Shake, "refines": Shake}, "argument of resume_fit 'refines'; did you mean"),
            ({"loss": 5}, "A loss is given by name, as an object or as a class, not as int"),
        ],
    )
    def test_what_is_missing_or_too_much_is_refused_by_name(self, path: Path, given: Any, said: str) -> None:
        with pytest.raises(DiffbmpError, match=said):
            resume_fit(path, **given)

    def test_the_rest_resumes_with_a_change(self, path: Path) -> None:
        fit = resume_fit(path, loss=[(squared, 5.0)], refine=[Shake], changes={"steps": 4})
        assert fit.settings.loss == {"squared": 1.0, "ssim": 1.0}  # weights are those of the checkpoint
        assert [refiner.name for refiner in fit.refiners] == ["shake", "relocate"]
        assert len(fit.run().losses) == 4

    @pytest.mark.parametrize("state", [{"held": torch.ones(1)}, {"count": 5}, {3: torch.ones(1)}])
    def test_a_state_that_cannot_be_saved_is_refused(self, state: Any, tmp_path: Path) -> None:
        class Odd(Shake):
            name = "odd"

            def state(self) -> Any:
                return state

        with pytest.raises(DiffbmpError, match=r"The refiner 'odd' must give its state as tensors"):
            save_checkpoint(started(picture(), refine=[Odd()], initializer=Row()), tmp_path / "checkpoint.diffbmp")

    def test_a_refiner_that_cannot_take_its_state_back_is_named(self, path: Path) -> None:
        class Forgetful(Shake):
            def restore(self, state: dict[str, Tensor]) -> None:
                raise KeyError("memory")

        with pytest.raises(DiffbmpError, match="The refiner 'shake' failed to take back its state: KeyError"):
            resume_fit(path, loss=squared, refine=Forgetful)


class Nameless(Loss):
    """A loss without a name."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        return inputs.image.mean()


class TestRefused:
    OTHERS: ClassVar[list[tuple[dict[str, Any], str]]] = [
        ({"loss": 5}, "A loss is given by name, as an object or as a class, not as int"),
        ({"loss": [squared, squared]}, "The loss 'squared' is given twice"),
        ({"loss": [lambda inputs: 1, lambda inputs: 2]}, "The loss 'lambda' is given twice"),
        ({"loss": {squared: -1.0}}, "weight of the loss 'squared' must be a finite number of at least 0"),
        ({"loss": {squared: 0.0}}, "at least one loss of a weight above 0"),
        ({"loss": []}, "loss"),
        ({"loss": Nameless()}, "The loss Nameless has no `name`"),
        ({"loss": Nameless}, "The loss Nameless has no `name`"),
        ({"loss": Shake()}, "A loss is given by name, as an object or as a class, not as Shake"),
        ({"refine": squared}, "A refiner is given by name, as an object or as a class, not as function"),
        ({"refine": [Shake(), Shake()]}, "Two objects are called 'shake'"),
        ({"refine": ["relocate", Relocate()]}, "The refiner 'relocate' is given twice"),
        ({"refine": ["relocate", "relocate"]}, "The refiner 'relocate' is given twice"),
        ({"refine": Huber}, "A refiner is given by name"),
        ({"observe": 5}, "An observer is given by name"),
        ({"initializer": Huber()}, "initializer takes a name, an Initializer or its class, not Huber"),
        ({"initializer": 5}, "initializer takes a name"),
        ({"renderer": Huber}, "renderer takes a name, a Renderer or its class"),
        ({"primitives": [Huber]}, "primitives"),
        ({"primitives": [{"kind": Huber}]}, "kind"),
        ({"primitives": [{"kind": "stamps"}], "initializer": Row()}, "'initializer' belongs to a primitive"),
        ({"primitives": [{"kind": Veils, "initializer": Row()}]}, "'row' places stamps, not veils"),
        ({"scene": 5}, "scene takes a diffbmp.Scene or a diffbmp.Fit, not int"),
        ({"stamps": 5}, "stamps are sources .* or a diffbmp.Atlas, not int"),
        ({"stamps": [picture()]}, "stamps are sources .* or a diffbmp.Atlas, not list"),
    ]

    @pytest.mark.parametrize(("options", "said"), OTHERS)
    def test_in_a_sentence(self, options: dict[str, Any], said: str) -> None:
        common: dict[str, Any] = {} if "scene" in options else {"stamps": atlas()}
        if not {"scene", "primitives"} & set(options):
            common["n"] = 3
        with pytest.raises(DiffbmpError, match=said):
            diffbmp.start_fit(picture(), **{"steps": 1, "device": "cpu", **common, **options})


class TestEmbedded:
    def test_a_fit_driven_by_hand_gives_control_at_every_step(self) -> None:
        fit = started(picture(), loss=squared)
        seen = []
        for step in fit:
            seen.append(step.index)
            if step.index == 4:
                break
        assert seen == [0, 1, 2, 3, 4]
        assert fit.next_step == 5
        assert [step.index for step in fit] == [5, 6, 7]
        assert_same_bits(all_of(fit), all_of(started(picture(), loss=squared).run()))

    def test_every_public_option_is_a_setting(self) -> None:
        assert set(OPTIONS) <= set(diffbmp.FitSettings.model_fields)
