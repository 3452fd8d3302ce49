"""Going on from a scene in memory or from another fit: what is kept, what begins anew, and how gently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_fits import (
    N,
    Veils,
    all_of,
    assert_same_bits,
    going_on,
    moments,
    picture,
    pictures,
    shaped,
    started,
    tensors,
)
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, Fit, LossInputs, Scene, load_scene, resume_fit, save_scene
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.fitting.report import fit_report
from diffbmp.fitting.schedules import rate_factor
from diffbmp.metrics import psnr

ASKED: dict[str, Any] = {
    "background": "#304050", "alpha_max": 0.75, "blend": "add", "filter": "trilinear", "lock": ["3", "7-9"],
    "color_blends": {"coloured": 0.625}, "counts": {"coloured": 8}, "palette": ["red", "white", "#203040"],
    "freeze": ["rotation"], "noisy_canvas": False,
}  # fmt: skip


def a_scene(**options: Any) -> Scene:
    return started(picture(), **{**ASKED, **options}).run().scene


class TestKeeps:
    @pytest.mark.parametrize("through_a_file", [False, True])
    @pytest.mark.parametrize("target", [picture(1), None])
    def test_every_value_of_the_scene(self, target: Tensor | None, through_a_file: bool, tmp_path: Path) -> None:
        scene = a_scene()
        if through_a_file:
            save_scene(scene, tmp_path / "scene.diffbmp")
            scene = load_scene(tmp_path / "scene.diffbmp")
        before = tensors(scene)
        fit = going_on(target, scene, loss="mse" if target is not None else lambda inputs: inputs.image.mean())
        assert_same_bits(tensors(fit.scene), before)
        for name in ("alpha_max", "blend", "filter", "width", "height", "linked"):
            assert getattr(fit.scene, name) == getattr(scene, name)
        assert fit.scene.atlas.textures == scene.atlas.textures
        locked, kept = fit.front.locked, scene.primitives[0].locked
        assert locked is not None
        assert kept is not None
        assert torch.equal(locked, kept)
        assert locked is not kept

    def test_the_scene_given_does_not_change(self) -> None:
        scene = a_scene(palette=[], freeze=[])
        before, locked = tensors(scene), scene.primitives[0].locked
        settings = scene.primitives[0].settings
        fit = going_on(picture(1), scene, background="red", alpha_max=1.0, lock=["1"], palette=["blue"]).run()
        assert_same_bits(tensors(scene), before)
        assert scene.alpha_max == 0.75
        assert scene.primitives[0].locked is locked
        assert scene.primitives[0].settings is settings
        changed = tensors(fit.scene)
        assert not torch.equal(changed["_primitives.0.position"], before["_primitives.0.position"])

    def test_what_its_primitives_were_asked_for(self) -> None:
        fit = going_on(picture(1), a_scene(), refiners={"relocate": {"every": 2, "after": 0, "margin": 0}})
        before = tensors(fit.scene)
        fit.run()
        after = tensors(fit.scene)
        stamps: Any = fit.front
        palette = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0x20 / 255, 0x30 / 255, 0x40 / 255]])
        distance = torch.cdist(torch.sigmoid(stamps.color_logit.detach()), palette).amin(dim=-1)
        assert float(distance.max()) < 1 / 255
        assert int((stamps.texture == 2).sum()) == 8  # of the set "coloured"
        assert stamps.color_blend.tolist() == [0.625 if texture == 2 else 0.0 for texture in stamps.texture.tolist()]
        assert not torch.equal(before["_primitives.0.position"], after["_primitives.0.position"])
        assert set(after["_primitives.0.rotation"].tolist()) != set(before["_primitives.0.rotation"].tolist())

    def test_blends_of_a_loaded_scene_go_to_stamps_that_are_moved(self, tmp_path: Path) -> None:
        save_scene(a_scene(palette=[], lock=[]), tmp_path / "scene.diffbmp")
        scene = load_scene(tmp_path / "scene.diffbmp")
        fit = going_on(picture(2), scene, refiners={"relocate": {"every": 1, "after": 0, "margin": 0, "share": 0.3}})
        assert fit.color_blend.tolist() == [0.0, 0.0, 0.625]
        texture = tensors(scene)["_primitives.0.texture"]
        fit.run()
        stamps: Any = fit.front
        assert not torch.equal(stamps.texture, texture)
        assert stamps.color_blend.tolist() == [0.625 if one == 2 else 0.0 for one in stamps.texture.tolist()]

    def test_what_is_named_again_replaces_it(self) -> None:
        scene = a_scene()
        fit = going_on(
            picture(1), scene, background="transparent", alpha_max=0.5, blend="over", filter="mipmap", lock=["1"],
            color_blend=0.25, palette=["blue"], freeze=["scale=3"], refine=[],
        )  # fmt: skip
        stamps: Any = fit.front
        assert fit.scene.background is None
        assert (fit.scene.alpha_max, fit.scene.blend, fit.scene.filter) == (0.5, "over", "mipmap")
        assert stamps.locked.nonzero().flatten().tolist() == [0]
        assert stamps.color_blend[1:].unique().tolist() == [0.25]
        assert stamps.scale[1:].unique().tolist() == [3.0]
        locked = {name: value[:1] for name, value in tensors(fit.front).items()}
        assert_same_bits(locked, {name: value[:1] for name, value in tensors(scene.primitives[0]).items()})
        color = torch.sigmoid(stamps.color_logit[1:].detach())
        assert torch.allclose(color, torch.tensor([0.0, 0, 1]), atol=1e-3)
        assert fit.settings.dumped()["palette"] == ["#0000ff"]
        only = going_on(picture(1), scene, color_blends={"plain": 0.125}, refine=[])
        assert only.color_blend.tolist() == [0.125, 0.125, 0.625]

    def test_what_stays_locked_keeps_its_bits_whatever_is_named(self) -> None:
        scene = a_scene()
        fit = going_on(picture(1), scene, color_blend=0.25, palette=["blue"], freeze=["scale=3"], refine=[])
        mask: Any = fit.front.locked
        for name, value in tensors(fit.front).items():
            assert torch.equal(value[mask], tensors(scene.primitives[0])[name][mask]), name
        stamps: Any = fit.front
        assert stamps.color_blend[~mask].unique().tolist() == [0.25]
        assert stamps.scale[~mask].unique().tolist() == [3.0]

    def test_a_report_and_a_resumed_fit_say_what_was_kept(self, tmp_path: Path) -> None:
        fit = going_on(picture(1), a_scene(), preset="paper", refine=["relocate"])
        told = fit_report(fit, 0.0)["settings"]
        expected = {**ASKED, "n": N, "palette": ["#ff0000", "#ffffff", "#203040"], "noisy_canvas": True}
        assert {name: told[name] for name in expected} == expected
        for step in fit:
            fit.stopping = step.index == 3
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp")
        fit.stopping = False
        assert resumed.count == fit.count == N
        assert_same_bits(all_of(resumed.run()), all_of(fit.run()))

    def test_numbers_of_sets_as_they_are_where_growth_was_not_over(self) -> None:
        fit = started(picture(), counts={"coloured": 20})
        next(iter(fit))
        again = going_on(picture(1), fit.scene)
        there = int((tensors(fit.scene)["_primitives.0.texture"] == 2).sum())
        assert again.count == len(fit.front) < N
        assert [one.count for one in again.sets] == [there, len(fit.front) - there]
        again.run()
        assert int((tensors(again.scene)["_primitives.0.texture"] == 2).sum()) == there

    def test_several_primitives_and_other_kinds(self, tmp_path: Path, register: Callable[..., Any]) -> None:
        register("veils", Veils)
        first = started(
            picture(), primitives=[{"kind": "stamps", "n": 5, "palette": "red"}, {"kind": "veils", "n": 3}], refine=[]
        ).run()
        fit = going_on(picture(1), first.scene)
        assert fit.refiners == []
        assert [len(one) for one in fit.scene.primitives] == [5, 3]
        assert fit.settings.primitives is not None
        assert [table["kind"] for table in fit.settings.primitives] == ["stamps", "veils"]
        assert fit.scene.primitives[0].settings.palette == ["#ff0000"]
        for step in fit:
            fit.stopping = step.index == 2
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp")
        assert resumed.scene.primitives[0].settings.palette == ["#ff0000"]
        fit.stopping = False
        assert_same_bits(all_of(resumed.run()), all_of(fit.run()))
        with pytest.raises(DiffbmpError, match="has 2 primitives, so nobody knows whose 'palette' is meant"):
            going_on(picture(1), first.scene, palette=["blue"])

    def test_one_primitive_of_another_kind_takes_what_is_named(self) -> None:
        first = started(picture(), primitives=[{"kind": Veils, "n": 3}], refine=[]).run()
        fit = going_on(picture(1), first.scene, lock=["2"], freeze=["softness"])
        before = tensors(fit.scene)
        fit.run()
        after = tensors(fit.scene)
        assert torch.equal(after["_primitives.0.centre"][1], before["_primitives.0.centre"][1])
        assert not torch.equal(after["_primitives.0.centre"][0], before["_primitives.0.centre"][0])
        assert torch.equal(after["_primitives.0.softness"], before["_primitives.0.softness"])
        with pytest.raises(DiffbmpError, match="color_blend"):
            going_on(picture(1), first.scene, color_blend=1.0)


class TestStartsFrom:
    def test_a_scene_with_moments_anew(self) -> None:
        fit = going_on(picture(1), started(picture()).run().scene)
        assert moments(fit) == {}

    def test_another_fit_with_its_moments_and_tensors(self) -> None:
        first = started(picture(), tensors={"depth": torch.ones(2), "flow": torch.zeros(2)}).run()
        fit = going_on(picture(1), first, tensors={"flow": torch.ones(2)})
        assert_same_bits(moments(fit), moments(first))
        assert fit.tensors["depth"].tolist() == fit.tensors["flow"].tolist() == [1, 1]
        kept = all_of(first)
        fit.run()
        assert_same_bits(all_of(first), kept)

    def test_one_canvas_for_several_targets(self) -> None:
        first = started(picture(), lock=["2"]).run()
        for source in (first, first.scene):
            fit = going_on(pictures(), source)
            assert fit.batch == 3
            for index in range(3):
                assert_same_bits(tensors(fit.scene.canvas(index)), tensors(first.scene))
                if source is first:
                    assert_same_bits(moments(fit, index), moments(first))
            alone = going_on(picture(2), source).run()
            assert_same_bits(tensors(fit.run().scene.canvas(2)), tensors(alone.scene))
        linked = going_on(pictures(), first.scene, linked=True)
        assert linked.scene.linked
        assert linked.refiners == []

    def test_a_batch_for_as_many_targets(self) -> None:
        first = started(pictures(2)).run()
        fit = going_on(pictures(2), first).run()
        for index in range(2):
            alone = going_on(picture(index), started(picture(index)).run()).run()
            assert_same_bits(tensors(fit.scene.canvas(index)), tensors(alone.scene))
        with pytest.raises(DiffbmpError, match="There are targets for 3 canvases, but the scene has 2"):
            going_on(pictures(3), first)
        with pytest.raises(DiffbmpError, match="There are targets for 1 canvases, but the scene has 2"):
            going_on(picture(), first)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"n": 5}, "has the scene's n"),
            ({"size": (19, 29)}, "has the scene's size"),
            ({"stamps": "shape:disc"}, "has the scene's stamps"),
            ({"initializer": "random"}, "has the scene's initializer"),
            ({"primitives": ["stamps"]}, "has the scene's primitives"),
            ({"linked": True}, "give several targets"),
            ({"target_mask": "mask.png"}, "does not exist|no file|There is no"),
            ({"lock": ["38"]}, "There is no stamp 38 to lock"),
        ],
    )
    def test_refuses_what_cannot_be(self, options: dict[str, Any], said: str) -> None:
        scene = started(picture(), initializer="random", refine=[]).scene
        with pytest.raises(DiffbmpError, match=said):
            going_on(picture(1), scene, **options)

    def test_refuses_a_target_of_another_size(self) -> None:
        scene = started(picture(), initializer="random", refine=[]).scene
        with pytest.raises(DiffbmpError, match="target is 28 x 19 pixels but the canvas is 29 x 19"):
            going_on(picture(1, 19, 28), scene)

    def test_a_mask_limits_the_target(self, tmp_path: Path) -> None:
        mask = np.zeros((19, 29), dtype=np.uint8)
        mask[:, :10] = 255
        Image.fromarray(mask).save(tmp_path / "mask.png")
        scene = started(picture(), initializer="random", refine=[]).scene
        fit = going_on(picture(1), scene, target_mask=str(tmp_path / "mask.png"))
        assert fit.target is not None
        assert fit.target.alpha is not None
        assert fit.target.alpha[0].mean(dim=0).tolist() == [1.0] * 10 + [0.0] * 19
        with pytest.raises(DiffbmpError, match="target_mask is for a fit with a target"):
            going_on(None, scene, target_mask=str(tmp_path / "mask.png"), loss="overlap")


class Seen(diffbmp.Loss):
    """Notes how large pictures are, and how blurred textures."""

    name = "seen"

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []
        self.blurs: list[float] = []

    def __call__(self, inputs: LossInputs) -> Tensor:
        assert inputs.target is not None
        self.sizes.append(inputs.size)
        self.blurs.append(inputs.atlas.blur)
        return (inputs.image - inputs.target).square().mean()


COARSE: dict[str, Any] = {"resolution": {"shortest": 16, "until": 1.0}, "blur": {"sigma": 2.0, "until": 1.0}}


class TestSchedule:
    def test_neither_coarse_nor_blurred_unless_asked(self) -> None:
        scene = started(picture(0, 33, 40), **COARSE).run().scene
        sharp, coarse = Seen(), Seen()
        going_on(picture(0, 33, 40), scene, loss=sharp, preset="paper").run()
        assert set(sharp.sizes) == {(33, 40)}
        assert set(sharp.blurs) == {0.0}
        going_on(picture(0, 33, 40), scene, loss=coarse, **COARSE).run()
        assert coarse.sizes[0] == (16, 20)
        assert coarse.blurs[0] == 2.0

    def test_begins_gently(self) -> None:
        first = started(picture()).run()
        from_scene, from_fit = (going_on(picture(1), source).settings.optimizer for source in (first.scene, first))
        for optimizer in (from_scene, from_fit):
            assert optimizer.initial == 0.5
            factors = [rate_factor(optimizer, step, 30) for step in range(30)]
            assert max(factors) <= 0.5
            assert factors[-1] == pytest.approx(0.05)
        assert rate_factor(from_fit, 0, 30) == 0.5
        assert rate_factor(from_scene, 0, 30) == pytest.approx(0.5 / 9)  # moments begin anew
        asked = going_on(picture(1), first.scene, optimizer={"initial": 1.0, "warmup": 0}).settings.optimizer
        assert rate_factor(asked, 0, 30) == 1.0

    def test_adds_no_stamps(self) -> None:
        scene = started(picture()).run().scene
        fit = going_on(picture(1), scene).run()
        assert [refiner.name for refiner in fit.refiners] == ["relocate"]
        assert len(fit.front) == N


class TestRetarget:
    def test_starts_over_towards_another_target(self) -> None:
        fit = started(picture(), blur={"sigma": 1.0}, resolution={"shortest": 16, "until": 1.0}).run()
        before = moments(fit)
        fit.retarget(picture(1), steps=5)
        assert (fit.next_step, fit.first_step, fit.settings.steps) == (0, 0, 5)
        assert fit.losses == fit.psnrs == fit.step_seconds == fit.canvas_losses == fit.canvas_psnrs == []
        assert fit.settings.optimizer.initial == 0.5
        assert fit.settings.optimizer.warmup == 0
        assert_same_bits(moments(fit), before)
        steps = list(fit)
        assert [step.index for step in steps] == [0, 1, 2, 3, 4]
        assert fit.resolution == 1.0
        assert fit.target is not None
        assert torch.equal(fit.target.color, picture(1))
        fit.retarget(picture(2), moments=False)
        assert fit.settings.optimizer.warmup == 8
        assert not any(value.any() for name, value in moments(fit).items() if not name.endswith("step"))

    def test_equals_going_on_from_the_fit(self) -> None:
        options: Any = {"refine": [], "steps": 6}
        first = started(picture(), **options).run()
        other = going_on(picture(1), first, **options).run()
        first.retarget(picture(1), steps=6)
        assert_same_bits(all_of(first.run()), all_of(other))

    def test_prepares_losses_for_another_transparency_and_saves_the_new_target(self, tmp_path: Path) -> None:
        fit = started(picture(), refine=[], background="transparent").run()
        fit.retarget(shaped(picture(1)), steps=4)
        assert fit.working_target is not None
        assert fit.working_target.alpha is not None
        for step in fit:
            fit.stopping = step.index == 1
        save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
        resumed = resume_fit(tmp_path / "checkpoint.diffbmp").run()
        fit.stopping = False
        assert_same_bits(all_of(resumed), all_of(fit.run()))

    def test_a_file_is_resized_and_named(self, tmp_path: Path) -> None:
        paths = []
        for number in range(2):
            image = (picture(number, 38, 58).permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            paths.append(str(tmp_path / f"{number}.png"))
            Image.fromarray(image).save(paths[-1])
        fit = started(paths[0], width=29, refine=[], initializer="random")
        fit.retarget(paths[1])
        assert fit.settings.target == paths[1]
        fit.retarget(picture(1))
        assert fit.settings.target == ""

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            (picture(0, 20, 29), "target is 29 x 20 pixels but the canvas is 29 x 19"),
            (pictures(2), "targets for 2 canvases, but the scene has 1"),
            (None, "'grow' needs a target"),
            (5, "A target is a path"),
        ],
    )
    def test_what_is_refused_changes_nothing(self, target: Any, said: str) -> None:
        fit = started(picture())
        for step in fit:
            fit.stopping = step.index == 3
        before, settings, losses = all_of(fit), fit.settings, list(fit.losses)
        with pytest.raises(DiffbmpError, match=said):
            fit.retarget(target, steps=3, moments=False)
        assert_same_bits(all_of(fit), before)
        assert fit.settings is settings
        assert fit.losses == losses
        assert fit.next_step == 4
        fit.stopping = False
        assert_same_bits(all_of(fit.run()), all_of(started(picture()).run()))

    def test_a_loss_without_its_target_is_refused_and_the_fit_goes_on(self) -> None:
        fit = started(picture(), refine=[])
        next(iter(fit))
        with pytest.raises(DiffbmpError, match="'mse' compares with a target, and this fit has none"):
            fit.retarget(None)
        assert fit.target is not None
        assert_same_bits(all_of(fit.run()), all_of(started(picture(), refine=[]).run()))

    def test_from_none_to_a_target_and_back(self) -> None:
        def brightness(inputs: LossInputs) -> Tensor:
            return inputs.image.mean() if inputs.target is None else (inputs.image - inputs.target).abs().mean()

        fit = started(size=(19, 29), loss=brightness, steps=3).run()
        assert fit.psnrs == [None] * 3
        fit.retarget(picture())
        assert fit.run().psnrs[-1] is not None
        fit.retarget(None)
        assert fit.run().psnrs == [None] * 3


def photograph(shift: int = 0) -> Tensor:
    """Return 128 x 128 pixels of a photograph, ``shift`` pixels to the right of its left edge."""
    from skimage import data

    whole = Image.fromarray(data.astronaut()).convert("RGB").resize((144, 144), Image.Resampling.LANCZOS)
    pixels = np.asarray(whole).astype(np.float32)[8:136, 8 - shift : 136 - shift] / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def frames(way: str, clip: list[Tensor], steps: int) -> tuple[float, list[float], float]:
    """Return the PSNR of the sharp first frame, that at the end of each later one, and the lowest during these."""
    letters = diffbmp.Atlas(diffbmp.load_textures(["shape:disc", "text:AB"], {}))
    fit = diffbmp.start_fit(clip[0], stamps=letters, n=300, steps=100, device="cpu").run()

    @torch.no_grad()
    def quality(fit: Fit, target: Tensor) -> float:
        return psnr(fit.scene.render(), target)

    first, ends, during = quality(fit, clip[0]), [], []
    for target in clip[1:]:
        if way == "scene":
            fit = diffbmp.start_fit(target, scene=fit.scene, steps=steps)
        else:
            fit.retarget(target, steps=steps)
        during += [quality(fit, target) for _ in fit]
        ends.append(during[-1])
    return first, ends, min(during)


class TestFrames:
    @pytest.mark.parametrize("way", ["scene", "retarget"])
    def test_ten_frames_of_a_still_clip_never_fall_back(self, way: str) -> None:
        first, ends, lowest = frames(way, [photograph()] * 10, 20)
        assert first > 23
        assert lowest > first - 0.3
        assert ends[0] > first - 0.05
        assert ends[-1] > first + 0.1

    @pytest.mark.slow
    @pytest.mark.parametrize("way", ["scene", "retarget"])
    def test_a_clip_that_pans_is_followed(self, way: str) -> None:
        first, ends, _ = frames(way, [photograph(shift) for shift in range(8)], 25)
        assert min(ends) > first - 2
