"""Changes to a fit that runs or is resumed, and what is left of one that dies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_fits import all_of, assert_same_bits, atlas, moments, picture, pictures, started
from test_cli import fails, run
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, Fit, Loss, LossInputs, Observer, Refiner, Step, load_scene, resume_fit
from diffbmp.fitting.changing import CHANGEABLE
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.images import read_image


def random_fit(target: Any = None, **options: Any) -> Fit:
    return started(picture() if target is None else target, **{"initializer": "random", "refine": [], **options})


def halfway(fit: Fit) -> Fit:
    """Return a fit after four of its eight steps."""
    for step in fit:
        fit.stopping = step.index == 3
    fit.stopping = False
    return fit


def brightness(inputs: LossInputs) -> Tensor:
    return inputs.image.mean()


class Watch(Observer):
    """Counts steps."""

    name = "watch"

    class Settings(diffbmp.Settings):
        """Settings of the watch."""

        every: int = 1
        """Steps."""

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.seen: list[int] = []

    def stepped(self, fit: Fit, step: Step) -> None:
        self.seen.append(step.index)


class TestSteps:
    def test_more_and_fewer(self) -> None:
        fit = halfway(random_fit())
        fit.change(steps=11)
        assert len(list(fit)) == 7
        assert fit.next_step == 11
        fit = halfway(random_fit())
        fit.change(steps=5)
        assert [step.steps for step in fit] == [5]

    def test_while_it_is_running(self) -> None:
        fit = random_fit()
        for step in fit:
            if step.index == 2:
                fit.change(steps=4)
        assert fit.next_step == 4

    def test_the_resolution_follows(self) -> None:
        fit = halfway(random_fit(picture(0, 40, 64), resolution={"shortest": 16, "until": 0.75}))
        assert fit.resolution == 0.5
        fit.change(steps=5)
        assert fit.resolution == 1.0
        fit.run()


class TestRates:
    def test_a_rate_alone_and_for_all(self) -> None:
        fit = halfway(random_fit(optimizer={"scale": 0.03}))
        before = moments(fit)
        fit.change(optimizer={"position": 0.0})
        assert_same_bits(moments(fit), before)
        assert fit.settings.optimizer.scale == 0.03
        start = all_of(fit)
        next(iter(fit))
        after = all_of(fit)
        assert torch.equal(after["_primitives.0.position"], start["_primitives.0.position"])
        assert not torch.equal(after["_primitives.0.scale"], start["_primitives.0.scale"])
        fit.change(optimizer=dict.fromkeys(("position", "scale", "rotation", "opacity", "color"), 0.0))
        start = all_of(fit)
        next(iter(fit))
        kept = {name for name in start if name.startswith("_primitives")}
        assert_same_bits({name: all_of(fit)[name] for name in kept}, {name: start[name] for name in kept})

    def test_schedule_and_betas(self) -> None:
        fit = halfway(random_fit())
        fit.change(optimizer={"schedule": "constant", "betas": (0.5, 0.75), "unit": "pixel"})
        assert {group["betas"] for group in fit.optimizer.param_groups} == {(0.5, 0.75)}
        next(iter(fit))
        assert {group["lr"] for group in fit.optimizer.param_groups} == {0.1}

    def test_changing_nothing_changes_nothing(self) -> None:
        fit = halfway(started(picture()))
        fit.change()
        fit.change(optimizer={}, losses={}, steps=8)
        assert_same_bits(all_of(fit.run()), all_of(started(picture()).run()))


class TestLosses:
    def test_replaced_by_names_objects_and_weights(self, tmp_path: Path) -> None:
        fit = halfway(random_fit())
        fit.change(loss={"mse": 0.5, brightness: 2.0})
        step = next(iter(fit))
        assert step.terms.keys() == {"mse", "brightness"}
        assert step.loss == pytest.approx(0.5 * step.terms["mse"] + 2.0 * step.terms["brightness"], rel=1e-6)
        assert fit.settings.loss == {"mse": 0.5, "brightness": 2.0}
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        with pytest.raises(DiffbmpError, match="made with the loss 'brightness', given as an object"):
            resume_fit(tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp", loss=brightness)
        assert_same_bits(all_of(resumed.run()), all_of(fit.run()))

    def test_an_object_that_goes_needs_not_be_given_again(self, tmp_path: Path) -> None:
        fit = halfway(random_fit(loss=[brightness, "mse"]))
        assert fit.objects == ("the loss 'brightness'",)
        fit.change(loss="mse")
        assert fit.objects == ()
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        assert resume_fit(tmp_path / "checkpoint.diffbmp").run().next_step == 8

    def test_settings_of_one(self) -> None:
        fit = halfway(random_fit(loss={"huber": 1.0, "ssim": 0.1}))
        ssim = fit.loss.losses["ssim"]
        fit.change(losses={"huber": {"delta": 0.01}})
        assert fit.loss.losses["huber"].settings.delta == 0.01
        assert fit.loss.losses["ssim"] is ssim
        fit.run()

    def test_in_a_batch(self) -> None:
        changed = halfway(random_fit(pictures(2)))
        changed.change(loss=["l1"], steps=10)
        changed.run()
        for index in range(2):
            alone = halfway(random_fit(picture(index)))
            alone.change(loss=["l1"], steps=10)
            alone.run()
            assert [losses[index] for losses in changed.canvas_losses] == alone.losses


class TestObservers:
    def test_are_added_replaced_and_left_out(self, register: Callable[..., Any]) -> None:
        class Other(Watch):
            """Counts steps, too."""

            name = "other"

        register("watching", Watch, Other)
        own = Watch()
        fit = halfway(random_fit(observe=["other", own]))
        fit.change(observe=["watch"], observers={"watch": {"every": 3}})
        named, *others = fit.observers
        assert others == [own]
        assert named is not own
        assert named.settings.every == 3
        again = Watch()
        fit.change(observe=["watch", again])
        assert fit.observers == [named, own, again]
        fit.run()
        assert own.seen == list(range(8))
        assert again.seen == [4, 5, 6, 7]

    def test_by_a_checkpoints_changes(self, register: Callable[..., Any], tmp_path: Path) -> None:
        register("watching", Watch)
        save_checkpoint(halfway(random_fit()), tmp_path / "checkpoint.diffbmp")
        fit = resume_fit(tmp_path / "checkpoint.diffbmp", changes={"observe": "watch", "steps": 6})
        fit.run()
        watch: Any = fit.observers[0]
        assert watch.seen == [4, 5]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"n": 5}, "Setting 'n' is part of what this fit has done already; those that can change: steps, optimizer, loss"),
    ({"seed": 1}, "Setting 'seed' is part of what this fit has done already"),
    ({"renderer": "reference"}, "Setting 'renderer' is part of what"),
    ({"refine": []}, "Setting 'refine' is part of what"),
    ({"palette": ["red"]}, "Setting 'palette' is part of what"),
    ({"resolution": {"until": 0}}, "Setting 'resolution' is part of what"),
    ({"target": "photo.png"}, "Setting 'target' is part of what"),
    ({"stepz": 5}, "Unknown setting 'stepz'; did you mean 'steps'"),
    ({"steps": 0}, "Setting 'steps' is 0: it must be"),
    ({"steps": "many"}, "Setting 'steps' is 'many'"),
    ({"optimizer": {"position": -1}}, "Setting 'optimizer.position' is -1"),
    ({"optimizer": {"other": {"wings": 0.1}}}, "Unknown parameter in optimizer.other 'wings'"),
    ({"optimizer": 5}, "Setting 'optimizer' is 5"),
    ({"loss": "mze"}, "Unknown loss 'mze'"),
    ({"loss": {"mse": 0}}, "at least one loss of a weight above 0"),
    ({"losses": {"huber": {"delta": -1}}}, "delta"),
    ({"losses": {"nothing": {}}}, "Unknown loss 'nothing'"),
    ({"loss": "spatial"}, "spatial"),
    ({"observe": "nobody"}, "Unknown observer 'nobody'"),
    ({"exporters": {"png": {"sparkle": 1}}}, "sparkle"),
]


class TestRefused:
    @pytest.mark.parametrize(("changes", "said"), WRONG)
    def test_by_name_and_the_fit_stays_as_it_was(self, changes: dict[str, Any], said: str) -> None:
        fit = halfway(started(picture()))
        settings, loss, observers = fit.settings, fit.loss, fit.observers
        rates = [group["initial_lr"] for group in fit.optimizer.param_groups]
        with pytest.raises(DiffbmpError, match=said):
            fit.change(**{"steps": 20, **changes})
        assert fit.settings is settings
        assert fit.loss is loss
        assert fit.observers is observers
        assert [group["initial_lr"] for group in fit.optimizer.param_groups] == rates
        assert_same_bits(all_of(fit.run()), all_of(started(picture()).run()))

    def test_whatever_is_not_listed(self) -> None:
        fit = random_fit()
        for name in sorted(set(diffbmp.FitSettings.model_fields) - set(CHANGEABLE)):
            with pytest.raises(DiffbmpError, match=f"Setting '{name}' is part of what this fit has done"):
                fit.change(**{name: 1})

    def test_a_loss_that_cannot_be_prepared(self) -> None:
        class Picky(Loss):
            name = "picky"

            def prepare(self, setup: Any) -> None:
                raise DiffbmpError("Picky wants larger pictures.")

            def __call__(self, inputs: LossInputs) -> Tensor:
                return inputs.image.mean()

        fit = halfway(random_fit())
        with pytest.raises(DiffbmpError, match="larger pictures"):
            fit.change(loss=Picky)
        assert fit.settings.loss == {"mse": 1.0}
        assert_same_bits(all_of(fit.run()), all_of(random_fit().run()))


class TestResumedFromTheCommandLine:
    START = ("fit", "photo.png", "-n", "6", "--initializer", "random", "--refine", "relocate", "-o", "out")

    @pytest.fixture
    def stopped(self, tmp_path: Path, photo: Path, stamps: Path) -> Path:
        begun = run(
            *self.START, "-s", "stamps", "--steps", "3", "--set", "optimizer.scale=0.03", "--loss", "mse", "--loss",
            "huber=0.5", "--set", "losses.huber.delta=0.2", cwd=tmp_path,
        )  # fmt: skip
        assert begun.returncode == 0, begun.stderr
        return tmp_path

    def report(self, folder: Path) -> Any:
        return json.loads((folder / "out" / "report.json").read_text())

    def test_other_losses_steps_and_rates(self, stopped: Path) -> None:
        resumed = run(
            "fit", "-o", "out", "--resume", "--steps", "5", "--loss", "l1=2", "--set", "optimizer.position=0.05",
            cwd=stopped,
        )  # fmt: skip
        assert resumed.returncode == 0, resumed.stderr
        report = self.report(stopped)
        assert len(report["losses"]) == 5
        settings = report["settings"]
        assert settings["loss"] == {"l1": 2.0}
        assert settings["optimizer"]["position"] == 0.05
        assert settings["optimizer"]["scale"] == 0.03  # what is not named stays
        assert settings["losses"] == {"huber": {"delta": 0.2}}
        assert report["losses"][-1] > 3 * report["losses"][2]

    def test_nothing_else_changes(self, stopped: Path) -> None:
        before = self.report(stopped)["settings"]
        assert run("fit", "-o", "out", "--resume", "--steps", "4", cwd=stopped).returncode == 0
        after = self.report(stopped)["settings"]
        assert after == {**before, "steps": 4}

    def test_an_observer(self, stopped: Path) -> None:
        resumed = run(
            "fit", "-o", "out", "--resume", "--steps", "5", "--observe", "preview", "--set",
            "observers.preview.every=1", cwd=stopped,
        )  # fmt: skip
        assert resumed.returncode == 0, resumed.stderr
        assert read_image(stopped / "out" / "preview.png").shape == (3, 16, 24)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["-n", "7"], "was begun with n = 6, not 7"),
            (["--seed", "3"], "was begun with seed = 0, not 3"),
            (["--set", "resolution.until=0.5"], "was begun with resolution"),
            (["--loss", "nothing"], "Unknown loss 'nothing'"),
            (["--loss", "spatial"], "spatial"),
            (["--set", "optimizer.position=-1"], "optimizer.position"),
            ([], "has taken all its 3 steps; give more with --steps"),
        ],
    )
    def test_what_cannot_change_is_named(self, stopped: Path, arguments: list[str], said: str) -> None:
        before = (stopped / "out" / "checkpoint.diffbmp").read_bytes()
        steps = ["--steps", "5"] if arguments else []
        assert said in fails("fit", "-o", "out", "--resume", *steps, *arguments, cwd=stopped)
        assert (stopped / "out" / "checkpoint.diffbmp").read_bytes() == before


class Dying(Loss):
    """Fails in a later step."""

    name = "dying"
    needs_target = False

    class Settings(diffbmp.Settings):
        """Settings of the dying."""

        at: int = 3
        """The step in which it fails, from 0."""
        how: str = "error"
        """What it does then."""

    settings: Settings

    def __call__(self, inputs: LossInputs) -> Tensor:
        figure = inputs.image.mean()
        if inputs.step < self.settings.at:
            return figure
        if self.settings.how == "hollow":
            return figure * torch.nan
        raise RuntimeError("out of paint")


class Falling(Refiner):
    """Fails in a later step."""

    name = "falling"

    def refine(self, fit: Fit, step: Step) -> None:
        if step.index == 2:
            raise ZeroDivisionError("division by zero")


class TestDies:
    ARGUMENTS = ("fit", "--size", "24x16", "-s", "shape:disc", "-n", "5", "--steps", "9", "-o", "out")

    def rescued(self, folder: Path, steps: int) -> None:
        """Assert that everything is there as it was after a number of steps."""
        out = folder / "out"
        assert load_scene(out / "scene.diffbmp").count == 5
        assert read_image(out / "picture.png").shape == (3, 16, 24)
        report = json.loads((out / "report.json").read_text())
        assert len(report["losses"]) == report["steps"] == steps
        assert report["finished"] is False
        assert json.loads(json.dumps(report["settings"]["steps"])) == 9

    @pytest.mark.parametrize(
        ("how", "said"),
        [
            (
                "error",
                "The loss 'dying' of the plugin 'mortal' (diffbmp-mortal 1.0) failed in step 4 of 9: RuntimeError: "
                "out of paint.",
            ),
            ("hollow", "The loss 'dying' became nan in step 4 of 9"),
        ],
    )
    def test_in_a_loss(self, how: str, said: str, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("mortal", Dying)
        sentence = fails(*self.ARGUMENTS, "--loss", "dying", "--set", f"losses.dying.how={how}", cwd=tmp_path)
        assert said in sentence
        assert sentence.endswith("What 3 steps came to is in 'out'.")
        self.rescued(tmp_path, 3)
        resumed = resume_fit(tmp_path / "out" / "checkpoint.diffbmp", changes={"losses": {"dying": {"at": 99}}})
        assert resumed.next_step == 3
        whole = diffbmp.start_fit(
            size=(16, 24), stamps="shape:disc", n=5, steps=9, loss="dying", losses={"dying": {"at": 99}}
        ).run()
        assert_same_bits(all_of(resumed.run()), all_of(whole))

    def test_in_a_refiner(self, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("mortal", Falling)
        sentence = fails(*self.ARGUMENTS, "--loss", "overlap", "--refine", "falling", cwd=tmp_path)
        assert "The refiner 'falling' of the plugin 'mortal' (diffbmp-mortal 1.0) failed after step 3 of 9" in sentence
        self.rescued(tmp_path, 3)

    def test_in_the_first_step_there_is_nothing_to_write(self, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("mortal", Dying)
        sentence = fails(*self.ARGUMENTS, "--loss", "dying", "--set", "losses.dying.at=0", cwd=tmp_path)
        assert "failed in step 1 of 9" in sentence
        assert list((tmp_path / "out").iterdir()) == []

    def test_resumed_it_keeps_what_there_was_before(self, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("mortal", Dying)
        fails(*self.ARGUMENTS, "--loss", "dying", cwd=tmp_path)
        before = (tmp_path / "out" / "checkpoint.diffbmp").read_bytes()
        assert "failed in step 4 of 9" in fails("fit", "-o", "out", "--resume", cwd=tmp_path)
        assert (tmp_path / "out" / "checkpoint.diffbmp").read_bytes() == before

    def test_the_traceback_is_shown_when_asked_for(self, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("mortal", Dying)
        result = run(*self.ARGUMENTS, "--loss", "dying", "--debug", cwd=tmp_path)
        assert result.returncode == 2
        assert 'raise RuntimeError("out of paint")' in result.stderr

    def test_from_python_the_fit_is_at_hand(self, tmp_path: Path) -> None:
        def late(inputs: LossInputs) -> Tensor:
            if inputs.step == 5:
                raise RuntimeError("late")
            return inputs.image.mean()

        fit = random_fit(pictures(2), loss=late, output=tmp_path / "out")
        with pytest.raises(DiffbmpError, match="The loss 'late' failed in step 6 of 8: RuntimeError: late") as error:
            fit.run()
        assert isinstance(error.value.__cause__, RuntimeError)
        assert fit.next_step == 5
        assert_same_bits(all_of(fit), all_of(random_fit(pictures(2), loss=brightness, steps=8).run()) | all_of(fit))
        with pytest.raises(DiffbmpError, match="What 5 steps came to is in"):
            diffbmp.fit(pictures(2), stamps=atlas(), n=5, steps=8, loss=late, output=tmp_path / "out", refine=[])
        assert load_scene(tmp_path / "out" / "scene.diffbmp").batch == 2
        assert resume_fit(tmp_path / "out" / "checkpoint.diffbmp", loss=brightness_called("late")).run().next_step == 8


def brightness_called(name: str) -> Any:
    """Return the loss of brightness under another name."""

    def loss(inputs: LossInputs) -> Tensor:
        return brightness(inputs)

    loss.__name__ = name
    return loss
