"""Locked instances: their bits stay through every step and refiner, in every order, saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_fits import N, Veils, all_of, assert_same_bits, moments, picture, pictures, started, tensors
from test_cli import fails, run
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, Fit, Refiner, Step, load_scene, resume_fit, save_scene
from diffbmp.fitting.checkpoint import save_checkpoint

BUSY: dict[str, Any] = {
    "refine": ["grow", "relocate", "reinitialize"],
    "refiners": {
        "grow": {"per_stamp": 4, "stages": 3, "until": 0.4},
        "relocate": {"per_stamp": 4, "every": 2, "after": 0.5, "until": 1, "margin": 0, "share": 0.5, "probes": 2},
        "reinitialize": {"every": 1, "after": 0, "until": 1, "below": 0.9},
    },
    "palette": ["red", "white", "#203040", "blue"],
    "counts": {"coloured": 9},
    "blur": {"sigma": 1.0},
    "optimizer": {"position": 0.5},
    "steps": 10,
}  # fmt: skip
"""A fit in which every instance that may change does."""


def rows(primitive: Any, mask: Tensor) -> dict[str, Tensor]:
    """Return what there is of the instances of a mask ``(N,)``, by name."""
    return {name: value[mask] for name, value in tensors(primitive).items()}


class Turning(Refiner):
    """Turns the painting order around at every step."""

    name = "turning"
    places = True

    def refine(self, fit: Fit, step: Step) -> None:
        order = torch.arange(len(fit.front)).flip(0)
        fit.rearrange(order)


class Painting(Refiner):
    """Paints over everything, whatever is locked."""

    name = "painting"

    @torch.no_grad()
    def refine(self, fit: Fit, step: Step) -> None:
        for primitive in fit.scene.primitives:
            for value in primitive.state_dict().values():
                if value.is_floating_point():
                    value.fill_(0.625)


class TestThroughAFit:
    def test_every_step_and_refiner_leaves_the_bits(self) -> None:
        fit = started(picture(), lock=["2-4", "7"], **BUSY)
        front: Any = fit.front
        assert front.locked.nonzero().flatten().tolist() == [1, 2, 3, 6]
        locked = rows(front, front.locked)
        free = rows(front, ~front.locked)
        for _ in fit:
            assert int(front.locked.sum()) == 4
            assert_same_bits(rows(front, front.locked), locked)
        assert len(front) == N
        after = rows(front, ~front.locked)
        assert all(not torch.equal(after[name][:3], free[name][:3]) for name in ("position", "scale", "color_logit"))

    def test_they_move_in_the_order_as_they_are(self) -> None:
        fit = started(picture(), lock=["2", "5"], initializer="random", refine=[Turning()], steps=3, palette=["red"])
        front: Any = fit.front
        locked = rows(front, front.locked)
        places = [front.locked.nonzero().flatten().tolist()]
        for _ in fit:
            places.append(front.locked.nonzero().flatten().tolist())
            kept = rows(front, front.locked)
            turned = len(places) % 2 == 0
            assert_same_bits({name: value.flip(0) if turned else value for name, value in kept.items()}, locked)
        assert places == [[1, 4], [N - 5, N - 2], [1, 4], [N - 5, N - 2]]

    @pytest.mark.parametrize("batch", [False, True])
    def test_a_refiner_that_paints_over_them_is_undone(self, batch: bool) -> None:
        target = pictures(2) if batch else picture()
        fit = started(target, lock=["1", "9"], initializer="random", refine=[Painting()], steps=2)
        front: Any = fit.front
        before = tensors(front)
        fit.run()
        mask = front.locked if batch else front.locked[None]
        for canvas in range(2 if batch else 1):
            for name, value in tensors(front).items():
                if name == "texture":
                    continue
                now, was = (value[canvas], before[name][canvas]) if batch else (value, before[name])
                assert torch.equal(now[mask[canvas]], was[mask[canvas]]), name
        assert not torch.equal(tensors(front)["position"], before["position"])

    def test_each_canvas_of_a_batch_has_its_own(self) -> None:
        fit = started(pictures(3), initializer="random", refine=["relocate", "reinitialize"],
                      refiners=BUSY["refiners"], palette=BUSY["palette"])  # fmt: skip
        locked = torch.zeros((3, N), dtype=torch.bool)
        locked[0, 2] = locked[2, 5:8] = True
        fit.front.locked = locked
        before = [rows(fit.scene.canvas(k).primitives[0], locked[k]) for k in range(3)]
        fit.run()
        assert fit.front.locked is not None
        assert fit.front.locked.sum(dim=-1).tolist() == [1, 0, 3]
        for k in range(3):
            assert_same_bits(rows(fit.scene.canvas(k).primitives[0], fit.front.locked[k]), before[k])
            alone = started(picture(k), initializer="random", refine=["relocate", "reinitialize"],
                            refiners=BUSY["refiners"], palette=BUSY["palette"])  # fmt: skip
            alone.front.locked = locked[k]
            assert_same_bits(tensors(fit.scene.canvas(k)), tensors(alone.run().scene))

    def test_of_the_primitive_behind_too(self) -> None:
        tables = [{"kind": "stamps", "n": 6, "lock": "2"}, {"kind": "stamps", "n": 20, "lock": ["1", "20"]}]
        fit = started(picture(), primitives=tables, refine=["relocate"], refiners=BUSY["refiners"])
        before = [rows(one, one.locked) for one in fit.scene.primitives if one.locked is not None]
        fit.run()
        after = [rows(one, one.locked) for one in fit.scene.primitives if one.locked is not None]
        for found, expected in zip(after, before, strict=True):
            assert_same_bits(found, expected)

    def test_what_all_share_must_be_frozen_with_single_ones(self) -> None:
        tables = {"kind": Veils, "n": 4, "lock": "2"}
        with pytest.raises(DiffbmpError, match="cannot be locked while all share the learned parameter 'softness'"):
            started(picture(), primitives=tables, refine=[])
        fit = started(picture(), primitives={**tables, "freeze": "softness"}, refine=[])
        before = tensors(fit.front)
        fit.run()
        after = tensors(fit.front)
        assert torch.equal(after["centre"][1], before["centre"][1])
        assert not torch.equal(after["centre"][0], before["centre"][0])
        whole = started(picture(), primitives={**tables, "lock": "1-4"}, refine=[])
        before = tensors(whole.front)
        assert_same_bits(tensors(whole.run().front), before)


class TestAllLocked:
    @pytest.mark.parametrize("target", [picture(), pictures(2)])
    def test_no_parameter_and_no_moment_changes(self, target: Any) -> None:
        fit = started(target, lock=[f"1-{N}"], initializer="random", **{**BUSY, "refine": BUSY["refine"][1:]})
        before = all_of(fit)
        assert len(list(fit)) == 10
        assert_same_bits(all_of(fit), before)
        assert moments(fit) == {}
        assert fit.all_held()

    def test_from_the_middle_on(self) -> None:
        fit = started(picture(), initializer="random", refine=[])
        for step in fit:
            if step.index == 3:
                fit.front.locked = torch.ones(N, dtype=torch.bool)
                before = all_of(fit)
        assert_same_bits(all_of(fit), before)

    def test_is_saved_and_goes_on(self, tmp_path: Path) -> None:
        fit = started(picture(), lock=[f"1-{N}"], initializer="random", refine=[])
        next(iter(fit))
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp")
        assert_same_bits(all_of(resumed.run()), all_of(fit.run()))


class Holding(Refiner):
    """Holds the instances at the back."""

    name = "holding"

    def refine(self, fit: Fit, step: Step) -> None:
        self.held = torch.arange(len(fit.front)) < 5


class TestHeld:
    def test_what_a_refiner_holds_stays_too_but_is_not_the_persons(self) -> None:
        fit = started(picture(), lock=["9"], initializer="random", refine=[Holding(), "relocate"],
                      refiners=BUSY["refiners"])  # fmt: skip
        next(iter(fit))
        held, front = fit.held(), fit.front
        assert held is not None
        assert front.locked is not None
        assert held.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 8]
        assert front.locked.nonzero().flatten().tolist() == [8]
        before = rows(front, held)
        fit.run()
        held = fit.held()
        assert held is not None
        assert_same_bits(rows(front, held), before)

    def test_is_kept_by_checkpoints(self, tmp_path: Path) -> None:
        def make() -> Fit:
            return started(picture(), initializer="random", refine=[Holding(), Turning()], steps=7)

        whole, fit = make().run(), make()
        for step in fit:
            fit.stopping = step.index == 2
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp", refine=[Holding, Turning])
        held, before = resumed.held(), fit.held()
        assert held is not None
        assert before is not None
        assert torch.equal(held, before)
        assert_same_bits(all_of(resumed.run()), all_of(whole))

    def test_added_instances_are_free(self) -> None:
        fit = started(picture(), refine=[Holding(), "grow"], lock=["1"])
        for _ in fit:
            held = fit.held()
            assert held is not None
            assert held.shape == (len(fit.front),)
            assert int(held.sum()) == 5
        assert len(fit.front) == N


class TestRearranging:
    def test_none_that_is_locked_goes(self) -> None:
        fit = started(picture(), lock=["3"], initializer="random", refine=[])
        before = all_of(fit)
        with pytest.raises(DiffbmpError, match="Instance 3 of 'stamps' is locked, so it cannot be taken away"):
            fit.rearrange(torch.tensor([0, 1, 3, 4]))
        assert_same_bits(all_of(fit), before)
        fit.rearrange(torch.tensor([2, 0]))
        assert fit.front.locked is not None
        assert fit.front.locked.tolist() == [True, False]

    def test_on_one_canvas_of_several(self) -> None:
        fit = started(pictures(2), initializer="random", refine=[])
        locked = torch.zeros((2, N), dtype=torch.bool)
        locked[1, 2] = True
        fit.front.locked = locked
        with pytest.raises(DiffbmpError, match="Instance 3 of 'stamps' is locked"):
            fit.rearrange(torch.tensor([[2, 0], [1, 0]]))
        fit.rearrange(torch.tensor([[1, 0], [0, 2]]))
        assert fit.front.locked is not None
        assert fit.front.locked.tolist() == [[False, False], [False, True]]

    @pytest.mark.parametrize("batch", [False, True])
    def test_a_refiner_that_takes_one_away_is_named(self, batch: bool) -> None:
        class Greedy(Refiner):
            name = "all-but-one"
            places = True

            def refine(self, fit: Fit, step: Step) -> None:
                fit.rearrange(torch.arange(1, len(fit.front)))

        target = pictures(2) if batch else picture()
        with pytest.raises(DiffbmpError, match="Instance 1 of 'stamps' is locked"):
            started(target, lock=["1"], initializer="random", refine=[Greedy()]).run()


class TestFromOutside:
    def test_the_flag_and_the_file(self, tmp_path: Path, photo: Path, stamps: Path) -> None:
        start = ("fit", photo, "-s", stamps, "-n", "9", "--initializer", "random", "--refine", "reinitialize",
                 "--set", "refiners.reinitialize.every=1", "--set", "refiners.reinitialize.after=0")  # fmt: skip
        free = run(*start, "--steps", "1", "--set", "optimizer.initial=0", "-o", "start", cwd=tmp_path)
        assert free.returncode == 0, free.stderr
        locked = run(*start, "--steps", "4", "--lock", "2-3,9", "--lock", "5", "-o", "end", cwd=tmp_path)
        assert locked.returncode == 0, locked.stderr
        first, last = (load_scene(tmp_path / name / "scene.diffbmp").primitives[0] for name in ("start", "end"))
        assert first.locked is None
        assert last.locked is not None
        assert last.locked.nonzero().flatten().tolist() == [1, 2, 4, 8]
        assert_same_bits(rows(last, last.locked), rows(first, last.locked))
        assert not torch.equal(rows(last, ~last.locked)["position"], rows(first, ~last.locked)["position"])
        report = json.loads((tmp_path / "end" / "report.json").read_text())
        assert report["settings"]["lock"] == ["2-3,9", "5"]
        resumed = run("fit", "-o", "end", "--resume", "--steps", "6", cwd=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        again = load_scene(tmp_path / "end" / "scene.diffbmp").primitives[0]
        assert again.locked is not None
        assert_same_bits(rows(again, again.locked), rows(first, last.locked))

    @pytest.mark.parametrize(
        ("lock", "said"),
        [
            ("0", "Locked stamps are given by number, 1 being the back"),
            ("4-2", "Locked stamps are given by number"),
            ("all", "Locked stamps are given by number"),
            ("10", "There is no stamp 10 to lock"),
            ("", "Locked stamps are given by number"),
        ],
    )
    def test_numbers_that_are_none(self, lock: str, said: str, tmp_path: Path, photo: Path, stamps: Path) -> None:
        assert said in fails("fit", photo, "-s", stamps, "-n", "9", "--steps", "1", "--lock", lock, cwd=tmp_path)

    def test_a_scene_keeps_them_and_can_be_locked_by_hand(self, tmp_path: Path) -> None:
        scene = started(pictures(2), initializer="random", refine=[]).scene
        assert scene.primitives[0].locked is None
        locked = torch.zeros((2, N), dtype=torch.bool)
        locked[1, 4] = True
        scene.primitives[0].locked = locked
        save_scene(scene, tmp_path / "scene.diffbmp")
        loaded = load_scene(tmp_path / "scene.diffbmp")
        assert loaded.primitives[0].locked is not None
        assert torch.equal(loaded.primitives[0].locked, locked)
        assert loaded.canvas(0).primitives[0].locked is None
        one = loaded.canvas(1).primitives[0].locked
        assert one is not None
        assert one.nonzero().flatten().tolist() == [4]
        fit = diffbmp.start_fit(pictures(2), scene=loaded, steps=3)
        before = tensors(fit.scene)
        fit.run()
        after = tensors(fit.scene)
        assert torch.equal(after["_primitives.0.position"][1, 4], before["_primitives.0.position"][1, 4])
        assert not torch.equal(after["_primitives.0.position"][0, 4], before["_primitives.0.position"][0, 4])

    @pytest.mark.parametrize(
        "wrong", [torch.ones(N), torch.ones(N - 1, dtype=torch.bool), torch.ones((2, N), dtype=torch.bool)]
    )
    def test_masks_that_are_none(self, wrong: Tensor) -> None:
        fit = started(picture(), initializer="random", refine=[])
        with pytest.raises(DiffbmpError, match="locked must be bool of shape"):
            fit.front.locked = wrong

    def test_none_locked_is_none(self) -> None:
        fit = started(picture(), initializer="random", refine=[], lock=["2"])
        fit.front.locked = torch.zeros(N, dtype=torch.bool)
        assert fit.front.locked is None
        assert fit.held() is None


class TestPluginsKind:
    def test_a_registered_kind_is_locked_by_its_axes(self, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("veils", Veils)
        result = run(
            "fit", "--size", "29x19", "--primitive", "veils", "-n", "4", "--lock", "2,4", "--freeze", "softness",
            "--set", "losses={}", "--loss", "brightness", "--steps", "3", "-o", "out", cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 2
        assert "Unknown loss 'brightness'" in result.stderr

        class Brightness(diffbmp.Loss):
            """Mean brightness."""

            name = "brightness"
            needs_target = False

            def __call__(self, inputs: diffbmp.LossInputs) -> Tensor:
                return inputs.image.mean()

        register("bright", Brightness)
        result = run(
            "fit", "--size", "29x19", "--primitive", "veils", "-n", "4", "--lock", "2,4", "--freeze", "softness",
            "--loss", "brightness", "--steps", "3", "-o", "out", cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        veils: Any = load_scene(tmp_path / "out" / "scene.diffbmp").primitives[0]
        assert veils.locked.tolist() == [False, True, False, True]
        start: Any = diffbmp.start_fit(
            size=(19, 29), primitives=[{"kind": "veils", "n": 4}], loss="brightness", steps=3
        ).front
        moved = (veils.centre != start.centre).any(dim=-1).tolist()
        assert moved == [True, False, True, False]
