"""Losses of how stamps lie and how they are turned: by hand, gradients in float64, and what they do in a fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError
from diffbmp.fitting.build import begin_fit
from diffbmp.fitting.settings import FitSettings
from diffbmp.losses.loss import Loss
from diffbmp.losses.rotation import edge_field
from diffbmp.losses.setup import LossSetup
from diffbmp.losses.total import TotalLoss
from diffbmp.plugins.registry import registry
from diffbmp.testing import loss_inputs

ALONE = ["overlap", "boundary", "size", "opacity-sparsity", "rotation-smoothness"]


def loss_of(name: str, **settings: Any) -> Loss:
    loss: Loss = registry().create("losses", name, settings)
    return loss


def stamps_of(position: list[list[float]], scale: float = 4.0, rotation: list[float] | None = None) -> diffbmp.Stamps:
    count = len(position)
    stamps = diffbmp.Stamps(
        position=torch.tensor(position, dtype=torch.float64),
        scale=torch.full((count,), scale, dtype=torch.float64),
        rotation=torch.tensor(rotation or [0.0] * count, dtype=torch.float64),
        opacity_logit=torch.full((count,), 30.0, dtype=torch.float64),
        color_logit=torch.zeros((count, 3), dtype=torch.float64),
        texture=torch.zeros(count, dtype=torch.int64),
    )
    return stamps.requires_grad_(False)


def scene_of(stamps: diffbmp.Stamps, size: tuple[int, int] = (32, 40)) -> diffbmp.Scene:
    """Return a canvas of stamps whose texture is a full square, 40 x 32 pixels."""
    atlas = diffbmp.Atlas.from_pixels([torch.ones((64, 64), dtype=torch.float64)])
    return diffbmp.Scene(size[1], size[0], atlas, [stamps], filter="bilinear")


def inputs_of(
    stamps: diffbmp.Stamps, target: Tensor | None = None, size: tuple[int, int] = (32, 40)
) -> diffbmp.LossInputs:
    return loss_inputs(scene=scene_of(stamps, size), target=target, renderer="reference")


def random_stamps(count: int = 5) -> diffbmp.Stamps:
    generator = torch.Generator().manual_seed(5)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    return diffbmp.Stamps(
        position=uniform(-3, 43, count, 2),
        scale=uniform(2, 9, count),
        rotation=uniform(0.1, 6, count),
        opacity_logit=uniform(-1, 1, count),
        color_logit=uniform(-1, 1, count, 3),
        texture=torch.zeros(count, dtype=torch.int64),
    )


class TestEach:
    @pytest.mark.parametrize("name", [*ALONE, "rotation-alignment"])
    def test_gradcheck(self, name: str) -> None:
        """Of all parameters; for the alignment of rotation alone, since it reads the target as constants."""
        stamps, target = random_stamps(), torch.rand((3, 32, 40), generator=torch.Generator().manual_seed(1)).double()
        loss = loss_of(name)
        names = ["rotation"] if name == "rotation-alignment" else ["position", "scale", "rotation", "opacity_logit"]
        if name == "rotation-smoothness":
            names.remove("position")  # which neighbours are nearest has no gradient
        values = [getattr(stamps, label).detach().clone().requires_grad_() for label in names]

        scene = scene_of(stamps)

        def value(*given: Tensor) -> Tensor:
            frozen = {label: tensor.detach() for label, tensor in stamps.state_dict().items()}
            moved = torch.func.functional_call(
                stamps, {**frozen, **dict(zip(names, given, strict=True))}, (scene.atlas,)
            )
            return loss(loss_inputs(scene=scene, sprites=moved, target=target, renderer="reference"))

        assert torch.autograd.gradcheck(value, values)

    @pytest.mark.parametrize("name", ALONE)
    def test_needs_no_target(self, name: str) -> None:
        TotalLoss({name: 1.0}).prepare(LossSetup((8, 8), has_target=False))

    @pytest.mark.parametrize("name", [*ALONE, "rotation-alignment"])
    def test_is_lowered_by_a_fit(self, name: str, photo: Path, stamps: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        target = torch.rand(3, 4, 6, generator=generator).repeat_interleave(8, 1).repeat_interleave(8, 2)
        settings = FitSettings(
            stamps=[str(stamps)],
            n=20,
            steps=20,
            initializer="random",
            refine=[],
            loss={name: 1},
            losses={"size": {"maximum": 0.05}},
            optimizer={"position": 0.02, "scale": 0.02},
        )
        terms = [step.terms[name] for step in begin_fit(settings, target=target)]
        assert terms[-1] < 0.8 * terms[0]


class TestOverlap:
    def test_by_hand(self) -> None:
        apart = inputs_of(stamps_of([[8, 8], [24, 24]]))
        assert float(loss_of("overlap")(apart)) == pytest.approx(0, abs=1e-9)
        # Two full squares of 8 x 8 pixels, half of each upon the other.
        half = inputs_of(stamps_of([[8, 8], [12, 8]]))
        assert float(loss_of("overlap")(half)) == pytest.approx(32 / (32 * 40), rel=1e-6)
        three = inputs_of(stamps_of([[8, 8]] * 3))
        assert float(loss_of("overlap")(three)) == pytest.approx(2 * 64 / (32 * 40), rel=1e-6)

    def test_follows_alpha_max(self) -> None:
        scene = scene_of(stamps_of([[8, 8], [8, 8]]))
        scene.alpha_max = 0.5
        inputs = loss_inputs(scene=scene, renderer="reference")
        assert float(loss_of("overlap")(inputs)) == pytest.approx(0.25 * 64 / (32 * 40), rel=1e-6)


class TestBoundary:
    @pytest.mark.parametrize(
        ("position", "expected"),
        [([20, 16], 0), ([4, 4], 0), ([0, 16], 0.25), ([-4, 16], 1), ([40, 32], 0.5), ([44, 16], 1), ([20, 40], 2.25)],
    )
    def test_by_hand(self, position: list[float], expected: float) -> None:
        assert float(loss_of("boundary")(inputs_of(stamps_of([position])))) == pytest.approx(expected)

    def test_a_turned_square_reaches_further(self) -> None:
        straight, turned = (inputs_of(stamps_of([[5, 16]], rotation=[angle])) for angle in (0, math.pi / 4))
        assert float(loss_of("boundary")(straight)) == 0
        assert float(loss_of("boundary")(turned)) > 0


class TestSize:
    def test_by_hand(self) -> None:
        loss = loss_of("size", minimum=0.05, maximum=0.1)  # 1.6 to 3.2 of 32 pixels
        for scale, expected in ((2.0, 0), (6.4, math.log(2) ** 2), (0.8, math.log(2) ** 2)):
            assert float(loss(inputs_of(stamps_of([[20, 16]], scale)))) == pytest.approx(expected)

    def test_is_the_same_on_every_canvas(self) -> None:
        small, large = inputs_of(stamps_of([[20, 16]], 5)), inputs_of(stamps_of([[200, 160]], 50), size=(320, 400))
        assert float(loss_of("size")(small)) == pytest.approx(float(loss_of("size")(large)))

    def test_refuses_an_empty_range(self) -> None:
        with pytest.raises(DiffbmpError, match="below its minimum"):
            loss_of("size", minimum=0.2, maximum=0.1)


def test_opacity_sparsity_by_hand() -> None:
    stamps = stamps_of([[8, 8], [9, 9]])
    stamps.opacity_logit.data = torch.logit(torch.tensor([0.2, 0.5], dtype=torch.float64))
    assert float(loss_of("opacity-sparsity")(inputs_of(stamps))) == pytest.approx(0.35)
    assert float(loss_of("opacity-sparsity", toward="either")(inputs_of(stamps))) == pytest.approx((0.64 + 1) / 2)


class TestRotationSmoothness:
    def test_by_hand(self) -> None:
        stamps = stamps_of([[5, 5], [6, 5], [30, 20]], rotation=[0, math.pi / 2, math.pi])
        # With one neighbour: the first two are each other's, at a right angle; the third's is the second.
        assert float(loss_of("rotation-smoothness", neighbors=1)(inputs_of(stamps))) == pytest.approx(0.5)
        assert float(loss_of("rotation-smoothness", neighbors=1, symmetry=4)(inputs_of(stamps))) == pytest.approx(0)
        everyone = float(loss_of("rotation-smoothness")(inputs_of(stamps)))  # no more neighbours than there are
        assert everyone == pytest.approx((0.5 + 1 + 0.5 + 0.5 + 1 + 0.5) / 6)

    def test_a_single_stamp_has_none(self) -> None:
        assert float(loss_of("rotation-smoothness")(inputs_of(stamps_of([[5, 5]])))) == 0

    def test_many_are_sampled(self) -> None:
        position = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)) * 30
        stamps = stamps_of(position.tolist(), rotation=[0.3] * 2999 + [0.3])
        assert float(loss_of("rotation-smoothness")(inputs_of(stamps))) == pytest.approx(0, abs=1e-12)


class TestRotationAlignment:
    def slope(self, angle: float) -> Tensor:
        """Return a soft edge that runs at ``angle`` through the middle, clockwise on screen."""
        y, x = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
        across = -math.sin(angle) * (x - 20) + math.cos(angle) * (y - 16)
        return torch.sigmoid(across).double().expand(3, -1, -1)

    @pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, 2.5])
    def test_follows_an_edge(self, angle: float) -> None:
        target = self.slope(angle)
        along, across = (
            float(loss_of("rotation-alignment")(inputs_of(stamps_of([[20, 16]], rotation=[turn]), target)))
            for turn in (angle, angle + math.pi / 2)
        )
        assert along < 0.01
        assert across > 0.95

    def test_a_flat_target_has_no_direction(self) -> None:
        flat = torch.full((3, 32, 40), 0.5).double()
        assert float(loss_of("rotation-alignment")(inputs_of(stamps_of([[20, 16]], rotation=[0.7]), flat))) == 0
        assert not edge_field(flat[:1], 1.0).any()

    def test_to_an_angle_needs_no_target(self) -> None:
        stamps = stamps_of([[8, 8], [20, 20]], rotation=[math.pi / 2, math.pi])
        assert float(loss_of("rotation-alignment", angle=90)(inputs_of(stamps))) == pytest.approx(0.25)
        assert float(loss_of("rotation-alignment", angle=90, symmetry=4)(inputs_of(stamps))) == pytest.approx(0)
        TotalLoss({"rotation-alignment": 1.0}, {"rotation-alignment": {"angle": 0}}).prepare(
            LossSetup((8, 8), has_target=False)
        )
        with pytest.raises(DiffbmpError, match="'rotation-alignment' compares with a target"):
            TotalLoss({"rotation-alignment": 1.0}).prepare(LossSetup((8, 8), has_target=False))
