"""A fit that goes on from a scene in memory keeps what the primitives were asked for, unless it is named again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError
from diffbmp.fitting.checkpoint import save_checkpoint

PALETTE = ["#000000", "#ffffff", "#c04030"]


@pytest.fixture
def target() -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, 16), torch.linspace(0, 1, 24), indexing="ij")
    return torch.stack([(5 * x).sin().abs(), y, (3 * x * y).cos().abs()])


def fitted(target: Tensor, **options: Any) -> diffbmp.Fit:
    given: dict[str, Any] = {"stamps": ["shape:disc"], "n": 8, "steps": 3, "initializer": "random", "refine": []}
    return diffbmp.start_fit(target, **{**given, **options}).run()


def colors(fit: diffbmp.Fit) -> set[tuple[int, ...]]:
    (stamps,) = fit.scene.primitives
    assert isinstance(stamps, diffbmp.Stamps)
    return {tuple((color * 255).round().int().tolist()) for color in torch.sigmoid(stamps.color_logit.detach())}


def test_palette_frozen_parameters_and_locks_are_kept(target: Tensor) -> None:
    first = fitted(target, palette=PALETTE, freeze=["rotation=0", "scale"], lock=["2"])
    (before,) = first.scene.primitives
    fit = diffbmp.start_fit(target, scene=first.scene, steps=4, refine=[]).run()
    (after,) = fit.scene.primitives
    assert isinstance(before, diffbmp.Stamps)
    assert isinstance(after, diffbmp.Stamps)
    assert colors(fit) <= {(0, 0, 0), (255, 255, 255), (192, 64, 48)}
    assert torch.equal(after.scale, before.scale)
    assert bool((after.rotation == 0).all())
    assert torch.equal(after.position[1], before.position[1])
    assert not torch.equal(after.position[2], before.position[2])
    assert fit.settings.palette == PALETTE  # so that a report and a checkpoint know it


def test_what_is_named_again_takes_its_place(target: Tensor) -> None:
    first = fitted(target, palette=PALETTE, freeze=["scale"], lock=["2"])
    fit = diffbmp.start_fit(
        target, scene=first.scene, steps=4, refine=[], palette=["#204060"], freeze=["opacity=0.5"], lock=["5"]
    )
    (before,), (after,) = first.scene.primitives, fit.scene.primitives
    assert after.locked is not None
    assert after.locked.nonzero()[:, 0].tolist() == [4]
    fit.run()
    assert isinstance(before, diffbmp.Stamps)
    assert isinstance(after, diffbmp.Stamps)
    assert not torch.equal(after.scale, before.scale)
    unlocked = torch.arange(8) != 4
    assert torch.allclose(torch.sigmoid(after.opacity_logit[unlocked]), torch.tensor(0.5))
    assert fit.settings.freeze == ["opacity=0.5"]


def test_values_that_are_named_again_leave_locked_stamps_as_they_are(target: Tensor) -> None:
    first = fitted(target, lock=["2", "3"])
    fit = diffbmp.start_fit(target, scene=first.scene, steps=2, refine=[], freeze=["rotation=1", "opacity=0.5"])
    (before,), (after,) = first.scene.primitives, fit.run().scene.primitives
    for name, tensor in before.state_dict().items():
        assert torch.equal(after.state_dict()[name][1:3], tensor[1:3]), name
    assert bool((after.state_dict()["rotation"][3:] == 1).all())


def test_it_resumes_to_the_same_bits(target: Tensor, tmp_path: Path) -> None:
    first = fitted(target, palette=PALETTE, freeze=["scale"], lock=["2"])

    def start() -> diffbmp.Fit:
        return diffbmp.start_fit(target, scene=first.scene, steps=6, refine=[])

    part = start()
    for step in part:
        part.stopping = step.index == 2
    save_checkpoint(part, tmp_path / "a.diffbmp")
    resumed, whole = diffbmp.resume_fit(tmp_path / "a.diffbmp").run(), start().run()
    for name, tensor in whole.scene.primitives[0].state_dict().items():
        assert torch.equal(resumed.scene.primitives[0].state_dict()[name], tensor), name


def test_of_several_primitives_nobody_knows_whose_a_setting_is(target: Tensor) -> None:
    disc = {"kind": "stamps", "stamps": ["shape:disc"], "n": 4, "initializer": "random", "palette": PALETTE}
    scene = diffbmp.start_fit(target, primitives=[disc, disc], steps=2, refine=[]).run().scene
    fit = diffbmp.start_fit(target, scene=scene, steps=2, refine=[])
    assert [primitive.settings.palette for primitive in fit.scene.primitives] == [PALETTE, PALETTE]
    assert fit.settings.primitives is not None
    assert [table["palette"] for table in fit.settings.primitives] == [PALETTE, PALETTE]
    with pytest.raises(DiffbmpError, match="The scene has 2 primitives, so nobody knows whose 'palette' is meant"):
        diffbmp.start_fit(target, scene=scene, steps=2, refine=[], palette=["red"])
