"""Each loss against hand computation and gradcheck; their weighted sum; what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import pytorch_msssim
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.losses.setup import LossSetup
from diffbmp.losses.total import TotalLoss, parse_weighted
from diffbmp.plugins.registry import registry
from diffbmp.testing import loss_inputs

NAMES = [
    "gray-huber", "gray-l1", "gray-ms-ssim", "gray-mse", "gray-ssim",
    "huber", "l1", "ms-ssim", "mse", "nlpd", "spatial", "ssim",
]  # fmt: skip


def inputs_of(
    layer: Tensor, color: Tensor | None, alpha: Tensor | None = None, background: Tensor | None = None
) -> LossInputs:
    """Return the inputs of the fifth of ten steps of a fit that has drawn ``layer``."""
    target = color if color is None or alpha is None else torch.cat([color, alpha])
    return loss_inputs(layer, target=target, background=background, step=4, steps=10)


def opaque(color: Tensor) -> Tensor:
    return torch.cat([color, torch.ones_like(color[:1])])


def loss_of(name: str, **settings: Any) -> Loss:
    loss: Loss = registry().create("losses", name, settings)
    return loss


def pictures(height: int, width: int, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand((count, height, width), generator=torch.Generator().manual_seed(3), dtype=dtype)


class TestPixelwise:
    @pytest.mark.parametrize(
        ("name", "settings", "expected"),
        [
            ("mse", {}, (0.25 + 0 + 0.0025) / 3),
            ("l1", {}, (0.5 + 0 + 0.05) / 3),
            ("huber", {}, (0.1 * (0.5 - 0.05) + 0 + 0.00125) / 3),
            ("huber", {"delta": 1}, (0.125 + 0 + 0.00125) / 3),
        ],
    )
    def test_by_hand(self, name: str, settings: dict[str, float], expected: float) -> None:
        image = torch.tensor([0.75, 0.5, 0.45], dtype=torch.float64).view(3, 1, 1).expand(3, 4, 6)
        target = torch.tensor([0.25, 0.5, 0.5], dtype=torch.float64).view(3, 1, 1).expand(3, 4, 6)
        value = loss_of(name, **settings)(inputs_of(opaque(image), target))
        assert value.dim() == 0
        assert float(value) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("name", ["mse", "l1", "huber"])
    def test_noise_shows_what_should_be_covered(self, name: str) -> None:
        """Nothing drawn equals a target that is nothing, whatever is behind; over an opaque target it does not."""
        background, color = pictures(4, 5, 3), torch.ones(3, 4, 5).double()
        nothing = torch.zeros(4, 4, 5).double()
        loss = loss_of(name)
        assert float(loss(inputs_of(nothing, color, torch.zeros(1, 4, 5).double(), background))) == 0
        assert float(loss(inputs_of(nothing, color, None, background))) > 0.05

    def test_huber_refuses_a_delta_of_zero(self) -> None:
        with pytest.raises(DiffbmpError, match=r"losses\.huber\.delta"):
            loss_of("huber", delta=0)


class TestSpatial:
    def inputs(self) -> LossInputs:
        """Return the inputs of two pixels: drawn half red where the target is full white, and where it is nothing."""
        layer = torch.tensor([[0.5, 0.5], [0, 0], [0, 0], [0.5, 0.5]]).double().view(4, 1, 2)
        alpha = torch.tensor([1.0, 0.0]).double().view(1, 1, 2)
        return inputs_of(layer, torch.ones(3, 1, 2).double(), alpha, torch.zeros(3, 1, 1).double())

    @pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.0])
    def test_by_hand(self, weight: float) -> None:
        color = (0.5**2 + 1 + 1) / 3  # of the first pixel alone
        alpha = (0.5**2 + 0.5**2) / 2
        value = loss_of("spatial", alpha_weight=weight)(self.inputs())
        assert float(value) == pytest.approx(color + weight * alpha, abs=1e-12)

    def test_the_weight_is_one_unless_given(self) -> None:
        assert torch.equal(loss_of("spatial")(self.inputs()), loss_of("spatial", alpha_weight=1)(self.inputs()))

    def test_ignores_color_off_the_shape(self) -> None:
        first, second = self.inputs(), self.inputs()
        second.image[:, :, 1] = 0.123
        assert torch.equal(loss_of("spatial")(first), loss_of("spatial")(second))

    def test_is_zero_for_the_target_itself_over_any_background(self) -> None:
        color, alpha = pictures(5, 4, 3), (pictures(5, 4, 4)[3:] - 0.3).clamp(min=0)
        inputs = inputs_of(torch.cat([color * alpha, alpha]), color, alpha, 1 - pictures(5, 4, 3))
        assert float(loss_of("spatial")(inputs)) == pytest.approx(0, abs=1e-15)

    def test_invisible_target_leaves_the_alpha_term(self) -> None:
        layer = pictures(3, 3, 4)
        value = loss_of("spatial")(inputs_of(layer, torch.ones(3, 3, 3).double(), torch.zeros(1, 3, 3).double()))
        assert float(value) == pytest.approx(float(layer[3].square().mean()), abs=1e-12)

    def test_needs_a_transparent_target(self) -> None:
        with pytest.raises(DiffbmpError, match="transparency"):
            loss_of("spatial").prepare(LossSetup((8, 8)))
        with pytest.raises(DiffbmpError, match="transparency"):
            loss_of("spatial")(inputs_of(pictures(3, 3, 4), pictures(3, 3, 3)))
        loss_of("spatial").prepare(LossSetup((8, 8), target_alpha=True))


class TestSsim:
    def test_agrees_with_the_library(self) -> None:
        image, target = pictures(16, 20, 3), 1 - pictures(16, 20, 6)[3:]
        expected = 1 - pytorch_msssim.ssim(image[None], target[None], data_range=1, win_size=7)
        assert torch.equal(loss_of("ssim", window=7)(inputs_of(opaque(image), target)), expected)

    def test_zero_for_equal_pictures_and_flat_offset_by_hand(self) -> None:
        image = pictures(12, 12, 3)
        assert float(loss_of("ssim")(inputs_of(opaque(image), image))) == pytest.approx(0, abs=1e-12)
        dark, light = torch.full((3, 11, 11), 0.25).double(), torch.full((3, 11, 11), 0.5).double()
        expected = 1 - (2 * 0.125 + 1e-4) / (0.0625 + 0.25 + 1e-4)
        assert float(loss_of("ssim")(inputs_of(opaque(dark), light))) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("size", [(10, 64), (64, 10), (1, 1)])
    def test_refuses_a_canvas_smaller_than_the_window(self, size: tuple[int, int]) -> None:
        with pytest.raises(DiffbmpError, match=f"11 x 11.*{size[1]} x {size[0]}"):
            loss_of("ssim").prepare(LossSetup(size))
        loss_of("ssim").prepare(LossSetup((11, 11)))

    @pytest.mark.parametrize("window", [10, 1, -3])
    def test_refuses_windows_that_are_none(self, window: int) -> None:
        with pytest.raises(DiffbmpError, match=r"losses\.ssim\.window"):
            loss_of("ssim", window=window)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Work with one thread: two on a busy machine are many times slower on tensors this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestEveryLoss:
    @pytest.mark.usefixtures("one_thread")
    @pytest.mark.parametrize("name", NAMES)
    def test_gradcheck(self, name: str) -> None:
        color, alpha = pictures(5, 4, 3), (pictures(5, 4, 4)[3:] - 0.3).clamp(min=0)
        background = 1 - pictures(5, 4, 7)[4:]
        layer = (0.7 * pictures(5, 4, 11)[7:]).requires_grad_()  # no difference is near a kink of l1 or huber
        loss = loss_of(name, **({"window": 3} if "ssim" in name else {}))
        assert torch.autograd.gradcheck(lambda drawn: loss(inputs_of(drawn, color, alpha, background)), layer)

    @pytest.mark.parametrize("name", NAMES)
    def test_needs_a_target(self, name: str) -> None:
        with pytest.raises(DiffbmpError, match=f"'{name}'.*target"):
            loss_of(name)(inputs_of(pictures(12, 12, 4), None))

    @pytest.mark.parametrize("name", NAMES)
    def test_refuses_a_target_of_another_shape(self, name: str) -> None:
        with pytest.raises(DiffbmpError, match="one shape"):
            loss_of(name)(loss_inputs(pictures(12, 12, 4), target=torch.zeros(4, 1, 1)))

    def test_these_are_registered(self) -> None:
        core = [entry.name for entry in registry().entries("losses") if entry.owner == "core"]
        assert set(NAMES) <= set(core)


class Flawed(diffbmp.Loss):
    """A loss that returns what it is told to."""

    name = "flawed"
    needs_target = False
    value: Any = None

    def __call__(self, inputs: LossInputs) -> Any:
        return self.value


@pytest.fixture
def flawed(monkeypatch: pytest.MonkeyPatch) -> type[Flawed]:
    """Return a loss known as 'flawed' during one test."""

    class Told(Flawed):
        """A loss that returns what it is told to."""

    create = registry().create
    monkeypatch.setattr(
        registry(),
        "create",
        lambda family, name, table=None: Told() if name == "flawed" else create(family, name, table),
    )
    return Told


class TestTotalLoss:
    def test_is_the_weighted_sum(self) -> None:
        image, target = pictures(12, 12, 3), 1 - pictures(12, 12, 6)[3:]
        inputs = inputs_of(opaque(image), target)
        total, terms = TotalLoss({"mse": 2.0, "ssim": 0.25, "huber": 3}, {"huber": {"delta": 0.2}, "l1": {}})(inputs)
        expected = {
            "mse": float(loss_of("mse")(inputs)),
            "ssim": float(loss_of("ssim")(inputs)),
            "huber": float(loss_of("huber", delta=0.2)(inputs)),
        }
        assert list(terms) == ["mse", "ssim", "huber"]
        assert {name: values for name, (values,) in terms.items()} == pytest.approx(expected, abs=1e-12)
        assert float(total) == pytest.approx(
            2 * expected["mse"] + 0.25 * expected["ssim"] + 3 * expected["huber"], abs=1e-12
        )

    def test_weight_zero_reports_and_does_not_pull(self) -> None:
        layer, target = opaque(pictures(4, 4, 3)).requires_grad_(), torch.zeros(3, 4, 4).double()
        (with_l1,), terms = (
            torch.autograd.grad((result := TotalLoss({"mse": 1, "l1": 0})(inputs_of(layer, target)))[0], layer),
            result[1],
        )
        (alone,) = torch.autograd.grad(TotalLoss({"mse": 1})(inputs_of(layer, target))[0], layer)
        assert torch.equal(with_l1, alone)
        assert terms["l1"] == [pytest.approx(float(pictures(4, 4, 3).mean()))]

    @pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
    def test_refuses_weights_that_are_none(self, weight: float) -> None:
        with pytest.raises(DiffbmpError, match="weight of the loss 'l1'"):
            TotalLoss({"mse": 1.0, "l1": weight})

    @pytest.mark.parametrize("weights", [{}, {"mse": 0.0}, {"mse": 0.0, "l1": 0}])
    def test_refuses_to_minimise_nothing(self, weights: dict[str, float]) -> None:
        with pytest.raises(DiffbmpError, match="at least one loss"):
            TotalLoss(weights)

    def test_unknown_names_and_settings(self) -> None:
        with pytest.raises(DiffbmpError, match="Unknown loss 'sim'; did you mean 'ssim'"):
            TotalLoss({"sim": 1.0})
        with pytest.raises(DiffbmpError, match="did you mean 'window'"):
            TotalLoss({"ssim": 1.0}, {"ssim": {"windw": 7}})

    def test_prepare_asks_every_loss(self) -> None:
        total = TotalLoss({"mse": 1.0, "ssim": 0.0})
        total.prepare(LossSetup((11, 12)))
        with pytest.raises(DiffbmpError, match="window"):
            total.prepare(LossSetup((8, 12)))
        with pytest.raises(DiffbmpError, match="'mse' compares with a target"):
            total.prepare(LossSetup((11, 12), has_target=False))
        with pytest.raises(DiffbmpError, match="transparency"):
            TotalLoss({"spatial": 1.0}).prepare(LossSetup((11, 12)))

    def test_a_loss_that_needs_no_target(self, flawed: type[Flawed]) -> None:
        flawed.value = torch.tensor(2.0)
        total = TotalLoss({"flawed": 0.5})
        total.prepare(LossSetup((2, 2), has_target=False))
        assert float(total(inputs_of(pictures(2, 2, 4), None))[0]) == 1.0

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("weight", [1.0, 0.0])
    def test_names_the_loss_and_the_step_that_went_wrong(
        self, flawed: type[Flawed], value: float, weight: float
    ) -> None:
        flawed.value = torch.tensor(value)
        with pytest.raises(DiffbmpError, match=f"'flawed' became {value:g} in step 5 of 10"):
            TotalLoss({"mse": 1.0, "flawed": weight})(inputs_of(pictures(2, 2, 4), pictures(2, 2, 3)))

    def test_a_sum_that_overflows(self) -> None:
        inputs = inputs_of(opaque(pictures(2, 2, 3, torch.float32)), torch.zeros(3, 2, 2))
        with pytest.raises(DiffbmpError, match=r"weighted sum.*became inf"):
            TotalLoss({"mse": 1e300})(inputs)

    @pytest.mark.parametrize("value", [1.0, None, torch.ones(1), torch.ones(3, 2)])
    def test_a_loss_must_return_a_scalar_tensor(self, flawed: type[Flawed], value: object) -> None:
        flawed.value = value
        with pytest.raises(DiffbmpError, match="'flawed' must return a scalar tensor"):
            TotalLoss({"flawed": 1.0})(inputs_of(pictures(2, 2, 4), None))


class TestParseWeighted:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("mse", ("mse", 1.0)), ("mse=1", ("mse", 1.0)), ("ssim=0.2", ("ssim", 0.2)), (" l1 = 1e-3 ", ("l1", 0.001))],
    )
    def test_reads(self, text: str, expected: tuple[str, float]) -> None:
        assert parse_weighted(text) == expected

    @pytest.mark.parametrize("text", ["", "=1", " =1", "mse=", "mse=x", "mse=1=2", "mse=-1", "mse=nan", "mse=inf"])
    def test_refuses(self, text: str) -> None:
        with pytest.raises(DiffbmpError):
            parse_weighted(text)

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            name, weight = parse_weighted(text)
        except DiffbmpError:
            pass
        else:
            assert name
            assert math.isfinite(weight)
            assert weight >= 0

    @given(st.floats(0, 1e300))
    def test_weights_come_back(self, weight: float) -> None:
        assert parse_weighted(f"mse={weight!r}") == ("mse", weight)
